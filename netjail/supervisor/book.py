"""
What is remembered of a run: each attempt in the journal before it goes on, repeats
folded into counts, and the report's groups.
"""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import msgspec

from netjail.model import Attempt, Process, Verdict
from netjail.policy.facts import Seen
from netjail.report import Chain, Listener, Report
from netjail.sockets import is_unknown
from netjail.supervisor.ending import unknown
from netjail.tree import Lineage

if TYPE_CHECKING:
    from netjail.policy.facts import Known
    from netjail.records import AttemptRecord
    from netjail.supervisor import Plan
    from netjail.supervisor.setting import Setting

OPEN = 1024
"""Attempts whose repeats are folded, beside those that the core has cached, as many."""


class Entry(msgspec.Struct):
    """An attempt that may come again."""

    token: int
    attempt: Attempt
    verdict: Verdict
    chain: Chain
    record: AttemptRecord | None
    repeats: int = 0
    cached: int = 0
    """How many entries of the core's cache count for it."""


class Book:
    """
    Journal and report of one run.

    Memory is bounded: what falls out of the table of open attempts gets a line of its
    own when it comes again.
    """

    def __init__(self, plan: Plan, setting: Setting) -> None:
        self._plan = plan
        self._setting = setting
        self._journal, self._watch = plan.journal, plan.watch
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._cached: dict[int, Entry] = {}
        self._dirty: dict[int, Entry] = {}
        self._next = 0
        self._processes: OrderedDict[int, bool] = OrderedDict()
        self.look: Callable[[Attempt, Known | None], Seen] = lambda attempt, known: Seen()
        """What the world says of an attempt."""
        self.report = Report(audit=plan.audit)
        self._keeps = plan.journal.enabled or plan.details
        if plan.details:
            self.report.keep_details()

    def assurance(self, runs: bool) -> str:
        """What stands behind a verdict that was carried out, see DESIGN "The event"."""
        return ("vault" if runs else "denied") + self._setting.assurance

    def begin(self) -> None:
        """The journal's first line."""
        if not self._keeps:
            return
        from netjail.records import start_record
        from netjail.supervisor.rules import rules_of, written

        plan, setting = self._plan, self._setting
        record = start_record(
            plan.command,
            audit=plan.audit,
            policy=written(plan.policy),
            host={
                "kernel": setting.host.release,
                "machine": setting.host.machine,
                "landlock": str(setting.host.landlock),
            },
            assurance=self.assurance(True),
            show=plan.show_args,
            warnings=(*plan.policy.warnings, *setting.warnings),
            dropped=setting.lost,
            passed={str(one.fd): one.text for one in setting.inherited.passed},
            rules=rules_of(plan.policy),
            environment=os.environ,
        )
        self._journal.write(record)
        self.report.begin(record)

    def _now(self) -> int:
        """The time in microseconds, 0 where nobody is going to ask for it."""
        return time.time_ns() // 1000 if self._keeps else 0

    def note(
        self,
        attempt: Attempt,
        verdict: Verdict,
        who: Lineage,
        runs: bool,
        known: Known | None = None,
    ) -> int:
        """
        Write an attempt down, before it goes on.

        :returns: the token to ask its result by, 0 for a repeat that was only counted.
        """
        key = _key(attempt, verdict)
        before = self._entries.get(key)
        token = 0 if before else self._next + 1
        if self._keeps and not before:
            self._meet_line(who)
        group = self.report.add(attempt, verdict, who.chain, 1, self._now(), runs * token)
        if known and group:
            group.named((*known.names, *known.claimed), known.how)
        self._watch.note(attempt, verdict, who.chain, 1)
        if is_unknown(attempt.descriptor):
            self.report.warn(unknown(attempt.descriptor.error))
        if before:
            self._repeated(before, 1)
            self._entries.move_to_end(key)
            return 0
        self._next = token
        entry = Entry(token, attempt, verdict, who.chain, None)
        if self._journal.enabled:
            entry.record = self._write(entry, who, runs, known)
        self._entries[key] = entry
        if len(self._entries) > OPEN:
            self._entries.popitem(last=False)
        return entry.token

    def cache(self, attempt: Attempt, verdict: Verdict) -> int:
        """The token under which the core shall count repeats by itself; 0: it shall not."""
        entry = self._entries.get(_key(attempt, verdict))
        if entry is None:
            return 0
        entry.cached += 1
        self._cached[entry.token] = entry
        return entry.token

    @property
    def crowded(self) -> bool:
        """Whether the core has forgotten much that is still kept here: ask it."""
        return len(self._cached) > OPEN + OPEN // 4

    def _repeated(self, entry: Entry, count: int) -> None:
        entry.repeats += count
        self._dirty[entry.token] = entry

    def _write(self, entry: Entry, who: Lineage, runs: bool, known: Known | None) -> AttemptRecord:
        from netjail.records import attempt_record, proc

        show = self._plan.show_args
        record = attempt_record(
            entry.attempt,
            entry.verdict,
            proc(who.process, entry.attempt.tid, who.chain, show),
            id=entry.token,
            audit=self._plan.audit,
            assurance=self.assurance(runs),
            known=known,
            seen=self.look(entry.attempt, known),
        )
        self._journal.write(record)
        return record

    def _meet_line(self, who: Lineage) -> None:
        # The caller last: what is known of it replaces what is known of a parent.
        for process in (*reversed(who.above), who.process):
            self._meet(process)

    def _meet(self, process: Process) -> None:
        """Write a process down, unless that has been done; of a parent not all is known."""
        known = self._processes.get(process.id)
        if known is None or (not known and process.cwd):
            from netjail.records import process_record

            self._processes[process.id] = bool(process.cwd)
            record = process_record(process, self._plan.show_args)
            self._journal.write(record)
            self.report.meet(record)
            if len(self._processes) > OPEN:
                self._processes.popitem(last=False)

    def count(self, token: int, count: int, forgotten: bool) -> None:
        """The core answered *count* repeats of *token* by itself; *forgotten*: its last."""
        entry = self._cached[token]
        if count:
            self._repeated(entry, count)
            self.report.add(entry.attempt, entry.verdict, entry.chain, count, self._now())
            self._watch.note(entry.attempt, entry.verdict, entry.chain, count)
        entry.cached -= forgotten
        if not entry.cached:
            del self._cached[token]

    def result(self, token: int, result: int | None) -> None:
        """What the kernel answered to the attempt *token*; None: its caller ended before."""
        if not (self._keeps and token):
            return
        from netjail.records import result_record

        record = result_record(token, result if result is None else max(-result, 0))
        self._journal.write(record)
        self.report.answered(token, record.result)

    def answered(self, token: int, result: str, why: str) -> None:
        """How the look-up *token* was answered, and why it brought nothing."""
        if self._keeps:
            from netjail.records import answer_record

            self._journal.write(answer_record(token, result, why))
        self.report.answered(token, result, why)

    def flush(self) -> None:
        """Write down the repeats since the last time."""
        dirty, self._dirty = self._dirty, {}
        for entry in dirty.values():
            if entry.record is not None:
                from netjail.records import repeat

                self._journal.write(repeat(entry.record, entry.repeats))
            entry.repeats = 0
        self._watch.tick()

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

    def end(self, code: int, signal: int, status: int) -> None:
        """
        The journal's last line, and its comparison with what was written.

        :param status: the command's own, whatever netjail ends with.
        :raises JournalError: if somebody altered it.
        """
        self.flush()
        if self._keeps:
            from netjail.records import end_record, use_record

            texts: Counter[str] = Counter()
            for (_, rule), use in self.report.rules.items():
                texts[rule] += use.count
            record = end_record(
                code,
                signal,
                counts=(self.report.attempted, self.report.allowed, self.report.denied),
                rules=texts,
                warnings=self.report.warnings,
                size=self._journal.size,
                uses=[
                    use_record(rule, layer, use.count, use.span.first, use.span.last)
                    for layer, rule, use in self.report.uses()
                ],
                status=None if signal else status,
            )
            self._journal.write(record)
            self.report.run.end = record
        elif not self._plan.quiet:
            from netjail.supervisor.rules import rules_of

            self.report.know(rules_of(self._plan.policy))
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
