"""
The jail as Python sees it: stops come out, answers go in.

The compiled core does the tracing; here its structs become the plain values of
``stops`` and ``model``.
"""

from __future__ import annotations

import contextlib
import enum
import errno
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from netjail.endpoints import Address, Inet
from netjail.errors import HostError, KernelError, TraceeGone
from netjail.kernel import callers
from netjail.kernel._core import ffi, lib
from netjail.kernel.links import Links, check
from netjail.kernel.owners import Owners
from netjail.model import Process
from netjail.policy.facts import UNKNOWN, Caller
from netjail.stops import Arch, Descriptor, Stop
from netjail.syscalls import NOTIFY_NUMBERS, ROWS

_DRAINED = 4096


class Kind(enum.IntEnum):
    """What ``nj_next`` came back with; values are ``enum nj_kind`` of ``api.h``."""

    CALL = 1
    RESULT = 2
    TICK = 3
    EXITED = 4
    DONE = 5
    STARTED = 6
    NOT_STARTED = 7


class Cache(enum.IntEnum):
    """Whether the core may answer the same call again by itself; ``enum nj_cache``."""

    NOT = 0
    KIND = 1  # on descriptors of the same kind
    ANY = 2  # on every descriptor that the jail could have


class Event(msgspec.Struct, frozen=True):
    """Something that the core leaves to us."""

    kind: Kind
    tid: int = 0
    stop: Stop | None = None
    """Of a CALL."""
    again: bool = False
    """A restarted CALL: to be judged, but no new attempt."""
    token: int = 0
    """Of a RESULT."""
    result: int = 0
    """Of a RESULT: as the kernel returned it, negative for -errno."""
    status: int = 0
    """Of EXITED, as wait(2) gives it; of NOT_STARTED the step that failed."""


