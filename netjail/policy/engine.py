"""
One policy's rules, compiled: an attempt in, a verdict out.

The order is the cheap and certain first: fixed denials, live denials, fixed
permissions, the default, whose socket it is, and names last, because only they
make the caller wait.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

import msgspec

from netjail.endpoints import Address, Question, Unix
from netjail.model import Attempt, Decision, Owner, Pending, Protocol, Reason, Verdict
from netjail.policy import wording
from netjail.policy.addresses import AddressSet
from netjail.policy.facts import Facts
from netjail.policy.naming import Naming
from netjail.policy.paths import PathRule
from netjail.policy.query import LISTENING, Query
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.words import addresses, inner

_IP = frozenset({Protocol.TCP, Protocol.UDP, Protocol.ICMP})


class Group(msgspec.Struct, frozen=True):
    """The rules on IP of one kind that speak of one protocol."""

    fixed: tuple[AddressRule, ...]
    live: tuple[AddressRule, ...]
    reach: AddressSet
    """What the fixed ones match at most: most attempts end here, however many rules."""

    @classmethod
    def of(cls, rules: Iterable[Rule], protocol: Protocol) -> Group:
        """Sort the rules that apply to *protocol*."""
        some = [r for r in rules if isinstance(r, AddressRule) and protocol in r.protocols]
        fixed = tuple(rule for rule in some if rule.fixed)
        live = tuple(rule for rule in some if not rule.fixed)
        return cls(fixed, live, AddressSet.union(rule.target.addresses for rule in fixed))

    def fixed_on(self, query: Query) -> list[AddressRule]:
        """The fixed rules that could match one of the forms."""
        if not any(form in self.reach for form in query.forms):
            return []
        return [rule for rule in self.fixed if rule.takes(query.endpoint.port)]

    def live_on(self, query: Query) -> list[AddressRule]:
        """The live rules that could match."""
        return [rule for rule in self.live if rule.takes(query.endpoint.port)]


class Engine(msgspec.Struct, frozen=True):
    """The rules of one policy."""

    allow: dict[Protocol, Group]
    deny: dict[Protocol, Group]
    allow_paths: tuple[PathRule, ...]
    deny_paths: tuple[PathRule, ...]
    deny_own: AddressRule | None
    """A denial of ``self`` that means unix listeners as well."""
    default: Decision
    error: int
    """The errno of a denied call."""
    naming: Naming

    @classmethod
    def of(
        cls, allow: Iterable[Rule], deny: Iterable[Rule], default: Decision, error: int
    ) -> Engine:
        """Compile rules."""
        allows, denies = list(allow), list(deny)
        own = (rule for rule in denies if isinstance(rule, AddressRule) and rule.covers_unix)
        return cls(
            {protocol: Group.of(allows, protocol) for protocol in _IP},
            {protocol: Group.of(denies, protocol) for protocol in _IP},
            tuple(rule for rule in allows if isinstance(rule, PathRule)),
            tuple(rule for rule in denies if isinstance(rule, PathRule)),
            next(own, None),
            default,
            error,
            Naming.of(allows, denies, default),
        )

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
        self, query: Query, fixed: list[AddressRule], live: list[AddressRule]
    ) -> Verdict | Pending | None:
        for rule in fixed:
            for form in filter(rule.matches, query.forms):
                return wording.refused(rule, wording.host(form), self.error, True)
        for rule in live:
            for form in query.forms:
                hit = query.hits(rule, form)
                if hit:
                    name = "" if hit is True else hit
                    return wording.refused(rule, wording.host(form), self.error, False, name)
        return Pending(frozenset(query.pending)) if query.pending else None

    def _by_live_rules(
        self, query: Query, fixed: list[AddressRule], lasting: bool
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
        return rebound or self._unmatched(query, open_forms, lasting and not live)

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

    def decide_name(self, question: Question, facts: Facts) -> Verdict:
        """Judge a look-up; the same answer for each program, and for each server."""
        return self.naming.decide(question, facts)

    def decide_unix(self, attempt: Attempt, endpoint: Unix, facts: Facts) -> Verdict:
        """Judge a unix destination; nothing of it is cacheable: paths change hands."""
        reached = _reached(attempt, endpoint, facts) if self._asks_for_paths else endpoint
        for rule in self.deny_paths:
            if rule.matches(endpoint) or (reached and rule.matches(reached)):
                return wording.refused(rule, wording.path(reached or endpoint), self.error, False)
        owner = facts.owner(attempt, Protocol.UNIX) if self.deny_own else None
        if self.deny_own and owner is Owner.JAIL:
            return wording.refused(self.deny_own, "", self.error, False)
        for rule in self.allow_paths:
            if reached and rule.matches(reached):
                return wording.allowed(rule)
        if self.default is Decision.ALLOW:
            return Verdict(Decision.ALLOW, Reason.DEFAULT, why="allowed by default")
        return self._unmatched_unix(attempt, endpoint, facts, owner)

    @property
    def _asks_for_paths(self) -> bool:
        return bool(self.allow_paths or self.deny_paths)

    def _unmatched_unix(
        self, attempt: Attempt, endpoint: Unix, facts: Facts, owner: Owner | None
    ) -> Verdict:
        owner = owner or facts.owner(attempt, Protocol.UNIX)
        if owner is Owner.JAIL:
            return wording.own(endpoint)
        if owner is Owner.NOBODY:
            missing = 0 if endpoint.abstract else facts.missing(attempt)
            return wording.nobody(endpoint, missing or errno.ECONNREFUSED)
        reached = _reached(attempt, endpoint, facts) or endpoint
        fix = wording.to_allow_unix(reached)
        if _is_name_service(endpoint) or _is_name_service(reached):
            return wording.name_service(endpoint, fix, self.error)
        return wording.foreign(endpoint, fix, self.error, known=owner is Owner.OUTSIDE)


# The rule means the name server itself: programs talk to it, and nobody sees the names.
def _names_it(rule: AddressRule, query: Query) -> bool:
    return bool(rule.ports) and rule.target.addresses.single


def _covering(query: Query, rules: list[AddressRule]) -> AddressRule | None:
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


# What a call on a path would reach: a link in the jail must not borrow a rule's name.
def _reached(attempt: Attempt, endpoint: Unix, facts: Facts) -> Unix | None:
    if endpoint.abstract:
        return endpoint
    resolved = facts.resolved(attempt)
    return Unix(resolved) if resolved else None


# Tried by every C library and logger, wanted by none of their callers.
_NAME_SERVICES = (
    b"/run/nscd/socket",
    b"/var/run/nscd/socket",
    b"/run/systemd/userdb/io.systemd.",
    b"/run/systemd/resolve/io.systemd.",
    b"/run/systemd/journal/",
    b"/dev/log",
)


def _is_name_service(endpoint: Unix) -> bool:
    return not endpoint.abstract and endpoint.path.startswith(_NAME_SERVICES)
