"""
Which rules speak of an attempt: the one that decides, and those that lost.

Each is found by the policy itself: the rule that decides is taken away and the attempt
judged again, until no rule says anything of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netjail.model import Attempt, Decision, Pending, Protocol, Reason, Verdict
from netjail.policy.addresses import EVERYTHING
from netjail.policy.engine import Engine
from netjail.policy.facts import Facts
from netjail.policy.policy import Policy
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.terms import Who

_BY_RULE = (Reason.RULE, Reason.REBINDING)


class Hit(msgspec.Struct, frozen=True):
    """A rule that speaks of an attempt, and what it would say if those before it were not."""

    rule: Rule
    verdict: Verdict
    allows: bool
    """It is a rule that allows; one that ``rebinding`` overrides is as well."""


class Found(msgspec.Struct, frozen=True):
    """What one engine says of an attempt."""

    verdict: Verdict
    hits: tuple[Hit, ...]
    """The first one decides; denials come before permissions."""
    rest: Verdict
    """The verdict without all these rules."""

    @property
    def fixes(self) -> tuple[str, ...]:
        """What has to be changed, all of it, to let the attempt through."""
        if self.verdict.decision is Decision.ALLOW:
            return ()
        fixes = [hit.verdict.fix for hit in self.hits if hit.verdict.decision is Decision.DENY]
        if self.rest.decision is Decision.DENY and not any(hit.allows for hit in self.hits):
            fixes.append(self.rest.fix)
        return tuple(dict.fromkeys(filter(None, fixes)))


def matching(policy: Policy, attempt: Attempt, facts: Facts) -> tuple[Found, ...]:
    """What each engine of *policy* says; *facts* are never pending."""
    return tuple(_matching(policy, engine, attempt, facts) for engine in policy.engines)


def _matching(policy: Policy, engine: Engine, attempt: Attempt, facts: Facts) -> Found:
    hits: list[Hit] = []
    first: Verdict | None = None
    while True:
        verdict = _decided(msgspec.structs.replace(policy, engines=(engine,)), attempt, facts)
        first = first or verdict
        rules = list(_named(engine, verdict)) if verdict.reason in _BY_RULE else []
        if not rules:
            return Found(first, tuple(hits), verdict)
        allows = verdict.decision is Decision.ALLOW or verdict.reason is Reason.REBINDING
        hits.append(Hit(rules[0], verdict, allows))
        engine = without(engine, rules)


def _decided(policy: Policy, attempt: Attempt, facts: Facts) -> Verdict:
    verdict = policy.decide(attempt, facts)
    assert not isinstance(verdict, Pending)
    return verdict


def _named(engine: Engine, verdict: Verdict) -> Iterator[Rule]:
    denied = verdict.decision is Decision.DENY and verdict.reason is Reason.RULE
    for rule in engine.book.deny if denied else engine.book.allow:
        if (rule.text, rule.layer) == (verdict.rule, verdict.layer):
            yield rule


def without(engine: Engine, rules: list[Rule]) -> Engine:
    """*engine* as it is without *rules*."""
    gone = {id(rule) for rule in rules}
    allow, deny = (
        [rule for rule in some if id(rule) not in gone]
        for some in (engine.book.allow, engine.book.deny)
    )
    return Engine.of(allow, deny, engine.book.default, engine.book.error)


def nearly(policy: Policy, attempt: Attempt, facts: Facts) -> Iterator[tuple[Rule, str]]:
    """The rules that would allow an attempt, but for what they say of ports, say."""
    for engine in policy.engines:
        for rule in engine.book.allow:
            for why, change in _changes(rule):
                loose = msgspec.structs.replace(rule, **change)
                alone = Engine.of([loose], [], Decision.DENY, engine.book.error)
                one = msgspec.structs.replace(policy, engines=(alone,))
                if _decided(one, attempt, facts).rule == rule.text:
                    yield rule, why
                    break


def _changes(rule: Rule) -> Iterator[tuple[str, dict[str, Any]]]:
    """What could be taken from a rule, and why that keeps it from matching."""
    anyone: dict[str, Any] = {"terms": msgspec.structs.replace(rule.terms, who=None)}
    if rule.terms.who:
        yield f"it is for other programs: {_globs(rule.terms.who)}", anyone
    # One on every host would nearly allow everything.
    if isinstance(rule, AddressRule) and rule.target.addresses != EVERYTHING:
        every = {"protocols": frozenset(Protocol)}
        yield f"it speaks of {' and '.join(sorted(p.value for p in rule.protocols))} alone", every
        if rule.ports:
            yield "it speaks of other ports", {"ports": (), **every}
        if rule.ports and rule.terms.who:
            yield "it speaks of other ports and programs", {"ports": (), **every, **anyone}


def _globs(who: Who) -> str:
    said = (("exe", who.exe), ("argv", who.argv), ("parent", who.parent))
    return ", ".join(f"{key} {' or '.join(globs)}" for key, globs in said if globs)
