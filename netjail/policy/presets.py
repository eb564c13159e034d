"""
Presets: policies that come with netjail, by name.

To add one, write ``netjail/presets/NAME.toml``, with a comment at its head that says
what it is for.
"""

from __future__ import annotations

import os

from netjail.errors import Source, guess

PREFIX = "preset "
"""What the layers and places of a preset's rules begin with."""

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "presets")


def names() -> list[str]:
    """Every preset's name."""
    found = (os.path.splitext(name) for name in os.listdir(FOLDER))
    return sorted(name for name, ending in found if ending == ".toml")


def text(name: str, source: Source) -> str:
    """
    A preset as it is written.

    :raises RuleError: for a name that no preset has, at *source*.
    """
    if name not in names():
        hint = guess(name, names())
        if source.place.line:
            hint += f"; a file is ./{name}.toml"
        raise source.error(f"no preset is called {name!r}", hint, name)
    return read(name)


def read(name: str) -> str:
    """The text of a preset that there is."""
    with open(os.path.join(FOLDER, f"{name}.toml"), encoding="utf-8") as file:
        return file.read()


def of(layer: str) -> str:
    """The preset whose rules are of *layer*; "" if there is none: files have a line."""
    return layer.removeprefix(PREFIX) if layer.startswith(PREFIX) and ":" not in layer else ""


def about(text: str) -> str:
    """What a preset says of itself: the comment at its head, on one line."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
