"""
What the command would get from whoever started netjail: sockets and capabilities.

To close another kind of descriptor at the start, add its row to ``_DEVICES`` or
``_LINKS``; to drop another capability, add it to ``UNDOING``.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Sequence

import msgspec

from netjail import sockets
from netjail.errors import KernelError, UsageError
from netjail.kernel._core import ffi, lib
from netjail.model import Protocol

# Numbers of include/uapi/linux/capability.h. With one of these a program could send
# past the judge, change where judged packets go, or reach the supervisor's memory.
UNDOING = {
    "cap_net_admin": 12,
    "cap_net_raw": 13,
    "cap_sys_module": 16,
    "cap_sys_rawio": 17,
    "cap_sys_ptrace": 19,
    "cap_perfmon": 38,
    "cap_bpf": 39,
}

# Documentation/admin-guide/devices.txt.
_DEVICES = {
    os.makedev(10, 200): "a tun device",
    os.makedev(10, 238): "a vhost-net device",
    os.makedev(108, 0): "a ppp device",
}
_SOCKET = "a socket"
# What /proc/self/fd/<n> leads to.
_LINKS = (
    (re.compile(r"socket:\["), _SOCKET),
    (re.compile(r"anon_inode:\[io_uring\]"), "an io_uring ring"),
    (re.compile(r"anon_inode:\[userfaultfd\]"), "another process's page faults"),
    (re.compile(r"/dev/tap\d"), "a tap device"),
    (re.compile(r"/proc/\d+/(task/\d+/)?mem$"), "another process's memory"),
)

_SO_COOKIE = 57  # asm-generic/socket.h; the socket module of Python 3.11 lacks it
_STANDARD = ("standard input", "standard output", "standard error")
# Whose calls are judged by rules in any jail.
_USUAL = frozenset({Protocol.TCP, Protocol.UDP, Protocol.UNIX, Protocol.NETLINK})


class Passed(msgspec.Struct, frozen=True):
    """A socket that the command starts with."""

    fd: int
    protocol: Protocol
    own: str
    """Its own address, "" if it has none."""
    peer: str
    """Whom it is connected to, "" if nobody with a name."""
    connected: bool
    listening: bool
    cookie: int

    @property
    def text(self) -> str:
        """``tcp socket connected to 192.0.2.1:22``."""
        if self.listening:
            return f"{self.protocol.value} socket that listens on {self.own}"
        if self.connected:
            return f"{self.protocol.value} socket connected to {self.peer or 'a nameless peer'}"
        return f"{self.protocol.value} socket" + (f" bound to {self.own}" if self.own else "")


class Inherited(msgspec.Struct, frozen=True):
    """What comes with the command, and what does not."""

    closed: tuple[int, ...]
    """Descriptors that do not cross the exec."""
    passed: tuple[Passed, ...]
    """Sockets that do: standard ones and those of ``--keep-fd``."""
    capabilities: int
    """A bit for each capability of this process."""

    @classmethod
    def read(cls, keep: Sequence[int]) -> Inherited:
        """
        Look at this process's own, as it was started.

        Pipes and files stay: make's jobserver and the shell's ``<(...)`` need them.

        :raises UsageError: if one of *keep* is open and yet cannot be passed on.
        """
        found = {fd: what for fd in _inheritable() if (what := _reaches_out(fd))}
        for fd in keep:
            if found.get(fd, _SOCKET) != _SOCKET:
                hint = "what goes through it cannot be judged; leave it out"
                raise UsageError(f"--keep-fd: descriptor {fd} is {found[fd]}", hint)
        passed = [fd for fd, what in found.items() if what == _SOCKET and (fd <= 2 or fd in keep)]
        closed = [fd for fd in found if fd > 2 and fd not in passed]
        return cls(tuple(closed), tuple(map(_describe, sorted(passed))), _capabilities())

    @property
    def rare(self) -> frozenset[Protocol]:
        """What the jail's descriptors may be beyond what any program makes."""
        return frozenset(one.protocol for one in self.passed) - _USUAL

    @property
    def undoing(self) -> tuple[str, ...]:
        """Capabilities of this process that would undo the jail."""
        return tuple(name for name, bit in UNDOING.items() if self.capabilities >> bit & 1)

    @property
    def listening(self) -> frozenset[int]:
        """Cookies of sockets that listen already."""
        return frozenset(one.cookie for one in self.passed if one.listening)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the sockets the user should know."""
        groups: dict[int, list[Passed]] = {}
        for one in self.passed:
            groups.setdefault(one.cookie, []).append(one)
        return tuple(filter(None, map(_warning, groups.values())))


def _inheritable() -> list[int]:
    """Open descriptors that exec passes on; the others are our own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue  # the one that listed the others
    return found


def _reaches_out(fd: int) -> str:
    """What makes *fd* a way to the network, or into another process; "" if nothing."""
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev in _DEVICES:
        return _DEVICES[status.st_rdev]
    link = os.readlink(f"/proc/self/fd/{fd}")
    return next((what for pattern, what in _LINKS if pattern.match(link)), "")


def _describe(fd: int) -> Passed:
    with socket.socket(fileno=os.dup(fd)) as one:
        peer = _asked(one.getpeername)
        return Passed(
            fd,
            sockets.kind(one.family, one.type, one.proto),
            _address(_asked(one.getsockname)),
            _address(peer),
            peer is not None,
            bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)),
            int.from_bytes(one.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little"),
        )


def _asked(what: Callable[[], object]) -> object:
    try:
        return what()
    except OSError:
        return None


def _address(raw: object) -> str:
    """An address of Python's socket module, as a person writes it."""
    match raw:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case bytes():
            return "@" + os.fsdecode(raw).lstrip("\0")
        case str():
            return raw
        case None:
            return ""
    return str(raw)


def _warning(same: list[Passed]) -> str:
    """One line for one socket, whatever its numbers; "" for a pipe in socket's clothes."""
    first = same[0]
    harmless = first.protocol is Protocol.UNIX and not first.peer
    if not first.listening and (harmless or first.fd > 2):
        return ""
    who = ", ".join(_STANDARD[one.fd] if one.fd <= 2 else f"descriptor {one.fd}" for one in same)
    end = "what is sent there is not judged"
    if first.listening:
        end = "who can reach it is not netjail's doing"
    return f"{who}: a {first.text}; {end}"


def _capabilities() -> int:
    ret = ffi.new("uint64_t *")
    error = lib.nj_capabilities(ret)
    if error < 0:
        raise KernelError("capget", -error)
    return int(ret[0])
