"""
One policy's rules, compiled: an attempt in, a verdict out.

The order is the cheap and certain first: fixed denials, live denials, fixed
permissions, the default, whose socket it is, and names last, because only they
make the caller wait.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

import msgspec

from netjail.endpoints import Address, Question, Unix
from netjail.model import Attempt, Decision, Owner, Pending, Protocol, Reason, Verdict
from netjail.policy import wording
from netjail.policy.facts import Facts
from netjail.policy.group import Group
from netjail.policy.leading import Leading
from netjail.policy.naming import Naming
from netjail.policy.query import LISTENING, Query, names_it, stand_in
from netjail.policy.rulebook import Rulebook, addressed
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.unix import Paths
from netjail.policy.words import addresses, inner

_IP = frozenset({Protocol.TCP, Protocol.UDP, Protocol.ICMP})


class Engine(msgspec.Struct, frozen=True):
    """The rules of one policy."""

    allow: dict[Protocol, Group]
    """Without those that lead elsewhere."""
    deny: dict[Protocol, Group]
    leading: Leading
    paths: Paths
    naming: Naming
    book: Rulebook

    @classmethod
    def of(
        cls, allow: Iterable[Rule], deny: Iterable[Rule], default: Decision, error: int
    ) -> Engine:
        """Compile rules."""
        book = Rulebook.of(allow, deny, default, error)
        plain = [rule for rule in book.allow if not rule.terms.redirect]
        return cls(
            {protocol: Group.of(plain, protocol, book.allow_callers) for protocol in _IP},
            {protocol: Group.of(book.deny, protocol, book.deny_callers) for protocol in _IP},
            Leading.of(book),
            Paths.of(book),
            Naming.of(book),
            book,
        )

    @property
    def looked_up(self) -> set[str]:
        """The names that have to be looked up before a call can be judged."""
        groups = (*self.allow.values(), *self.deny.values(), *self.leading.groups.values())
        targets = [rule.target for group in groups for rule in group.asked]
        targets += [one for rule in addressed(self.book.rules) for one in rule.exceptions]
        return {one.hosts.single for one in targets if one.hosts} - {""}

    def decide_inet(self, query: Query) -> Verdict | Pending:
        """Judge an IP destination over one protocol."""
        if query.protocol not in _IP:
            why = f"{query.protocol.value} sockets cannot be allowed in this version"
            return wording.fixed(Reason.STRUCTURE, why, errno.EPERM)
        if name := stand_in(query.endpoint, query.facts):
            return self.leading.by_name(query, name)
        group = self.deny[query.protocol]
        denials = group.live_on(query)
        verdict = self._denied(query, group.fixed_on(query), denials)
        verdict = verdict or self.leading.by_address(query)
        if verdict is not None:
            return verdict
        # A verdict stays true until the end only if no live rule could have come first.
        lasting = not denials and self.leading.settled(query)
        permissions = self.allow[query.protocol].fixed_on(query)
        rule = _covering(query, permissions)
        if query.to_resolver() and not (rule and names_it(rule)):
            return (
                wording.own(query.endpoint)
                if query.owner() is Owner.JAIL
                else wording.stub(query.endpoint)
            )
        if rule is not None:
            return wording.allowed(rule, cacheable=lasting)
        if self.book.default is Decision.ALLOW:
            return wording.open_by_default(cacheable=lasting)
        if query.owner() is Owner.JAIL:
            return wording.own(query.endpoint)
        return self._by_live_rules(query, permissions, lasting)

    # A denial of any form denies: what it says of 10.0.0.0/8 holds for the NAT64 or
    # tunnelled spelling as well.
    def _denied(
        self, query: Query, fixed: Sequence[AddressRule], live: Sequence[AddressRule]
    ) -> Verdict | Pending | None:
        for rule in fixed:
            met = list(filter(rule.matches, query.forms))
            if met:
                return wording.refused(rule, _spared(met), self.book.error, True)
        for rule in live:
            hits = {form: hit for form in query.forms if (hit := query.hits(rule, form))}
            if hits:
                name = next((hit for hit in hits.values() if isinstance(hit, str)), "")
                return wording.refused(rule, _spared(hits), self.book.error, False, name)
        return Pending(frozenset(query.pending)) if query.pending else None

    def _by_live_rules(
        self, query: Query, fixed: Sequence[AddressRule], lasting: bool
    ) -> Verdict | Pending:
        live = self.allow[query.protocol].live_on(query)
        open_forms = [f for f in query.forms if not any(rule.matches(f) for rule in fixed)]
        rebound: Verdict | None = None
        for rule in live:
            hits = [query.hits(rule, form) for form in open_forms]
            if not all(hits):
                continue
            name = next((hit for hit in hits if isinstance(hit, str)), "")
            inside = self._inside(query, name, open_forms)
            if inside is None:
                return wording.allowed(rule, name)
            fix = query.fix([inside])
            rebound = rebound or wording.rebinding(rule, name, inside, fix, self.book.error)
        if query.pending:
            return Pending(frozenset(query.pending))
        lasting = lasting and not live and not self.allow[query.protocol].named
        return rebound or self._unmatched(query, open_forms, lasting)

    # A name from outside may not lead into this machine's own networks ("DNS rebinding"),
    # unless the name is a local one; that another rule allows the address has been seen to.
    @staticmethod
    def _inside(query: Query, name: str, forms: list[Address]) -> Address | None:
        if not name:
            return None
        inside = next((form for form in forms if form in inner()), None)
        return None if inside is None or query.facts.trusted(name) else inside

    def _unmatched(self, query: Query, open_forms: list[Address], lasting: bool) -> Verdict:
        owner, endpoint, fix = query.owner(), query.endpoint, query.fix(open_forms)
        if owner is Owner.NOBODY and query.protocol in LISTENING:
            return wording.nobody(endpoint, errno.ECONNREFUSED)
        local = any(form in addresses("loopback") for form in query.forms)
        name = "" if local or query.protocol not in LISTENING else query.known()
        if name:
            fix = wording.to_allow_name(name, endpoint.port)
        if owner is Owner.OUTSIDE or (owner is Owner.UNKNOWN and local):
            return wording.foreign(endpoint, fix, self.book.error, known=owner is Owner.OUTSIDE)
        lasting = lasting and owner is Owner.REMOTE and not local
        return wording.by_default(query.protocol, endpoint, fix, self.book.error, lasting, name)

    def decide_name(self, attempt: Attempt, question: Question, facts: Facts) -> Verdict:
        """Judge a look-up; the same answer for each server."""
        return self.naming.decide(attempt, question, facts)

    def decide_unix(self, attempt: Attempt, endpoint: Unix, facts: Facts) -> Verdict:
        """Judge a unix destination."""
        return self.paths.decide(attempt, endpoint, facts)


def _spared(forms: Iterable[Address]) -> str:
    """The exceptions, behind their first ``!``, that let an address through."""
    return " !".join(map(wording.host, forms))


def _covering(query: Query, rules: Sequence[AddressRule]) -> AddressRule | None:
    """
    The fixed rule that allows the first form, if every form is allowed by some rule.

    An address that embeds another leads to that one: ``public`` must not open
    10.0.0.1 because 64:ff9b::10.0.0.1 looks public. This is the one place where
    forms are weighed against permissions.
    """
    deciding: list[AddressRule] = []
    for form in query.forms:
        found = next((rule for rule in rules if rule.matches(form)), None)
        if found is None:
            return None
        deciding.append(found)
    return deciding[0]
