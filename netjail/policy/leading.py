"""
Rules that lead a call elsewhere: to which of them it falls.

A name that only such rules speak of need not resolve. Whoever looks it up is given an
address that stands in for it, and a call to that address is judged as the name.
"""

from __future__ import annotations

import msgspec

from netjail.model import Decision, Pending, Protocol, Verdict
from netjail.policy import wording
from netjail.policy.callers import Callers
from netjail.policy.group import Group
from netjail.policy.naming import means
from netjail.policy.query import LISTENING, Query, names_it
from netjail.policy.rulebook import Rulebook, addressed
from netjail.policy.rules import AddressRule

Each = tuple[AddressRule, ...]


class Leading(msgspec.Struct, frozen=True):
    """The rules of one policy, as far as they lead elsewhere or speak of a name."""

    groups: dict[Protocol, Group]
    allow: Each
    deny: Each
    book: Rulebook

    @classmethod
    def of(cls, book: Rulebook) -> Leading:
        """Sort out the rules that count."""
        allows = addressed(book.allow)
        leads = [rule for rule in allows if rule.terms.redirect]
        groups = {
            protocol: Group.of(leads if protocol in LISTENING else (), protocol, book.allow_callers)
            for protocol in (*LISTENING, Protocol.ICMP)
        }
        return cls(groups, allows, addressed(book.deny), book)

    def by_address(self, query: Query) -> Verdict | Pending | None:
        """Where a rule leads a call to an address; any form of it will do, as for denials."""
        group = self.groups[query.protocol]
        for rule in group.fixed_on(query):
            if any(map(rule.matches, query.forms)) and _may(rule, query):
                return wording.led(rule)
        for rule in group.live_on(query):
            hits = [hit for form in query.forms if (hit := query.hits(rule, form))]
            if hits and _may(rule, query):
                return wording.led(rule, hits[0] if isinstance(hits[0], str) else "")
        return Pending(frozenset(query.pending)) if query.pending else None

    def settled(self, query: Query) -> bool:
        """Whether no rule could yet come to lead the call elsewhere."""
        live = self.groups[query.protocol].live
        return not any(rule.takes(query.endpoint.port) for rule in live)

    def by_name(self, query: Query, name: str) -> Verdict:
        """Judge a call to what stands in for *name*; it must not go there itself."""
        denied, led, allowed = self.matching(query, name)
        if denied:
            return wording.refused(denied[0], name, self.book.error, False, name)
        if led:
            return wording.led(led[0], name)
        if allowed:
            return wording.allowed(allowed[0], name)
        if self.book.default is Decision.ALLOW:
            return wording.open_by_default(name)
        return wording.nowhere(query.protocol, name, query.endpoint.port, self.book.error)

    def matching(self, query: Query, name: str) -> tuple[list[AddressRule], ...]:
        """The rules that deny *name*, lead it elsewhere, allow it."""
        denied = _speaking(self.deny, query, name, self.book.deny_callers)
        allowed = _speaking(self.allow, query, name, self.book.allow_callers)
        led = [r for r in allowed if r.terms.redirect and query.protocol in LISTENING]
        return denied, led, [rule for rule in allowed if not rule.terms.redirect]


def _speaking(rules: Each, query: Query, name: str, callers: Callers) -> list[AddressRule]:
    search = query.facts.search()
    met = [
        rule
        for rule in rules
        if rule.applies(query.protocol, query.endpoint.port) and means(rule, name, search)
    ]
    return list(callers.heeded(met, query.caller))


# What goes to the name server is a question: a rule on every host does not mean it.
def _may(rule: AddressRule, query: Query) -> bool:
    return names_it(rule) or not query.to_resolver()
