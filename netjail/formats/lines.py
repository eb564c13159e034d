"""Lines for a terminal: lists of pieces, each a text and a style's name; and their painting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import wrap

Line = list[tuple[str, str]]

_STYLES = {
    "": "",
    "bad": "bold red",
    "good": "bold green",
    "title": "bold",
    "denied": "red",
    "fix": "cyan",
    "warning": "yellow",
    "faint": "dim",
}


def more(count: int) -> Iterator[Line]:
    """That there is more, if there is."""
    if count:
        yield [(f"  and {count} more", "faint")]


def indented(texts: Iterable[str], width: int, by: int = 16) -> Iterator[Line]:
    """*texts*, wrapped, *by* columns from the left."""
    for text in texts:
        for line in wrap(text, max(width - by, 20), break_on_hyphens=False):
            yield [(" " * by + line, "faint")]


# "::NAME ...::", blanks before it too: ActionCommand.cs of GitHub's runner.
_COMMAND = re.compile(r"\s*::(?=[A-Za-z-]+( .*)?::)")


def _inert(line: Line) -> Line:
    """*line*, which may begin with what a program chose, as no reader of CI's logs obeys it."""
    if not _COMMAND.match("".join(text for text, _ in line)):
        return line
    first = next(at for at, (text, _) in enumerate(line) if ":" in text)
    text, style = line[first]
    return [*line[:first], (text.replace(":", "\\x3a", 1), style), *line[first + 1 :]]


def paint(line: Line, colour: bool) -> str:
    """The line as a string; rich is imported for colours only, and only then."""
    line = _inert(line)
    if not colour:
        return "".join(text for text, _ in line)
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(
        Style.parse(_STYLES[style]).render(text, color_system=ColorSystem.STANDARD)
        for text, style in line
    )
