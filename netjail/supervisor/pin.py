"""
A judged unix path, to an address that cannot be led elsewhere.

What is judged is an inode; between that and the call, a link can be swapped. So the
call gets a path into the holder's descriptors, see ``kernel/holder.c``.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from socket import AF_UNIX

from netjail.endpoints import Unix
from netjail.errors import KernelError
from netjail.kernel.owners import Resolved
from netjail.kernel.paths import Viewer
from netjail.kernel.tracee import Jail, patience
from netjail.model import Attempt, Decision, Reason, Verdict
from netjail.policy import Policy

_LOST = "the path cannot be held still here: {}"
_BARRED = (
    "a program that gave up root gets EACCES for unix sockets: start netjail as its user "
    "(setpriv, runuser), or let the program use TCP"
)


def by_path(policy: Policy, attempt: Attempt, verdict: Verdict) -> bool:
    """Whether it matters where the attempt's path leads."""
    endpoint = attempt.endpoint
    if not isinstance(endpoint, Unix) or endpoint.abstract or not endpoint.path:
        return False
    if verdict.decision is not Decision.ALLOW:
        return False
    # Where everything is allowed, it does not matter.
    refuses = any(engine.paths.deny for engine in policy.engines)
    return refuses or verdict.reason is not Reason.DEFAULT


def pin(jail: Jail, tid: int, found: Resolved, warn: Callable[[str], None]) -> Verdict | None:
    """Redirect the judged call of *tid* to the inode *found*; or why it cannot be."""
    if found.fd is None:
        return Verdict(
            Decision.DENY,
            Reason.NO_LISTENER,
            why="it does not exist",
            error=found.error or errno.ECONNREFUSED,
        )
    try:
        # Its root, and the file itself, may be on a FUSE that no longer answers.
        with patience():
            if not _same_view(tid):
                return _refused("the program has mounts, a root or a user namespace of its own")
            path = jail.hold(found.fd)
        if _is_barred(tid):
            warn(_BARRED)
    except KernelError as error:
        return _refused(str(error))
    jail.rename(tid, struct.pack("=H", AF_UNIX) + path + b"\0")
    return None


# /proc/PID/fd of root's process is for root: PTRACE_MODE_READ, see proc(5).
def _is_barred(tid: int) -> bool:
    return os.geteuid() == 0 != Viewer.of(tid).credentials.uid


def _refused(why: str) -> Verdict:
    text = _LOST.format(why)
    return Verdict(Decision.DENY, Reason.INTERNAL, why=text, error=errno.ECONNREFUSED)


# /proc must mean to the program what it means to us. In a user namespace of its own
# another of its threads could mount over it, or change the root, after this look.
def _same_view(tid: int) -> bool:
    try:
        ours, theirs = os.stat("/proc/self/root/."), os.stat(f"/proc/{tid}/root/.")
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) and all(
            os.readlink(f"/proc/{tid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
            for kind in ("mnt", "user")
        )
    except OSError:
        return False
