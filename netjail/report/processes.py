"""The processes that asked, and those that started them."""

from __future__ import annotations

import msgspec

from netjail.records.lines import Proc, ProcessRecord

PROCESSES = 2000
"""Processes kept, of all runs together."""
_DESTINATIONS = 24


class Known(msgspec.Struct):
    """One process image, and what it asked for."""

    record: ProcessRecord
    counts: dict[int, int] = msgspec.field(default_factory=dict)
    """Group's number: how many attempts; the first few."""


class Processes(msgspec.Struct):
    """A bounded table of them, by (run, id)."""

    table: dict[tuple[int, int], Known] = msgspec.field(default_factory=dict)
    lost: int = 0
    """How often one found no room."""

    def meet(self, run: int, record: ProcessRecord) -> None:
        """Keep a process; of a parent that asks for something itself more is known then."""
        known = self.table.get((run, record.id))
        if known is not None:
            if record.cwd and not known.record.cwd:
                known.record = msgspec.structs.replace(record, ts=known.record.ts)
        elif len(self.table) < PROCESSES:
            self.table[run, record.id] = Known(record)
        else:
            self.lost += 1

    def ask(self, run: int, process: int, group: int, count: int) -> None:
        """*process* asked *count* times for what *group* holds."""
        known = self.table.get((run, process))
        if known and (group in known.counts or len(known.counts) < _DESTINATIONS):
            known.counts[group] = known.counts.get(group, 0) + count

    def missing(self, run: int, who: Proc, ts: str) -> None:
        """Keep what an attempt itself says of its caller, if nothing better is there."""
        if (run, who.id) not in self.table:
            fields = (who.pid, who.exe, who.argv, who.cwd, who.uid)
            pid, exe, argv, cwd, uid = fields
            self.meet(
                run,
                ProcessRecord(
                    ts=ts, id=who.id, parent=0, pid=pid, exe=exe, argv=argv, cwd=cwd, uid=uid
                ),
            )
