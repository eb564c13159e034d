"""Sets of addresses, compared with sets of integers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from netjail.policy.addresses import EVERYTHING, IPV4_STARTS, NOTHING, AddressSet, position

# Sixteen addresses on each side of the seam between the families.
FIRST, LAST = IPV4_STARTS - 16, IPV4_STARTS + 16
LINE = range(FIRST, LAST)
SPANS = st.lists(
    st.tuples(st.integers(FIRST, LAST - 1), st.integers(1, 8)).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], LAST))
    ),
    max_size=8,
)


def address(at: int) -> IPv4Address | IPv6Address:
    return IPv4Address(at - IPV4_STARTS) if at >= IPV4_STARTS else IPv6Address(at)


def naive(spans) -> set[int]:
    return {at for first, end in spans for at in range(first, end)}


def members(addresses: AddressSet) -> set[int]:
    return {at for at in LINE if address(at) in addresses}


@given(SPANS, SPANS)
def test_sets_are_sets(one, other):
    mine, its = AddressSet.spanning(one), AddressSet.spanning(other)
    assert members(mine) == naive(one)
    assert members(mine | its) == naive(one) | naive(other)
    assert members(AddressSet.union([mine, its, NOTHING])) == naive(one) | naive(other)
    assert members(mine - its) == naive(one) - naive(other)
    assert mine.covers(its) == (naive(other) <= naive(one))
    assert bool(mine) == bool(naive(one))
    assert mine.single == (len(naive(one)) == 1)
    assert EVERYTHING.covers(mine) and mine.covers(NOTHING)


@given(SPANS, SPANS)
def test_what_is_equal_is_the_same(one, other):
    equal = AddressSet.spanning(one) == AddressSet.spanning(other)
    assert equal == (naive(one) == naive(other))


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_network_is_found_again(value, length):
    network = ip_network((value, length), strict=False)
    first = position(network.network_address)
    assert AddressSet.of([network]).network == (first, network.num_addresses)


@given(st.integers(0, 32).map(lambda n: FIRST + n), st.integers(1, 16))
def test_what_is_no_network_is_none(first, size):
    whole = not size & (size - 1) and not first % size
    found = AddressSet.spanning([(first, first + size)]).network
    assert found == ((first, size) if whole else None)
