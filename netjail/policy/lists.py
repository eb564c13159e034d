"""
Lists: ``@FILE`` in, the addresses and names that it lists out.

A line is an entry of one of the kinds that published lists are written in: see
``docs/names.md``. To add a kind, write its row in ``_KINDS``; what a line that is none of
them could have meant is said by ``_REMEDIES``. Plain names take a path of their own
through :meth:`_List.read`, since there can be a million.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import socket
import stat
from collections.abc import Callable
from ipaddress import ip_address
from weakref import WeakValueDictionary

from netjail.endpoints import canonical
from netjail.errors import Place, RuleError, RuleErrors, Source
from netjail.policy import hosts
from netjail.policy.addresses import IPV4_STARTS, AddressSet, position
from netjail.policy.hosts import Hosts
from netjail.policy.targets import Target
from netjail.policy.words import WORDS

_SIZE = 1 << 28  # bytes of text: ten times a million names
_SHOWN = 20  # mistakes
_WORD = 300  # characters: a name has 253

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

_LISTED: WeakValueDictionary[tuple[int, ...], Target] = WeakValueDictionary()
"""What was read, while a rule holds it: several rules may name one list."""


def read(text: str, source: Source) -> Target:
    """
    Read ``@FILE``; of a policy file's rule it is beside that file.

    :raises RuleError: if it cannot be read, or lines of it are not understood.
    """
    path = text[1:]
    if source.place.line:
        path = os.path.join(os.path.dirname(source.place.source), path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if doubt := source.place.doubt(status):
                raise source.error(f"{text!r} cannot be trusted: {doubt}", word=text)
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            found = _LISTED.get(key)
            if found is None:
                _check(status, piped=not source.place.line)
                os.set_blocking(descriptor, True)
                _LISTED[key] = found = _target(_text(file), path)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise source.error(f"{text!r} cannot be read: {reason}", word=text) from None
    if not found.addresses and not found.hosts:
        hint = "one address, network or name a line, or hosts(5)"
        raise source.error(f"{text!r} lists nothing", hint, text)
    return found


# A pipe, as of "@<(curl …)", is for whoever stands at the command line: a file that was
# found somewhere must not hold us.
def _check(status: os.stat_result, piped: bool) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if kind != stat.S_IFREG and not (piped and kind == stat.S_IFIFO):
        raise OSError(errno.EINVAL, "it is no regular file")


def _text(file: io.BufferedReader) -> io.TextIOWrapper:
    packed = file.peek(2)[:2] == b"\x1f\x8b"
    source = gzip.GzipFile(fileobj=file) if packed else file
    held = io.BytesIO()
    while part := source.read(1 << 20):
        if held.tell() > _SIZE:
            raise OSError(errno.EFBIG, f"it has more than {_SIZE >> 20} MiB")
        held.write(part)
    held.seek(0)
    # Comments may be in any encoding; entries that are not UTF-8 are complained of.
    return io.TextIOWrapper(held, encoding="utf-8-sig", errors="surrogateescape")


def _target(text: io.TextIOWrapper, path: str) -> Target:
    found = _List(path)
    found.read(text)
    if found.wrong > _SHOWN:
        more = f"{found.wrong - _SHOWN} more lines are not understood"
        found.mistakes.append(RuleError(more, place=Place(path)))
    if found.mistakes:
        raise RuleErrors(found.mistakes)
    names = Hosts(frozenset(found.exact), frozenset(found.below))
    return Target(AddressSet.spanning(found.spans), names or None)


# The kinds that long lists are written in, without what only "hosts" can judge.
_PLAIN = re.compile(
    r"(?:((?:0\.0\.0\.0|127\.0\.0\.1)[ \t]+)|(\.)|(\*\.)|(\|\|)|((?:address|server|local)=/))?"
    r"((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9]))"
    r"\.?(?(4)\^)(?(5)/(?:#|0\.0\.0\.0|127\.0\.0\.1|::1?)?)\s*"
)
_COMMENT = re.compile(
    r"^(?:#|//|\[Adblock).*|\s#.*|;.*"
    r"|^!(?![\w*.:[]*[.:]\w[\w.:/\]]*$).*"  # not an exception, which is not for lists
    r"|(?<![#@?$%])#(?![#@?$%]).*"  # what hides parts of a page is no comment
)


class _List:
    """One list, while it is read."""

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
            found = plain(line) or plain(line.lower())
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
        words = text.split()
        longest = max(words, key=len)
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
_KINDS: tuple[tuple[re.Pattern[str], Callable[[_List, re.Match[str], Source], None]], ...] = (
    (re.compile(rf"({_ADDRESS})\s*-\s*({_ADDRESS})"), _List._range),
    (re.compile(rf"{_ADDRESS}(?:%\w+)?(?:\s+[^\s/]+)+"), _List._hosts),
    (re.compile(r"\|\|((?:\*\.)?[^\s/*^$|]+)\^"), _List._tree),
    (re.compile(rf"(?:address|server|local)=/([^\s*/]+(?:/[^\s*/]+)*)/{_SINK}"), _List._tree),
    (re.compile(r"(?:\*\.|\.)?[^\s/:*$^|!=,#]+"), _List._name),
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
