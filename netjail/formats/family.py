"""Processes in, a tree in reading order out: who started whom, and how deep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from netjail.formats.document import Process

DEEPEST = 12
"""Levels that are shown as such; a program can make its family as deep as it likes."""


class Branch(msgspec.Struct, frozen=True):
    """A process at its place in the tree."""

    process: Process
    depth: int
    """1: a root."""
    opens: bool
    """Whether it is the first of a list of its own; a reader sees a level deeper."""
    leaf: bool
    """Whether it has nothing below it."""
    closes: int
    """How many lists end after it."""
    last: bool


def family(processes: Sequence[Process]) -> Iterator[Branch]:
    """
    Every process once, parents before children, in the order that they came.

    What names no parent that is here is a root, and so is one of a ring: journals are files.
    """
    placed = list(_walk(processes))
    level = 0
    for number, (process, depth) in enumerate(placed):
        shown = min(depth, DEEPEST)
        following = min(placed[number + 1][1], DEEPEST) if number + 1 < len(placed) else 0
        leaf, closes = following <= shown, max(shown - following, 0)
        yield Branch(process, depth, shown > level, leaf, closes, not following)
        level = min(shown, following)


def _walk(processes: Sequence[Process]) -> Iterator[tuple[Process, int]]:
    children: dict[tuple[int, int], list[Process]] = {}
    known = {(one.run, one.id) for one in processes}
    roots = []
    for one in processes:
        above = (one.run, one.parent)
        if above in known and one.parent != one.id:
            children.setdefault(above, []).append(one)
        else:
            roots.append(one)
    done: set[tuple[int, int]] = set()
    # Whoever is still left after the roots' families is in a ring.
    for root in (*roots, *processes):
        stack = [(root, 1)]
        while stack:
            one, depth = stack.pop()
            if (one.run, one.id) in done:
                continue
            done.add((one.run, one.id))
            yield one, depth
            below = children.get((one.run, one.id), [])
            stack += [(child, depth + 1) for child in reversed(below)]
