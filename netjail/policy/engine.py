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

from netjail.endpoints import Address, Inet, Question, Unix
from netjail.model import Attempt, Decision, Owner, Pending, Protocol, Reason, Verdict
from netjail.policy import wording
from netjail.policy.callers import Callers
from netjail.policy.facts import Facts
from netjail.policy.index import Index, NameIndex
from netjail.policy.naming import Naming
from netjail.policy.paths import PathRule
from netjail.policy.query import LISTENING, Query
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.unix import Paths
from netjail.policy.words import addresses, inner

MANY = 256
"""
More rules than these that allow one name each are like a list: those names count that the
jail asked for. Of fewer, and of what denies, each is looked up when a call may depend on it.
"""
_IP = frozenset({Protocol.TCP, Protocol.UDP, Protocol.ICMP})


class Match(msgspec.Struct, frozen=True):
    """A rule that matches an attempt, whether it decides or not."""

    decision: Decision
    """What it says."""
    rule: Rule


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


class Engine(msgspec.Struct, frozen=True):
    """The rules of one policy."""

    allow: dict[Protocol, Group]
    deny: dict[Protocol, Group]
    paths: Paths
    default: Decision
    error: int
    """The errno of a denied call."""
    naming: Naming
    allowing: tuple[Rule, ...] = ()
    """Every rule that allows, in the order in which they were given."""
    denying: tuple[Rule, ...] = ()

    @classmethod
    def of(
        cls, allow: Iterable[Rule], deny: Iterable[Rule], default: Decision, error: int
    ) -> Engine:
        """Compile rules."""
        allows, denies = list(allow), list(deny)
        welcome = Callers.of(allows, unknown=False)
        unwelcome = Callers.of(denies, unknown=True)
        return cls(
            {protocol: Group.of(allows, protocol, welcome) for protocol in _IP},
            {protocol: Group.of(denies, protocol, unwelcome) for protocol in _IP},
            Paths.of(allows, denies, (welcome, unwelcome), default, error),
            default,
            error,
            Naming.of(allows, denies, (welcome, unwelcome), default),
            tuple(allows),
            tuple(denies),
        )

    @property
    def looked_up(self) -> set[str]:
        """The names that have to be looked up before a call can be judged."""
        groups = (*self.allow.values(), *self.deny.values())
        targets = [rule.target for group in groups for rule in group.asked]
        targets += [
            one
            for rule in (*self.allowing, *self.denying)
            if isinstance(rule, AddressRule)
            for one in rule.exceptions
        ]
        return {one.hosts.single for one in targets if one.hosts} - {""}

    @property
    def by_caller(self) -> bool:
        """Whether a rule asks who calls."""
        return bool(self.paths.allow_callers.conditions or self.paths.deny_callers.conditions)

    @property
    def allow_paths(self) -> tuple[PathRule, ...]:
        """The rules that allow unix sockets."""
        return self.paths.allow

    @property
    def deny_paths(self) -> tuple[PathRule, ...]:
        """The rules that deny unix sockets."""
        return self.paths.deny

    def decide_inet(self, query: Query) -> Verdict | Pending:
        """Judge an IP destination over one protocol."""
        if query.protocol not in _IP:
            why = f"{query.protocol.value} sockets cannot be allowed in this version"
            return wording.fixed(Reason.STRUCTURE, why, errno.EPERM)
        group = self.deny[query.protocol]
        denials = group.live_on(query)
        verdict = self._denied(query, group.fixed_on(query), denials)
        if verdict is not None:
            return verdict
        # A verdict stays true until the end only if no live denial could have come first.
        lasting = not denials
        permissions = self.allow[query.protocol].fixed_on(query)
        rule = _covering(query, permissions)
        if query.to_resolver() and not (rule and _names_it(rule, query)):
            return (
                wording.own(query.endpoint)
                if query.owner() is Owner.JAIL
                else wording.stub(query.endpoint)
            )
        if rule is not None:
            return wording.allowed(rule, cacheable=lasting)
        if self.default is Decision.ALLOW:
            why = "allowed by default"
            return Verdict(Decision.ALLOW, Reason.DEFAULT, why=why, cacheable=lasting)
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
                return wording.refused(rule, _spared(met), self.error, True)
        for rule in live:
            hits = {form: hit for form in query.forms if (hit := query.hits(rule, form))}
            if hits:
                name = next((hit for hit in hits.values() if isinstance(hit, str)), "")
                return wording.refused(rule, _spared(hits), self.error, False, name)
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
            rebound = rebound or wording.rebinding(rule, name, inside, fix, self.error)
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
            return wording.foreign(endpoint, fix, self.error, known=owner is Owner.OUTSIDE)
        lasting = lasting and owner is Owner.REMOTE and not local
        return wording.by_default(query.protocol, endpoint, fix, self.error, lasting, name)

    def decide_name(self, attempt: Attempt, question: Question, facts: Facts) -> Verdict:
        """Judge a look-up; the same answer for each server."""
        return self.naming.decide(attempt, question, facts)

    def decide_unix(self, attempt: Attempt, endpoint: Unix, facts: Facts) -> Verdict:
        """Judge a unix destination."""
        return self.paths.decide(attempt, endpoint, facts)

    def matching(self, attempt: Attempt, facts: Facts) -> list[Match]:
        """Every rule that matches an attempt, whichever decides: those that deny first."""
        endpoint = attempt.endpoint
        denying: list[Rule] = []
        allowing: list[Rule] = []
        if isinstance(endpoint, Unix):
            found = self.paths.matching(attempt, endpoint, facts)
            denying, allowing = list[Rule](found[0]), list[Rule](found[1])
        elif isinstance(endpoint, Question):
            speaking = self.naming.matching(attempt, endpoint, facts)
            denying, allowing = list[Rule](speaking[0]), list[Rule](speaking[1])
        elif isinstance(endpoint, Inet):
            for protocol in sorted(attempt.protocols & _IP, key=lambda member: member.value):
                query = Query(attempt, protocol, endpoint, facts)
                denying += self.deny[protocol].matching(query)
                allowing += self.allow[protocol].matching(query)
        return _once(Decision.DENY, denying) + _once(Decision.ALLOW, allowing)


def _once(decision: Decision, rules: Iterable[Rule]) -> list[Match]:
    """Without the repeats that several protocols bring."""
    first = {id(rule): rule for rule in rules}
    return [Match(decision, rule) for rule in first.values()]


def _spared(forms: Iterable[Address]) -> str:
    """The exceptions, behind their first ``!``, that let an address through."""
    return " !".join(map(wording.host, forms))


# The rule means the name server itself: programs talk to it, and nobody sees the names.
def _names_it(rule: AddressRule, query: Query) -> bool:
    return bool(rule.ports) and rule.target.addresses.single


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
