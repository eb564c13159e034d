"""
What this host offers to a jail, as lines for people: :func:`facts`.

Whether netjail runs at all is ``kernel.probe.require``'s to say; here is what it found,
and what is worse where something is missing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from netjail.doctor.diag import device
from netjail.kernel.probe import SCOPED, Host, probe

_NETNS_COOKIE = 71  # SO_NETNS_COOKIE of asm-generic/socket.h, Linux 5.14
_YAMA = ("no restriction", "ancestors may trace", "administrators may trace", "nobody may trace")


class Fact(msgspec.Struct, frozen=True):
    """One thing about this host."""

    name: str
    value: str
    good: bool = True
    means: str = ""
    """What is worse for it, and what would help; "" if nothing is."""


def facts() -> tuple[Fact, ...]:
    """
    Everything that matters about this host.

    :raises HostError: if the compiled core does not load here.
    """
    host, status = probe(), _status()
    return (*_kernel(host), *_seccomp(host, status), *_memory(host), *_network(), *_user(status))


def _status() -> dict[str, str]:
    try:
        text = Path("/proc/self/status").read_text(errors="replace")
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _kernel(host: Host) -> Iterator[Fact]:
    yield Fact("kernel", f"Linux {host.release} on {host.machine}")
    proc = host.proc_error or "mounted"
    yield Fact("/proc", proc, not host.proc_error, "netjail needs it" if host.proc_error else "")
    yield _tried("ptrace", host.seize_error, "netjail needs it")
    yield Fact("Yama", f"{host.yama}: {_YAMA[min(host.yama, 3)]}", host.yama < 2)
    scoped = "with scopes" if not host.weak else "without scopes"
    yield Fact(
        "Landlock",
        f"ABI {host.landlock}, {scoped}" if host.landlock else "none",
        not host.weak,
        f"scopes need ABI {SCOPED} (Linux 6.12): without them a jailed program reaches processes "
        "outside of the same user by /proc/PID/mem; events say weak"
        if host.weak
        else "",
    )


def _seccomp(host: Host, status: dict[str, str]) -> Iterator[Fact]:
    with contextlib.suppress(OSError):
        actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().strip()
        yield Fact("seccomp actions", actions)
    yield _tried("a filter that asks a tracer", host.trace_error, "netjail needs it")
    yield _tried(
        "a filter with a listener",
        host.notify_error or host.listener_error,
        "netjail needs it: no other supervisor may hold this process",
    )
    filters = status.get("Seccomp_filters", "some" if host.filtered else "0")
    yield Fact(
        "already filtered",
        f"by {filters}" if host.filtered else "no",
        True,
        "a container's filter, or a service's: what it refuses cannot be tried below"
        if host.filtered
        else "",
    )


def _memory(host: Host) -> Iterator[Fact]:
    yield _tried("a sealed memfd", host.seal_error, "netjail needs it for the judged copy")
    sealed = "yes" if host.mseal else "no"
    means = "" if host.mseal else "Linux 6.10 has it; the filter guards the judged copy alone"
    yield Fact("mseal", sealed, host.mseal, means)
    yield _tried("process_vm_readv", host.readv_error, "/proc/PID/mem is used, which is slower")
    yield _tried(
        "pidfd_getfd",
        host.getfd_error,
        "what a socket is stays unknown: it is judged as every protocol that it could be; a "
        "container allows it with --cap-add SYS_PTRACE or another seccomp profile",
    )


def _network() -> Iterator[Fact]:
    """What ``self`` stands on: whose listener it is."""
    without = "nothing over IP is `self`: the jail's own servers need a rule"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probed:
        yield _asked("sock_diag", lambda: device(0), without)
        yield _asked(
            "SO_NETNS_COOKIE",
            lambda: probed.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8),
            f"{without} (Linux 5.14 has it)",
        )


def _user(status: dict[str, str]) -> Iterator[Fact]:
    yield Fact("user", f"uid {os.getuid()}")
    held = int(status.get("CapEff", "0"), 16).bit_count()
    inner = _in_user_namespace()
    root = held > 0 and not inner
    yield Fact(
        "capabilities",
        f"{held}" if held else "none",
        not root,
        "with root's a jailed program can change the machine around the jail: run what you do "
        "not trust as an ordinary user"
        if root
        else "",
    )
    yield Fact("user namespace", "its own" if inner else "the first")
    for name, which, least in (
        ("open files", resource.RLIMIT_NOFILE, 256),
        ("processes", resource.RLIMIT_NPROC, 64),
    ):
        soft = resource.getrlimit(which)[0]
        enough = soft == resource.RLIM_INFINITY or soft >= least
        value = "no limit" if soft == resource.RLIM_INFINITY else str(soft)
        yield Fact(f"limit: {name}", value, enough, "" if enough else "a big jail needs more")


def _in_user_namespace() -> bool:
    """The first one maps all ids to themselves: user_namespaces(7)."""
    try:
        words = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
    return words != ["0", "0", "4294967295"]


def _tried(name: str, error: int, means: str) -> Fact:
    value = f"refused: {os.strerror(error)}" if error else "yes"
    return Fact(name, value, not error, means if error else "")


def _asked(name: str, ask: Callable[[], object], means: str) -> Fact:
    try:
        ask()
    except OSError as error:
        return _tried(name, error.errno or 5, means)
    return _tried(name, 0, means)
