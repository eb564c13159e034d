"""
Rules by what they speak of, so that finding those on an address or a name takes one look
for each size of network, or each domain that a name is in, however many rules there are.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netjail.endpoints import Address
from netjail.policy.addresses import AddressSet, position
from netjail.policy.hosts import parents
from netjail.policy.rules import AddressRule


class Index(msgspec.Struct, frozen=True):
    """Which of *rules* could match an address."""

    rules: tuple[AddressRule, ...]
    networks: dict[int, dict[int, list[int]]]
    """By the size of a network, and by where it starts: which rules are on it."""
    sets: dict[AddressSet, list[int]]
    """The same for what is no single network: words and lists, of which there are few."""

    @classmethod
    def of(cls, rules: Iterable[AddressRule]) -> Index:
        """Index *rules*, whose order is kept."""
        index = cls(tuple(rules), {}, {})
        for number, rule in enumerate(index.rules):
            network = rule.target.addresses.network
            if network:
                first, size = network
                index.networks.setdefault(size, {}).setdefault(first, []).append(number)
            else:
                index.sets.setdefault(rule.target.addresses, []).append(number)
        return index

    def on(self, addresses: Iterable[Address]) -> list[AddressRule]:
        """The rules whose target has one of *addresses*, exceptions aside."""
        found: set[int] = set()
        for address in addresses:
            at = position(address)
            for size, starts in self.networks.items():
                found.update(starts.get(at & -size, ()))
            for whole, numbers in self.sets.items():
                if address in whole:
                    found.update(numbers)
        return [self.rules[number] for number in sorted(found)]


class NameIndex(msgspec.Struct, frozen=True):
    """Which of *rules* could speak of a name."""

    rules: tuple[AddressRule, ...]
    names: dict[str, list[int]]
    """By each name that a rule says, itself or as what others are below."""
    others: list[int]
    """Lists, and what speaks of any name."""

    @classmethod
    def of(cls, rules: Iterable[AddressRule]) -> NameIndex:
        """Index *rules*, whose order is kept."""
        index = cls(tuple(rules), {}, [])
        for number, rule in enumerate(index.rules):
            hosts = rule.target.hosts
            if hosts is None or len(hosts.exact) + len(hosts.below) > 2:
                index.others.append(number)
                continue
            for name in hosts.exact | hosts.below:
                index.names.setdefault(name, []).append(number)
        return index

    def on(self, names: Iterable[str]) -> list[AddressRule]:
        """The rules that could speak of one of *names*."""
        found = set(self.others)
        for name in names:
            for domain in (name, *parents(name)):
                found.update(self.names.get(domain, ()))
        return [self.rules[number] for number in sorted(found)]
