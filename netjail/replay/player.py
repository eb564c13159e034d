"""
Journals judged again: records and another policy in, what would have been different out.

It is ``Policy.decide`` that judges, with the facts that the records hold. What never was a
matter of rules (doors, other families, malformed calls) stays as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from netjail.endpoints import Inet, Question, Unix, on_loopback
from netjail.errors import JournalError
from netjail.journal.reading import Torn
from netjail.model import Attempt, Decision, Operation, Pending, Protocol, Reason, Verdict
from netjail.policy import Policy, wording
from netjail.policy.facts import Caller
from netjail.records import (
    AttemptRecord,
    ListenRecord,
    ProcessRecord,
    Record,
    StartRecord,
    error_name,
)
from netjail.records.back import Replayed, attempt_of, endpoint_of, verdict_of
from netjail.replay.result import Replay, Row, Use, Was, Word

GROUPS = 1000
"""Changes kept apart, and calls still denied; the rest is counted."""
_KNOWN = 20_000

# No rule decided these, and none would.
_FIXED = frozenset({Reason.STRUCTURE, Reason.MALFORMED, Reason.INTERNAL})


class _Judged(NamedTuple):
    attempt: Attempt
    before: Verdict
    after: Verdict
    hidden: bool


class Player:
    """Judges records as they come; :meth:`result` says what came of it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._replay = Replay(files=list(policy.files), warnings=list(policy.warnings))
        self._rows: dict[Hashable, Row] = {}
        self._used: Counter[tuple[Decision, str, str]] = Counter()
        self._processes: dict[int, ProcessRecord] = {}
        self._known: dict[Hashable, _Judged] = {}
        self._example = _example(policy)

    def take(self, records: Iterable[Record | Torn], journal: str) -> None:
        """
        Judge a journal.

        :raises JournalError: for words that this version does not know.
        """
        self._replay.journals.append(journal)
        try:
            for record in records:
                self._take(record)
        except (ValueError, KeyError) as error:
            hint = "a later version of netjail wrote it: read it with that one"
            raise JournalError(f"{journal}: not understood: {error}", hint) from error

    def _take(self, record: Record | Torn) -> None:
        match record:
            case StartRecord():
                self._processes.clear()
                self._known.clear()
            case ProcessRecord():
                self._processes[record.id] = record
            case AttemptRecord():
                self._attempt(record)
            case ListenRecord():
                self._listen(record)
            case Torn():
                self._replay.torn += 1

    def result(self) -> Replay:
        """What came of it."""
        replay = self._replay
        rows = sorted(self._rows.values(), key=lambda row: -row.count)
        replay.changed = [row for row in rows if row.before.verdict != row.after.verdict]
        replay.denied = [row for row in rows if row.before.verdict == row.after.verdict]
        replay.rules = list(self._uses())
        return replay

    def _uses(self) -> Iterator[Use]:
        found: dict[tuple[Decision, str, str], None] = {}
        for book in (engine.book for engine in self._policy.engines):
            for decision, rules in ((Decision.ALLOW, book.allow), (Decision.DENY, book.deny)):
                found |= dict.fromkeys((decision, rule.text, rule.layer) for rule in rules)
        for key in found:
            decision, text, layer = key
            yield Use(decision.value, text, layer, self._used[key])

    # ---- one record ----

    def _attempt(self, record: AttemptRecord) -> None:
        replay, count = self._replay, record.count
        if record.operation == Operation.FORBIDDEN.value:
            return
        attempt, before, after, hidden = self._judge(record)
        replay.attempts += count
        replay.hidden += count if hidden else 0
        replay.factless += count if _factless(attempt, record) else 0
        self._used[after.decision, after.rule, after.layer] += count
        if before.decision is after.decision:
            replay.same += count
        if before.decision is not after.decision or after.denied:
            program = record.proc.chain[0] if record.proc.chain else "?"
            self._add(_shown(attempt, before), record.proto, program, before, after, count)

    def _judge(self, record: AttemptRecord) -> _Judged:
        seen = record.seen
        key = (
            *(record.dest, record.proto, record.operation, record.verdict, record.reason),
            *(record.rule, record.layer, record.errno, record.mode, tuple(seen.owners.items())),
            *(seen.names, seen.trusted, seen.resolver, seen.search, seen.missing, seen.path),
            *(seen.raw, seen.raw_path, record.proc.id if self._policy.by_caller else 0),
        )
        found = self._known.get(key)
        if found is None:
            found = self._judged(record)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = found
        return found

    def _judged(self, record: AttemptRecord) -> _Judged:
        attempt, before = attempt_of(record), verdict_of(record)
        if before.reason in _FIXED:
            return _Judged(attempt, before, before, False)
        facts = Replayed(record, self._processes)
        after = judge(self._policy, attempt, facts, record.mode == "audit")
        if not self._example or facts.caller(attempt).whole:
            return _Judged(attempt, before, after, False)
        ends = [
            judge(self._policy, attempt, _Saying(record, self._processes, words))
            for words in ((), self._example)
        ]
        hidden = len({one.decision for one in ends}) > 1
        return _Judged(attempt, before, after, hidden)

    def _listen(self, record: ListenRecord) -> None:
        endpoint, protocol = endpoint_of(record.dest), Protocol(record.proto)
        if not isinstance(endpoint, Inet) or record.scope not in ("machine", "open"):
            return
        if on_loopback(endpoint):  # shut, whatever the rules say
            return
        scopes = (record.scope, "open" if self._policy.listen(endpoint, protocol) else "machine")
        if scopes[0] == scopes[1]:
            return
        before, after = (Was(_REACHED[scope], scope) for scope in scopes)
        program = record.proc.chain[0] if record.proc.chain else "?"
        for row in self._replay.listeners:
            if (row.dest, row.proto, row.program) == (str(endpoint), record.proto, program):
                row.count += 1
                return
        if len(self._replay.listeners) < GROUPS:
            self._replay.listeners.append(
                Row(str(endpoint), record.proto, program, before, after, 1)
            )

    def _add(
        self, dest: str, proto: str, program: str, before: Verdict, after: Verdict, count: int
    ) -> None:
        was = (before.decision, before.rule, before.layer)
        key = (dest, proto, program, *was, after.decision, after.rule, after.layer)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= GROUPS:
                self._replay.omitted += count
                return
            row = self._rows[key] = Row(dest, proto, program, _was(before), _was(after))
        row.count += count


