"""
``--live``: a line on stderr for each attempt as it happens.

The supervisor calls it, so that it must never wait and never flood: so many lines a
second, the rest is counted; nothing where a write would block. It shares the terminal
with the command, whose output it leaves as it is: it begins a line of its own, and keeps
quiet while a program has the terminal in raw mode (a pager, an editor, a prompt).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from netjail.actions import choose
from netjail.cli.terminal import coloured, write
from netjail.endpoints import Inet
from netjail.formats import visible
from netjail.formats.lines import Line, paint
from netjail.model import QUIET, Attempt, Decision, Operation, Verdict
from netjail.supervisor import Watch

LINES = 20
"""Lines a second; the last few are for denials."""
_KEPT = 5
_SEEN = 1024
_DEPTH = 4


class Entry(msgspec.Struct):
    """Attempts at one place by one program that came out the same way."""

    attempt: Attempt
    verdict: Verdict
    chain: tuple[str, ...]
    unsaid: int = 0
    """How many of them no line has told of."""
    said: bool = False


class Live(Watch):
    """Tells of attempts; *room* says how many columns there are, 0 for no terminal."""

    def __init__(
        self,
        audit: bool,
        colour: bool,
        write: Callable[[str], None],
        ready: Callable[[], bool],
        room: Callable[[], int],
    ) -> None:
        self._audit, self._colour = audit, colour
        self._write, self._ready, self._room = write, ready, room
        self._seen: OrderedDict[Hashable, Entry] = OrderedDict()
        self._waiting: dict[Hashable, Entry] = {}
        self._left = LINES
        self._lost = [0, 0]  # calls, those denied: of entries that found no room

    def note(self, attempt: Attempt, verdict: Verdict, chain: tuple[str, ...], count: int) -> None:
        """Tell of *count* attempts, at once or with the next tick."""
        where = _named(attempt, verdict) or attempt.endpoint
        key = (verdict.decision, verdict.reason, chain, attempt.syscall, where)
        entry = self._seen.get(key)
        if entry is None:
            entry = self._seen[key] = Entry(attempt, verdict, chain)
            if len(self._seen) > _SEEN:
                old, lost = self._seen.popitem(last=False)
                self._waiting.pop(old, None)
                self._give_up(lost)
        entry.unsaid += count
        if entry.said or not self._tell(entry):
            self._waiting[key] = entry

    def tick(self) -> None:
        """Once a second: tell of what waits, denials first."""
        self._left = LINES
        waiting, self._waiting = self._waiting, {}
        for key, entry in sorted(waiting.items(), key=lambda item: not item[1].verdict.denied):
            if not self._tell(entry):
                self._waiting[key] = entry
        if self._lost[0] and self._ready():
            self._sum_up()

    def end(self) -> None:
        """The last tick: what is left is summed up."""
        self.tick()
        for entry in self._waiting.values():
            self._give_up(entry)
        if self._lost[0]:
            self._sum_up()

    def _sum_up(self) -> None:
        calls, denied = self._lost
        self._lost = [0, 0]
        more = f"and {calls} more call{'' if calls == 1 else 's'}"
        self._print([(more, "faint"), (f", {denied} denied" if denied else "", "denied")])

    def _give_up(self, entry: Entry) -> None:
        self._lost[0] += entry.unsaid
        self._lost[1] += entry.unsaid * entry.verdict.denied
        entry.unsaid = 0

    def _tell(self, entry: Entry) -> bool:
        if self._left <= (0 if entry.verdict.denied else _KEPT) or not self._ready():
            return False
        self._left -= 1
        count = f" ({entry.unsaid} calls)" if entry.unsaid > 1 else ""
        who = " <- ".join(visible(name, 32) for name in entry.chain[:_DEPTH])
        where = _where(entry.attempt, entry.verdict)
        self._print([*_said(entry.verdict, self._audit), (f"{where}{count}  ", ""), (who, "faint")])
        entry.unsaid, entry.said = 0, True
        return True

    def _print(self, line: Line) -> None:
        room = self._room()
        left = (room or 200) - len("netjail: ") - 1
        cut: Line = []
        for text, style in line:
            cut.append((visible(text, max(left, 3)) if len(text) > left else text, style))
            left -= len(cut[-1][0])
            if left <= 3:
                break
        # A line's worth of blanks ends on the next line unless the cursor was at the
        # start of one: the command's own unfinished line stays as it is.
        fresh = f"{' ' * room}\r" if room else ""
        self._write(f"{fresh}netjail: {paint(cut, self._colour)}\n")


def _said(verdict: Verdict, audit: bool) -> Line:
    if verdict.decision is Decision.ALLOW:
        return [("allowed  ", "good")]
    if verdict.reason in QUIET:
        return [("refused  ", "faint")]
    if choose(verdict, audit).runs:
        return [("would be denied  ", "bad")]
    return [("denied   ", "bad")]


def _named(attempt: Attempt, verdict: Verdict) -> str:
    endpoint = attempt.endpoint
    return f"{verdict.name}:{endpoint.port}" if verdict.name and isinstance(endpoint, Inet) else ""


def _where(attempt: Attempt, verdict: Verdict) -> str:
    """``tcp example.org:443``, or the call's name where it goes nowhere."""
    if attempt.operation is Operation.FORBIDDEN:
        return visible(attempt.syscall, 60)
    protocols = "/".join(sorted(protocol.value for protocol in attempt.protocols))
    place = _named(attempt, verdict) or str(attempt.endpoint)
    return f"{visible(protocols, 30)} {visible(place, 120)}"


# ---- the terminal ----


def live(audit: bool, color: str) -> Live:
    """One that writes to stderr."""
    return Live(audit, coloured(color), write, _ready, _columns)


def _ready() -> bool:
    """Whether a line can be written: without waiting, and without spoiling a screen."""
    if sys.stderr is None:
        return False
    with contextlib.suppress(OSError, ValueError):
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        return bool(writable.poll(0)) and not _raw()
    return False


def _raw() -> bool:
    """Whether a program draws on the terminal, or reads keys: it has turned lines off."""
    with contextlib.suppress(termios.error):
        return not termios.tcgetattr(2)[3] & termios.ICANON
    return False


def _columns() -> int:
    with contextlib.suppress(OSError):
        return os.get_terminal_size(2).columns
    return 0
