"""
The part of a rule that says where: text in, a :class:`Target` out.

An address, a network, a word or a host name; ports are the business of ``rules``.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from netjail.endpoints import canonical
from netjail.errors import Place, RuleError
from netjail.policy.addresses import EVERYTHING, NOTHING, AddressSet
from netjail.policy.words import WORDS, Live, addresses


class Target(msgspec.Struct, frozen=True):
    """What a rule aims at: fixed addresses, or a host name, or a live word."""

    addresses: AddressSet = NOTHING
    name: str = ""
    live: Live | None = None

    @property
    def fixed(self) -> bool:
        """Whether matching it asks nothing of the world."""
        return not self.name and self.live is None


class Source(msgspec.Struct, frozen=True):
    """A rule as it was written, so that a complaint can point at the word."""

    text: str
    place: Place

    def error(self, message: str, hint: str = "", word: str = "") -> RuleError:
        """The error to raise; *word* is what the column points at."""
        place = self.place
        if place.line:
            offset = max(self.text.rfind(word), 0) if word else 0
            place = Place(place.source, place.line, place.column + offset)
        return RuleError(message, hint, place)


def parse(text: str, source: Source, wildcard: bool = False) -> Target:
    """
    Read a target.

    :param wildcard: keep ``0.0.0.0`` and ``::`` as they are: for listeners they
        mean every address, for destinations the loopback.
    """
    word = text.lower()
    if word in ("*", ""):
        return Target(EVERYTHING)
    if word in WORDS:
        return Target(addresses(word), live=WORDS[word].live)
    _refuse_later(text, source)
    if "/" in text:
        return Target(AddressSet.of([_network(text, source)]))
    try:
        address = ip_address(text)
    except ValueError:
        return Target(name=_host(text, source))
    if "%" in text:
        hint = f"write {text.partition('%')[0]}"
        raise source.error(f"{text!r}: a rule cannot name an interface", hint, text)
    literal = address if wildcard else canonical(address)[0]
    return Target(AddressSet.of([str(literal)]))


def _refuse_later(text: str, source: Source) -> None:
    if text.startswith(("*.", ".")):
        message = f"{text!r}: sub-domains cannot be enforced in this version"
        raise source.error(message, "name each host: --allow www.example.org:443", text)
    if text.startswith("@"):
        message = f"{text!r}: lists of names cannot be enforced in this version"
        raise source.error(message, "write its entries as rules of a netjail.toml", text)


def _network(text: str, source: Source) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        hint = "a network is 10.0.0.0/8 or [2001:db8::]/32; a path needs unix: before it"
        raise source.error(f"{text!r} is not a network", hint, text) from None
    host, _, size = text.partition("/")
    if not size.isdigit():
        raise source.error(f"{text!r}: not a prefix length", f"write {network}", text)
    if ip_address(host) != network.network_address:
        hint = f"write {network} for the network, {host} for the one address"
        raise source.error(f"{text!r} has host bits set", hint, text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if isinstance(mapped, IPv4Address) and network.prefixlen >= 96:
        return IPv4Network((int(mapped), network.prefixlen - 96))
    return network


_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def _host(text: str, source: Source) -> str:
    name = _punycode(text, source).removesuffix(".").lower()
    labels = name.split(".")
    # A host name never ends in a number (RFC 3696, 2), but inet_aton(3) takes 127.1, 0x7f000001.
    if _NUMBER.fullmatch(labels[-1]):
        hint = "an address is 192.0.2.1 or [2001:db8::1]; a port alone is :443"
        raise source.error(f"{text!r} is not an IP address", hint, text)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "expected an address, a network, a host name or one of: " + ", ".join(WORDS)
        raise source.error(f"{text!r} is not a host name", hint, text)
    if len(labels) == 1 and not text.endswith("."):
        _refuse_typo(name, source, text)
    return name


def _punycode(text: str, source: Source) -> str:
    if text.isascii():
        return text
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError as error:
        reason = str(error).rpartition(": ")[2]
        raise source.error(f"{text!r} is not a host name: {reason}", word=text) from None


def _refuse_typo(name: str, source: Source, text: str) -> None:
    import difflib

    near = difflib.get_close_matches(name, WORDS, 1, 0.8)
    if near:
        hint = f"did you mean {near[0]!r}? words: {', '.join(WORDS)}; for a host write '{name}.'"
        raise source.error(f"unknown word {text!r}", hint, text)
