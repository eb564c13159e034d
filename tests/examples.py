"""
The examples of the documentation: fenced blocks of Markdown in, what they say out.

A comment right before a block says how it is meant::

    <!-- not run: WHY -->   what follows cannot be run, or is no policy
    <!-- file: NAME -->     what follows is a file that later examples of the page use

In what a console shows, ``…`` stands for what may differ; alone on a line, for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?P<notes>(?:^<!--.*?-->\n)*)^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.M
)


class Block(NamedTuple):
    """One fenced block."""

    place: str
    """``README.md:12``."""
    language: str
    text: str
    notes: dict[str, str]


class Command(NamedTuple):
    """What a console shows: words that were typed, and what came."""

    words: str
    output: str


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        notes = dict(re.findall(r"<!-- ([a-z ]+): (.*?) -->", found["notes"]))
        yield Block(f"{page.name}:{line}", found["language"], found["text"], notes)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console: ``$`` begins one, ``>`` goes on with it."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        words, *rest = part.splitlines(keepends=True)
        while rest and rest[0].startswith("> "):
            words += rest.pop(0)[2:]
        yield Command(words.rstrip("\n"), "".join(rest))


def agrees(shown: str, output: str) -> bool:
    """Whether *output* is what a page shows of it."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…")))
        for line in shown.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, output) is not None
