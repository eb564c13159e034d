"""An examination for a person at a terminal; the verdict comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from textwrap import wrap

from netjail.doctor.result import Examination, Line, Status

Paint = Callable[[str, str], str]

# status: the style's name
STYLES = {
    Status.HELD: "good",
    Status.WORKS: "good",
    Status.OPEN: "bad",
    Status.BROKEN: "bad",
    Status.NOT_APPLICABLE: "faint",
}
_STATUS_WIDTH, _TITLE_WIDTH, _NAME_WIDTH = 14, 44, 28


def plain(text: str, style: str) -> str:
    """No colours."""
    return text


def render(examination: Examination, paint: Paint = plain, width: int = 80) -> str:
    """Everything, a line each; *paint* puts a text into a style: good, bad, title, faint."""
    style = "good" if examination.fine else "bad"
    lines = [paint(f"netjail doctor: {examination.verdict}", style)]
    lines += ["", paint("this host", "title"), *_host(examination, paint, width)]
    for group, members in groupby(examination.lines, key=lambda line: line.group):
        lines += ["", paint(group, "title")]
        for line in members:
            lines += _line(line, paint, width)
    return "\n".join(lines) + "\n"


def _host(examination: Examination, paint: Paint, width: int) -> Iterator[str]:
    for fact in examination.facts:
        value = fact.value if fact.good else paint(fact.value, "bad")
        yield f"  {fact.name:<{_NAME_WIDTH}}  {value}"
        for part in wrap(fact.means, width - 6):
            yield paint(f"      {part}", "faint")


def _line(line: Line, paint: Paint, width: int) -> Iterator[str]:
    status = paint(f"{line.status:<{_STATUS_WIDTH}}", STYLES[line.status])
    head = f"  {status}  {line.title}"
    # What a held door said to the one who tried it is of no interest to a person.
    reason = "" if line.status is Status.HELD else line.reason
    if not reason:
        yield head
    elif 4 + _STATUS_WIDTH + _TITLE_WIDTH + len(reason) + 2 <= width:
        yield f"  {status}  {line.title:<{_TITLE_WIDTH}}  {paint(reason, 'faint')}"
    else:
        yield head
        for part in wrap(reason, width - _STATUS_WIDTH - 6):
            yield paint(f"{'':{_STATUS_WIDTH + 6}}{part}", "faint")
