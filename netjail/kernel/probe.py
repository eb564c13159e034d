"""
What this host offers: the compiled core's tries and ``/proc`` in, a :class:`Host` out.

:func:`probe` finds out, :func:`require` refuses. To ask for one more thing, give
``Host`` a field, fill it in :func:`probe` (``probe.c`` if it takes a system call)
and say in a row of ``NEEDS`` what is wrong without it and what helps.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable

import msgspec

from netjail.errors import HostError, KernelError
from netjail.stops import Arch
from netjail.syscalls import NOTIFY_NUMBERS

# What each version brought: sealed memfd 5.1, PTRACE_GET_SYSCALL_INFO 5.3,
# pidfd_getfd 5.6, SECCOMP_IOCTL_NOTIF_ADDFD 5.9; 5.10 has long-term support.
OLDEST = (5, 10)
# The first Landlock ABI (Linux 6.12) with scopes, see landlock(7).
SCOPED = 6


class Host(msgspec.Struct, frozen=True):
    """This machine, as the process that asks sees it; an *_error* is an errno, 0 if it worked."""

    release: str
    """As ``uname -r`` prints it."""
    machine: str
    bits: int
    """Of a pointer of this Python: 64, or 32 under a 32-bit Python."""
    proc_error: str = ""
    """Why ``/proc`` cannot be used, "" if it can."""
    tracer: int = 0
    """Who traces this process, 0 if nobody that this pid namespace shows."""
    tracer_name: str = ""
    filtered: bool = False
    """A seccomp filter, a container's or a service's, holds this process."""
    yama: int = 0
    """``ptrace_scope``, see Documentation/admin-guide/LSM/Yama.rst; 0 without Yama."""
    landlock: int = 0
    """The Landlock ABI, 0 if none."""
    mseal: bool = False
    jailed: bool = False
    """A netjail already holds this process."""
    trace_error: int = 0
    """Of ``SECCOMP_RET_TRACE``."""
    notify_error: int = 0
    """Of ``SECCOMP_RET_USER_NOTIF``."""
    listener_error: int = 0
    """Of a filter with a notification listener."""
    notification_error: int = 0
    """Of a call that the listener is told of; another filter may answer it first."""
    seal_error: int = 0
    """Of a memfd with ``F_SEAL_FUTURE_WRITE``."""
    seize_error: int = 0
    """Of ``PTRACE_SEIZE`` on a child."""
    readv_error: int = 0
    """Of ``process_vm_readv`` on a child; there are slower ways."""
    getfd_error: int = 0
    """Of ``pidfd_getfd`` on a child; without it no socket's kind is known."""
    diag_error: int = 0
    """Of sock_diag and rtnetlink; without them nothing is known to be the jail's own."""

    @property
    def kernel(self) -> tuple[int, int]:
        """Major and minor version; (0, 0) if *release* does not tell."""
        match = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def weak(self) -> bool:
        """Whether the jail can reach processes outside: no Landlock scopes here."""
        return self.landlock < SCOPED


def probe(proc: str = "/proc") -> Host:
    """
    Find out what this host offers; costs about a millisecond.

    :param proc: where procfs is mounted.
    :raises HostError: if the compiled core does not load, as on another architecture.
    :raises KernelError: if not even a child can be started.
    """
    uname = os.uname()
    host = Host(uname.release, uname.machine, 64 if sys.maxsize > 2**32 else 32)
    _refuse(host, BASICS)
    try:
        # Late, so that a wrong architecture is told above and not by the loader.
        from netjail.kernel._core import ffi, lib
    except ImportError as error:
        raise HostError(
            f"the compiled core does not load: {error}", "install netjail for this Python"
        ) from error
    ret = ffi.new("struct nj_host *")
    result = lib.nj_probe(NOTIFY_NUMBERS[Arch.X86_64], ret)
    if result < 0:
        raise KernelError("probing this host", -result)
    status, proc_error = _status(proc)
    tracer = int(status.get("TracerPid", "0"))
    return Host(
        release=host.release,
        machine=host.machine,
        bits=host.bits,
        proc_error=proc_error,
        tracer=tracer,
        tracer_name=_text(f"{proc}/{tracer}/comm") if tracer else "",
        filtered=status.get("Seccomp", "0") != "0",
        yama=int(_text(f"{proc}/sys/kernel/yama/ptrace_scope") or "0"),
        landlock=ret.landlock,
        mseal=bool(ret.mseal),
        jailed=bool(ret.jailed),
        trace_error=ret.trace,
        notify_error=ret.notify,
        listener_error=ret.listener,
        notification_error=ret.notification,
        seal_error=ret.seal,
        seize_error=ret.seize,
        readv_error=ret.readv,
        getfd_error=ret.getfd,
        diag_error=ret.diag,
    )


