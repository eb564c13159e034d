"""Two lists of destinations in, what changed between them out; and as a patch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from netjail.journal.reading import Torn
from netjail.lock.cover import cover
from netjail.lock.files import Line, Lock
from netjail.lock.wants import Wants
from netjail.policy import Rules

if TYPE_CHECKING:
    from netjail.records import Record


class Change(msgspec.Struct, frozen=True):
    """A destination that is there before and after, but not the same."""

    rule: str
    field: str
    """``program``, or ``verdict``."""
    before: str
    after: str


class Entry(msgspec.Struct, frozen=True):
    """A destination, of a lock or a journal."""

    rule: str
    program: str = ""
    verdict: str = ""
    """``allow``, ``deny`` or both, with a ``+``; "" in a lock, which has none."""


class Changes(msgspec.Struct, frozen=True):
    """What changed between two lists."""

    schema: str
    before: str
    after: str
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(before: Iterable[Entry], after: Iterable[Entry], names: tuple[str, str]) -> Changes:
    """What is different in *after*; both in order."""
    old = {entry.rule: entry for entry in before}
    new = {entry.rule: entry for entry in after}
    changed = (
        Change(rule, field, getattr(entry, field), getattr(new[rule], field))
        for rule, entry in old.items()
        if rule in new
        for field in ("program", "verdict")
        if getattr(entry, field) != getattr(new[rule], field)
        and getattr(entry, field)
        and getattr(new[rule], field)
    )
    return Changes(
        "netjail/diff/1",
        *names,
        tuple(entry for rule, entry in new.items() if rule not in old),
        tuple(entry for rule, entry in old.items() if rule not in new),
        tuple(changed),
    )


def entries(lock: Lock) -> list[Entry]:
    """The destinations of a lock."""
    return [Entry(line.rule, line.program.partition(";")[0]) for line in lock.lines]


def observed(records: Iterable[Record | Torn]) -> list[Entry]:
    """What the runs of a journal wanted of others."""
    wants = Wants()
    for record in records:
        if not isinstance(record, Torn):
            wants.take(record)
    return [
        Entry(target.rule, use.program, "+".join(sorted(use.verdicts)))
        for target, use in sorted(cover(wants, Rules()).targets.items())
    ]


def patch(lock: Lock, new: Iterable[Line]) -> str:
    """What adds *new* lines to the file of *lock*, for ``git apply`` and ``patch -p1``."""
    path = lock.name.removeprefix("./")
    # Both refuse a path that leads out of where they are.
    name = os.path.basename(path) if path.startswith(("/", "../")) else path
    before = lock.text.splitlines(keepends=True)
    after = lock.changed(new).text.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))
