"""
The whole policy: options and files in, verdicts out.

Pure but for reading policy files, which is in ``loading``; the same for a running
jail, for explaining a rule and for replaying a journal.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TypeGuard

import msgspec

from netjail.endpoints import Inet, Netlink, Question, Unix, Unspecified
from netjail.model import Attempt, Decision, Operation, Pending, Protocol, Reason, Verdict
from netjail.policy import loading, wording
from netjail.policy.engine import Engine
from netjail.policy.facts import Facts
from netjail.policy.others import with_others
from netjail.policy.query import LISTENING, Query, stand_in
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.sheets import Refusal, Test

# What could carry an address of the endpoint's kind: on any other socket the kernel
# refuses it. OTHER stays: what is not understood is never waved through.
_CARRIERS: dict[type, frozenset[Protocol]] = {
    Inet: frozenset(Protocol) - {Protocol.UNIX, Protocol.NETLINK},
    Unix: frozenset({Protocol.UNIX, Protocol.OTHER}),
    Netlink: frozenset({Protocol.NETLINK, Protocol.OTHER}),
}
_NETLINK = {Protocol.NETLINK}
_REFUSED = errno.ECONNREFUSED


class Policy(msgspec.Struct, frozen=True):
    """What the jail may do. :meth:`load` makes one."""

    engines: tuple[Engine, ...]
    """Each has to allow: the caller's policy, and the system's where there is one."""
    bind: tuple[tuple[AddressRule, ...], ...]
    """The same of listeners, an entry a policy that speaks of them."""
    warnings: tuple[str, ...]
    refusal: Refusal
    """How a look-up is refused."""
    files: tuple[str, ...]
    """The files it was read from."""
    audit: bool = False
    tests: tuple[Test, ...] = ()
    """The ``[[test]]`` tables of the caller's policy."""

    @classmethod
    def load(cls, given: loading.Rules) -> Policy:
        """
        Compile a policy.

        :raises RuleError: for rules and files that do not parse or cannot be enforced.
        """
        return cls(*loading.load(given))

    def decide(self, attempt: Attempt, facts: Facts) -> Verdict | Pending:
        """Judge an attempt; the same answer for the same facts, and never an exception."""
        verdict = self._judge(attempt, facts)
        if isinstance(verdict, Verdict) and verdict.decision is Decision.DENY and self.by_caller:
            return with_others(verdict, self.engines, attempt, facts)
        return verdict

    def _judge(self, attempt: Attempt, facts: Facts) -> Verdict | Pending:
        endpoint = attempt.endpoint
        if isinstance(endpoint, Question):
            named = [engine.decide_name(attempt, endpoint, facts) for engine in self.engines]
            return _leading(named, _together(named))
        if attempt.operation not in (Operation.CONNECT, Operation.SEND):
            return _structure(attempt)
        if not isinstance(endpoint, Inet | Unix):
            return _not_by_rules(attempt)
        protocols = attempt.protocols & _CARRIERS[type(endpoint)]
        if not protocols:
            return wording.fixed(Reason.MALFORMED, "the socket is of another family", errno.EINVAL)
        verdicts = [self._by(engine, attempt, protocols, facts) for engine in self.engines]
        verdict = _leading(verdicts, _together(verdicts))
        if not isinstance(endpoint, Inet) or not _is_allowed(verdict):
            return verdict
        if not verdict.redirect:
            name = stand_in(endpoint, facts)
            return wording.nowhere_at_all(name, self.engines[0].book.error) if name else verdict
        # The other policies have to allow the place that the call goes to as well.
        there = msgspec.structs.replace(attempt, endpoint=verdict.redirect)
        for engine, one in zip(self.engines, verdicts, strict=True):
            if isinstance(one, Verdict) and one.redirect:
                continue
            other = self._by(engine, there, protocols, facts)
            if not _is_allowed(other) or other.redirect or not _direct(other):
                return other if not _is_allowed(other) else wording.torn(verdict, engine.book.error)
        return verdict

    @property
    def rules(self) -> Iterator[Rule]:
        """Those of all policies."""
        return (rule for engine in self.engines for rule in engine.book.rules)

    @property
    def by_caller(self) -> bool:
        """Whether a rule asks who calls."""
        return any(engine.book.by_caller for engine in self.engines)

    @property
    def by_name(self) -> bool:
        """Whether a rule speaks of a host name."""
        return any(engine.naming.by_name for engine in self.engines)

    @staticmethod
    def _by(
        engine: Engine, attempt: Attempt, protocols: frozenset[Protocol], facts: Facts
    ) -> Verdict | Pending:
        endpoint = attempt.endpoint
        if isinstance(endpoint, Inet):
            return _for_each(engine, attempt, endpoint, protocols, facts)
        if not isinstance(endpoint, Unix) or Protocol.OTHER in protocols:
            return _structure(attempt)
        if not endpoint.path and not endpoint.abstract:
            return wording.fixed(Reason.MALFORMED, "a unix address without a name", errno.EINVAL)
        return engine.decide_unix(attempt, endpoint, facts)

    def listen(self, endpoint: object, protocol: Protocol) -> bool:
        """Whether a listener may be reached from other machines: ``--bind`` opens it."""
        if self.audit:
            return True
        if not isinstance(endpoint, Inet):
            return False
        # The address as it is, not canonical(): here 0.0.0.0 means every address.
        address = getattr(endpoint.address, "ipv4_mapped", None) or endpoint.address
        return all(
            any(rule.applies(protocol, endpoint.port) and rule.matches(address) for rule in bind)
            for bind in self.bind
        )


