"""
Attempts and verdicts in, a :class:`Report` out: grouped, counted, ordered; no formatting.

Memory is bounded whatever a program does: what finds no room is counted, not kept.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from netjail.endpoints import Endpoint, Inet, Question
from netjail.model import Attempt, Decision, Operation, Protocol, Reason, Verdict

GROUPS = 1000
"""Destinations kept apart; listeners, doors and warnings have less room."""
_CHAINS = 8
_PLACES = 8
_LISTENERS = 100
_WARNINGS = 50

_T = TypeVar("_T")

Chain = tuple[str, ...]
"""Names, the asking program's first: ``("curl", "make", "sh")``."""


class Scope(enum.Enum):
    """Who can reach a listener; the value is what the journal has."""

    MACHINE = "machine"  # TCP: this machine only
    OPEN = "open"  # a --bind rule opened it, or audit does not hold it
    LOCAL = "local"  # a unix socket: who may open its path
    REFUSED = "refused"


class Group(msgspec.Struct):
    """Attempts at one destination that came out the same way."""

    endpoint: Endpoint
    protocols: frozenset[Protocol]
    syscall: str
    verdict: Verdict
    """The first one; the others differ from it in nothing that is shown."""
    count: int = 0
    places: list[Endpoint] = msgspec.field(default_factory=list)
    """Where a name led to, the first few."""
    chains: Counter[Chain] = msgspec.field(default_factory=Counter)
    others: int = 0
    """Attempts by programs that found no room in *chains*."""

    def add(self, endpoint: Endpoint, chain: Chain, count: int) -> None:
        """Count *count* more attempts by *chain*."""
        self.count += count
        if endpoint not in self.places and len(self.places) < _PLACES:
            self.places.append(endpoint)
        if chain in self.chains or len(self.chains) < _CHAINS:
            self.chains[chain] += count
        else:
            self.others += count


class Listener(NamedTuple):
    """A socket that accepts, or would have."""

    endpoint: Endpoint
    protocol: Protocol
    scope: Scope
    chain: Chain
    fix: str = ""
    """What opens it: ``--bind :8080``."""


class Report(msgspec.Struct):
    """
    What happened in one run.

    The first three counters tell attempts, not lines: *attempted* is the sum of *allowed*,
    *denied* and *quiet* (refused, but nobody asked about: see ``model.QUIET``). Calls
    through a door that is always shut are in *doors* alone: they are no network calls.
    """

    audit: bool = False
    policies: tuple[str, ...] = ()
    """The policy files that were found, not named by the user."""
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
    """How many ``listeners`` and ``warnings`` found no room."""
    rules: Counter[str] = msgspec.field(default_factory=Counter)
    """How often each rule decided; a policy has a bounded number of them."""

    def add(self, attempt: Attempt, verdict: Verdict, chain: Chain, count: int = 1) -> None:
        """Count *attempt*, made *count* times by the program that *chain* names."""
        if attempt.operation is Operation.FORBIDDEN:
            self._group(self.doors, attempt.syscall, attempt, verdict, chain, count)
            return
        self.attempted += count
        if verdict.decision is Decision.ALLOW:
            self.allowed += count
        elif verdict.denied:
            self.denied += count
        else:
            self.quiet += count
        if verdict.rule:
            self.rules[verdict.rule] += count
        key = _key(attempt, verdict)
        if not self._group(self.groups, key, attempt, verdict, chain, count):
            self.crowded[verdict.decision] += count

    def listen(self, listener: Listener) -> None:
        """Note a listener; one more for the count if it is known."""
        if not _tally(self.listeners, listener, _LISTENERS):
            self.lost["listeners"] += 1

    def warn(self, text: str) -> None:
        """Note what the user should know; one line, said once however often it comes."""
        if not _tally(self.warnings, text, _WARNINGS):
            self.lost["warnings"] += 1

    def select(self, decision: Decision, reasons: Iterable[Reason] = Reason) -> list[Group]:
        """The groups with *decision* and one of *reasons*, the most frequent first."""
        wanted = frozenset(reasons)
        found = (
            group
            for group in self.groups.values()
            if group.verdict.decision is decision and group.verdict.reason in wanted
        )
        return sorted(found, key=lambda group: -group.count)

    @staticmethod
    def _group(
        groups: dict[Hashable, Group],
        key: Hashable,
        attempt: Attempt,
        verdict: Verdict,
        chain: Chain,
        count: int,
    ) -> bool:
        group = groups.get(key)
        if group is None:
            if len(groups) >= GROUPS:
                return False
            group = Group(attempt.endpoint, attempt.protocols, attempt.syscall, verdict)
            groups[key] = group
        group.add(attempt.endpoint, chain, count)
        return True


def _key(attempt: Attempt, verdict: Verdict) -> Hashable:
    """What two attempts share if they are shown as one."""
    endpoint = attempt.endpoint
    where: Hashable = endpoint
    if verdict.name and isinstance(endpoint, Inet):
        where = (verdict.name, endpoint.port)  # a name has many addresses
    if isinstance(endpoint, Question):
        where = (endpoint.name, bool(endpoint.kind))  # whatever type, of whatever server
    kind = attempt.syscall if attempt.operation is Operation.SOCKET else ""
    return (verdict.decision, verdict.reason, verdict.rule, where, attempt.protocols, kind)


def _tally(counts: dict[_T, int], key: _T, room: int) -> bool:
    if key not in counts and len(counts) >= room:
        return False
    counts[key] = counts.get(key, 0) + 1
    return True


def exit_status(command_code: int, fail_on: str, report: Report, exit_code: int) -> int:
    """
    The exit status of trace and audit, for a command that ended by itself.

    :param command_code: the command's own status, which wins unless it is 0.
    :param fail_on: ``denied``, ``attempt`` or ``never``.
    :param exit_code: the status for a command that is fine but for its network calls.
    """
    matched = {
        "denied": report.denied > 0,
        "attempt": report.attempted > 0,
        "never": False,
    }[fail_on]
    return exit_code if command_code == 0 and matched else command_code
