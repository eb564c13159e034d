"""
Which names a program may look up: the rules on hosts, a question in, a verdict out.

Whoever answers questions sends the name to servers that anybody may run, so that a
name is as much of a way out as a connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address

import msgspec

from netjail.endpoints import Address, Question
from netjail.model import Attempt, Decision, Protocol, Verdict
from netjail.policy import wording
from netjail.policy.addresses import AddressSet
from netjail.policy.facts import Facts
from netjail.policy.hosts import Hosts
from netjail.policy.index import Index, NameIndex
from netjail.policy.rulebook import Rulebook, addressed
from netjail.policy.rules import AddressRule
from netjail.policy.words import Live, addresses

_BOTH = frozenset({Protocol.TCP, Protocol.UDP})
_IPV4 = AddressSet.of(["0.0.0.0/0"])
_IPV6 = AddressSet.of(["::/0"])


class Naming(msgspec.Struct, frozen=True):
    """The rules of one policy that speak of names."""

    allow: NameIndex
    deny: NameIndex
    fixed: Index
    """Those that allow addresses."""
    leading: NameIndex
    """Those that lead elsewhere whoever means a name."""
    by_name: bool
    """Some rule speaks of a host name."""
    book: Rulebook

    @classmethod
    def of(cls, book: Rulebook) -> Naming:
        """Sort out the rules that count."""
        allows, denies = addressed(book.allow), addressed(book.deny)
        named = [rule for rule in allows if _of_names(rule)]
        return cls(
            NameIndex.of(rule for rule in named if not rule.terms.redirect),
            # One that leaves some port open leaves the name's address to be asked for.
            NameIndex.of(
                r for r in denies if r.target.hosts and not r.ports and r.protocols >= _BOTH
            ),
            Index.of(rule for rule in allows if rule.literal and not rule.terms.redirect),
            NameIndex.of(rule for rule in named if rule.terms.redirect),
            any(
                target.hosts
                for rule in (*allows, *denies)
                for target in (rule.target, *rule.exceptions)
            ),
            book,
        )

    def decide(self, attempt: Attempt, question: Question, facts: Facts) -> Verdict:
        """Judge a look-up."""
        name = question.name
        for rule in self._denying(attempt, name, facts):
            return wording.refused(rule, name, 0, False, name)
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
            return wording.local(name)
        for rule in self._allowing(self.allow, attempt, name, facts):
            return wording.allowed(rule, name)
        if self.book.default is Decision.ALLOW:
            return wording.open_by_default(name)
        for rule in self._allowing(self.leading, attempt, name, facts):
            return wording.led(rule, name)
        for rule in self._backwards(attempt, name, facts):
            return wording.allowed(rule, name)
        return wording.unnamed(name)

    def _denying(self, attempt: Attempt, name: str, facts: Facts) -> Sequence[AddressRule]:
        met = _speaking(self.deny, name, facts)
        return self.book.deny_callers.heeded(met, lambda: facts.caller(attempt))

    def _allowing(
        self, rules: NameIndex, attempt: Attempt, name: str, facts: Facts
    ) -> Sequence[AddressRule]:
        met = _speaking(rules, name, facts)
        return self.book.allow_callers.heeded(met, lambda: facts.caller(attempt))

    def _backwards(self, attempt: Attempt, name: str, facts: Facts) -> Sequence[AddressRule]:
        """The rules that allow the address which is looked up backwards."""
        address = reverse(name)
        if address is None:
            return ()
        met = [rule for rule in self.fixed.on([address]) if rule.matches(address)]
        for known in facts.known(address).names:
            met += _speaking(self.allow, known, facts)
        return self.book.allow_callers.heeded(met, lambda: facts.caller(attempt))


def _of_names(rule: AddressRule) -> bool:
    return rule.target.hosts is not None or _any_host(rule)


def means(rule: AddressRule, name: str, search: tuple[str, ...]) -> bool:
    """Whether a rule speaks of *name*, wherever that leads."""
    return _of_names(rule) and _speaks_of(rule, name, search)


def _any_host(rule: AddressRule) -> bool:
    """Whether it cannot be told which names a rule on addresses means."""
    if rule.target.live is Live.RESOLVER:
        return rule.takes(53)
    return any(rule.target.addresses.covers(public) for public in _publics())


@cache
def _publics() -> tuple[AddressSet, ...]:
    """The public addresses of each family."""
    return tuple(addresses("public") - other for other in (_IPV6, _IPV4))


def _speaking(rules: NameIndex, name: str, facts: Facts) -> list[AddressRule]:
    """Those of *rules* that speak of *name*, or of what a resolver made it of."""
    short = _short(name, facts.search())
    return [rule for rule in rules.on((name, *short)) if _speaks_of(rule, name, short)]


def _speaks_of(rule: AddressRule, name: str, short: Sequence[str]) -> bool:
    hosts = rule.target.hosts
    if hosts is not None and not _means(hosts, name, short):
        return False
    excepted = (target.hosts for target in rule.exceptions)
    return not any(one is not None and _means(one, name, short) for one in excepted)


# A resolver asks for ``db.corp.example`` where a program, and its rule, say ``db``.
def _short(name: str, search: Iterable[str]) -> list[str]:
    cut = (name.removesuffix(f".{domain}") for domain in search)
    return [one for one in cut if one != name]


def _means(hosts: Hosts, name: str, short: Sequence[str]) -> bool:
    return hosts.matches(name) or any(one in hosts.exact for one in short)


_ZONES = {"in-addr": 4, "ip6": 32}


def reverse(name: str) -> Address | None:
    """The address whose name is asked for by *name* under ``in-addr.arpa``, ``ip6.arpa``."""
    *labels, zone, top = ["", *name.split(".")]
    labels = labels[:0:-1]
    if top != "arpa" or len(labels) != _ZONES.get(zone):
        return None
    try:
        if zone == "in-addr":
            return IPv4Address(".".join(labels))
        return IPv6Address(bytes.fromhex("".join(labels)))
    except ValueError:
        return None
