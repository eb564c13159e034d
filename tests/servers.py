"""
Servers outside the jail that say what reached them.

A test is judged by these first: what was accepted and received, not what was logged.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_IP_RECVTTL = 12  # linux/in.h; the socket module lacks it

_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "mptcp": (socket.SOCK_STREAM, 262),
    "udp": (socket.SOCK_DGRAM, 0),
    "unix": (socket.SOCK_STREAM, 0),
    "unix-dgram": (socket.SOCK_DGRAM, 0),
    "unix-seqpacket": (socket.SOCK_SEQPACKET, 0),
}


@dataclass(eq=False)
class Server:
    """
    A listener outside the jail.

    A thread takes what comes; *accepted* and *received* first take what the kernel
    still holds, so that they are complete once the client has exited.
    """

    kind: str
    address: str = "127.0.0.1"
    port: int = 0
    answer: bytes = b""
    """Sent to each connection, and back for each datagram."""
    _accepted: int = 0
    _received: list[bytes] = field(default_factory=list)
    _controls: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_UNIX
        if not self.kind.startswith("unix"):
            family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._family = family
        self._socket = socket.socket(family, *_KINDS[self.kind])
        self._open()
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ, None)
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ, "stop")
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _open(self) -> None:
        if self._family == socket.AF_UNIX:
            self._socket.bind(self._unix_name)
            if not self.address.startswith("@"):
                os.chmod(self.address, 0o777)
        else:
            if not self._datagrams:  # two datagram sockets could share a port by it
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            elif self._datagrams:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            self._socket.bind((self.address, self.port))
            self.port = self._socket.getsockname()[1]
        if self._datagrams:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            return
        if self.kind == "tcp":
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 64)
        self._socket.listen(4096)

    @property
    def _datagrams(self) -> bool:
        return _KINDS[self.kind][0] == socket.SOCK_DGRAM

    @property
    def _unix_name(self) -> str | bytes:
        name = self.address
        return b"\0" + name[1:].encode() if name.startswith("@") else name

    @property
    def host(self) -> str:
        """The address as rules write it: IPv6 in brackets."""
        return f"[{self.address}]" if ":" in self.address else self.address

    @property
    def target(self) -> str:
        """What the C fixtures take as a target."""
        if self._family == socket.AF_UNIX:
            return f"{self.kind}:{self.address}"
        return f"{self.kind}://{self.host}:{self.port}"

    @property
    def accepted(self) -> int:
        """How many connections, or datagrams, arrived."""
        self._pump_all()
        return self._accepted

    @property
    def received(self) -> list[bytes]:
        """Each datagram, or the bytes of each connection in pieces."""
        self._pump_all()
        return list(self._received[:10_000])

    @property
    def controls(self) -> list[Any]:
        """The control messages that came with the datagrams."""
        self._pump_all()
        return list(self._controls[:10_000])

    def close(self) -> None:
        """Stop listening; the port is closed when this returns."""
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _run(self) -> None:
        while True:
            events = self._selector.select()
            if any(key.data == "stop" for key, _ in events):
                return
            self._pump()

    def _pump_all(self) -> None:
        settle()
        self._pump()

    def _pump(self) -> None:
        with self._lock:
            for key, _ in self._selector.select(0):
                if key.data == "stop":
                    continue
                if key.data == "connection":
                    self._read(key.fileobj)  # type: ignore[arg-type]
                elif self._datagrams:
                    self._take_datagrams()
                else:
                    self._accept()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self._accepted += 1
            connection.setblocking(False)
            if self.answer:
                connection.send(self.answer)
                connection.shutdown(socket.SHUT_WR)
            self._selector.register(connection, selectors.EVENT_READ, "connection")
            self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self._received.append(data)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(connection)
        connection.close()

    def _take_datagrams(self) -> None:
        while True:
            try:
                data, controls, _, sender = self._socket.recvmsg(65536, 256)
            except OSError:
                return
            self._accepted += 1
            if len(self._received) < 10_000:
                self._received.append(data)
                self._controls += controls
            if self.answer and sender:
                self._socket.sendto(self.answer, sender)


def settle() -> None:
    """
    Return when all that was sent over loopback so far has arrived.

    On a busy machine a packet waits in its CPU's backlog after sendto(2) has returned
    (net/core/dev.c, enqueue_to_backlog), first come first served: one sent from each CPU
    after it tells when.
    """
    cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marker:
        marker.bind(("127.0.0.1", 0))
        marker.settimeout(60)
        try:
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                marker.sendto(b"", marker.getsockname())
                marker.recv(1)
        finally:
            os.sched_setaffinity(0, cpus)


def closed_port() -> int:
    """
    A port that nobody has at any address, neither for streams nor for datagrams.

    The kernel gives it to nobody who asks for any port: it is below their range.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, first)
        with contextlib.suppress(OSError):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("", port))
            return port


def ttls(server: Server) -> list[int]:
    """The time to live of each datagram."""
    return [struct.unpack("i", data)[0] for _, kind, data in server.controls if kind == 2]