def _structure(attempt: Attempt) -> Verdict:
    family = attempt.operation in (Operation.SOCKET, Operation.CONNECT, Operation.SEND)
    error = errno.EAFNOSUPPORT if family else errno.EPERM
    return wording.fixed(Reason.STRUCTURE, f"{attempt.endpoint} is not for a jail", error)


def _not_by_rules(attempt: Attempt) -> Verdict:
    endpoint = attempt.endpoint
    if isinstance(endpoint, Unspecified) and attempt.operation is Operation.CONNECT:
        # connect(2): it dissolves the association, and reaches nobody.
        return wording.fixed(Reason.DEFAULT, "it disconnects")
    if isinstance(endpoint, Netlink) and attempt.protocols & _CARRIERS[Netlink] == _NETLINK:
        if endpoint == Netlink(0, 0):
            return wording.fixed(Reason.DEFAULT, "it asks the kernel")
        why = "netlink to other programs cannot be allowed"
        return wording.fixed(Reason.STRUCTURE, why, errno.ECONNREFUSED)
    return _structure(attempt)


# A descriptor that another thread can replace may be any of several kinds; the call
# runs only if each of them may.
def _for_each(
    engine: Engine, attempt: Attempt, endpoint: Inet, protocols: frozenset[Protocol], facts: Facts
) -> Verdict | Pending:
    verdicts: dict[Protocol, Verdict] = {}
    pending: set[str] = set()
    for protocol in sorted(protocols, key=_rank):
        query = Query(attempt, protocol, endpoint, facts)
        verdict = engine.decide_inet(query)
        if isinstance(verdict, Pending):
            pending |= verdict.names
        else:
            verdicts[protocol] = verdict
    allowed = [p for p, v in verdicts.items() if v.decision is Decision.ALLOW]
    denied = [p for p, v in verdicts.items() if v.decision is Decision.DENY]
    # Nobody is there over the other protocol: whatever the descriptor is, the call
    # reaches only what is allowed. Else no program with threads could reach itself.
    led = any(verdicts[protocol].redirect for protocol in allowed)
    if allowed and not led and all(verdicts[p].reason is Reason.NO_LISTENER for p in denied):
        denied = []
    # The stub is where it goes then, whatever the descriptor is; it answers no ping.
    stubbed = next((v for v in verdicts.values() if v.reason is Reason.STUB), None)
    if stubbed and protocols - {Protocol.ICMP} <= set(allowed):
        return stubbed
    if pending and not denied:
        return Pending(frozenset(pending))
    if not denied and len({verdicts[protocol].redirect for protocol in allowed}) > 1:
        return wording.torn(verdicts[allowed[0]], engine.book.error)
    if not denied:
        verdict = verdicts[allowed[0]]
        return msgspec.structs.replace(
            verdict, cacheable=all(one.cacheable for one in verdicts.values())
        )
    said, fix = _most_telling({protocol: verdicts[protocol] for protocol in denied})
    if not allowed:
        return msgspec.structs.replace(verdicts[said], fix=fix)
    words = (allowed[0].value, said.value)
    return wording.ambiguous(verdicts[allowed[0]], verdicts[said], words, fix)


# Which of several denials to show, and what would lift them all: one by a rule first,
# that nobody listens last.
def _most_telling(denials: dict[Protocol, Verdict]) -> tuple[Protocol, str]:
    def weight(protocol: Protocol) -> tuple[bool, bool]:
        reason = denials[protocol].reason
        return reason is not Reason.RULE, reason is Reason.NO_LISTENER

    said = min(denials, key=weight)
    if denials[said].reason is Reason.RULE:
        return said, denials[said].fix
    return said, " ".join(dict.fromkeys(one.fix for one in denials.values() if one.fix))


# TCP and UDP first: what a descriptor can be besides is the rare case.
def _rank(protocol: Protocol) -> tuple[bool, str]:
    return protocol not in LISTENING, protocol.value


def _is_allowed(verdict: Verdict | Pending) -> TypeGuard[Verdict]:
    return isinstance(verdict, Verdict) and verdict.decision is Decision.ALLOW


def _leading(verdicts: Sequence[Verdict | Pending], all: Verdict | Pending) -> Verdict | Pending:
    """What *all* policies allow together, led where one of them leads it."""
    led = [one for one in verdicts if isinstance(one, Verdict) and one.redirect]
    if not led or not _is_allowed(all):
        return all
    return led[0] if len({one.redirect for one in led}) == 1 else wording.torn(led[0], _REFUSED)


def _together(verdicts: Iterable[Verdict | Pending]) -> Verdict | Pending:
    return reduce(_stricter, verdicts)


def _stricter(one: Verdict | Pending, other: Verdict | Pending) -> Verdict | Pending:
    for verdict in (one, other):
        if isinstance(verdict, Verdict) and verdict.decision is Decision.DENY:
            return verdict
    if isinstance(one, Pending) and isinstance(other, Pending):
        return Pending(one.names | other.names)
    if isinstance(one, Verdict) and isinstance(other, Verdict):
        return one if (one.cacheable, _direct(one)) <= (other.cacheable, _direct(other)) else other
    return one if isinstance(one, Pending) else other


def _direct(verdict: Verdict) -> bool:
    return verdict.reason is not Reason.STUB
