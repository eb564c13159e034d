"""
The words that a rule can name instead of an address.

To add one, write its row in ``WORDS``: the grammar, the messages, completion and
the documentation all read it from there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import cache

import msgspec

from netjail.policy.addresses import EVERYTHING, NOTHING, AddressSet


class Live(enum.Enum):
    """A word whose meaning is asked of this machine when a call is judged."""

    SELF = "self"
    RESOLVER = "resolver"


_LOOPBACK = ("127.0.0.0/8", "::1/128")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")  # RFC 3927, RFC 4291
_MULTICAST = ("224.0.0.0/4", "ff00::/8")  # RFC 5771, RFC 4291
# What a cloud tells, or gives, to whoever asks from inside a machine: credentials.
_METADATA = (
    "169.254.169.254/32",  # AWS, Azure, Google, OpenStack, DigitalOcean, Hetzner, Oracle
    "169.254.170.2/32",  # AWS ECS: task credentials
    "169.254.170.23/32",  # AWS EKS: pod identity
    "fd00:ec2::254/128",  # AWS over IPv6
    "fd00:ec2::23/128",  # AWS EKS pod identity over IPv6
    "fd20:ce::254/128",  # Google over IPv6
    "168.63.129.16/32",  # Azure's WireServer: a public address, answered by the host
    "100.100.100.200/32",  # Alibaba
    "169.254.0.23/32",  # Tencent
    "169.254.42.42/32",  # Scaleway
    "fd00:42::42/128",  # Scaleway over IPv6
    "192.0.0.192/32",  # Oracle, first generation
)

# IANA's special-purpose registries (RFC 6890), what they call not globally reachable, and
# what is deprecated; 192.0.0.9 and .10 (PCP, TURN anycast) reach the nearest gateway and stay
# out as well. ipaddress.is_global follows another Python's copy of the registries each time.
_NOT_GLOBAL4 = (
    "0.0.0.0/8",  # this network, RFC 791
    "100.64.0.0/10",  # carrier NAT, RFC 6598
    "192.0.0.0/24",  # protocol assignments, RFC 6890
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.88.99.0/24",  # 6to4 relays, deprecated by RFC 7526
    "198.18.0.0/15",  # benchmarks, RFC 2544
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "240.0.0.0/4",  # reserved and broadcast, RFC 1112
)
# IPv6 is the other way round: only 2000::/3 is given out (RFC 4291, 2.4). Teredo and 6to4
# stay in it because what they embed is judged as well, see endpoints.canonical.
_GLOBAL6 = ("2000::/3", "64:ff9b::/96")
_NOT_GLOBAL6 = (
    "2001::/23",  # protocol assignments, RFC 2928
    "2001:db8::/32",  # documentation, RFC 3849
    "3fff::/20",  # documentation, RFC 9637
)
_GLOBAL_AFTER_ALL = (
    "2001::/32",  # Teredo
    "2001:3::/32",  # AMT, RFC 7450
    "2001:4:112::/48",  # AS112, RFC 7535
    "2001:20::/28",  # ORCHIDv2, RFC 7343
    "2001:30::/28",  # drone identities, RFC 9374
)


def _public() -> AddressSet:
    special = (*_LOOPBACK, *_PRIVATE, *_LINK_LOCAL, *_MULTICAST, *_METADATA)
    world = AddressSet.of(("0.0.0.0/0", *_GLOBAL6))
    left = world - AddressSet.of((*special, *_NOT_GLOBAL4, *_NOT_GLOBAL6))
    return left | AddressSet.of(_GLOBAL_AFTER_ALL)


def _of(*networks: str) -> Callable[[], AddressSet]:
    return lambda: AddressSet.of(networks)


class Word(msgspec.Struct, frozen=True):
    """What a word stands for."""

    describe: str
    build: Callable[[], AddressSet]
    live: Live | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """The ports meant where the rule gives none; empty: every port."""


WORDS: dict[str, Word] = {
    "any": Word("every IP address, over tcp, udp and icmp", lambda: EVERYTHING),
    "self": Word("listeners that the jail itself made", lambda: NOTHING, Live.SELF),
    "loopback": Word("this machine: 127.0.0.0/8 and ::1", _of(*_LOOPBACK)),
    "localhost": Word("the same as loopback", _of(*_LOOPBACK)),
    "private": Word("RFC 1918 networks and fc00::/7", _of(*_PRIVATE)),
    "link-local": Word("169.254.0.0/16 and fe80::/10", _of(*_LINK_LOCAL)),
    "metadata": Word("the metadata services of the clouds", _of(*_METADATA)),
    "multicast": Word("224.0.0.0/4 and ff00::/8", _of(*_MULTICAST)),
    "public": Word("global unicast addresses that are none of the others", _public),
    "resolver": Word(
        "the name servers of /etc/resolv.conf, port 53", lambda: NOTHING, Live.RESOLVER, ((53, 53),)
    ),
}


@cache
def addresses(word: str) -> AddressSet:
    """The addresses that *word* means; none for a live one."""
    return WORDS[word].build()


@cache
def inner() -> AddressSet:
    """
    What a name from outside has no business to resolve to ("rebinding").

    100.64.0.0/10 is in it: overlay and cluster networks use it as a private one.
    """
    return AddressSet.of((*_LOOPBACK, *_PRIVATE, *_LINK_LOCAL, *_METADATA, "100.64.0.0/10"))
