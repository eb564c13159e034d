"""
What is remembered of a run: each attempt in the journal before it goes on, repeats
folded into counts, and the report's groups.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netjail.model import Attempt, Verdict
from netjail.report import Chain, Listener, Report
from netjail.tree import Lineage

if TYPE_CHECKING:
    from netjail.kernel.probe import Host
    from netjail.records import AttemptRecord
    from netjail.supervisor import Plan

OPEN = 16384
"""Attempts whose repeats are folded; the core's cache has half as many entries."""


@dataclass(slots=True)
class Entry:
    """An attempt that may come again."""

    token: int
    attempt: Attempt
    verdict: Verdict
    chain: Chain
    record: AttemptRecord | None
    repeats: int = 0


class Book:
    """
    Journal and report of one run.

    Memory is bounded: what falls out of the table of open attempts gets a line of its
    own when it comes again.
    """

    def __init__(self, plan: Plan, host: Host) -> None:
        self._plan = plan
        self._host = host
        self._journal = plan.journal
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._tokens: dict[int, Entry] = {}
        self._next = 0
        self._processes: OrderedDict[int, None] = OrderedDict()
        self.report = Report(audit=plan.audit, policies=tuple(str(path) for path in plan.policy.files))

    def assurance(self, runs: bool) -> str:
        """What stands behind a verdict that was carried out, see DESIGN "The event"."""
        return ("vault" if runs else "denied") + (" weak" if self._host.weak else "")

    def begin(self) -> None:
        """The journal's first line."""
        if not self._journal.enabled:
            return
        from netjail.records import start_record

        plan = self._plan
        self._journal.write(
            start_record(
                plan.command,
                audit=plan.audit,
                policy={"files": [str(path) for path in plan.policy.files]},
                host={
                    "kernel": self._host.release,
                    "machine": self._host.machine,
                    "landlock": str(self._host.landlock),
                },
                assurance=self.assurance(True),
                show=plan.show_args,
                warnings=plan.policy.warnings,
            )
        )

    def note(self, attempt: Attempt, verdict: Verdict, who: Lineage, runs: bool) -> int:
        """
        Write an attempt down, before it goes on.

        :returns: the token to ask its result by, 0 for a repeat that was only counted.
        """
        key = _key(attempt, verdict)
        known = self._entries.get(key)
        if known:
            known.repeats += 1
            self._entries.move_to_end(key)
            self.report.add(attempt, verdict, who.chain)
            return 0
        self._next += 1
        entry = Entry(self._next, attempt, verdict, who.chain, None)
        if self._journal.enabled:
            entry.record = self._write(entry, who, runs)
        self.report.add(attempt, verdict, who.chain)
        self._entries[key] = entry
        self._tokens[entry.token] = entry
        if len(self._entries) > OPEN:
            self._forget(self._entries.popitem(last=False)[1])
        return entry.token

    def token_of(self, attempt: Attempt, verdict: Verdict) -> int:
        """The token of a repeat, for the core's cache; 0 if it is not open."""
        known = self._entries.get(_key(attempt, verdict))
        return known.token if known else 0

    def _write(self, entry: Entry, who: Lineage, runs: bool) -> AttemptRecord:
        from netjail.records import attempt_record, proc, process_record

        show = self._plan.show_args
        if who.process.id not in self._processes:
            self._processes[who.process.id] = None
            if len(self._processes) > OPEN:
                self._processes.popitem(last=False)
            self._journal.write(process_record(who.process, show))
        record = attempt_record(
            entry.attempt,
            entry.verdict,
            proc(who.process, entry.attempt.tid, who.chain, show),
            id=entry.token,
            audit=self._plan.audit,
            assurance=self.assurance(runs),
        )
        self._journal.write(record)
        return record

    def count(self, token: int, count: int) -> None:
        """The core answered *count* repeats of *token* by itself."""
        entry = self._tokens.get(token)
        if entry is None:
            return
        entry.repeats += count
        self.report.add(entry.attempt, entry.verdict, entry.chain, count)

    def result(self, token: int, result: int) -> None:
        """What the kernel answered to the attempt *token*."""
        if not self._journal.enabled:
            return
        from netjail.records import result_record

        self._journal.write(result_record(token, -result if result < 0 else 0))

    def flush(self) -> None:
        """Write down the repeats since the last time."""
        for entry in self._entries.values():
            if entry.repeats:
                self._write_repeats(entry)

    def _write_repeats(self, entry: Entry) -> None:
        if entry.record is not None:
            from netjail.records import repeat

            self._journal.write(repeat(entry.record, entry.repeats))
        entry.repeats = 0

    def _forget(self, entry: Entry) -> None:
        if entry.repeats:
            self._write_repeats(entry)
        del self._tokens[entry.token]

    def listener(self, listener: Listener, who: Lineage, tid: int, rule: str) -> None:
        """Write a listener down."""
        self.report.listen(listener)
        if not self._journal.enabled:
            return
        from netjail.records import listen_record, proc

        self._journal.write(
            listen_record(
                listener.endpoint,
                listener.protocol,
                proc(who.process, tid, who.chain, self._plan.show_args),
                scope=listener.scope.value,
                rule=rule,
                fix=listener.fix,
            )
        )

    def end(self, code: int, signal: int) -> None:
        """
        The journal's last line, and its comparison with what was written.

        :raises JournalError: if somebody altered it.
        """
        self.flush()
        if self._journal.enabled:
            from netjail.records import end_record

            report = self.report
            self._journal.write(
                end_record(
                    code,
                    signal,
                    counts=(report.attempted, report.allowed, report.denied),
                    rules=report.rules,
                    warnings=report.warnings,
                    size=self._journal.size,
                )
            )
        self._journal.close()


def _key(attempt: Attempt, verdict: Verdict) -> Hashable:
    """What makes a call a repeat of another."""
    return (
        attempt.process,
        attempt.syscall,
        attempt.protocols,
        attempt.endpoint,
        verdict.decision,
        verdict.reason,
        verdict.rule,
    )
