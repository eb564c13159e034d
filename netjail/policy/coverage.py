"""
Which rules leave another one nothing to do: rules in, those that cover it out.

Addresses, ports and protocols are sets, and several rules together may cover one. Of names,
words, paths and callers one rule has to cover them alone. Where that cannot be told, it is
taken not to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

from netjail.policy.addresses import EVERYTHING, AddressSet
from netjail.policy.hosts import Hosts, parents
from netjail.policy.paths import PathRule, body
from netjail.policy.rules import AddressRule, Ports, Rule
from netjail.policy.targets import Target
from netjail.policy.terms import Who

_EVERY_PORT = ((0, 65535),)


def covering(rule: Rule, others: Iterable[Rule]) -> tuple[Rule, ...]:
    """Those of *others* that together match whatever *rule* matches; none if they do not."""
    some = list(others)
    alone = next((other for other in some if covers(other, rule)), None)
    if alone is not None:
        return (alone,)
    if isinstance(rule, PathRule) or not rule.fixed:
        return ()
    heard = [o for o in some if isinstance(o, AddressRule) and o.fixed and _whoever(o, rule)]
    if _everything(rule):
        # That is names and the jail's own too, which addresses do not add up to.
        heard = [other for other in heard if _everything(other)]
    return tuple(_together(rule, heard))


def _everything(rule: AddressRule) -> bool:
    return rule.fixed and rule.target.addresses == EVERYTHING and not rule.exceptions


def _together(rule: AddressRule, others: Sequence[AddressRule]) -> Iterable[AddressRule]:
    needed: dict[int, AddressRule] = {}
    for protocol in rule.protocols:
        carrying = [other for other in others if protocol in other.protocols]
        if not AddressSet.union(map(reach, carrying)).covers(reach(rule)):
            return ()
        for port in _cut(rule.ports, [other.ports for other in carrying]):
            left = reach(rule)
            for other in (one for one in carrying if one.takes(port)):
                less = left - reach(other)
                if less != left:
                    needed[id(other)] = other
                left = less
            if left:
                return ()
    return needed.values()


def _cut(ports: Ports, others: Iterable[Ports]) -> Iterator[int]:
    """A port of each range that *others* tell apart."""
    edges = {edge for some in others for first, last in some for edge in (first, last + 1)}
    for first, last in ports or _EVERY_PORT:
        cuts = sorted({first, last + 1, *(edge for edge in edges if first < edge <= last)})
        yield from (low for low, _ in pairwise(cuts))


class Near:
    """
    Which of *rules* could cover others, or have a part in it.

    What speaks of few addresses or names is found by them, the rest is always asked.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._others: list[int] = []
        self._spans: list[tuple[int, int, int]] = []
        self._names: dict[str, list[int]] = {}
        for number, rule in enumerate(self._rules):
            span, hosts = _span(rule), _hosts(rule)
            if span:
                self._spans.append((*span, number))
            if hosts:
                for name in hosts.exact | hosts.below:
                    self._names.setdefault(name, []).append(number)
            if not span and not hosts:
                self._others.append(number)
        self._spans.sort()
        # How far those up to each reach: where to begin to look.
        self._ends = list(accumulate((end for _, end, _ in self._spans), max))

    def to(self, rule: Rule) -> list[tuple[int, Rule]]:
        """Each with its number, in their order."""
        found = set(self._others)
        if isinstance(rule, AddressRule):
            found |= self._beside(rule.target.addresses)
            hosts = rule.target.hosts
            for name in hosts.exact | hosts.below if hosts else ():
                for domain in (name, *parents(name)):
                    found.update(self._names.get(domain, ()))
        return [(number, self._rules[number]) for number in sorted(found)]

    def _beside(self, addresses: AddressSet) -> set[int]:
        if not addresses:
            return set()
        first, end = addresses.edges[0], addresses.edges[-1]
        low, high = bisect_right(self._ends, first), bisect_left(self._spans, (end, 0, 0))
        return {number for _, its_end, number in self._spans[low:high] if its_end > first}


_NARROW = 1 << 96
"""Addresses between the ends of what is worth finding by them."""


def _span(rule: Rule) -> tuple[int, int] | None:
    if not isinstance(rule, AddressRule) or not rule.target.addresses:
        return None
    first, end = rule.target.addresses.edges[0], rule.target.addresses.edges[-1]
    return (first, end) if end - first < _NARROW and rule.target.live is None else None


def _hosts(rule: Rule) -> Hosts | None:
    hosts = rule.target.hosts if isinstance(rule, AddressRule) else None
    return hosts if hosts and len(hosts.exact) + len(hosts.below) <= 2 else None


def covers(one: Rule, other: Rule) -> bool:
    """Whether *one* matches whatever *other* matches."""
    if not _whoever(one, other):
        return False
    if isinstance(one, PathRule) or isinstance(other, PathRule):
        return isinstance(one, PathRule) and isinstance(other, PathRule) and _path(one, other)
    carried = other.protocols <= one.protocols and _every(one.ports, other.ports)
    return carried and _target(one, other)


def reach(rule: AddressRule) -> AddressSet:
    """The addresses that a rule means, as far as they are fixed."""
    spared = AddressSet.union(target.addresses for target in rule.exceptions)
    return rule.target.addresses - spared


def _every(ports: Ports, others: Ports) -> bool:
    if not ports:
        return True
    cuts = _cut(others, [ports])
    return all(any(first <= port <= last for first, last in ports) for port in cuts)


def _whoever(one: Rule, other: Rule) -> bool:
    """Whether *one* heeds whoever *other* does."""
    mine, its = one.terms.who or Who(), other.terms.who or Who()
    pairs = ((mine.exe, its.exe), (mine.argv, its.argv), (mine.parent, its.parent))
    return all(not globs or (less and set(less) <= set(globs)) for globs, less in pairs)


def _target(one: AddressRule, other: AddressRule) -> bool:
    if _everything(one):
        return True
    if one.fixed and other.fixed:
        return reach(one).covers(reach(other))
    spared = all(exception in other.exceptions for exception in one.exceptions)
    return spared and _whole(one.target, other.target)


def _whole(one: Target, other: Target) -> bool:
    if other.live is not None or one.live is not None:
        return one.live is other.live
    named = not other.hosts or (one.hosts is not None and _names(one.hosts, other.hosts))
    return named and one.addresses.covers(other.addresses)


# A label that no list has stands for all that is below a domain.
def _names(one: Hosts, other: Hosts) -> bool:
    below = (f"{'x' * 63}.{domain}" for domain in other.below)
    return all(map(one.matches, other.exact)) and all(map(one.matches, below))


def _path(one: PathRule, other: PathRule) -> bool:
    if one.exceptions and one.exceptions != other.exceptions:
        return False
    mine, its = body(one.text), body(other.text)
    if mine.startswith("@") != its.startswith("@"):
        return False
    start = mine.removesuffix("*")
    plain = not any(character in start for character in "*?[")
    return mine == its or (mine.endswith("*") and plain and its.startswith(start))
