"""What a replay says, as data: what its JSON holds, ``netjail/replay/1``."""

from __future__ import annotations

from typing import Literal

import msgspec

Word = Literal["allow", "deny"]


class Was(msgspec.Struct, frozen=True):
    """A verdict."""

    verdict: Word
    reason: str
    rule: str = ""
    layer: str = ""
    why: str = ""
    fix: str = ""
    errno: str = ""


class Row(msgspec.Struct):
    """Calls at one place, by one program, that come out the same way."""

    dest: str
    proto: str
    program: str
    before: Was
    after: Was
    count: int = 0


class Use(msgspec.Struct, frozen=True):
    """How often a rule of the policy would have decided."""

    kind: Word
    rule: str
    layer: str
    count: int


class Replay(msgspec.Struct):
    """What a policy would have done with recorded runs; counts are of calls, not of lines."""

    schema: Literal["netjail/replay/1"] = "netjail/replay/1"
    journals: list[str] = []
    files: list[str] = []
    """The policy's."""
    warnings: list[str] = []
    """What is doubtful about the policy, as in an explanation."""
    attempts: int = 0
    same: int = 0
    """Those with the verdict that they had, whichever rule decides."""
    changed: list[Row] = []
    denied: list[Row] = []
    """Denied before and after, where anybody asked about: see ``model.QUIET``."""
    listeners: list[Row] = []
    """Whom another policy would let be reached from other machines, or no longer."""
    rules: list[Use] = []
    """Every rule of the policy; a count of 0: it would have been of no use."""
    hidden: int = 0
    """Calls whose verdict hangs on arguments that the journal does not show."""
    factless: int = 0
    """Calls of which the journal does not say what the policy asks: an older netjail's."""
    omitted: int = 0
    """Calls in rows that found no room."""
    torn: int = 0
    """Runs whose journal was cut off."""
