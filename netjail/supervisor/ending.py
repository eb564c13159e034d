"""How a run ends or goes on, and what could not be done for it, in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from netjail.errors import HostError, KernelError, NetjailError
from netjail.model import Process
from netjail.tree import name_of

_EXEC = 2  # the step that failed, see ``struct failure`` of kernel/launch.c
_MISSING = (errno.ENOENT, errno.ENOTDIR)

# Why the vault cannot be lent to a process: the errno of the step that failed.
_UNPINNED = {
    errno.EEXIST: "it has memory of its own there, as Wine and some static programs do",
    errno.EMFILE: "its limit of open files (ulimit -n) leaves no room",
    errno.EAGAIN: "its limit of locked memory (ulimit -l) leaves no room",
    errno.ENOMEM: "its limit of memory (ulimit -v) or of mappings leaves no room",
    errno.EPERM: "a seccomp filter of its own refuses it",
    errno.ENOBUFS: "as many calls as fit there are blocked already",
}


def not_started(command: str, step: int, error: int) -> tuple[NetjailError, int]:
    """
    What to say of a *command* that could not be executed, and its exit status: 127 if
    it was not found, else 126; see env(1).

    :raises HostError: if it is netjail that failed, before the exec.
    """
    if step != _EXEC:
        cause = os.strerror(error) if error else "it was killed"
        hint = KernelError("", error).hint or "see docs/threat-model.md"
        raise HostError(f"the command cannot be confined: {cause}", hint)
    missing = error in _MISSING
    hint = "is it in PATH, and spelled so?" if missing else "is it an executable program?"
    if missing and "/" in command and os.path.exists(command):
        hint = "it is there, but the interpreter that it names is not"
    return NetjailError(f"{command}: {os.strerror(error)}", hint), 127 if missing else 126


def unpinned(cause: int) -> str:
    """Why an allowed call got ENOBUFS: the judged copy goes to 0x20000-0x100000."""
    why = _UNPINNED.get(cause, os.strerror(cause) if cause > 0 else "it was disturbed")
    return f"a program's allowed calls fail with ENOBUFS, for want of the judged copy: {why}"


def still_there(ancestor: Callable[[int, int], Process | None], living: Sequence[int]) -> str:
    """Who is waited for, once the command has ended."""
    names = []
    for pid in living[:5]:
        process = ancestor(pid, 0)
        names.append(f"{name_of(process) if process else '?'} ({pid})")
    who = ", ".join(names) or "threads that go on"
    return f"the command ended; waiting for {who}; --orphans kill would end them"


def unknown(cause: int) -> str:
    """What a descriptor that could not be read leads to."""
    helps = "in a container, --cap-add SYS_PTRACE lets netjail look"
    if cause == errno.EMFILE:
        helps = "raise the hard limit on open files: ulimit -n"
    return (
        f"what some sockets are could not be read ({os.strerror(cause)}): they are judged as every "
        f"kind that they could be; {helps}"
    )
