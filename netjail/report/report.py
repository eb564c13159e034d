"""The report of one run, or of several: what is kept, and how it is fed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from netjail.model import Attempt, Decision, Operation, Reason, Verdict
from netjail.report.groups import (
    GROUPS,
    Caller,
    Chain,
    Group,
    Listener,
    Span,
    Use,
    key,
    tally,
)

if TYPE_CHECKING:
    from netjail.records import EndRecord, ProcessRecord, RuleRecord, StartRecord
    from netjail.report.processes import Processes
    from netjail.report.timeline import Timeline

_LISTENERS = 100
_WARNINGS = 50
_RULES = 10_000
_OPEN = 10_000  # attempts whose results are waited for


class Run(msgspec.Struct):
    """One run of one command; the counters tell attempts, not lines."""

    id: int = 1
    journal: str = ""
    audit: bool = False
    start: StartRecord | None = None
    end: EndRecord | None = None
    torn: str = ""
    """What is wrong with its journal, in words."""
    attempted: int = 0
    allowed: int = 0
    denied: int = 0
    quiet: int = 0
    span: Span = msgspec.field(default_factory=Span)


class Report(msgspec.Struct):
    """
    What happened in one run, or in several.

    The first three counters tell attempts, not lines: *attempted* is the sum of *allowed*,
    *denied* and *quiet* (refused, but nobody asked about: see ``model.QUIET``). Calls
    through a door that is always shut are in *doors* alone: they are no network calls.
    """

    audit: bool = False
    """Of the latest run."""
    attempted: int = 0
    allowed: int = 0
    denied: int = 0
    quiet: int = 0
    groups: dict[Hashable, Group] = msgspec.field(default_factory=dict)
    crowded: Counter[Decision] = msgspec.field(default_factory=Counter)
    """Attempts at destinations that found no room in *groups*."""
    doors: dict[Hashable, Group] = msgspec.field(default_factory=dict)
    listeners: dict[Listener, int] = msgspec.field(default_factory=dict)
    warnings: dict[str, int] = msgspec.field(default_factory=dict)
    lost: Counter[str] = msgspec.field(default_factory=Counter)
    """How many ``listeners``, ``warnings`` and ``rules`` found no room."""
    rules: dict[tuple[str, str], Use] = msgspec.field(default_factory=dict)
    """How often each rule decided, by layer and text."""
    known_rules: dict[tuple[str, str], RuleRecord] = msgspec.field(default_factory=dict)
    """Every rule of the policies, unused ones too."""
    runs: list[Run] = msgspec.field(default_factory=lambda: [Run()])
    processes: Processes | None = None
    """None: neither they nor moments are kept, a summary does without."""
    timeline: Timeline | None = None
    waiting: dict[int, Group] = msgspec.field(default_factory=dict)
    """Attempts of the latest run whose result is not there yet, by token."""

    def __post_init__(self) -> None:
        self.run.audit = self.audit

    def keep_details(self) -> None:
        """Keep processes, results and moments too: what a summary does without."""
        from netjail.report.processes import Processes
        from netjail.report.timeline import Timeline

        self.processes = Processes()
        self.timeline = Timeline()

    @property
    def run(self) -> Run:
        """The latest run."""
        return self.runs[-1]

    def begin(self, start: StartRecord | None, journal: str = "") -> None:
        """A run begins; the one before is over."""
        run = self.run
        if run.start or run.end or run.attempted or run.journal:
            run = Run(run.id + 1)
            self.runs.append(run)
        self.waiting.clear()
        run.start, run.journal = start, journal
        if start:
            run.audit = self.audit = start.mode == "audit"
            self.know(start.rules)

    def know(self, rules: Iterable[RuleRecord]) -> None:
        """The rules of a policy, which may come to be used."""
        for rule in rules:
            if len(self.known_rules) < _RULES:
                self.known_rules[rule.layer, rule.rule] = rule
            elif (rule.layer, rule.rule) not in self.known_rules:
                self.lost["rules"] += 1

    def meet(self, record: ProcessRecord) -> None:
        """Keep a process."""
        if self.processes is not None:
            self.processes.meet(self.run.id, record)

    def add(
        self,
        attempt: Attempt,
        verdict: Verdict,
        chain: Chain,
        count: int = 1,
        when: int = 0,
        token: int = 0,
    ) -> Group | None:
        """
        Count *attempt*, made *count* times by the program that *chain* names.

        :param when: microseconds since 1970, 0 where no times are kept.
        :param token: what its result is going to be known by, 0: none is waited for.
        :returns: where it is counted; None: it found no room.
        """
        process = attempt.process if self.processes is not None else 0
        who = Caller(chain, process, self.run.id)
        group = self.place(attempt, verdict)
        door = attempt.operation is Operation.FORBIDDEN
        self.again(group, attempt, verdict, who, count, when, door)
        # Whoever cannot see a program fail for want of an answer looks for it in the rules.
        wanted = process or attempt.operation is Operation.RESOLVE
        if token and group is not None and wanted and not door:
            self.wait(token, group)
        return group

    def place(self, attempt: Attempt, verdict: Verdict) -> Group | None:
        """Where *attempt* is counted; None: there is no room for one more destination."""
        if attempt.operation is Operation.FORBIDDEN:
            return self._group(self.doors, attempt.syscall, attempt, verdict)
        where = (key(attempt, verdict), self.audit)
        return self._group(self.groups, where, attempt, verdict)

    def again(
        self,
        group: Group | None,
        attempt: Attempt,
        verdict: Verdict,
        who: Caller,
        count: int,
        when: int,
        door: bool = False,
    ) -> None:
        """Count an attempt whose *group* is known."""
        if not door:
            self._count(verdict, count, when)
        if group is None:
            if not door:
                self.crowded[verdict.decision] += count
            return
        group.add(attempt.endpoint, who, count, when)
        if self.processes is not None and not door:
            self.processes.ask(who.run, who.process, group.number, count)
        if self.timeline is not None and when and not door:
            self.timeline.add(when, group.number, who.run, count)

    def answered(self, token: int, result: str, why: str = "") -> None:
        """What the kernel answered to the attempt *token*; *why* as in ``ResultRecord``."""
        group = self.waiting.pop(token, None)
        if group is not None:
            group.answered(result, why)

    def listen(self, listener: Listener) -> None:
        """Note a listener; one more for the count if it is known."""
        if not tally(self.listeners, listener, _LISTENERS):
            self.lost["listeners"] += 1

    def warn(self, text: str) -> None:
        """Note what the user should know; one line, said once however often it comes."""
        if not tally(self.warnings, text, _WARNINGS):
            self.lost["warnings"] += 1

    def uses(self) -> Iterator[tuple[str, str, Use]]:
        """Layer, text and use of each rule: what decided most first, the unused last."""
        for (layer, rule), use in sorted(self.rules.items(), key=lambda item: -item[1].count):
            yield layer, rule, use
        for layer, rule in self.known_rules:
            if (layer, rule) not in self.rules:
                yield layer, rule, Use()

    def select(self, decision: Decision, reasons: Iterable[Reason] = Reason) -> list[Group]:
        """The groups with *decision* and one of *reasons*, the most frequent first."""
        wanted = frozenset(reasons)
        found = (
            group
            for group in self.groups.values()
            if group.verdict.decision is decision and group.verdict.reason in wanted
        )
        return sorted(found, key=lambda group: -group.count)

    def _count(self, verdict: Verdict, count: int, when: int) -> None:
        run = self.run
        self.attempted += count
        run.attempted += count
        if verdict.decision is Decision.ALLOW:
            self.allowed += count
            run.allowed += count
        elif verdict.denied:
            self.denied += count
            run.denied += count
        else:
            self.quiet += count
            run.quiet += count
        run.span.at(when)
        if verdict.rule:
            use = self.rules.get((verdict.layer, verdict.rule))
            if use is None:
                use = self._use(verdict)
            use.count += count
            use.span.at(when)

    def _use(self, verdict: Verdict) -> Use:
        if len(self.rules) >= _RULES:  # more policies than one went into it
            self.lost["rules"] += 1
            return Use()
        use = self.rules[verdict.layer, verdict.rule] = Use()
        return use

    def wait(self, token: int, group: Group) -> None:
        """The result of an attempt that *group* counts is going to come, or not."""
        self.waiting[token] = group
        if len(self.waiting) > _OPEN:
            del self.waiting[next(iter(self.waiting))]

    def _group(
        self, groups: dict[Hashable, Group], key: Hashable, attempt: Attempt, verdict: Verdict
    ) -> Group | None:
        group = groups.get(key)
        if group is None and len(groups) < GROUPS:
            group = groups[key] = Group(
                len(groups) + 1,
                attempt.endpoint,
                attempt.protocols,
                attempt.syscall,
                verdict,
                self.audit,
            )
        return group


def exit_status(command_code: int, fail_on: str, report: Report, exit_code: int) -> int:
    """
    The exit status of trace and audit, for a command that ended by itself.

    :param command_code: the command's own status, which wins unless it is 0.
    :param fail_on: ``denied``, ``attempt``, ``never``, or ``new``, which who has the lock judges.
    :param exit_code: the status for a command that is fine but for its network calls.
    """
    matched = {
        "denied": report.denied > 0,
        "attempt": report.attempted > 0,
        "new": False,
        "never": False,
    }[fail_on]
    return exit_code if command_code == 0 and matched else command_code
