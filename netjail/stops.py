"""
What the kernel tells of a stopped tracee, as plain data.

``kernel`` makes these and ``syscalls`` reads them; nothing else of a tracee
crosses into Python, so that another engine (seccomp user notification) can
produce the same values.
"""

from __future__ import annotations

import enum

import msgspec


class Arch(enum.IntEnum):
    """
    The ABI that a syscall was made under; one process can use several.

    Values are ``AUDIT_ARCH_*`` from ``include/uapi/linux/audit.h``.
    """

    X86_64 = 0xC000003E
    I386 = 0x40000003


class Descriptor(msgspec.Struct, frozen=True):
    """
    What a descriptor of a tracee is, read at its stop; see ``sockets``.

    *error* is not 0 where it is no socket (EBADF, ENOTSOCK) or where the host
    forbids looking (EPERM): then the other fields mean nothing.
    """

    error: int
    domain: int = 0
    """``AF_*``, SO_DOMAIN of socket(7)."""
    type: int = 0
    """``SOCK_*``, SO_TYPE of socket(7)."""
    protocol: int = 0
    """``IPPROTO_*``, SO_PROTOCOL of socket(7)."""
    cookie: int = 0
    """SO_COOKIE: never recurs while the machine is up."""
    netns: int = 0
    """SO_NETNS_COOKIE (Linux 5.14); 0: unknown."""
    shared: bool = True
    """Another task shares this descriptor table and may replace what we read."""


class Stop(msgspec.Struct, frozen=True):
    """A network call about to be made, its caller stopped, its memory copied."""

    tid: int
    process: int
    """The stable id of the caller's process, see ``tree``."""
    arch: int
    number: int
    args: tuple[int, int, int, int, int, int]
    row: int
    """Index of the row in ``syscalls.ROWS`` that trapped it."""
    name: bytes | None
    """The socket address, cut to its length; None: the call names nobody."""
    fault: int
    """errno where the call's memory cannot be read or its lengths are wrong, else 0."""
    descriptor: Descriptor
