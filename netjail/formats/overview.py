"""What a whole report has and the end of a run has not, as lines: runs, the process tree."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from netjail.formats import visible
from netjail.formats.document import Document, Process, Run
from netjail.formats.lines import Line, more

_MARKS = {"ok": "good", "failed": "bad", "unknown": "warning"}


def run_lines(run: Run, many: bool, width: int) -> Iterator[Line]:
    """What ran, how it ended by each of three, and what it ran on."""
    title = " ".join(visible(word, 100) for word in run.command) or "an unknown command"
    number = f"run {run.id}: " if many else "run: "
    yield [(visible(number + title, width), "title")]
    lasted = f", {run.duration:.1f} s" if run.duration is not None else ""
    for what, result in (
        ("program", run.program),
        ("policy", run.policy),
        ("netjail", run.supervisor),
    ):
        lines = _wrapped(result.text, width)
        for at, line in enumerate(lines):
            yield [(f"  {'' if at else what:<8}  ", "faint"), (line, _MARKS[result.state])]
    facts = {
        "started": f"{run.start}{lasted}" if run.start else "",
        "journal": run.journal,
        "rules": ", ".join(run.files),
        "host": ", ".join(f"{key} {value}" for key, value in (run.versions | run.host).items()),
        "held by": run.assurance,
        "left out": ", ".join(run.redacted),
        "proxies": ", ".join(f"{key}={value}" for key, value in run.proxies.items()),
        "dropped": ", ".join(run.dropped),
        "kept": ", ".join(f"{key}: {value}" for key, value in run.passed.items()),
    }
    for what, text in facts.items():
        if text:
            for at, line in enumerate(_wrapped(text, width)):
                yield [(f"  {'' if at else what:<8}  {line}", "faint")]


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(visible(text, 1000), max(width - 12, 20), break_on_hyphens=False)


def process_lines(document: Document, room: int, width: int) -> Iterator[Line]:
    """The tree, each with how often it asked for what; the first *room* of them."""
    children: dict[tuple[int, int], list[Process]] = {}
    for one in document.processes:
        children.setdefault((one.run, one.parent), []).append(one)
    places = {one.id: one for one in document.destinations}
    # A stack, not recursion: a program can have children of children without end.
    known = {(one.run, one.id) for one in document.processes}
    roots = (some for key, some in children.items() if key not in known)
    stack = [(one, 0) for some in roots for one in some][::-1]
    left = room
    while stack and left:
        left -= 1
        one, depth = stack.pop()
        indent = "  " * min(depth + 1, 20)
        name = visible(one.name, 32)
        yield [(indent, ""), (name, ""), (f" ({one.pid})", "faint")]
        asked = sorted(one.destinations.items(), key=lambda item: -item[1])[:4]
        for number, count in asked:
            place = places[number]
            style = "denied" if place.verdict == "deny" and place.counted else "faint"
            shown = f"{indent}    {count} x {visible(place.shown, 100)}"
            yield [(visible(shown, width), style)]
        if len(one.destinations) > 4:
            yield [(f"{indent}    and {len(one.destinations) - 4} more places", "faint")]
        stack += [(child, depth + 1) for child in children.get((one.run, one.id), ())][::-1]
    unseen = len(document.processes) - (room - left)
    yield from more(unseen + document.omitted.get("processes", 0))
