"""What goes to the user: stderr only, stdout belongs to the command."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from netjail.errors import NetjailError
from netjail.formats import visible

if TYPE_CHECKING:
    from netjail.report import Report


def write(text: str) -> None:
    """Write to stderr; where that is closed or full, nobody can be told."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def complain(error: NetjailError) -> None:
    """Say what stops netjail, and what to do about it."""
    write(f"netjail: {visible(str(error), 1000)}\n")
    if error.hint:
        write(f"  hint: {visible(error.hint, 1000)}\n")


def summarise(report: Report, color: str, verbose: bool) -> None:
    """Print the end summary."""
    from netjail.formats.as_text import render

    write(render(report, colour=coloured(color), width=width(), verbose=verbose))


def coloured(color: str) -> bool:
    """Whether *color*, as given to ``--color``, means colours; see no-color.org."""
    if color != "auto":
        return color == "always"
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()


def width() -> int:
    """Columns of the terminal, within what is legible; 80 where there is none."""
    with contextlib.suppress(OSError):
        return min(max(os.get_terminal_size(2).columns, 40), 100)
    return 80
