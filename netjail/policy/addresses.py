"""
Sets of IP addresses: networks in, one sorted list of spans out, asked by bisection.

IPv4 and IPv6 lie on one line of integers, IPv4 above IPv6, so that a word, a
network, an exception and "everything but" are the same kind of value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import msgspec

from netjail.endpoints import Address

IPV4_STARTS = 1 << 128
_END = IPV4_STARTS + (1 << 32)


def position(address: Address) -> int:
    """Where *address* lies on the line."""
    return int(address) + (IPV4_STARTS if isinstance(address, IPv4Address) else 0)


class AddressSet(msgspec.Struct, frozen=True):
    """A set of addresses: *edges* are where membership turns on, off, on, …"""

    edges: tuple[int, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str | IPv4Network | IPv6Network]) -> AddressSet:
        """The addresses of all *networks*."""
        spans = []
        for text in networks:
            network = ip_network(text) if isinstance(text, str) else text
            first = position(network.network_address)
            spans.append((first, first + network.num_addresses))
        return cls(_merge(spans))

    @classmethod
    def spanning(cls, spans: Iterable[tuple[int, int]]) -> AddressSet:
        """The addresses from each first position up to, not including, its second."""
        return cls(_merge(spans))

    def __contains__(self, address: Address) -> bool:
        return bisect_right(self.edges, position(address)) % 2 == 1

    @classmethod
    def union(cls, sets: Iterable[AddressSet]) -> AddressSet:
        """The addresses of all *sets*."""
        return cls(_merge([span for each in sets for span in _spans(each.edges)]))

    def __or__(self, other: AddressSet) -> AddressSet:
        return self.union((self, other))

    def __sub__(self, other: AddressSet) -> AddressSet:
        outside = AddressSet(_invert(self.edges)) | other
        return AddressSet(_invert(outside.edges))

    def __bool__(self) -> bool:
        return bool(self.edges)

    def covers(self, other: AddressSet) -> bool:
        """Whether all of *other* is in it."""
        return all(
            (at := bisect_right(self.edges, first)) % 2 == 1 and end <= self.edges[at]
            for first, end in _spans(other.edges)
        )

    @property
    def single(self) -> bool:
        """Whether it is one address."""
        return self.network is not None and self.network[1] == 1

    @property
    def network(self) -> tuple[int, int] | None:
        """The first position and the size of it, if it is one network; see RFC 4632, 3.1."""
        if len(self.edges) != 2:
            return None
        first, size = self.edges[0], self.edges[1] - self.edges[0]
        return None if size & (size - 1) or first & (size - 1) else (first, size)


def _spans(edges: tuple[int, ...]) -> Iterable[tuple[int, int]]:
    return zip(edges[::2], edges[1::2], strict=True)


def _merge(spans: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    merged: list[int] = []
    for first, end in sorted(spans):
        if merged and first <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += (first, end)
    return tuple(merged)


def _invert(edges: tuple[int, ...]) -> tuple[int, ...]:
    inverted = edges[1:] if edges[:1] == (0,) else (0, *edges)
    return inverted[:-1] if inverted[-1:] == (_END,) else (*inverted, _END)


NOTHING = AddressSet()
EVERYTHING = AddressSet((0, _END))