def require(host: Host) -> None:
    """
    Refuse a host that cannot hold a jail.

    :raises HostError: with the one cause that comes first, and what helps.
    """
    _refuse(host, BASICS + NEEDS)


def _refuse(host: Host, needs: tuple[Need, ...]) -> None:
    for violated, message, hint in needs:
        if violated(host):
            raise HostError(message(host), hint)


def _status(proc: str) -> tuple[dict[str, str], str]:
    """The fields of ``/proc/self/status``, and why they cannot be believed."""
    try:
        seen = os.readlink(f"{proc}/self")
        with open(f"{proc}/self/status", errors="replace") as file:
            text = file.read()
    except OSError:
        return {}, f"{proc} is not mounted"
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    if seen != str(os.getpid()):
        # "unshare --pid" without --mount-proc: every /proc/<tid> is another's.
        return fields, f"{proc} shows another pid namespace"
    return fields, ""


def _text(path: str) -> str:
    """A small file's text, "" where it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _seize_cause(host: Host) -> str:
    return f"ptrace is refused here: {os.strerror(host.seize_error)}"


def _listener_cause(host: Host) -> str:
    if host.listener_error == errno.EBUSY:
        return "another supervisor already holds this process's seccomp notifications"
    return f"seccomp filters are refused here: {os.strerror(_filter_error(host))}"


def _filter_error(host: Host) -> int:
    return host.trace_error or host.notify_error or host.listener_error


Need = tuple[Callable[[Host], bool], Callable[[Host], str], str]

# What can be said before the compiled core is loaded.
# (whether it is violated, the cause, what helps); the first that is violated is told.
BASICS: tuple[Need, ...] = (
    (
        # uname says i686 under "setarch i386"; the kernel is x86-64 all the same.
        lambda host: host.machine not in {"x86_64", "i386", "i486", "i586", "i686"},
        lambda host: f"this machine is {host.machine}: netjail needs x86-64",
        "run it on an x86-64 machine",
    ),
    (
        lambda host: host.bits != 64,
        lambda host: f"this Python is a {host.bits}-bit program: netjail needs a 64-bit one",
        "install netjail for the 64-bit Python",
    ),
    (
        lambda host: host.kernel < OLDEST,
        lambda host: f"Linux {host.release} is too old: netjail needs 5.10 or newer",
        "a judged call cannot be held still on older kernels",
    ),
)

# The same for what the core tried and /proc tells. A cause comes before what it
# leads to: inside a jail, or under strace, ptrace is refused as well.
NEEDS: tuple[Need, ...] = (
    (
        lambda host: host.jailed,
        lambda host: "already inside a netjail",
        "the outer jail holds everything below it: give it the rules instead",
    ),
    (
        lambda host: host.proc_error != "",
        lambda host: host.proc_error,
        "mount it: mount -t proc proc /proc (unshare --pid has --mount-proc)",
    ),
    (
        lambda host: host.tracer != 0,
        lambda host: (
            f"already traced by {host.tracer_name or 'another program'} (pid {host.tracer})"
        ),
        "a process has one tracer only: run netjail without strace, gdb and the like",
    ),
    (
        lambda host: host.seize_error != 0 and host.yama >= 3,
        lambda host: "Yama forbids ptrace altogether: kernel.yama.ptrace_scope is 3",
        "set it to 1 in /etc/sysctl.d and restart: 3 stays until then",
    ),
    (
        lambda host: host.seize_error != 0 and host.yama == 2,
        lambda host: "Yama keeps ptrace for administrators: kernel.yama.ptrace_scope is 2",
        "as root: sysctl kernel.yama.ptrace_scope=1",
    ),
    (
        lambda host: host.seize_error != 0 and host.filtered,
        lambda host: f"{_seize_cause(host)}, and a seccomp filter holds this process",
        "let the container trace: docker run --cap-add SYS_PTRACE, or another seccomp profile",
    ),
    (
        lambda host: host.seize_error != 0,
        _seize_cause,
        "a security module or a tracer outside this pid namespace forbids it",
    ),
    (
        lambda host: _filter_error(host) != 0,
        _listener_cause,
        "the container or service that runs this must leave seccomp(2) to its programs",
    ),
    (
        lambda host: host.notification_error != 0,
        lambda host: "a seccomp filter around netjail swallows its notifications",
        f"that filter must let system call {NOTIFY_NUMBERS[Arch.X86_64]} through:"
        " docker run --security-opt seccomp=PROFILE",
    ),
    (
        lambda host: host.seal_error != 0,
        lambda host: f"no memory can be sealed here: {os.strerror(host.seal_error)}",
        "memfd_create(2) and F_SEAL_FUTURE_WRITE are needed to hold a judged call still",
    ),
)
