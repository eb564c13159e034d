"""
The grammar: the text of a rule in, a rule to match with out.

::

    rule    = [ scheme ] target [ ":" ports ] { " !" target } | "unix:" glob { " !" glob }
    scheme  = "tcp://" | "udp://" | "icmp://" | "raw://"
    ports   = port [ "-" port ] { "," … } | "*"

To add a word, see ``words``; to add a scheme, write its row in ``SCHEMES``.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_network

import msgspec

from netjail.endpoints import Address
from netjail.errors import Place, Source, guess
from netjail.model import Protocol
from netjail.policy import targets
from netjail.policy.paths import PathRule, parse_unix
from netjail.policy.targets import Target
from netjail.policy.terms import PLAIN, Terms
from netjail.policy.words import WORDS, Live

Ports = tuple[tuple[int, int], ...]

# scheme: the protocol it names
SCHEMES: dict[str, Protocol] = {
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "icmp": Protocol.ICMP,
    "raw": Protocol.RAW,
}
_PORTED = frozenset({Protocol.TCP, Protocol.UDP})
_ANY = _PORTED | {Protocol.ICMP}


class AddressRule(msgspec.Struct, frozen=True):
    """A rule on IP destinations."""

    text: str
    """As the user wrote it."""
    layer: str
    """Where: ``--allow``, ``netjail.toml:3``."""
    protocols: frozenset[Protocol]
    ports: Ports
    """Inclusive ranges; empty: every port."""
    target: Target
    exceptions: tuple[Target, ...] = ()
    terms: Terms = PLAIN
    place: Place = Place("")

    @property
    def fixed(self) -> bool:
        """Whether matching it asks nothing of the world."""
        return self.target.fixed and all(target.fixed for target in self.exceptions)

    @property
    def literal(self) -> bool:
        """Whether there are addresses that it matches whatever the world says."""
        certain = self.target.fixed or bool(self.target.addresses)
        return certain and all(target.fixed for target in self.exceptions)

    @property
    def covers_unix(self) -> bool:
        """Whether it is a plain ``self``, which means unix listeners as well."""
        return self.target.live is Live.SELF and not self.ports and self.protocols == _PORTED

    def takes(self, port: int) -> bool:
        """Whether it speaks of *port*."""
        return not self.ports or any(first <= port <= last for first, last in self.ports)

    def applies(self, protocol: Protocol, port: int) -> bool:
        """Whether it speaks of *protocol* and *port*."""
        return protocol in self.protocols and self.takes(port)

    def matches(self, address: Address) -> bool:
        """Whether a literal rule matches *address* by what it says of addresses."""
        return address in self.target.addresses and not any(
            address in target.addresses for target in self.exceptions
        )


Rule = AddressRule | PathRule


def parse(text: str, place: Place, layer: str, terms: Terms = PLAIN) -> Rule:
    """
    Read a rule.

    :param layer: what a verdict by this rule says of where it was written.
    :raises RuleError: if it does not parse or cannot be enforced, at its place.
    """
    source = _readable(text, place)
    if text.strip().lower().startswith("unix:"):
        return parse_unix(text, source, layer, terms)
    return _address_rule(source, layer, wildcard=False, terms=terms)


def parse_bind(text: str, place: Place, layer: str) -> AddressRule:
    """Read a rule of ``--bind``: an address or network of this machine, a port, or both."""
    source = _readable(text, place)
    if text.strip().lower().startswith("unix:"):
        raise source.error("unix listeners need no bind rule", "write a port, as :8080", text)
    rule = _address_rule(source, layer, wildcard=True)
    if not rule.fixed:
        hint = "write an address, a network, a port, as :8080, or any"
        raise source.error(f"{text!r} does not name where to listen", hint, text)
    return rule


def _readable(text: str, place: Place) -> Source:
    source = Source(text, place)
    if not text.strip():
        raise source.error("an empty rule", "write a target: example.org:443, 10.0.0.0/8, private")
    odd = next((c for c in text if not c.isprintable() and c != "\t"), "")
    if odd:
        hint = "write it without; in a unix: path, ? is any one byte"
        raise source.error(f"{text!r}: {odd!r} has no place in a rule", hint, odd)
    return source


def _address_rule(source: Source, layer: str, wildcard: bool, terms: Terms = PLAIN) -> AddressRule:
    first, *rest = source.text.split()
    scheme, body = _scheme(first, source)
    host, ports_text = _split(body, source)
    if not host and ports_text is None:
        raise source.error(f"{first!r} names no host and no port", "for every host write *", first)
    target = targets.parse(host, source, wildcard)
    ports = WORDS[host.lower()].ports if host.lower() in WORDS else ()
    if ports_text is not None:
        ports = _ports(ports_text, source)
    if scheme is Protocol.ICMP and ports_text is not None:
        raise source.error("icmp has no ports", f"write icmp://{host or '*'}", ports_text)
    return AddressRule(
        text=source.text.strip(),
        layer=layer,
        protocols=_protocols(scheme, host, ports_text),
        ports=() if scheme is Protocol.ICMP else ports,
        target=target,
        exceptions=tuple(_exception(word, source, wildcard) for word in rest),
        terms=terms,
        place=source.place,
    )


def _protocols(scheme: Protocol | None, host: str, ports: str | None) -> frozenset[Protocol]:
    if scheme:
        return frozenset({scheme})
    return _ANY if host.lower() in ("any", "*") and ports is None else _PORTED


def _scheme(text: str, source: Source) -> tuple[Protocol | None, str]:
    name, separator, body = text.partition("://")
    if not separator:
        return None, text
    scheme = SCHEMES.get(name.lower())
    if scheme is Protocol.RAW:
        hint = "raw and packet sockets are refused whatever the rules say"
        raise source.error("raw:// cannot be enforced in this version", hint, text)
    if scheme:
        return scheme, body
    host = body.partition("/")[0]
    usual = {"http": ":80", "https": ":443", "ssh": ":22", "git": ":9418"}.get(name.lower())
    if usual:
        port = "" if re.search(r":\d+$", host) else usual
        raise source.error(f"{text!r}: a rule is no URL", f"write {host}{port}", text)
    known = [name for name, carrier in SCHEMES.items() if carrier is not Protocol.RAW]
    raise source.error(f"unknown scheme {name!r}", guess(name, [*known, "unix"]), text)


def _split(body: str, source: Source) -> tuple[str, str | None]:
    """Cut ``host:ports``; the ports are None where there are none."""
    if body.startswith("["):
        return _split_bracketed(body, source)
    if body.count(":") <= 1:
        host, colon, ports = body.partition(":")
        return host, ports if colon else None
    # Without brackets it is an address as a whole. 2001:db8::1:443 is one too, but hardly
    # the one that was meant, and a deny that misses its port would be a hole: refuse it.
    head, _, tail = body.rpartition(":")
    if _is_ipv6(head) and not (_is_ipv6(body) and not tail.isdigit()):
        hint = f"write [{head}]:{tail}" + (f" or [{body}]" if _is_ipv6(body) else "")
        raise source.error(f"{body!r}: which part is the port?", hint, body)
    if not _is_ipv6(body):
        hint = "an IPv6 address with ports is [2001:db8::1]:443"
        raise source.error(f"{body!r} is not an IPv6 address", hint, body)
    return body, None


def _split_bracketed(body: str, source: Source) -> tuple[str, str | None]:
    found = re.fullmatch(r"\[([^\[\]]*)\](/\d+)?(?::(.*))?", body)
    if not found or not _is_ipv6(found[1] + (found[2] or "")):
        hint = "brackets are for IPv6: [2001:db8::1]:443, [2001:db8::]/32:443"
        raise source.error(f"{body!r} is not an IPv6 address", hint, body)
    return found[1] + (found[2] or ""), found[3]


def _is_ipv6(text: str) -> bool:
    try:
        if "/" in text:
            return ip_network(text, strict=False).version == 6
        return bool(IPv6Address(text).compressed)
    except ValueError:
        return False


def _ports(text: str, source: Source) -> Ports:
    if text == "*":
        return ()
    return tuple(_range(part, source) for part in text.split(","))


def _range(text: str, source: Source) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
    if not found:
        hint = "ports are 443, 80,443, 8000-8010 or *"
        raise source.error(f"{text!r} is not a port", hint, text)
    first, last = int(found[1]), int(found[2] or found[1])
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise source.error(f"port {text} is out of range", "ports are 1 to 65535", text)
    if first > last:
        raise source.error(f"{text!r} is a reversed range", f"write {last}-{first}", text)
    return first, last


def _exception(word: str, source: Source, wildcard: bool) -> Target:
    if not word.startswith("!"):
        hint = "one rule an option or list entry; an exception is ' !10.1.2.3'"
        raise source.error(f"unexpected {word!r}", hint, word)
    text = word[1:]
    if not text or "://" in text:
        hint = "an exception is ' !10.1.2.3', ' !metadata'"
        raise source.error(f"{word!r}: an exception is a target alone", hint, word)
    host, ports = _split(text, source)
    if ports is not None:
        hint = f"write !{host}; its ports are those of the rule"
        raise source.error(f"{word!r}: an exception has no ports", hint, word)
    return targets.parse(host, source, wildcard)
