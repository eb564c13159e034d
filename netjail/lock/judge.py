"""
A run held to a lock: a policy beside the caller's own, and both must allow; or a run
under the caller's own alone, and what the lock has not is noted.

To hold a run, what ``--allow`` says counts for the lock, so that it can be left out of
it; denials and files are the caller's.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeGuard

import msgspec

from netjail.lock.files import Lock
from netjail.lock.wants import Want
from netjail.model import Attempt, Decision, Operation, Pending, Reason, Verdict
from netjail.policy import Policy, Rules
from netjail.policy.facts import Facts
from netjail.records import attempt_of, dest

_NEW = frozenset({Reason.DEFAULT, Reason.FOREIGN, Reason.REBINDING, Reason.AMBIGUOUS})

# Where nobody listens here, somebody may elsewhere; and one of two protocols is not enough.
_UNLISTED = frozenset({Reason.NO_LISTENER, Reason.AMBIGUOUS})


class Locked(Policy, frozen=True, kw_only=True):
    """The caller's policy and a lock."""

    own: Policy
    lock: Policy
    label: str
    """How verdicts name the lock."""

    def decide(self, attempt: Attempt, facts: Facts) -> Verdict | Pending:
        """
        Judge an attempt: what a rule of the caller's denies is denied by that; what the
        lock has not is new, whether the caller's policy allows it or not.
        """
        mine = self.own.decide(attempt, facts)
        if _denies(mine) and mine.reason is Reason.RULE:
            return mine
        verdict = self.lock.decide(attempt, facts)
        # Whether it is new may not hang on which of the two had its names first.
        if isinstance(mine, Pending) or isinstance(verdict, Pending):
            waits = (one.names for one in (mine, verdict) if isinstance(one, Pending))
            return Pending(frozenset().union(*waits))
        if _denies(verdict):
            return self._refused(verdict)
        if _denies(mine):
            return mine
        if mine.reason is Reason.STUB:
            return mine
        cacheable = mine.cacheable and verdict.cacheable
        return msgspec.structs.replace(verdict, cacheable=cacheable)

    def _refused(self, verdict: Verdict) -> Verdict:
        if not _is_missing(verdict):
            return verdict
        why = f"{verdict.why}: it is not in {self.label}"
        return msgspec.structs.replace(verdict, layer=self.label, why=why)


class Watched(Policy, frozen=True, kw_only=True):
    """The caller's policy, which judges, and a lock, which only looks on."""

    lock: Policy
    noted: set[Hashable] = msgspec.field(default_factory=set)
    """What the lock has not. It grows with the destinations of ``Wants``, which are bounded."""

    @property
    def by_name(self) -> bool:
        """Whether a rule, or a line of the lock, speaks of a host name."""
        return super().by_name or self.lock.by_name

    def decide(self, attempt: Attempt, facts: Facts) -> Verdict | Pending:
        """Judge an attempt by the caller's policy; what a rule of it denies is not new."""
        mine = super().decide(attempt, facts)
        if isinstance(mine, Pending) or mine.reason is Reason.STUB:
            return mine
        if mine.decision is Decision.DENY and mine.reason is Reason.RULE:
            return mine
        verdict = self.lock.decide(attempt, facts)
        if isinstance(verdict, Pending):
            return verdict
        denied = _denies(verdict)
        if denied and (verdict.reason in _UNLISTED or _is_missing(verdict)):
            self.noted.add(_mark(attempt))
        # By another protocol it may be in the lock, or not.
        cacheable = mine.cacheable and verdict.cacheable and not denied
        return msgspec.structs.replace(mine, cacheable=cacheable)

    def is_new(self, want: Want) -> bool:
        """Whether it is one that the lock does not know."""
        denied = not want.allowed and want.reason is Reason.RULE
        return not denied and _mark(attempt_of(want.record)) in self.noted


def _is_missing(verdict: Verdict) -> bool:
    return verdict.reason in _NEW and not verdict.layer


def _mark(attempt: Attempt) -> Hashable:
    """What is the same in an attempt and in its record."""
    where = dest(attempt.endpoint)
    if attempt.operation is Operation.RESOLVE:
        return where.name
    return (where.ip, where.port, where.unix, where.other, attempt.protocols)


def _denies(verdict: Verdict | Pending) -> TypeGuard[Verdict]:
    return isinstance(verdict, Verdict) and verdict.decision is Decision.DENY


def locked(given: Rules, lock: Lock | None, label: str) -> Locked:
    """
    The policy of a run that is held to *lock*, or of one that a lock is made of.

    :raises RuleError: for rules that do not parse, in the lock at their line.
    """
    files = (lock.name,) if lock else ()
    of_lock = _listed(files, given)
    own = _own(given)
    return Locked(
        **{
            **{field: getattr(own, field) for field in own.__struct_fields__},
            "engines": (*own.engines, of_lock.engines[0]),
            "warnings": (*own.warnings, *of_lock.warnings),
            "files": (*own.files, *files),
        },
        own=own,
        lock=of_lock,
        label=label,
    )


def watched(given: Rules, lock: Lock) -> Watched:
    """
    The policy of a run that is compared with *lock*.

    :raises RuleError: for rules that do not parse, in the lock at their line.
    """
    own = Policy.load(given)
    of_lock = _listed((lock.name,), msgspec.structs.replace(given, allow=()))
    fields = {field: getattr(own, field) for field in own.__struct_fields__}
    return Watched(**{**fields, "warnings": (*own.warnings, *of_lock.warnings)}, lock=of_lock)


def _listed(files: tuple[str, ...], given: Rules) -> Policy:
    rules = Rules(allow=given.allow, files=files, default=Decision.DENY, audit=given.audit)
    found = Policy.load(rules)
    # The system's policy is the caller's second one already.
    return msgspec.structs.replace(found, engines=found.engines[:1])


def _own(given: Rules) -> Policy:
    """The caller's rules; where none allows anything, only what they deny counts."""
    rules = msgspec.structs.replace(given, allow=())
    own = Policy.load(rules)
    engine = own.engines[0]
    allows = engine.paths.allow or any(group.fixed or group.live for group in engine.allow.values())
    if allows or rules.default or engine.book.default is Decision.ALLOW:
        return own
    return Policy.load(msgspec.structs.replace(rules, default=Decision.ALLOW))


def is_new(want: Want, label: str) -> bool:
    """Whether it is the lock that does not know it."""
    return not want.allowed and want.record.layer == label


def rules_used(wants: list[Want], label: str) -> frozenset[str]:
    """The lines of a lock that let something through."""
    mark = f"{label}:"
    return frozenset(w.record.rule for w in wants if w.record.layer.startswith(mark))
