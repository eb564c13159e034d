"""What two rounds of probes mean: a line for each door, and the verdict."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from netjail import __version__
from netjail.doctor.doors import Door
from netjail.doctor.host import Fact
from netjail.kernel.doors import Tried


class Status(StrEnum):
    """How a door stands."""

    HELD = "held"
    OPEN = "open"
    NOT_APPLICABLE = "not applicable"
    WORKS = "works"
    BROKEN = "broken"
    """What must work does not, or the jail ended, or could not be tried."""


class Line(msgspec.Struct, frozen=True):
    """A door, and how it stands."""

    name: str
    group: str
    title: str
    status: Status
    reason: str = ""


class Round(msgspec.Struct):
    """What came of the probes that were run under the same words, by their names."""

    tried: dict[str, Tried] = {}
    skipped: dict[str, str] = {}
    """Why it was not run."""
    ended: dict[str, str] = {}
    """The attacker ended meanwhile."""
    reached: dict[str, list[str]] = {}
    """Who was reached and should not be."""
    arrived: dict[str, int] = {}
    """How often an allowed canary was reached."""
    stray: list[str] = []
    """Who was reached after the last."""

    def heard(self, name: str) -> bool:
        """Whether *name* reached somebody whom it should not."""
        return bool(self.reached.get(name))

    def why(self, name: str) -> str:
        """Why *name* reached nobody, as far as it is known."""
        known = self.skipped.get(name) or self.ended.get(name)
        return known or _met(self.tried[name]) or "nothing arrived"

    def noticed(self, door: Door) -> bool:
        """Whether what *door* does can be seen from outside."""
        return self.heard(door.name) or (_positive(door) and self.arrived.get(door.name, 0) > 0)


class Counts(msgspec.Struct, frozen=True):
    """How many doors stand how."""

    held: int = 0
    open: int = 0
    not_applicable: int = 0
    works: int = 0
    broken: int = 0


class Examination(msgspec.Struct, frozen=True):
    """Everything that the doctor found."""

    facts: tuple[Fact, ...]
    refused: str = ""
    """Why no jail can be made here, "" if one can."""
    blind: str = ""
    """Why not even an unguarded probe was heard, "" if one was."""
    lines: tuple[Line, ...] = ()
    stray: tuple[str, ...] = ()
    """Who was reached when no probe ran."""

    @property
    def counts(self) -> Counts:
        """Lines by status."""
        statuses = [line.status for line in self.lines]
        return Counts(**{each.name.lower(): statuses.count(each) for each in Status})

    @property
    def fine(self) -> bool:
        """Whether nothing was found."""
        counts = self.counts
        found = counts.open + counts.broken + len(self.stray)
        return not self.refused and not self.blind and counts.held > 0 and not found

    @property
    def verdict(self) -> str:
        """In one line."""
        if self.refused:
            return f"no jail can be made here: {self.refused}"
        if self.blind:
            return (
                f"cannot see an escape: an unguarded probe did not reach its canary: {self.blind}"
            )
        counts = self.counts
        parts = [f"{counts.not_applicable} not applicable"] if counts.not_applicable else []
        if counts.broken:
            parts.insert(0, f"{counts.broken} BROKEN")
        if self.stray:
            parts.insert(0, f"{', '.join(self.stray)} reached when no probe ran")
        if counts.open:
            parts.insert(0, f"{counts.held} held")
            return "; ".join([f"{counts.open} OPEN", *parts])
        every = "" if counts.broken else "all "
        return "; ".join([f"{every}{counts.held} doors held", *parts])


def document(examination: Examination) -> dict[str, object]:
    """The same for programs; ``docs/doctor.md`` describes it."""
    return {
        "schema": "netjail/doctor/1",
        "version": __version__,
        "fine": examination.fine,
        "verdict": examination.verdict,
        "counts": examination.counts,
        "host": examination.facts,
        "doors": examination.lines,
        "stray": examination.stray,
    }


def judge(groups: dict[str, tuple[Door, ...]], natively: Round, jailed: Round) -> Iterator[Line]:
    """A line for each door."""
    for group, doors in groups.items():
        for door in doors:
            check = _works if _positive(door) else _held
            status, reason = check(door, natively, jailed)
            yield Line(door.name, group, door.title, status, reason)


def _positive(door: Door) -> bool:
    return door.name.startswith("works-")


def _held(door: Door, natively: Round, jailed: Round) -> tuple[Status, str]:
    name = door.name
    if not natively.heard(name):
        return Status.NOT_APPLICABLE, _unheard(door, natively)
    if jailed.heard(name):
        return Status.OPEN, f"reached: {', '.join(jailed.reached[name])}"
    if name in jailed.skipped:
        return Status.BROKEN, f"not tried in the jail: {jailed.skipped[name]}"
    if name in jailed.ended and not door.ends:
        return Status.BROKEN, f"the jail ended by it: {jailed.ended[name]}"
    if door.races and not jailed.arrived[name]:
        return Status.BROKEN, "no allowed call arrived meanwhile: the race was not run"
    if name in jailed.ended:
        return Status.HELD, "the jail ended by it, and nothing got out"
    return Status.HELD, _met(jailed.tried[name])


def _works(door: Door, natively: Round, jailed: Round) -> tuple[Status, str]:
    name = door.name
    if not natively.arrived.get(name):
        return Status.NOT_APPLICABLE, _unheard(door, natively)
    if jailed.arrived.get(name):
        return Status.WORKS, ""
    return Status.BROKEN, jailed.why(name)


def _unheard(door: Door, natively: Round) -> str:
    why = natively.why(door.name)
    if door.name in natively.skipped:
        return why
    return f"{door.without} ({why})" if door.without else f"it gets nowhere unguarded: {why}"


def _met(tried: Tried) -> str:
    if tried.hung:
        return "it was ended when its time was over"
    if tried.signal:
        return f"it died by {signal.Signals(tried.signal).name}"
    return os.strerror(tried.error) if tried.error else ""