class Jail:
    """
    The traced processes.

    :param program: the seccomp filter that they run under, see ``filter.program``.
    :param links: to the front and its children.
    :param owners: told of every socket that the jail makes.
    :param by_caller: keep what :meth:`caller` tells.
    :raises KernelError: if a part of the jail cannot be set up.
    """

    def __init__(
        self, program: bytes, key: int, links: Links, owners: Owners, by_caller: bool = False
    ) -> None:
        self._program = ffi.from_buffer(program)
        self._rows = ffi.new(
            "struct nj_row[]",
            [
                (
                    r.shape,
                    r.descriptor_arg,
                    r.name_arg,
                    r.length_arg,
                    r.flags_arg,
                    r.error,
                    r.runs,
                    r.words,
                )
                for r in ROWS
            ],
        )
        config = ffi.new("struct nj_config *")
        config.rows, config.row_count = self._rows, len(ROWS)
        config.filter, config.filter_length = self._program, len(program) // 8
        config.notify_number = NOTIFY_NUMBERS[Arch.X86_64]
        config.notify_number_i386 = NOTIFY_NUMBERS[Arch.I386]
        config.notify_key = key
        config.owners = owners.handle
        config.callers = self._by_caller = by_caller
        self._owners = owners
        ret = ffi.new("struct nj_jail **")
        result = lib.nj_jail_new(config, links.shared.page, links.channel, links.holder, ret)
        if result == -errno.EFBIG:
            hint = "the hard limit on files (ulimit -f) is below 4 KiB; set it in the jail: sh -c"
            raise HostError("setting up the vault: no room for it", hint)
        check(result, "setting up the vault")
        _start_watchdog(ret[0])
        self._jail = ret[0]
        self._stop = ffi.new("struct nj_stop *")
        self._counts = ffi.new("struct nj_count[]", _DRAINED)

    def attach(self, front: int) -> int:
        """Take hold of the front and of the child; returns the child's pid."""
        ret = ffi.new("int32_t *")
        check(lib.nj_await_child(self._jail, ret), "fork")
        check(lib.nj_attach(self._jail, front, ret[0]), "ptrace")
        return int(ret[0])

    def next(self) -> Event:
        """Run until there is something to do."""
        stop = self._stop
        check(lib.nj_next(self._jail, stop), "tracing")
        kind = Kind(stop.kind)
        if kind is Kind.CALL:
            return Event(kind, stop.tid, _stop(stop), bool(stop.again))
        return Event(kind, stop.tid, token=stop.token, result=stop.result, status=stop.status)

    def waits(self, stop: Stop) -> bool:
        """Whether the caller is still stopped at this very call: it may be no more."""
        return bool(lib.nj_waits(self._jail, stop.tid, stop.process))

    def check_gone(self, stop: Stop | None, error: TraceeGone) -> None:
        """
        See that the caller is gone, as *error* says: else nobody would ever resume it.

        :raises KernelError: if it still waits for an answer.
        """
        if stop and self.waits(stop) and lib.nj_is_stopped(stop.tid):
            raise KernelError(error.operation, error.error)

    def allow(self, tid: int, token: int, cache: Cache) -> None:
        """Let a call run on the judged copy; with a *token* its result is reported."""
        check(lib.nj_allow(self._jail, tid, token, cache), "allowing a call")

    def deny(self, tid: int, error: int, token: int, cache: Cache) -> None:
        """Make a call fail with *error*, without running it."""
        check(lib.nj_deny(self._jail, tid, error, token, cache), "refusing a call")

    def let(self, tid: int) -> None:
        """Let a call run as it is: what was judged is all in registers."""
        check(lib.nj_pass(self._jail, tid), "passing a call")

    def listen(self, tid: int, local: bool) -> int:
        """Listen in the tracee's place, for this machine only if *local*; returns the errno."""
        ret = ffi.new("int32_t *")
        check(lib.nj_listen(self._jail, tid, local, ret), "listen")
        return int(ret[0])

    def rename(self, tid: int, name: bytes) -> None:
        """Replace the socket address of a judged call: it goes there instead."""
        check(lib.nj_rename(self._jail, tid, name, len(name)), "leading a call elsewhere")

    def lead(self, tid: int, name: bytes) -> None:
        """The same, to the stub; answers seem to come from where the call wanted to go."""
        check(lib.nj_lead(self._jail, tid, name, len(name)), "leading a call to the stub")

    def source(self, place: Inet, means: Inet) -> None:
        """Show what comes from the stub at *place* as coming from *means*."""
        source = ffi.new("struct nj_source *")
        source.mapped = place.address.version == 4
        source.means = _mapped(means.address)
        source.means_port, source.port = means.port, place.port
        source.scope = int(getattr(means.address, "scope_id", None) or 0)
        check(lib.nj_source_add(self._jail, source), "noting a name server")

    def local_port(self, tid: int) -> int:
        """
        The port of the socket that a judged call is made on; it gets one if it has none.

        :raises KernelError: if it cannot, or the host does not let us see it (EPERM).
        """
        return check(lib.nj_local_port(self._jail, tid), "choosing a port")

    def hold(self, fd: int) -> bytes:
        """
        Have an O_PATH descriptor held; returns a path that leads to its very inode.

        :raises KernelError: if the holder is gone: the jail killed or changed it.
        """
        ret = ffi.new("char[64]")
        check(lib.nj_hold(self._jail, fd, ret, 64), "holding a path")
        return bytes(ffi.string(ret))

    def ancestor(self, tid: int, depth: int) -> Process | None:
        """The process *depth* steps above the task *tid*, 0 for its own."""
        return callers.ancestor(self._jail, tid, depth)

    def caller(self, tid: int, process: int) -> Caller:
        """Who *process* is, of which *tid* is a task; nothing, if it is no more."""
        return callers.caller(self._jail, tid, process) if self._by_caller else UNKNOWN

    def drain(self) -> Iterator[tuple[int, int, bool]]:
        """
        Tokens of cached verdicts, how often each was used since the last drain, and
        whether it will not be again.
        """
        while filled := lib.nj_drain(self._jail, self._counts, _DRAINED):
            for at in range(filled):
                row = self._counts[at]
                yield row.token, row.count, bool(row.forgotten)
            if filled < _DRAINED:
                return

    def forget_any(self) -> None:
        """Have verdicts on every descriptor asked for anew."""
        lib.nj_forget_any(self._jail)

    def gone(self) -> Sequence[tuple[int, int]]:
        """
        Attempts that ended without the kernel's answer since the last time: the token,
        0 if nobody asked for its result, and the errno that says why the judged copy
        could not be had, 0 if the caller ended.
        """
        ret = ffi.new("struct nj_gone[]", _DRAINED)
        count = lib.nj_gone(self._jail, ret, _DRAINED)
        return [(ret[at].token, ret[at].cause) for at in range(count)]

    def living(self) -> Sequence[int]:
        """The pids of the processes that have not ended; the first 64."""
        ret = ffi.new("int32_t[64]")
        count = min(lib.nj_living(self._jail, ret, 64), 64)
        return [ret[at] for at in range(count)]


def _mapped(address: Address) -> bytes:
    packed = address.packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def _stop(raw: Any) -> Stop:
    found = raw.descriptor
    return Stop(
        tid=raw.tid,
        process=raw.process,
        arch=raw.arch,
        number=raw.number,
        args=tuple(raw.args),
        row=raw.row,
        name=bytes(ffi.buffer(raw.name, raw.name_size)) if raw.named else None,
        fault=raw.fault,
        descriptor=Descriptor(
            error=found.error,
            domain=found.domain,
            type=found.type,
            protocol=found.protocol,
            cookie=found.cookie,
            netns=found.netns,
            shared=bool(found.shared),
        ),
    )


def _start_watchdog(jail: object) -> None:
    result = lib.nj_watch_start(jail)
    if result == -errno.EPERM:
        # glibc starts threads by clone3, and does without where it is unknown.
        hint = "a seccomp filter answers clone3 with EPERM: one of newer Docker or runc, ENOSYS"
        raise HostError("no thread can be started here: Operation not permitted", hint)
    check(result, "starting a thread")


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Have the watchdog end the jail if what is done here takes seconds."""
    lib.nj_watch_begin()
    try:
        yield
    finally:
        lib.nj_watch_end()


def timer(milliseconds: int) -> None:
    """Have ``Jail.next`` return with a TICK so often; 0: no more."""
    check(lib.nj_timer(milliseconds), "setitimer")


def supervise_alone(front: int) -> None:
    """Make this process the supervisor: a group of its own, dead with the *front*."""
    check(lib.nj_supervise_alone(front), "prctl")
