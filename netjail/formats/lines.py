"""Lines for a terminal: lists of pieces, each a text and a style's name; and their painting."""

from __future__ import annotations

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


def paint(line: Line, colour: bool) -> str:
    """The line as a string; rich is imported for colours only, and only then."""
    if not colour:
        return "".join(text for text, _ in line)
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(
        Style.parse(_STYLES[style]).render(text, color_system=ColorSystem.STANDARD)
        for text, style in line
    )
