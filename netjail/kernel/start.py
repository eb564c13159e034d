"""
Two processes out of one: the front, and the supervisor that traces for it.

The front goes on as what the shell started; the supervisor is its child, in a
process group of its own, and dies with it. See DESIGN "Starting, following, and what
is seen from outside".
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence

import msgspec

from netjail.errors import KernelError, NetjailError
from netjail.kernel._core import ffi, lib
from netjail.kernel.links import Links, Shared

# LANDLOCK_SCOPE_* of include/uapi/linux/landlock.h, ABI 6.
SCOPE_ABSTRACT, SCOPE_SIGNAL = 1, 2


class Launch(msgspec.Struct, frozen=True):
    """What the child becomes, and what it does to itself before."""

    command: Sequence[str]
    program: bytes
    """The seccomp filter."""
    scoped: int
    """LANDLOCK_SCOPE_* bits, 0 for no domain."""
    closed: Sequence[int]
    """Inherited descriptors that are not passed on."""
    dropped: int
    """A bit for each capability that is taken from it."""


def start(launch: Launch, supervise: Callable[[Links], None]) -> tuple[int, int]:
    """
    Run *launch* under *supervise*, which runs in a process of its own.

    :returns: how to leave: an exit status, and a signal to die by or 0.
    :raises NetjailError: if the supervisor died, or the child could not be started.
    """
    shared = Shared()
    child, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    takes, holder = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attached, attach = os.pipe()
    links = Links(shared, os.getpid(), channel.fileno(), holder.fileno(), attach)
    lib.nj_hold_signals()
    supervisor = _fork()
    if not supervisor:
        child.close()
        takes.close()
        os.close(attached)
        _exit_after(supervise, links)
    channel.close()
    holder.close()
    os.close(attach)
    _launch(launch, shared, (child.detach(), takes.detach(), attached, supervisor))
    ret = ffi.new("int *")
    result = lib.nj_front(shared.page, supervisor, ret)
    if result < 0:
        raise NetjailError(
            "the supervisor died; every process of the jail is ended",
            "was it killed, for want of memory perhaps? See the kernel's log",
        )
    return (ret[0], 0) if ret[0] >= 0 else (0, -ret[0])


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise KernelError("fork", error.errno or 0) from error


def _exit_after(supervise: Callable[[Links], None], links: Links) -> None:
    code = 125
    try:
        supervise(links)
        code = 0
    finally:
        # No cleaning up: buffers and exit functions are the front's.
        os._exit(code)


def _launch(launch: Launch, shared: Shared, ends: tuple[int, int, int, int]) -> None:
    words = [ffi.new("char[]", os.fsencode(word)) for word in launch.command]
    environment = [ffi.new("char[]", word) for word in _environment()]
    filter_bytes = ffi.from_buffer(launch.program)
    argv = ffi.new("char *[]", [*words, ffi.NULL])
    envp = ffi.new("char *[]", [*environment, ffi.NULL])
    numbers = ffi.new("int32_t[]", list(launch.closed))
    request = ffi.new("struct nj_launch *")
    request.shared = shared.page
    request.file, request.argv, request.envp = words[0], argv, envp
    request.filter, request.filter_length = filter_bytes, len(launch.program) // 8
    request.channel, request.holder, request.attached, request.supervisor = ends
    request.landlock_scoped = launch.scoped
    request.closed, request.closed_count = numbers, len(launch.closed)
    request.dropped = launch.dropped
    # The supervisor tells what went wrong; all that is left here is to wait for it.
    result = lib.nj_launch(request, ffi.new("int32_t *"))
    if result < 0 and result != -errno.ECHILD:
        raise KernelError("prctl", -result)


def _environment() -> list[bytes]:
    """The environment as it came: the interpreter adds LC_CTYPE to its own (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        raw = file.read()
    return [word for word in raw.split(b"\0") if word]


def leave(code: int, number: int) -> None:
    """End this process by signal *number* if there is one, else with status *code*."""
    if number:
        lib.nj_leave(number)
    os._exit(code)
