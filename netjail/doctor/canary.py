"""Sockets outside the jail that hear who got out; each takes what came when it is asked."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

TOKEN = b"netjail doctor"  # NJ_TOKEN of doors.h

Address = tuple[str, int] | tuple[int, int]

# scene's field: (what people call it, family, type, protocol, where)
CANARIES: dict[str, tuple[str, int, int, int, Address]] = {
    "tcp": ("TCP", socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 0)),
    "udp": ("UDP", socket.AF_INET, socket.SOCK_DGRAM, 0, ("127.0.0.1", 0)),
    "tcp6": ("TCP on IPv6", socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", 0)),
    "udp6": ("UDP on IPv6", socket.AF_INET6, socket.SOCK_DGRAM, 0, ("::1", 0)),
    "shared": ("a shared port", socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 0)),
    "udplite": ("UDP-Lite", socket.AF_INET, socket.SOCK_DGRAM, 136, ("127.0.0.1", 0)),
    "sctp": ("SCTP", socket.AF_INET, socket.SOCK_STREAM, 132, ("127.0.0.1", 0)),
    "dccp": ("DCCP", socket.AF_INET, 6, 33, ("127.0.0.1", 0)),  # SOCK_DCCP, IPPROTO_DCCP
    "vsock": ("vsock", socket.AF_VSOCK, socket.SOCK_STREAM, 0, (0xFFFFFFFF, 0xFFFFFFFF)),
}


class Canary:
    """A socket that somebody may have reached."""

    def __init__(self, title: str, heard: socket.socket) -> None:
        heard.setblocking(False)
        self.title, self.socket = title, heard
        self._datagrams = heard.type == socket.SOCK_DGRAM

    def take(self) -> int:
        """How many connections, or datagrams of ours, have come since the last time."""
        return sum(1 for _ in (self._received() if self._datagrams else self._accepted()))

    def _accepted(self) -> Iterator[None]:
        # An aborted connection was one.
        while True:
            try:
                self.socket.accept()[0].close()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                pass
            yield

    def _received(self) -> Iterator[None]:
        with contextlib.suppress(BlockingIOError):
            while True:
                if self.socket.recv(2048) == TOKEN:
                    yield


def settle() -> None:
    """
    Return when all that was sent over loopback so far has arrived.

    A packet can wait in its CPU's backlog after sendto(2) has returned (net/core/dev.c,
    enqueue_to_backlog), first come first served: one sent from each CPU after it tells.
    """
    cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marker:
        marker.bind(("127.0.0.1", 0))
        marker.settimeout(1)
        try:
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                marker.sendto(b"", marker.getsockname())
                marker.recv(1)
        finally:
            os.sched_setaffinity(0, cpus)
