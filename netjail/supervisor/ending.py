"""How a run ends that never began, in words."""

from __future__ import annotations

import errno
import os

from netjail.errors import HostError, NetjailError

_EXEC = 2  # the step that failed, see ``struct failure`` of kernel/launch.c
_MISSING = (errno.ENOENT, errno.ENOTDIR)


def not_started(command: str, step: int, error: int) -> tuple[NetjailError, int]:
    """
    What to say of a *command* that could not be executed, and its exit status: 127 if
    it was not found, else 126; see env(1).

    :raises HostError: if it is netjail that failed, before the exec.
    """
    if step != _EXEC:
        cause = os.strerror(error) if error else "it was killed"
        raise HostError(f"the command cannot be confined: {cause}", "see docs/threat-model.md")
    missing = error in _MISSING
    hint = "is it in PATH, and spelled so?" if missing else "is it an executable program?"
    if missing and "/" in command and os.path.exists(command):
        hint = "it is there, but the interpreter that it names is not"
    return NetjailError(f"{command}: {os.strerror(error)}", hint), 127 if missing else 126
