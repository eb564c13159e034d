"""An explanation for a person; its first word is the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import wrap

from netjail.formats import visible
from netjail.policy.explanation import Explanation, Fix, Match, Step

Paint = Callable[[str, str], str]
_STYLES = {"allow": "good", "deny": "bad"}
_LABEL = 9


def plain(text: str, style: str) -> str:
    """No colours."""
    return text


def render(explanation: Explanation, paint: Paint = plain, width: int = 80) -> str:
    """Everything, a line each; *paint* puts a text into a style: good, bad, title, faint."""
    lines = [_head(explanation, paint)]
    for label, text, whole in _rows(explanation):
        room = max(width - _LABEL - 4, 20)
        parts = (
            [text]
            if whole
            else wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        )
        for number, part in enumerate(parts):
            shown = paint(f"{'' if number else label:<{_LABEL}}", "faint")
            lines.append(f"  {shown}  {part}")
    return "\n".join(lines) + "\n"


def _head(explanation: Explanation, paint: Paint) -> str:
    proto = "" if explanation.proto == "unix" else f" over {explanation.proto}"
    where = f"{visible(explanation.dest)}{proto}"
    but = f", but for {_join(explanation.exceptions)}"
    style = _STYLES[explanation.verdict]
    verdict = paint(explanation.verdict, style)
    why = visible(explanation.decisive.why, 1000)
    return f"{verdict} {where}{but if explanation.exceptions else ''}: {why}"


def _join(exceptions: tuple[str, ...]) -> str:
    ports = [each.removeprefix("port ") for each in exceptions if each.startswith("port ")]
    others = [visible(each) for each in exceptions if not each.startswith("port ")]
    word = "port" if len(ports) == 1 and ports[0].isdecimal() else "ports"
    return ", ".join([*([f"{word} {', '.join(ports)}"] if ports else []), *others])


def _rows(explanation: Explanation) -> Iterator[tuple[str, str, bool]]:
    """(label, text, whether it is one that people paste)"""
    decisive = explanation.decisive
    if decisive.layer:
        yield "rule", _rule(decisive.rule, decisive.layer), False
    if decisive.note:
        yield "reason", visible(decisive.note, 1000), False
    for match in decisive.matched:
        yield "also", _match(match), False
    for step in explanation.steps:
        if step is not decisive:
            yield _label(step), _step(step), False
    yield from _fixes(explanation.fixes)
    for text in explanation.assumed:
        yield "assumed", visible(text, 1000), False
    for text in explanation.warnings:
        yield "warning", visible(text, 1000), False
    for file in explanation.files:
        yield "policy", visible(file, 1000), True


def _label(step: Step) -> str:
    return "look-up" if step.kind == "look-up" else "but if" if step.when else "then"


def _step(step: Step) -> str:
    by = f" ({visible(step.layer)})" if step.layer and step.layer not in step.why else ""
    what = step.when or visible(step.what)
    if step.ports:
        what = f"{what.rpartition(':')[0]}:{step.ports}"
    said = f"{step.verdict}: {visible(step.why, 1000)}{by}"
    if step.kind == "call":
        return f"{what}: {said}"
    # docs/names.md: the rule need not speak of name servers.
    implied = step.verdict == "allow" and step.reason == "rule"
    return f"{said}, which implies the resolver" if implied else said


def _match(match: Match) -> str:
    return f"{match.kind} {_rule(match.rule, match.layer)}: {visible(match.why, 1000)}"


def _rule(rule: str, layer: str) -> str:
    return f"{visible(rule, 1000)} ({visible(layer)})"


def _fixes(fixes: tuple[Fix, ...]) -> Iterator[tuple[str, str, bool]]:
    label = "fix"
    for fix in fixes:
        if fix.option:
            yield label, visible(fix.option, 10_000), True
        if fix.file:
            where = f"at the end of {visible(fix.file, 1000)}:"
            if not fix.table:
                where = f"in a new {visible(fix.file, 1000)}:"
            yield label if not fix.option else "", f"{'or ' if fix.option else ''}{where}", True
            for line in filter(None, (fix.table, fix.entry)):
                yield "", visible(line, 10_000), True
        label = "and"
