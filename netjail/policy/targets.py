"""
The part of a rule that says where: text in, a :class:`Target` out.

An address, a network, a word or a host name; ports are the business of ``rules``.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from netjail.endpoints import canonical
from netjail.errors import Source
from netjail.policy import hosts
from netjail.policy.addresses import EVERYTHING, NOTHING, AddressSet
from netjail.policy.hosts import Hosts
from netjail.policy.words import WORDS, Live, addresses


class Target(msgspec.Struct, frozen=True, weakref=True):
    """What a rule aims at: fixed addresses, host names (a list has both), or a live word."""

    addresses: AddressSet = NOTHING
    hosts: Hosts | None = None
    live: Live | None = None

    @property
    def fixed(self) -> bool:
        """Whether matching it asks nothing of the world."""
        return self.hosts is None and self.live is None


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
    if text.startswith("@"):
        from netjail.policy import lists

        return lists.read(text, source)
    if "/" in text:
        return Target(AddressSet.of([_network(text, source)]))
    try:
        address = ip_address(text)
    except ValueError:
        return Target(hosts=_hosts(text, source))
    if "%" in text:
        hint = f"write {text.partition('%')[0]}"
        raise source.error(f"{text!r}: a rule cannot name an interface", hint, text)
    literal = address if wildcard else canonical(address)[0]
    return Target(AddressSet.of([str(literal)]))


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


def _hosts(text: str, source: Source) -> Hosts:
    hint = "expected an address, a network, a host name or one of: " + ", ".join(WORDS)
    found = hosts.parse(text, source, hint)
    if "." not in text:
        _refuse_typo(found.single, source, text)
    return found


def near_word(name: str) -> str:
    """The word that a name without a dot could be meant for, "" if there is none."""
    import difflib

    return next(iter(difflib.get_close_matches(name, WORDS, 1, 0.8)), "")


def _refuse_typo(name: str, source: Source, text: str) -> None:
    near = near_word(name)
    if near:
        hint = f"did you mean {near!r}? words: {', '.join(WORDS)}; for a host write '{name}.'"
        raise source.error(f"unknown word {text!r}", hint, text)
