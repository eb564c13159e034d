"""Colours for what goes to stdout; see no-color.org."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netjail.cli.terminal import coloured

_F = TypeVar("_F", bound=Callable[..., Any])

_STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "title": {"bold": True},
    "faint": {"dim": True},
}


def color_option(command: _F) -> _F:
    """Give a command ``--color``."""
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour the text; NO_COLOR turns auto off.",
    )(command)


def painter(color: str) -> Callable[[str, str], str]:
    """What puts a style, ``good`` or ``bad``, on a text; *color* is what the user says."""
    return _paint if coloured(color, 1) else _plain


def width() -> int:
    """Columns of the terminal, within what is legible."""
    return min(max(shutil.get_terminal_size().columns, 40), 100)


def _paint(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style])


def _plain(text: str, style: str) -> str:
    return text
