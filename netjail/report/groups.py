"""What a report keeps of attempts that came out the same way, of listeners and of rules."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from netjail.endpoints import Endpoint, Inet, Question
from netjail.model import Attempt, Operation, Protocol, Verdict

GROUPS = 1000
"""Destinations kept apart; listeners, doors and warnings have less room."""
_CHAINS = 8
_FEW = 8
_RESULTS = 16

_T = TypeVar("_T")

Chain = tuple[str, ...]
"""Names, the asking program's first: ``("curl", "make", "sh")``."""


class Scope(enum.Enum):
    """Who can reach a listener; the value is what the journal has."""

    MACHINE = "machine"  # TCP: this machine only, as of whatever is bound to loopback
    OPEN = "open"  # TCP: a --bind rule opened it, or audit does not hold it
    LOCAL = "local"  # a unix socket: who may open its path
    REFUSED = "refused"


class Span(msgspec.Struct):
    """When something first and last was; in microseconds since 1970, 0 where nobody looked."""

    first: int = 0
    last: int = 0

    def at(self, when: int) -> None:
        """It was at *when*; two machines' clocks may disagree, so in no order."""
        if when:
            if not self.first or when < self.first:
                self.first = when
            if when > self.last:
                self.last = when


class Use(msgspec.Struct):
    """How often a rule decided, and when."""

    count: int = 0
    span: Span = msgspec.field(default_factory=Span)


class Asker(msgspec.Struct):
    """How often one chain asked, and its first few processes, as (run, id)."""

    count: int = 0
    processes: list[tuple[int, int]] = msgspec.field(default_factory=list)


class Group(msgspec.Struct):
    """Attempts at one destination that came out the same way."""

    number: int
    """Counts from 1, in the order of their first attempts."""
    endpoint: Endpoint
    protocols: frozenset[Protocol]
    syscall: str
    verdict: Verdict
    """The first one; the others differ from it in nothing that is shown."""
    audit: bool = False
    """The verdict was not carried out."""
    count: int = 0
    places: list[Endpoint] = msgspec.field(default_factory=list)
    """Where a name led to, the first few."""
    names: list[str] = msgspec.field(default_factory=list)
    """Every name that led there, the first few."""
    known: str = ""
    """How they came to be known, see ``records.Dest``."""
    kinds: list[str] = msgspec.field(default_factory=list)
    """The record types that were asked for."""
    askers: dict[Chain, Asker] = msgspec.field(default_factory=dict)
    others: int = 0
    """Attempts by programs that found no room in *askers*."""
    results: Counter[str] = msgspec.field(default_factory=Counter)
    """What the kernel answered, the first of repeated calls."""
    why: str = ""
    """Why the last look-up that brought nothing did."""
    runs: dict[int, int] = msgspec.field(default_factory=dict)
    """Attempts by run."""
    span: Span = msgspec.field(default_factory=Span)

    def add(self, endpoint: Endpoint, who: Caller, count: int, when: int) -> None:
        """Count *count* more attempts by *who*."""
        self.count += count
        self.runs[who.run] = self.runs.get(who.run, 0) + count
        self.span.at(when)
        keep(self.places, endpoint)
        if isinstance(endpoint, Question):
            keep(self.kinds, endpoint.kind)
        asker = self.askers.get(who.chain)
        if asker is None:
            if len(self.askers) >= _CHAINS:
                self.others += count
                return
            asker = self.askers[who.chain] = Asker()
        asker.count += count
        if who.process:
            keep(asker.processes, (who.run, who.process))

    def named(self, names: Iterable[str], known: str) -> None:
        """Note which names led there, and how that is known."""
        self.known = self.known or known
        for name in names:
            keep(self.names, name)

    def answered(self, result: str, why: str = "") -> None:
        """Note what the kernel answered to one of them; *why* as in ``ResultRecord``."""
        if result != "ok":
            self.why = why or self.why
        if result not in self.results and len(self.results) >= _RESULTS:
            result = "other"
        self.results[result] += 1


class Caller(NamedTuple):
    """Who asked."""

    chain: Chain
    process: int = 0
    """Its stable id; 0: nobody keeps processes."""
    run: int = 1


class Listener(NamedTuple):
    """A socket that accepts, or would have."""

    endpoint: Endpoint
    protocol: Protocol
    scope: Scope
    chain: Chain
    fix: str = ""
    """What opens it: ``--bind :8080``."""


def keep(some: list[_T], one: _T) -> None:
    """Put *one* among the first few."""
    if len(some) < _FEW and one not in some:
        some.append(one)


def tally(counts: dict[_T, int], key: _T, room: int) -> bool:
    """Count *key*; False if it finds no room."""
    if key not in counts and len(counts) >= room:
        return False
    counts[key] = counts.get(key, 0) + 1
    return True


def key(attempt: Attempt, verdict: Verdict) -> Hashable:
    """What two attempts share if they are shown as one."""
    endpoint = attempt.endpoint
    where: Hashable = endpoint
    if verdict.name and isinstance(endpoint, Inet):
        where = (verdict.name, endpoint.port)  # a name has many addresses
    if isinstance(endpoint, Question):
        where = (endpoint.name, bool(endpoint.kind))  # whatever type, of whatever server
    kind = attempt.syscall if attempt.operation is Operation.SOCKET else ""
    ruled = (verdict.decision, verdict.reason, verdict.rule, verdict.layer, verdict.redirect)
    return (*ruled, where, attempt.protocols, kind)
