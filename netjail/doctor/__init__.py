"""
``netjail doctor``: what this host offers, and whether the jail holds on it.

Each probe runs twice: unguarded, where a canary must hear it, and in a jail of the
ordinary engine, where none may. What a probe says of itself counts for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from netjail.doctor.attacker import Attacker, Gone, jail
from netjail.doctor.doors import CONTROL, GROUPS, WORKS, Door
from netjail.doctor.host import facts
from netjail.doctor.outside import Outside
from netjail.doctor.result import Examination, Round, judge
from netjail.errors import HostError
from netjail.kernel.doors import Scene, Tried
from netjail.kernel.probe import probe, require


class Limits(msgspec.Struct, frozen=True):
    """How long things may take, in milliseconds."""

    bound: int = 3000
    """A probe, before it is ended."""
    race: int = 800
    """A race in the jail."""
    attack: int = 200
    """An attack on the judged copy in the jail."""
    native: tuple[int, ...] = (50, 300, 900)
    """Both unguarded, until they are heard: at once, where the machine has nothing else to do."""
    total: int = 60_000
    """Everything; what is left then is not tried."""


Jail = Callable[[Scene], Sequence[str]]


def examine(
    progress: Callable[[str], None] = lambda title: None,
    limits: Limits | None = None,
    guarded: Jail = jail,
    unguarded: Jail = lambda scene: (),
    groups: dict[str, tuple[Door, ...]] | None = None,
) -> Examination:
    """
    Look at this host, and attack a jail on it.

    :param progress: called with the title of each probe.
    :param guarded: the words that jail the attacker.
    :param unguarded: the words before the attacker where it has no jail.
    :raises NetjailError: if not even the attempt can be made.
    """
    found = facts()
    try:
        require(probe())
    except HostError as error:
        return Examination(found, refused=f"{error}; {error.hint}")
    examined = _Examiner(progress, limits or Limits(), groups or GROUPS)
    natively = examined.round(unguarded, natively=True)
    if not natively.heard(CONTROL):
        return Examination(found, blind=natively.why(CONTROL))
    jailed = examined.round(guarded, natively=False, only=natively)
    lines = tuple(judge(examined.groups, natively, jailed))
    return Examination(found, lines=lines, stray=tuple(natively.stray + jailed.stray))


class _Examiner:
    """Two rounds of the same probes."""

    def __init__(
        self,
        progress: Callable[[str], None],
        limits: Limits,
        groups: dict[str, tuple[Door, ...]],
    ) -> None:
        self.groups = {**groups, "what must still work": WORKS}
        self._progress, self._limits = progress, limits
        self._end = time.monotonic() + limits.total / 1000

    def round(self, words: Jail, natively: bool, only: Round | None = None) -> Round:
        """Try every door, or those that *only* heard of."""
        found = Round()
        with Outside() as outside:
            attackers = _Attackers(words, outside)
            try:
                for door in self._doors():
                    if only is None or only.noticed(door):
                        self._progress(door.title)
                        self._try(door, outside, attackers, found, natively)
            finally:
                attackers.close()
            found.stray = outside.heard()[0]
        return found

    def _doors(self) -> Iterator[Door]:
        # The last may end the jail.
        doors = [door for doors in self.groups.values() for door in doors]
        yield from sorted(doors, key=lambda door: door.ends)

    def _try(
        self, door: Door, outside: Outside, attackers: _Attackers, found: Round, natively: bool
    ) -> None:
        why = outside.begin(door) or attackers.lost
        if not why and time.monotonic() > self._end:
            why = "there was no time left"
        if why:
            found.skipped[door.name] = why
            return
        for milliseconds in self._durations(door, natively):
            outside.scene.milliseconds = milliseconds
            try:
                found.tried[door.name] = attackers.ask(door.name, self._limits.bound)
            except Gone as gone:
                found.ended[door.name] = str(gone)
            found.reached[door.name], found.arrived[door.name] = outside.heard()
            if found.noticed(door) or door.name in found.ended:
                break

    def _durations(self, door: Door, natively: bool) -> tuple[int, ...]:
        if natively:
            return self._limits.native if door.races or door.lasts else self._limits.native[:1]
        return (self._limits.race if door.races else self._limits.attack,)


class _Attackers:
    """One attacker at a time; another when it is gone, as long as that helps."""

    def __init__(self, words: Jail, outside: Outside) -> None:
        self.lost = ""
        """Why there will be no other."""
        self._words, self._outside = words, outside
        self._attacker: Attacker | None = None
        self._answers = True

    def ask(self, name: str, bound: int) -> Tried:
        """As of an attacker; it is started when it is needed."""
        outside = self._outside
        try:
            if self._attacker is None:
                words = self._words(outside.scene)
                self._attacker = Attacker(words, outside.inherited, outside.terminal)
            tried = self._attacker.ask(name, outside.scene, bound, outside.pump)
        except Gone as gone:
            self.close()
            # Twice without an answer between: it is not the probe's doing.
            self.lost = "" if self._answers else str(gone)
            self._answers = False
            raise
        self._answers = True
        return tried

    def close(self) -> None:
        """End it."""
        if self._attacker is not None:
            self._attacker.close()
            self._attacker = None
