"""
Journals in, a report out: what a supervisor would have counted, counted afterwards.

What makes a million lines quick is that most tell of what was seen before: a line is
turned back into an attempt only if its destination and its verdict are new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from netjail.errors import JournalError
from netjail.journal.reading import Torn
from netjail.model import Attempt, Operation, Protocol, Verdict
from netjail.records import (
    AttemptRecord,
    EndRecord,
    ListenRecord,
    ProcessRecord,
    Record,
    ResultRecord,
    StartRecord,
)
from netjail.records.back import attempt_of, endpoint_of, verdict_of
from netjail.report.groups import Caller, Group, Listener, Scope
from netjail.report.report import Report

_ROOM = 20_000
_Known = tuple[Group | None, Attempt, Verdict]


class Reader:
    """Feeds a report with the records of journals, one run after the other."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._known: dict[Hashable, _Known] = {}
        self._second = ("", 0)
        self._latest = 0

    def take(self, records: Iterable[Record | Torn], journal: str = "") -> None:
        """
        Take in a journal.

        :raises JournalError: for words that this version does not know.
        """
        handlers: dict[type, Callable[..., None]] = {
            StartRecord: self._start,
            AttemptRecord: self._attempt,
            ResultRecord: self._result,
            ProcessRecord: self._report.meet,
            ListenRecord: self._listen,
            EndRecord: self._end,
            Torn: self._torn,
        }
        self._journal = journal
        self._open = False
        try:
            for record in records:
                handlers[type(record)](record)
        except (ValueError, KeyError) as error:
            hint = "a later version of netjail wrote it: read it with that one"
            raise JournalError(f"{journal}: not understood: {error}", hint) from error
        self._over()

    def _start(self, record: StartRecord) -> None:
        self._over()
        self._known.clear()
        self._latest = 0
        self._report.begin(record, self._journal)
        for warning in record.warnings:
            self._report.warn(warning)
        self._open = True

    def _end(self, record: EndRecord) -> None:
        self._must_be_open()
        self._report.run.end = record
        for warning in record.warnings:
            if not self._report.run.start or warning not in self._report.run.start.warnings:
                self._report.warn(warning)
        self._open = False

    def _torn(self, torn: Torn) -> None:
        self._must_be_open()
        self._report.run.torn = f"its line {torn.line} is cut off"

    def _over(self) -> None:
        run = self._report.run
        if self._open and not run.end and not run.torn:
            run.torn = "it has no last line"
        self._open = False

    def _must_be_open(self) -> None:
        if not self._open:
            self._report.begin(None, self._journal)
            self._report.run.torn = "it has no first line"
            self._open = True

    def _attempt(self, record: AttemptRecord) -> None:
        if not self._open:
            self._must_be_open()
        report, who, dest = self._report, record.proc, record.dest
        seen_as = (
            dest,
            record.reason,
            record.rule,
            record.layer,
            record.redirect,
            record.verdict,
            record.proto,
            record.syscall,
            record.operation,
        )
        known = self._known.get(seen_as)
        if known is None:
            known = self._meet(seen_as, record)
        group, attempt, verdict = known
        caller = Caller(who.chain or ("?",), who.id, report.run.id)
        if report.processes is not None:
            report.processes.missing(caller.run, who, record.ts)
        shut = attempt.operation is Operation.FORBIDDEN
        when = self._micros(record.ts)
        report.again(group, attempt, verdict, caller, record.count, when, shut)
        # A line with a known id is a count of repeats, whose results are not told.
        if record.id > self._latest:
            self._latest = record.id
            if group is not None and not record.result and not shut:
                report.wait(record.id, group)

    def _meet(self, seen_as: Hashable, record: AttemptRecord) -> _Known:
        attempt, verdict = attempt_of(record), verdict_of(record)
        group = self._report.place(attempt, verdict)
        if group is not None:
            group.named(record.dest.names, record.dest.known)
        if len(self._known) >= _ROOM:
            self._known.clear()
        self._known[seen_as] = group, attempt, verdict
        return group, attempt, verdict

    def _result(self, record: ResultRecord) -> None:
        self._report.answered(record.id, record.result, record.why)

    def _listen(self, record: ListenRecord) -> None:
        place = endpoint_of(record.dest)
        chain = record.proc.chain or ("?",)
        found = Listener(place, Protocol(record.proto), Scope(record.scope), chain, record.fix)
        self._report.listen(found)

    def _micros(self, ts: str) -> int:
        """Microseconds since 1970; the same second is not read twice."""
        second, base = self._second
        if ts[:19] != second:
            base = _seconds(ts) * 1_000_000
            self._second = ts[:19], base
        return base + int(ts[20:26] or 0)


def _seconds(ts: str) -> int:
    from calendar import timegm
    from time import strptime

    return timegm(strptime(ts[:19], "%Y-%m-%dT%H:%M:%S")) if ts else 0
