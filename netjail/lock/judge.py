"""
A run held to a lock: a policy beside the caller's own, and both must allow.

What ``--allow`` says counts for the lock, so that it can be left out of it; denials and
files are the caller's.
"""

from __future__ import annotations

from typing import TypeGuard

import msgspec

from netjail.lock.files import Lock
from netjail.lock.wants import Want
from netjail.model import Attempt, Decision, Pending, Reason, Verdict
from netjail.policy import Policy, Rules
from netjail.policy.facts import Facts

_NEW = frozenset({Reason.DEFAULT, Reason.FOREIGN, Reason.REBINDING, Reason.AMBIGUOUS})


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
        if verdict.reason not in _NEW or verdict.layer:
            return verdict
        why = f"{verdict.why}: it is not in {self.label}"
        return msgspec.structs.replace(verdict, layer=self.label, why=why)


def _denies(verdict: Verdict | Pending) -> TypeGuard[Verdict]:
    return isinstance(verdict, Verdict) and verdict.decision is Decision.DENY


def locked(given: Rules, lock: Lock | None, label: str) -> Locked:
    """
    The policy of a run that is held to *lock*, or of one that a lock is made of.

    :raises RuleError: for rules that do not parse, in the lock at their line.
    """
    files = (lock.name,) if lock else ()
    rules = Rules(allow=given.allow, files=files, default=Decision.DENY)
    of_lock = Policy.load(msgspec.structs.replace(rules, audit=given.audit))
    own = _own(given)
    return Locked(
        **{
            **{field: getattr(own, field) for field in own.__struct_fields__},
            "engines": (*own.engines, of_lock.engines[0]),
            "warnings": (*own.warnings, *of_lock.warnings),
            "files": (*own.files, *files),
        },
        own=own,
        # The system's policy is the caller's second one already.
        lock=msgspec.structs.replace(of_lock, engines=of_lock.engines[:1]),
        label=label,
    )


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
