"""One attempt, judged by a policy and taken apart: what decides, what lost, what to add."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from netjail.model import Attempt, Decision, Reason, Verdict
from netjail.policy import files
from netjail.policy.explanation import Fix, Match, Step
from netjail.policy.facts import Facts
from netjail.policy.matching import Hit, matching, nearly
from netjail.policy.policy import Policy

Say = Callable[[str], str]
"""Puts right what a verdict says, where it speaks of what was only supposed."""


def step(
    policy: Policy,
    attempt: Attempt,
    facts: Facts,
    kind: Literal["look-up", "call"],
    what: str,
    say: Say = str,
) -> Step:
    """Judge *attempt*; *facts* are never pending."""
    found = matching(policy, attempt, facts)
    whole = policy.decide(attempt, facts)
    at = next((i for i, one in enumerate(found) if one.verdict == whole), 0)
    verdict = found[at].verdict
    decisive = found[at].hits[0] if found[at].hits else None
    lost = [hit for one in found for hit in one.hits if hit is not decisive]
    matched = [_match(hit, verdict, say) for hit in lost]
    if verdict.decision is Decision.DENY and verdict.reason is not Reason.RULE:
        matched += _near(policy, attempt, facts, lost, decisive)
    fixes = (_fix(policy, say(fix), i) for i, one in enumerate(found) for fix in one.fixes)
    return Step(
        kind=kind,
        what=what,
        verdict=verdict.decision.value,
        reason=verdict.reason.value,
        rule=verdict.rule,
        layer=verdict.layer,
        note=decisive.rule.terms.reason if decisive else "",
        why=say(verdict.why),
        errno=errno.errorcode.get(verdict.error, ""),
        matched=tuple(matched),
        fixes=tuple(dict.fromkeys(fixes)),
    )


def _match(hit: Hit, verdict: Verdict, say: Say) -> Match:
    kind: Literal["allow", "deny"] = "allow" if hit.allows else "deny"
    if hit.verdict.reason is Reason.REBINDING:
        why = say(hit.verdict.why)
    elif kind == verdict.decision.value:
        why = "says the same"
    elif verdict.reason is Reason.RULE:
        why = "a denial beats it"
    else:
        why = "the other policy denies it"
    return Match(kind, hit.rule.text, hit.rule.layer, why)


def _near(
    policy: Policy, attempt: Attempt, facts: Facts, lost: list[Hit], decisive: Hit | None
) -> Iterator[Match]:
    told = {id(hit.rule) for hit in (*lost, *([decisive] if decisive else []))}
    for rule, why in nearly(policy, attempt, facts):
        if id(rule) not in told:
            yield Match("allow", rule.text, rule.layer, why)


def _fix(policy: Policy, fix: str, engine: int) -> Fix:
    """How to carry *fix* out in the policy number *engine*."""
    words = shlex.split(fix)
    if set(words[::2]) != {"--allow"}:
        return Fix(fix)
    entry = f"allow = {msgspec.json.encode(words[1::2]).decode()}"
    if engine:
        return Fix("", files.SYSTEM, entry, files.rule_table(files.SYSTEM))
    own = files.writable(policy.files)
    if own:
        return Fix(fix, own[0], entry, files.rule_table(own[0]))
    return Fix(fix, files.NAMES[0], entry)
