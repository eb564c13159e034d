"""What goes to the user: stderr only, stdout belongs to the command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netjail.errors import NetjailError, Place, RuleError
from netjail.formats import visible

if TYPE_CHECKING:
    from netjail.formats.document import Document


def write(text: str) -> None:
    """Write to stderr; where that is closed or full, nobody can be told."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def complain(error: NetjailError) -> None:
    """Say what stops netjail, where it stands, and what to do about it."""
    errors = error.errors if isinstance(error, RuleError) else (error,)
    for each in errors[:_MISTAKES]:
        write(f"netjail: {visible(str(each), 1000)}\n")
        if isinstance(each, RuleError) and each.place and each.place.excerpt:
            write(underlined(each.place, width()))
        if each.hint:
            write(f"  hint: {visible(each.hint, 1000)}\n")
    if len(errors) > _MISTAKES:
        write(f"netjail: and {len(errors) - _MISTAKES} more mistakes\n")


_MISTAKES = 100  # as many as a person looks through


def underlined(place: Place, room: int) -> str:
    """The line that *place* is on, and below it a mark under what is meant."""
    line = place.excerpt.replace("\t", " ")
    start, end = place.column - 1, place.column - 1 + max(place.width, 1)
    left = min(len(line) - len(line.lstrip()), start)
    if end - left > room - 4:
        left = max(start - 20, left)
    before, word = visible(line[left:start], _LONG), visible(line[start:end], room)
    after = visible(line[end : max(left + room - 4, end)], _LONG)
    mark = " " * _columns(before) + "^" * max(_columns(word), 1)
    return f"    {before}{word}{after}".rstrip() + f"\n    {mark}\n"


_LONG = 1 << 20


def _columns(text: str) -> int:
    """How many columns of a terminal *text* takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def summarise(
    document: Document, color: str, verbose: bool, found: Sequence[str], files: Sequence[str]
) -> None:
    """Print the end summary; of the policy's *files* some were *found*, not named."""
    from netjail.formats.as_text import summary

    write(summary(document, coloured(color), width(), verbose, found, files))


def coloured(color: str, fd: int = 2) -> bool:
    """Whether *color*, as given to ``--color``, means colours on *fd*; see no-color.org."""
    if color != "auto":
        return color == "always"
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return False
    return os.isatty(fd)


def width(fd: int = 2) -> int:
    """Columns of the terminal at *fd*, within what is legible; 80 where nobody says."""
    with contextlib.suppress(OSError):
        # docker run -t, script(1) and CI have terminals without a size: 0 columns.
        return min(max(os.get_terminal_size(fd).columns or 80, 40), 100)
    return 80
