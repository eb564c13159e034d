"""
One attempt over one protocol, and what the facts said about it so far: what each rule
is asked.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netjail.endpoints import Address, Inet, canonical
from netjail.model import Attempt, Owner, Protocol
from netjail.policy import wording
from netjail.policy.addresses import AddressSet
from netjail.policy.facts import Caller, Facts
from netjail.policy.hosts import Hosts
from netjail.policy.rules import AddressRule
from netjail.policy.targets import Target
from netjail.policy.words import Live

STAND_INS = AddressSet.of(["198.18.0.0/15"])
"""What stands in for names that lead nowhere but by a rule: RFC 2544, on no network."""
LISTENING = frozenset({Protocol.TCP, Protocol.UDP})
"""What carries bytes to a port that somebody has to listen on."""


class Query(msgspec.Struct):
    """An attempt over one of its protocols."""

    attempt: Attempt
    protocol: Protocol
    endpoint: Inet
    facts: Facts
    forms: tuple[Address, ...] = ()
    pending: set[str] = msgspec.field(default_factory=set)
    asked_owner: Owner | None = None

    def __post_init__(self) -> None:
        self.forms = canonical(self.endpoint.address)

    def owner(self) -> Owner:
        if self.asked_owner is None:
            self.asked_owner = self.facts.owner(self.attempt, self.protocol)
        return self.asked_owner

    def caller(self) -> Caller:
        return self.facts.caller(self.attempt)

    def fix(self, forms: Iterable[Address]) -> str:
        return wording.to_allow(self.protocol, forms, self.endpoint.port)

    def known(self) -> str:
        """A name that leads to the address."""
        names = self.facts.known(self.forms[0]).names
        return names[0] if names else ""

    def names(self) -> set[str]:
        """Every name that leads to one of the forms, or did."""
        known = [self.facts.known(form) for form in self.forms]
        return {name for each in known for name in (*each.names, *each.stale)}

    def hits(self, rule: AddressRule, form: Address) -> str | bool | None:
        """
        Whether a live rule matches: by which name, or True for one that names none.

        None: that hangs on a name being looked up.
        """
        asks = rule.terms.redirect is None
        hit = self._aims(rule.target, form, asks)
        for target in rule.exceptions:
            if hit is False:
                break
            excepted = self._aims(target, form, asks)
            if excepted is not False:
                hit = None if excepted is None else False
        return hit

    def _aims(self, target: Target, form: Address, asks: bool) -> str | bool | None:
        if target.live is Live.SELF:
            return self.owner() is Owner.JAIL
        if target.live is Live.RESOLVER:
            return form in forms_of(self.facts.resolvers())
        if form in target.addresses:
            return True
        return False if target.hosts is None else self._by_name(target.hosts, form, asks)

    # One name is looked up for its rule; of many, those count that were asked for. So they
    # do for a rule that leads elsewhere: its name need not be anybody's.
    def _by_name(self, hosts: Hosts, form: Address, asks: bool) -> str | bool | None:
        if hosts.single and asks:
            found = self.facts.addresses(hosts.single)
            if found is None:
                self.pending.add(hosts.single)
                return None
            return hosts.single if form in forms_of(found) else False
        known = self.facts.known(form)
        stale = [name for name in known.stale if hosts.matches(name)]
        self.pending.update(stale)
        found_name = next(filter(hosts.matches, known.names), None)
        return found_name or (None if stale else False)

    def to_resolver(self) -> bool:
        """Whether it goes to a configured name server, at its port."""
        carried = self.protocol in LISTENING and self.endpoint.port == 53
        return carried and bool(leads_to(self.facts.resolvers(), self.endpoint))


def stand_in(endpoint: Inet, facts: Facts) -> str:
    """The name that an address stands in for, "" if it is one itself."""
    form = canonical(endpoint.address)[0]
    known = facts.known(form) if form in STAND_INS else None
    return known.names[0] if known and known.how == "stand-in" else ""


def names_it(rule: AddressRule) -> bool:
    """Whether a rule means a name server itself: programs talk to it, unheard."""
    return bool(rule.ports) and rule.target.addresses.single


def forms_of(found: Iterable[Address]) -> set[Address]:
    """Every form of every address."""
    return {form for address in found for form in canonical(address)}


def leads_to(resolvers: Iterable[Address], endpoint: object) -> list[Address]:
    """The forms of *endpoint* that are a configured name server, at its port."""
    if not isinstance(endpoint, Inet) or endpoint.port != 53:
        return []
    known = forms_of(resolvers)
    return [form for form in canonical(endpoint.address) if form in known]
