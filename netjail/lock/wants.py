"""
Records in, as they happen or from a journal; what the run wanted to reach out.

Memory grows with the number of different destinations, and has a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Question, Unix
from netjail.errors import NetjailError
from netjail.model import Decision, Operation, Reason
from netjail.policy.unix import is_name_service
from netjail.records import (
    AttemptRecord,
    EndRecord,
    ListenRecord,
    StartRecord,
    attempt_of,
    chain_of,
    endpoint_of,
)

if TYPE_CHECKING:
    from netjail.records import Record

ROOM = 10_000
"""Different destinations; a list of more is one that nobody reads."""

Ports = range
"""Ports that the kernel hands out: they mean nothing in the next run."""

_OWN = (Reason.SELF, Reason.STUB)
_NOTHING = (Reason.NAME_SERVICE, Reason.MALFORMED)
_CLOSED = (Reason.STRUCTURE, Reason.INTERNAL)
_LOOPBACK = ("127.", "::1", "0.0.0.0", "::ffff:127.")


class Want(msgspec.Struct):
    """Attempts at one place that came out the same way."""

    record: AttemptRecord
    """The first one."""
    count: int = 0

    @property
    def looked_up(self) -> bool:
        """Whether it is a look-up of a name."""
        return self.record.operation == Operation.RESOLVE.value

    @property
    def refused(self) -> bool:
        """Whether it was not let through, so that what follows from it was not seen."""
        return self.record.result == "refused"

    @property
    def allowed(self) -> bool:
        """What the policy said of it."""
        return self.record.verdict == Decision.ALLOW.value

    @property
    def reason(self) -> Reason:
        """Why it said so."""
        return Reason(self.record.reason)

    @property
    def program(self) -> str:
        """Who asked first."""
        return shown(chain_of(self.record)[0])


class Wants:
    """What one run, or several, wanted."""

    def __init__(self, ephemeral: Ports = range(32768, 61000)) -> None:
        self.command: tuple[str, ...] = ()
        self.end: EndRecord | None = None
        self.listeners: dict[tuple[str, str, str], str] = {}
        """Of TCP: (address, port, scope), and the first program."""
        self.closed: Counter[str] = Counter()
        """What no rule can open, in words."""
        self._ephemeral = ephemeral
        self._own: set[str] = set()
        self._all: dict[Hashable, Want] = {}

    def take(self, record: Record) -> None:
        """
        Note a record.

        :raises NetjailError: if there are too many destinations to list.
        """
        if isinstance(record, AttemptRecord):
            self._attempt(record)
        elif isinstance(record, ListenRecord):
            self._listen(record)
        elif isinstance(record, StartRecord):
            self.command = record.command
        elif isinstance(record, EndRecord):
            self.end = record

    def _attempt(self, record: AttemptRecord) -> None:
        reason = Reason(record.reason)
        if reason in _OWN:
            self._own.add(_place(record))
        elif reason in _CLOSED:
            name = chain_of(record)[0]
            what = record.why if record.operation == Operation.RESOLVE.value else record.syscall
            self.closed[f"{shown(what)} by {shown(name)}"] += record.count
        elif reason not in _NOTHING:
            want = self._all.get(key := _key(record))
            if want is None:
                if len(self._all) >= ROOM:
                    raise NetjailError(
                        f"more than {ROOM} destinations: too many to list",
                        "give a rule for most of them, with --allow",
                    )
                want = self._all[key] = Want(record)
            want.count += record.count

    def _listen(self, record: ListenRecord) -> None:
        dest = record.dest
        if dest.ip:
            self._own.add(f":{dest.port}")
            place = (dest.ip, str(dest.port), record.scope)
            self.listeners.setdefault(place, shown((record.proc.chain or ("?",))[0]))
        elif dest.unix:
            self._own.add(dest.unix)

    def __iter__(self) -> Iterator[Want]:
        """
        What is wanted of others, in the order in which it came up.

        Not the jail's own listeners, nor what a port of the moment was asked in vain.
        """
        return (want for want in self._all.values() if not self._of_no_account(want))

    def select(self, wanted: Callable[[Want], bool]) -> list[Want]:
        """Those of them that are *wanted*."""
        return [want for want in self if wanted(want)]

    def _of_no_account(self, want: Want) -> bool:
        record = want.record
        if record.reason == Reason.DEFAULT.value and want.allowed and record.dest.other:
            return True  # it disconnects, or asks the kernel
        local = record.dest.ip.startswith(_LOOPBACK)
        # A policy that allows everything does not ask whose a listener is.
        if want.allowed and local and f":{record.dest.port}" in self._own:
            return True
        endpoint = endpoint_of(record.dest, raw=record.seen.raw)
        if isinstance(endpoint, Unix) and want.reason in (Reason.NO_LISTENER, Reason.DEFAULT):
            return is_name_service(endpoint) or record.dest.unix in self._own
        if want.reason is not Reason.NO_LISTENER:
            return False
        return f":{record.dest.port}" in self._own or (record.dest.port or 0) in self._ephemeral


def _key(record: AttemptRecord) -> Hashable:
    dest = record.dest
    where: Hashable = (dest.ip, dest.port, dest.unix, dest.other, dest.name, record.seen.names)
    if record.operation == Operation.RESOLVE.value:
        where = dest.name
    return (record.operation == Operation.RESOLVE.value, where, record.proto, *_outcome(record))


def _outcome(record: AttemptRecord) -> tuple[str, ...]:
    return (record.verdict, record.reason, record.rule, record.layer)


def _place(record: AttemptRecord) -> str:
    return record.dest.unix or f":{record.dest.port}"


def question(want: Want) -> Question | None:
    """What was looked up."""
    endpoint = attempt_of(want.record).endpoint
    return endpoint if isinstance(endpoint, Question) else None


def shown(text: str, width: int = 60) -> str:
    """*text* of a program's choosing, fit for a comment: one line, of some length."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:width])
    return text if len(text) <= width else text[: width - 3] + "..."


def ephemeral() -> Ports:
    """What this machine hands out, see ip(7)."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            first, last = map(int, file.read().split())
    except (OSError, ValueError):
        return range(32768, 61000)
    return range(first, last + 1)


def calls(count: int) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count} call{'' if count == 1 else 's'}"
