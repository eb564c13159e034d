"""
What is wrong with a policy, or looks so: its rules in, findings out.

To add a finding, write a function that yields them and add it to ``CHECKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from netjail.endpoints import Unix
from netjail.errors import Place, RuleError, UsageError
from netjail.policy import brokers, presets
from netjail.policy.addresses import AddressSet
from netjail.policy.coverage import Near, covering, covers
from netjail.policy.destination import parse
from netjail.policy.explain import Setting, explain, program
from netjail.policy.explanation import Explanation, Fix
from netjail.policy.paths import PathRule
from netjail.policy.policy import Policy
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.sheets import Test
from netjail.policy.words import addresses

KINDS = {
    "error": "it is not understood, or cannot be enforced",
    "unreachable": "what it allows is all denied",
    "conflict": "another rule does something else with the same calls, and comes first",
    "duplicate": "another rule says the same",
    "shadowed": "other rules of its kind cover it",
    "broad": "it allows every host, or every socket",
    "broker": "it opens a program that acts for others",
    "test": "the policy does not say what its [[test]] expects",
    "warning": "whatever trace would warn of",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    place: Place
    kind: str
    """A key of ``KINDS``."""
    message: str
    hint: str = ""


class _Lists(msgspec.Struct):
    allow: list[Rule]
    deny: list[Rule]


def check(policy: Policy) -> list[Finding]:
    """Everything that can be said of *policy*, in the order in which it stands."""
    engine = policy.engines[0]
    lists = _Lists(list(engine.book.allow), list(engine.book.deny))
    found = [finding for one in CHECKS for finding in one(lists)]
    found += [finding for test in policy.tests for finding in judge(policy, test)]
    opened = set(brokers.warnings(engine.paths.allow, engine.paths.deny))
    found += [Finding(Place(""), "warning", text) for text in policy.warnings if text not in opened]
    own = (finding for finding in found if not finding.place.source.startswith(presets.PREFIX))
    return sorted(own, key=lambda finding: _order(finding.place))


def _order(place: Place) -> tuple[bool, str, int, int]:
    return not place.source, place.source, place.line, place.column


def complaints(error: RuleError) -> list[Finding]:
    """The findings that a policy which cannot be read comes to."""
    return [Finding(one.place or Place(""), "error", _alone(one), one.hint) for one in error.errors]


def _alone(error: RuleError) -> str:
    """Its message without its place."""
    return str(error).removeprefix(f"{error.place}: ")


# ---- rules ----


def _unreachable(lists: _Lists) -> Iterator[Finding]:
    near = Near(lists.deny)
    for rule in lists.allow:
        over = covering(rule, [other for _, other in near.to(rule)])
        if over:
            message = f"allow {rule.text} is never used: {_named(over, 'deny')} it all"
            yield Finding(rule.place, "unreachable", message, "remove it, or narrow the denial")


def _useless(lists: _Lists) -> Iterator[Finding]:
    for kind, rules in (("allow", lists.allow), ("deny", lists.deny)):
        near = Near(rules)
        for at, rule in enumerate(rules):
            others = near.to(rule)
            before = [other for number, other in others if number < at]
            yield from _idle(kind, rule, before, [o for number, o in others if number > at])


def _idle(kind: str, rule: Rule, before: list[Rule], after: list[Rule]) -> Iterator[Finding]:
    equal = (other for other in after if other.place.source.startswith(presets.PREFIX))
    same = next((o for o in (*before, *equal) if covers(o, rule) and covers(rule, o)), None)
    if same is not None and _alike(same, rule):
        message = f"{kind} {rule.text} is there already: {_shown(same)}"
        yield Finding(rule.place, "duplicate", message, "remove one of them")
        return
    over = covering(rule, before)
    if over and not all(_alike(other, rule) for other in over):
        message = (
            f"{kind} {rule.text} never decides: {_named(over, kind)} the same, and comes first"
        )
        yield Finding(rule.place, "conflict", message, "put it before the other, or remove it")
        return
    # One that comes later and says the same is the duplicate, not this.
    later = [other for other in after if not covers(rule, other)]
    over = covering(rule, [other for other in (*before, *later) if _alike(other, rule)])
    if over:
        message = f"{kind} {rule.text} adds nothing: {_named(over, kind)} it all"
        yield Finding(rule.place, "shadowed", message, "remove it")


def _alike(one: Rule, other: Rule) -> bool:
    """Whether both do the same with a call."""
    return (one.terms.error, one.terms.redirect) == (other.terms.error, other.terms.redirect)


def _named(rules: Iterable[Rule], verb: str) -> str:
    shown = [_shown(rule) for rule in rules]
    few = ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
    return f"{few} {verb if len(shown) > 1 else _VERBS[verb]}"


_VERBS = {"allow": "allows", "deny": "denies"}


def _shown(rule: Rule) -> str:
    return f"{rule.text} ({rule.layer})"


# A rule that says why it is there has been thought about.
def _broad(lists: _Lists) -> Iterator[Finding]:
    hint = "name hosts or addresses; or say why in a [[rule]] with a reason"
    for rule in lists.allow:
        if rule.terms.reason:
            continue
        if isinstance(rule, AddressRule) and _every_host(rule):
            yield Finding(rule.place, "broad", f"allow {rule.text} means every host", hint)
        elif isinstance(rule, PathRule) and _every_socket(rule):
            yield Finding(rule.place, "broad", f"allow {rule.text} means every unix socket", hint)


_FAMILIES = (AddressSet.of(["0.0.0.0/0"]), AddressSet.of(["::/0"]))
_ANY_SOCKET = (Unix(b"/x" * 40), Unix(b"x" * 80, abstract=True))


def _every_host(rule: AddressRule) -> bool:
    others = (addresses("public") - family for family in _FAMILIES)
    return any(map(rule.target.addresses.covers, others))


def _every_socket(rule: PathRule) -> bool:
    return any(map(rule.matches, _ANY_SOCKET))


def _brokers(lists: _Lists) -> Iterator[Finding]:
    denied = [rule for rule in lists.deny if isinstance(rule, PathRule)]
    for rule in lists.allow:
        if isinstance(rule, PathRule) and not rule.terms.reason:
            for text in brokers.warnings([rule], denied):
                message = text.removeprefix(f"{rule.layer} ")
                hint = "leave it out; or say why in a [[rule]] with a reason"
                yield Finding(rule.place, "broker", f"allow {message}", hint)


CHECKS: tuple[Callable[[_Lists], Iterator[Finding]], ...] = (
    _unreachable,
    _useless,
    _broad,
    _brokers,
)


# ---- tests ----


def judge(policy: Policy, test: Test) -> Iterator[Finding]:
    """What is wrong if *policy* does not say what *test* expects."""
    protocol = test.protocol.value if test.protocol else ""
    named = f"test {test.name!r}: " if test.name else ""
    try:
        setting = Setting(who=program(test.exe or None))
        found = explain(policy, parse(test.dest, protocol), setting)
    except UsageError as error:
        yield Finding(test.place, "error", f"{named}{error}", error.hint)
        return
    expected = test.expect.value
    if found.verdict != expected:
        why = found.decisive.why
    elif found.exceptions:
        why = f"but not for {', '.join(found.exceptions)}"
    else:
        return
    message = f"{named}expected {expected} for {test.dest}, got {found.verdict}: {why}"
    yield Finding(test.place, "test", message, _remedy(found, expected))


def _remedy(found: Explanation, expected: str) -> str:
    if expected == "allow":
        return " and ".join(_added(fix) for fix in found.fixes)
    step = found.decisive
    return f"it is {step.rule} ({step.layer}) that allows it" if step.layer else ""


def _added(fix: Fix) -> str:
    if not fix.entry:
        return fix.option
    return f"a {fix.table} with {fix.entry}" if fix.table else fix.entry
