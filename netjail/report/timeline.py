"""When what was asked for: moments that grow coarser as there are more of them."""

from __future__ import annotations

import msgspec

ROOM = 2000
"""Moments kept apart."""
_FINEST = 1000  # microseconds
_COARSEST = 1 << 50  # some thirty years: then the same place is one moment

_Key = tuple[int, int, int]


class Timeline(msgspec.Struct):
    """Counts of attempts by time, destination and run."""

    width: int = _FINEST
    """Microseconds that one moment lasts."""
    counts: dict[_Key, int] = msgspec.field(default_factory=dict)
    """(when, in units of *width*; the group's number; the run): how many."""
    lost: int = 0
    """Attempts that found no room."""

    def add(self, when: int, group: int, run: int, count: int) -> None:
        """*count* attempts at *when*, in microseconds since 1970."""
        key = (when // self.width, group, run)
        if key not in self.counts and len(self.counts) >= ROOM:
            self._widen()
            key = (when // self.width, group, run)
            if key not in self.counts and len(self.counts) >= ROOM:
                self.lost += count
                return
        self.counts[key] = self.counts.get(key, 0) + count

    def _widen(self) -> None:
        while len(self.counts) >= ROOM and self.width < _COARSEST:
            self.width *= 2
            merged: dict[_Key, int] = {}
            for (when, group, run), count in self.counts.items():
                key = (when // 2, group, run)
                merged[key] = merged.get(key, 0) + count
            self.counts = merged