_REACHED: dict[str, Word] = {"machine": "deny", "open": "allow"}


def judge(policy: Policy, attempt: Attempt, facts: Replayed, audit: bool = False) -> Verdict:
    """What *policy* says of a recorded attempt, as a jail would carry it out."""
    from netjail.names.questions import KINDS

    verdict = policy.decide(attempt, facts)
    assert not isinstance(verdict, Pending)
    question = attempt.endpoint
    if not isinstance(question, Question):
        return verdict
    allowed = verdict.decision is Decision.ALLOW
    if allowed and question.kind not in KINDS and not audit:
        return wording.unknown_kind(question)
    return verdict


class _Saying(Replayed):
    """The facts, with a command line that is known."""

    def __init__(
        self,
        record: AttemptRecord,
        processes: dict[int, ProcessRecord],
        words: tuple[str, ...],
    ) -> None:
        super().__init__(record, processes)
        self._words = words

    def caller(self, attempt: Attempt) -> Caller:
        """Who asked."""
        known = super().caller(attempt)
        return msgspec.structs.replace(known, argv=(*known.argv, *self._words), whole=True)


def _example(policy: Policy) -> tuple[str, ...]:
    """Words that match every glob on arguments that the policy has; none without any."""
    globs = {
        glob for rule in policy.rules for glob in (rule.terms.who.argv if rule.terms.who else ())
    }
    return tuple(re.sub(r"\[!?(.)[^\]]*\]|[*?]", _stands_for, glob) for glob in sorted(globs))


def _stands_for(found: re.Match[str]) -> str:
    return "" if found[0] == "*" else found[1] or "x"


def _factless(attempt: Attempt, record: AttemptRecord) -> bool:
    return not record.seen.owners and isinstance(attempt.endpoint, Inet | Unix)


def _shown(attempt: Attempt, verdict: Verdict) -> str:
    endpoint = attempt.endpoint
    if verdict.name and isinstance(endpoint, Inet):
        return f"{verdict.name}:{endpoint.port}" if endpoint.port else verdict.name
    return str(endpoint)


def _was(verdict: Verdict) -> Was:
    return Was(
        verdict.decision.value,
        verdict.reason.value,
        verdict.rule,
        verdict.layer,
        verdict.why,
        verdict.fix,
        error_name(verdict.error) if verdict.error else "",
    )
