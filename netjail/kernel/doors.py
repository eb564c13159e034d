"""The compiled probes of ``door*.c`` as Python calls: a :class:`Scene` in, :class:`Tried` out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netjail.errors import KernelError
from netjail.kernel._core import ffi, lib


class Scene(msgspec.Struct):
    """What a probe is told; ``struct nj_scene`` of ``doors_api.h`` has the same fields."""

    allowed_tcp: int = 0
    allowed_udp: int = 0
    tcp: int = 0
    udp: int = 0
    tcp6: int = 0
    udp6: int = 0
    udplite: int = 0
    sctp: int = 0
    dccp: int = 0
    shared: int = 0
    elsewhere: int = 0
    spare: int = 0
    vsock: int = 0
    victim: int = -1
    stranger: int = -1
    held: int = -1
    cell: int = 0
    socket: int = -1
    ring: int = -1
    ring_socket: int = -1
    ring_data: int = 0
    ring_entries: int = 0
    ring_tail: int = 0
    ring_mask: int = 0
    ring_array: int = 0
    milliseconds: int = 0
    path: str = ""
    datagrams: str = ""
    abstract: str = ""
    python: str = ""


class Tried(msgspec.Struct, frozen=True):
    """How a probe ended. Whether it got anywhere, only the canaries can tell."""

    error: int = 0
    """The errno that it met, 0 if none."""
    signal: int = 0
    """It died by this signal."""
    hung: bool = False
    """It was ended when its time was over."""


def _names() -> Iterator[str]:
    index = 0
    while (name := lib.nj_door_name(index)) != ffi.NULL:
        yield ffi.string(name).decode()
        index += 1


NAMES = tuple(_names())


def attempt(name: str, scene: Scene, bound: int) -> Tried:
    """
    Run the probe *name* in a child of this process.

    :param bound: the milliseconds after which it is ended.
    :raises KernelError: if no process can be started.
    """
    ret = ffi.new("struct nj_tried *")
    result = lib.nj_door_try(NAMES.index(name), _raw(scene), bound, ret)
    if result < 0:
        raise KernelError(f"the probe {name}", -result)
    return Tried(ret.error, ret.signal, bool(ret.hung))


def _raw(scene: Scene) -> Any:
    fields = msgspec.structs.asdict(scene)
    raw = ffi.new("struct nj_scene *")
    for name, value in fields.items():
        setattr(raw, name, value.encode() if isinstance(value, str) else value)
    return raw


class Victim:
    """A process outside the jail that everybody of its user may attack."""

    def __init__(self) -> None:
        cell, pid = ffi.new("struct nj_cell **"), ffi.new("int32_t *")
        result = lib.nj_victim(cell, pid)
        if result < 0:
            raise KernelError("starting a victim", -result)
        self.pid: int = pid[0]
        self._cell = cell[0]

    @property
    def address(self) -> int:
        """Of the number in its memory that nobody else shall write."""
        return int(ffi.cast("uint64_t", ffi.addressof(self._cell, "number")))

    def harmed(self) -> list[str]:
        """What was done to it since the last time."""
        found = []
        if self._cell.number:
            found.append("memory of a process outside was written")
        if self._cell.signals:
            found.append("a process outside was sent a signal")
        self._cell.number = self._cell.signals = 0
        return found


def start_stranger() -> tuple[int, int, int]:
    """
    Start a process in a network namespace of its own.

    :returns: its pid, and a UDP socket there: its port, its descriptor.
    :raises KernelError: if this user cannot have one.
    """
    port, descriptor, pid = ffi.new("uint16_t *"), ffi.new("int32_t *"), ffi.new("int32_t *")
    result = lib.nj_stranger(port, descriptor, pid)
    if result < 0:
        raise KernelError("a network namespace", -result)
    return pid[0], port[0], descriptor[0]


def open_ring(scene: Scene) -> None:
    """
    Make an io_uring with a kernel thread, for somebody to inherit; fills its fields.

    :raises KernelError: if there is none here.
    """
    raw = ffi.new("struct nj_scene *")
    result = lib.nj_ring(raw)
    if result < 0:
        raise KernelError("io_uring", -result)
    for name in ("ring", "ring_data", "ring_entries", "ring_tail", "ring_mask", "ring_array"):
        setattr(scene, name, getattr(raw, name))
