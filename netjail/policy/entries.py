"""
The lines of a list: addresses, networks and names in the ways that published lists have.

To add a kind, write its row in ``_KINDS``; what a line that is none of them could have
meant is said by ``_REMEDIES``. Plain names take a path of their own through
:meth:`Entries.read`, since there can be a million. See docs/names.md.
"""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address

from netjail.endpoints import canonical
from netjail.errors import Place, RuleError, Source, raise_all
from netjail.policy import hosts
from netjail.policy.addresses import IPV4_STARTS, position
from netjail.policy.hosts import Hosts
from netjail.policy.words import WORDS

_SHOWN = 20  # mistakes
_LINE, _WORD = 8192, 300  # characters: a name has 253

# What hosts files say of the machine itself, and of nobody else.
_OWN = frozenset(
    f"{name}{ending}"
    for name, endings in {
        "0.0.0.0": ("",),
        "local": ("",),
        "loopback": ("",),
        "broadcasthost": ("",),
        "localhost": ("", "4", "6", ".localdomain", "4.localdomain4", "6.localdomain6"),
        "ip6-": ("localhost", "loopback", "localnet", "mcastprefix"),
        "ip6-all": ("nodes", "routers", "hosts"),
    }.items()
    for ending in endings
)

# The kinds that long lists are written in, without what only "hosts" can judge.
_PLAIN = re.compile(
    r"(?:((?:0\.0\.0\.0|127\.0\.0\.1)[ \t]+)|(\.)|(\*\.)|(\|\|)|((?:address|server|local)=/))?"
    r"((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9]))"
    r"\.?(?(4)\^)(?(5)/(?:#|0\.0\.0\.0|127\.0\.0\.1|::1?)?)\s*"
)
_COMMENT = re.compile(
    r"^(?:#|//|\[Adblock).*|\s#.*|;.*"
    r"|^!(?![\w*.[]\S*+$).*"  # not an exception, which is not for lists
    r"|(?<![#@?$%])#(?![#@?$%]).*"  # what hides parts of a page is no comment
)


