"""The rules on IP of one policy, sorted: which of them could match an attempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netjail.model import Protocol
from netjail.policy.callers import Callers
from netjail.policy.index import Index, NameIndex
from netjail.policy.query import Query
from netjail.policy.rules import AddressRule, Rule

MANY = 256
"""
More rules than these that allow one name each are like a list: those names count that the
jail asked for. Of fewer, and of what denies, each is looked up when a call may depend on it.
"""


class Group(msgspec.Struct, frozen=True):
    """The rules on IP of one kind that speak of one protocol."""

    fixed: tuple[AddressRule, ...]
    """Those that match some addresses whatever the world says."""
    live: tuple[AddressRule, ...]
    """Those that may match others; a list of addresses and names is among both."""
    index: Index
    """Finds the fixed ones: most attempts end here, however many rules."""
    asked: tuple[AddressRule, ...]
    """Those of the live ones that are asked about each attempt."""
    named: NameIndex | None
    """The others: more rules on one name each than can be looked up for a call."""
    callers: Callers

    @classmethod
    def of(cls, rules: Iterable[Rule], protocol: Protocol, callers: Callers) -> Group:
        """Sort the rules that apply to *protocol*."""
        some = [r for r in rules if isinstance(r, AddressRule) and protocol in r.protocols]
        fixed = tuple(rule for rule in some if rule.literal)
        live = tuple(rule for rule in some if not rule.fixed)
        single = [rule for rule in live if rule.target.hosts and rule.target.hosts.single]
        # A denial is not for the jail to forget to ask for.
        if len(single) <= MANY or callers.unknown:
            return cls(fixed, live, Index.of(fixed), live, None, callers)
        many = {id(rule) for rule in single}
        asked = tuple(rule for rule in live if id(rule) not in many)
        return cls(fixed, live, Index.of(fixed), asked, NameIndex.of(single), callers)

    def fixed_on(self, query: Query) -> Sequence[AddressRule]:
        """The fixed rules that could match one of the forms."""
        taken = [r for r in self.index.on(query.forms) if r.takes(query.endpoint.port)]
        return self.callers.heeded(taken, query.caller)

    def live_on(self, query: Query) -> Sequence[AddressRule]:
        """The live rules that could match."""
        live = (*self.asked, *self.named.on(query.names())) if self.named else self.asked
        taken = [rule for rule in live if rule.takes(query.endpoint.port)]
        return self.callers.heeded(taken, query.caller)

    def matching(self, query: Query) -> list[AddressRule]:
        """The rules that match one of the forms; a pending one does not."""
        fixed = [r for r in self.fixed_on(query) if any(map(r.matches, query.forms))]
        live = [r for r in self.live_on(query) if any(query.hits(r, f) for f in query.forms)]
        return fixed + [rule for rule in live if rule not in fixed]
