"""A replay for a person: what would change comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netjail.formats import visible
from netjail.model import QUIET, Reason
from netjail.replay.result import Replay, Row, Was

Paint = Callable[[str, str], str]
_STYLES = {"allow": "good", "deny": "bad"}
_COUNT = 8


def plain(text: str, style: str) -> str:
    """No colours."""
    return text


def render(replay: Replay, paint: Paint = plain) -> str:
    """Everything, a line each; *paint* puts a text into a style: good, bad, title, faint."""
    lines = [paint(_head(replay), "title")]
    for title, rows in _parts(replay):
        lines.append(paint(title, "title"))
        for row in rows:
            lines += _row(row, paint)
    unused = [use for use in replay.rules if not use.count]
    if unused:
        lines.append(paint("unused rules", "title"))
        lines += [f"  {use.kind} {visible(use.rule)} ({visible(use.layer)})" for use in unused]
    lines += [paint(note, "faint") for note in _notes(replay)]
    return "\n".join(lines) + "\n"


def _head(replay: Replay) -> str:
    changed = replay.attempts - replay.same
    calls = f"network call{'' if replay.attempts == 1 else 's'}"
    said = f"{changed} of {replay.attempts} {calls} would be judged otherwise"
    return said if changed else f"{replay.attempts} {calls}, judged as before"


def _parts(replay: Replay) -> Iterator[tuple[str, list[Row]]]:
    for old, new in (("allow", "deny"), ("deny", "allow")):
        rows = [row for row in replay.changed if row.after.verdict == new]
        if rows:
            yield f"{old} -> {new}", sorted(rows, key=_quiet)
    if replay.denied:
        yield "still denied", replay.denied
    if replay.listeners:
        yield "listeners", replay.listeners


def _quiet(row: Row) -> bool:
    """Whether the program would hardly notice, as where nobody listened."""
    return Reason(row.after.reason) in QUIET


def _row(row: Row, paint: Paint) -> Iterator[str]:
    dest = paint(visible(row.dest), _STYLES[row.after.verdict])
    yield f"{row.count:{_COUNT}}  {row.proto:<4}  {dest}  {visible(row.program)}"
    indent = " " * (_COUNT + 8)
    if row.before.verdict != row.after.verdict:
        yield f"{indent}was {_said(row.before)}"
    yield f"{indent}{'now ' if row.before != row.after else ''}{_said(row.after)}"
    if row.after.fix and row.after.verdict == "deny":
        yield f"{indent}fix: {visible(row.after.fix, 10_000)}"


def _said(was: Was) -> str:
    where = f" ({visible(was.layer)})" if was.layer and was.layer not in was.why else ""
    return f"{visible(was.why or was.reason, 1000)}{where}"


def _notes(replay: Replay) -> Iterator[str]:
    if replay.hidden:
        yield f"{replay.hidden} hang on arguments that are not in the journal: --show-args"
    if replay.factless:
        yield f"{replay.factless} are of an older journal, which says too little of them"
    if replay.omitted:
        yield f"{replay.omitted} more found no room here"
    if replay.torn:
        yield f"{replay.torn} run{' was' if replay.torn == 1 else 's were'} cut off"
    for text in replay.warnings:
        yield f"warning: {visible(text, 1000)}"
    for file in replay.files:
        yield f"policy {visible(file, 1000)}"
