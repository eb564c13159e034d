"""
Records in, what happened out: attempts and verdicts as they were when they were written.

What a record does not hold is left at its default: a descriptor, whether a verdict could be
cached. Of a journal that an older netjail wrote, :class:`Replayed` knows less than the
supervisor did.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address

from netjail.endpoints import Address, Endpoint, Inet, Netlink, Question, Unix, Unknown, Unspecified
from netjail.model import (
    Attempt,
    Decision,
    Operation,
    Owner,
    Process,
    Protocol,
    Reason,
    Verdict,
)
from netjail.policy.errnos import ERRNOS
from netjail.policy.facts import Caller, Known
from netjail.records.lines import AttemptRecord, Dest, Proc, ProcessRecord, Seen
from netjail.records.text import ARGUMENTS, HIDDEN
from netjail.stops import Descriptor

_NETLINK = re.compile(r"netlink:(\d+)(?: groups 0x([0-9a-f]+))?")
_FAMILY = re.compile(r"an address of family (\d+)|an (AF_\w+) address")


def attempt_of(record: AttemptRecord) -> Attempt:
    """
    The call that *record* tells of.

    :raises ValueError: for words that this version does not know.
    """
    operation = Operation(record.operation)
    return Attempt(
        record.proc.id,
        record.proc.tid,
        record.syscall,
        operation,
        frozenset(map(Protocol, record.proto.split("+"))) if record.proto else frozenset(),
        endpoint_of(record.dest, operation, record.seen.raw),
        Descriptor(0),
    )


def verdict_of(record: AttemptRecord) -> Verdict:
    """
    What was decided of it.

    :raises ValueError: for words that this version does not know.
    """
    return Verdict(
        Decision(record.verdict),
        Reason(record.reason),
        record.rule,
        record.layer,
        record.why,
        record.fix,
        error_of(record.errno),
        name=record.dest.name,
        redirect=_place(record.redirect) if record.redirect else None,
    )


def _place(text: str) -> Inet:
    """``127.0.0.1:8443``, ``[::1]:8443``."""
    host, _, port = text.rpartition(":")
    return Inet(ip_address(host.strip("[]")), int(port))


def chain_of(record: AttemptRecord) -> tuple[str, ...]:
    """The names of who asked and who started it."""
    return record.proc.chain or ("?",)


def process_of(record: Proc | ProcessRecord) -> Process:
    """A program image; its arguments may be hidden, see ``make.arguments``."""
    parent = record.parent if isinstance(record, ProcessRecord) else 0
    return Process(record.id, parent, record.pid, record.exe, record.argv, record.uid, record.cwd)


def error_of(name: str) -> int:
    """111 for ``ECONNREFUSED``, 0 for none."""
    return ERRNOS[name] if name in ERRNOS else int(name or 0)


def endpoint_of(dest: Dest, operation: Operation = Operation.CONNECT, raw: str = "") -> Endpoint:
    """Where *dest* is; *raw* as in ``Seen``."""
    if dest.ip:
        place = Inet(ip_address(dest.ip), dest.port or 0)
        if operation is Operation.RESOLVE:
            return Question(dest.name, dest.type, place)
        return place
    return _other(dest.other) if dest.other else _unix(dest.unix, raw)


def _unix(text: str, raw: str) -> Unix:
    abstract = text.startswith("@")
    path = bytes.fromhex(raw) if raw else text.removeprefix("@").encode()
    return Unix(path, abstract)


def _other(text: str) -> Endpoint:
    if found := _NETLINK.fullmatch(text):
        return Netlink(int(found[1]), int(found[2] or "0", 16))
    if found := _FAMILY.fullmatch(text):
        family = int(found[1]) if found[1] else getattr(socket, found[2], -1)
        return Unknown(family, 0)
    return Unspecified()


# Reasons that say whose socket it was, for journals that say it nowhere else.
_OWNERS = {
    Reason.SELF.value: Owner.JAIL,
    Reason.FOREIGN.value: Owner.OUTSIDE,
    Reason.NO_LISTENER.value: Owner.NOBODY,
}


def _above(proc: Proc, processes: Mapping[int, ProcessRecord]) -> tuple[tuple[str, ...], bool]:
    """The programs above a process, and whether they reach up to the command."""
    above: list[str] = []
    at = processes.get(proc.id)
    while at and at.parent and len(above) < len(processes):
        at = processes.get(at.parent)
        above += [at.exe] if at else []
    return tuple(above), at is not None and not at.parent


class Replayed:
    """The ``Facts`` of a recorded attempt: what the policy could ask then, to be asked again."""

    def __init__(
        self, record: AttemptRecord, processes: Mapping[int, ProcessRecord] | None = None
    ) -> None:
        self._reason = record.reason
        self._processes = processes or {}
        self._dest: Dest = record.dest
        self._seen: Seen = record.seen
        self._proc: Proc = record.proc

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        """Whose socket would have received."""
        found = self._seen.owners.get(protocol.value)
        return Owner(found) if found else _OWNERS.get(self._reason, Owner.UNKNOWN)

    def caller(self, attempt: Attempt) -> Caller:
        """
        Who asked; where no rule asked for that then, as the kernel called it.

        Of a command line that is hidden, or cut, there may be more.
        """
        proc, seen = self._proc, self._seen
        whole = not any(word.endswith(HIDDEN) for word in proc.argv)
        whole = whole and sum(len(word) + 1 for word in proc.argv) < ARGUMENTS
        words = tuple(word for word in proc.argv if word != HIDDEN)
        if seen.who:
            return Caller(seen.program, words, whole, seen.ancestors, seen.rooted)
        return Caller(proc.exe, words, whole, *_above(proc, self._processes))

    def missing(self, attempt: Attempt) -> int:
        """The errno that looking up the unix path gave."""
        return error_of(self._seen.missing)

    def resolved(self, attempt: Attempt) -> bytes:
        """The unix path without links."""
        seen = self._seen
        return bytes.fromhex(seen.raw_path) if seen.raw_path else seen.path.encode()

    def addresses(self, name: str) -> frozenset[Address] | None:
        """The recorded address, if *name* led to it then."""
        known = name in (*self._seen.names, self._dest.name)
        return frozenset({ip_address(self._dest.ip)}) if known and self._dest.ip else frozenset()

    def known(self, address: Address) -> Known:
        """Which names led there."""
        return Known(self._seen.names, (), self._dest.known)

    def search(self) -> tuple[str, ...]:
        """The domains that resolvers appended."""
        return self._seen.search

    def resolvers(self) -> frozenset[Address]:
        """The destination, if it was a configured name server."""
        return frozenset({ip_address(self._dest.ip)} if self._seen.resolver else ())

    def trusted(self, name: str) -> bool:
        """Whether a name may give a private address."""
        return "." not in name or name in self._seen.trusted