class Entries:
    """What the lines of one list say."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.exact: list[str] = []
        self.below: list[str] = []
        self.spans: list[tuple[int, int]] = []
        self.mistakes: list[RuleError] = []
        self.wrong = 0

    def read(self, lines: io.TextIOWrapper) -> None:
        """Read every line."""
        plain, exact, below = _PLAIN.fullmatch, self.exact, self.below
        for number, line in enumerate(lines, 1):
            found = None if len(line) > _LINE else plain(line) or plain(line.lower())
            if found is None or found.end(6) - found.start(6) > 253:
                self._other(line, number)
                continue
            sink, dot, star, adblock, dnsmasq, name = found.groups()
            if sink and name in _OWN:
                continue
            if not star:
                exact.append(name)
            if dot or star or adblock or dnsmasq:
                below.append(name)

    def finish(self) -> None:
        """Raise the mistakes, if there were any; of very many the first."""
        if self.wrong > _SHOWN:
            more = f"{self.wrong - _SHOWN} more lines are not understood"
            self.mistakes.append(RuleError(more, place=Place(self.path)))
        raise_all(self.mistakes)

    def _other(self, line: str, number: int) -> None:
        text = _COMMENT.sub("", line.strip(), count=1).strip()
        if not text:
            return
        line = line.rstrip("\n")
        source = Source(line, Place(self.path, number, 1, line[:_WORD]))
        try:
            self._entry(text, source)
        except RuleError as error:
            self.wrong += 1
            if len(self.mistakes) < _SHOWN:
                self.mistakes.append(error)

    def _entry(self, text: str, source: Source) -> None:
        if len(text) > _LINE:
            raise source.error(f"{text[:40]!r}… has {len(text)} characters", _KNOWN)
        longest = max(text.split(), key=len)
        if len(longest) > _WORD:
            raise source.error(f"{longest[:40]!r}… is not a host name", word=longest)
        if not text.replace("\t", " ").isprintable():
            raise _odd(text, source)
        span = _network(text)
        if span:
            self.spans.append(span)
            return
        for pattern, reader in _KINDS:
            found = pattern.fullmatch(text)
            if found:
                reader(self, found, source)
                return
        raise _mistake(text, source)

    def _range(self, found: re.Match[str], source: Source) -> None:
        first, last = _network(found[1]), _network(found[2])
        families = {":" in end for end in found.groups()}
        if not first or not last or first[0] > last[0] or len(families) > 1:
            hint = "a range is 192.0.2.1-192.0.2.9, the lower address first"
            raise source.error(f"{found[0]!r} is not a range", hint, found[0])
        self.spans.append((first[0], last[1]))

    def _hosts(self, found: re.Match[str], source: Source) -> None:
        address, *names = found[0].split()
        if not _is_address(address):
            raise _mistake(found[0], source)
        for name in names:
            if _is_address(name) and name not in _OWN:
                raise source.error(f"unexpected {name!r}", "one address a line", name)
            if name.lower() not in _OWN:
                self._take(hosts.parse(name, source))

    def _tree(self, found: re.Match[str], source: Source) -> None:
        for name in found[1].split("/"):
            span = _network(name)
            if span:
                self.spans.append(span)
            else:
                self._take(hosts.parse(name if name[0] in "*." else f".{name}", source))

    def _name(self, found: re.Match[str], source: Source) -> None:
        if found[0].lower() in WORDS:
            hint = f"write a rule for the word; for a host of that name write '{found[0]}.'"
            raise source.error(f"{found[0]!r}: a list holds no words", hint, found[0])
        self._take(hosts.parse(found[0], source))

    def _take(self, found: Hosts) -> None:
        self.exact += found.exact
        self.below += found.below


_ADDRESS = r"[0-9a-fA-F.:]+"
_SINK = r"(?:#|0\.0\.0\.0|127\.0\.0\.1|::1?)?"
_KINDS: tuple[tuple[re.Pattern[str], Callable[[Entries, re.Match[str], Source], None]], ...] = (
    (re.compile(rf"({_ADDRESS})\s*-\s*({_ADDRESS})"), Entries._range),
    (re.compile(rf"{_ADDRESS}(?:%\w+)?(?:\s+[^\s/]+)+"), Entries._hosts),
    (re.compile(r"\|\|((?:\*\.)?[^\s/*^$|]+)\^"), Entries._tree),
    (re.compile(rf"(?:address|server|local)=/([^\s*/]+(?:/[^\s*/]+)*)/{_SINK}"), Entries._tree),
    (re.compile(r"(?:\*\.|\.)?[^\s/:*$^|!=,#]+"), Entries._name),
)

_EDITION = "take the edition of the list that has hosts or domains alone"
# what is in a line: what to do about it
_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"#[@?$%]*#"), f"it is about parts of pages; {_EDITION}"),
    (re.compile(r"@@|(^|\s)!"), "an exception goes with the rule: '@FILE !example.org'"),
    (re.compile(r"^[\[{\"<]"), f"it is no text; {_EDITION}"),
    (re.compile(r"://"), "a list holds no URLs: write the host alone"),
    (re.compile(r"\||\^|\$"), f"of such rules only ||example.org^ is about a host; {_EDITION}"),
    (re.compile(r"\s(CNAME|SOA|NS|IN|A|AAAA)\s|^\$"), f"it is a zone file; {_EDITION}"),
    (re.compile(r"\d/\d+\.[\d.]+$"), "write the prefix length: 192.0.2.0/24"),
    (re.compile(r":\d+$"), "ports go with the rule: '@FILE:443'"),
    (re.compile(r"\*"), "a star stands in front, for what is below a name: *.example.org"),
)
_KNOWN = (
    "a line is an address, 192.0.2.0/24, 192.0.2.1-192.0.2.9, a name, *.name, .name, "
    "'0.0.0.0 name', ||name^ or address=/name/"
)


def _mistake(text: str, source: Source) -> RuleError:
    hint = next((hint for pattern, hint in _REMEDIES if pattern.search(text)), _KNOWN)
    shown = text if len(text) < 80 else f"{text[:80]}…"
    return source.error(f"{shown!r} is not understood", hint, text)


def _odd(text: str, source: Source) -> RuleError:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return source.error(f"{text[:80]!r} is not UTF-8", word=text)
    return _mistake(text, source)


def _is_address(word: str) -> bool:
    try:
        return bool(str(ip_address(word)))
    except ValueError:
        return False


def _network(text: str) -> tuple[int, int] | None:
    """The span of an address or a network; bits behind its prefix do not matter."""
    host, slash, size = text.replace("[", "").replace("]", "").partition("/")
    family, bits = (socket.AF_INET6, 128) if ":" in host else (socket.AF_INET, 32)
    try:
        value = int.from_bytes(socket.inet_pton(family, host), "big")
    except (OSError, ValueError):
        return None
    if not slash:
        at = position(canonical(ip_address(host))[0])
        return at, at + 1
    length = int(size) if re.fullmatch("[0-9]{1,3}", size) else bits + 1
    if length > bits:
        return None
    if bits == 128 and value >> 32 == 0xFFFF and length >= 96:  # v4-mapped
        value, bits, length = value & 0xFFFFFFFF, 32, length - 96
    width = 1 << (bits - length)
    first = (value & -width) + (IPV4_STARTS if bits == 32 else 0)
    return first, first + width
