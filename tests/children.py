"""Processes that wait, to be looked at as tracees."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000


@contextlib.contextmanager
def child(before: Callable[[], None]) -> Iterator[int]:
    """A process that did *before* and waits, to be looked at as a tracee."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(done[1])
            before()
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            status = 0
        finally:
            os._exit(status)
    os.close(ready[1])
    os.close(done[0])
    try:
        assert os.read(ready[0], 1) == b"x"
        yield pid
    finally:
        os.close(ready[0])
        os.close(done[1])
        os.waitpid(pid, 0)


def unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
