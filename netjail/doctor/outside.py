"""
What is outside the jail: canaries that hear who gets out, and processes to attack.

A canary is a socket that takes what comes when it is asked; nothing has to run for it.
A part that this host cannot have is in ``missing``, with the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import tty
from collections.abc import Callable
from functools import partial
from types import TracebackType

from netjail.doctor.canary import CANARIES, TOKEN, Address, Canary, settle
from netjail.doctor.doors import Door
from netjail.errors import KernelError
from netjail.kernel.doors import Scene, Victim, open_ring, start_stranger

_ETH_P_ALL, _SO_ATTACH_FILTER = 3, 26

# Where ``door_route.c`` leads packets: IPv4 to 127.0.0.9, IPv6 by a routing header (43).
_LED = (
    (0x20, 0, 0, 16),
    (0x15, 2, 0, 0x7F000009),
    (0x30, 0, 0, 6),
    (0x15, 0, 1, 43),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)

# What each part is called where it is missing.
_TITLES = {part: f"no {row[0]} here" for part, row in CANARIES.items()} | {
    "path": "no unix socket",
    "datagrams": "no unix datagram socket",
    "abstract": "no abstract unix socket",
    "victim": "no process to attack",
    "stranger": "no network namespace",
    "terminal": "no terminal",
    "ring": "no io_uring",
    "sniffer": "only root can look at packets",
}


class Outside:
    """Everything that a round of probes needs; ends with its ``with``."""

    def __init__(self) -> None:
        self.scene = Scene(python=sys.executable)
        self.missing: dict[str, str] = {}
        self.inherited: list[int] = []
        """Descriptors that the attacker shall be started with."""
        self.terminal = -1
        """The side of a terminal that the attacker shall control."""
        self._canaries: list[Canary] = []
        self._sniffer: socket.socket | None = None
        self._pids: list[int] = []
        self._arrived = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Outside:
        with self._stack:
            self._set_up()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        self._directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="netjail-"))
        os.chmod(self._directory, 0o755)
        self._stack.callback(self._end_processes)
        for part, row in CANARIES.items():
            self._try(part, partial(self._listen, part, *row))
        self._allowed_tcp = self._allowed("allowed_tcp", socket.SOCK_STREAM)
        self._allowed_udp = self._allowed("allowed_udp", socket.SOCK_DGRAM)
        self.scene.spare = _unused_port()
        for part, make in (
            ("path", self._broker),
            ("datagrams", self._datagrams),
            ("abstract", self._abstract),
            ("victim", self._victim),
            ("stranger", self._stranger),
            ("terminal", self._terminal),
            ("ring", self._ring),
        ):
            self._try(part, make)

    def _try(self, part: str, make: Callable[[], object]) -> None:
        try:
            make()
        except KernelError as error:
            self.missing[part] = str(error)
        except OSError as error:
            self.missing[part] = f"{_TITLES[part]}: {error.strerror or error}"

    # -- Setting up --

    def _open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return self._stack.enter_context(
            socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        )

    def _allowed(self, part: str, kind: int) -> Canary:
        taken = {0, *(getattr(self.scene, name) for name in CANARIES)}
        port = 0
        while port in taken:  # TCP and UDP count their ports by themselves
            opened = self._open(socket.AF_INET, kind)
            opened.bind(("127.0.0.1", 0))
            port = opened.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            opened.listen(1024)
        setattr(self.scene, part, port)
        return Canary(part, opened)

    def _listen(
        self, part: str, title: str, family: int, kind: int, protocol: int, where: Address
    ) -> None:
        opened = self._open(family, kind, protocol)
        if part == "shared":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if part == "tcp":
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 64)
        opened.bind(where)
        if kind != socket.SOCK_DGRAM:
            opened.listen(1024)
        port = opened.getsockname()[1]
        setattr(self.scene, part, port)
        self._canaries.append(Canary(f"{title}, port {port}", opened))

    def _unix(self, title: str, kind: int, name: str) -> None:
        opened = self._open(socket.AF_UNIX, kind)
        opened.bind(name)
        if kind == socket.SOCK_STREAM:
            opened.listen(64)
        self._canaries.append(Canary(title, opened))

    def _broker(self) -> None:
        self.scene.path = f"{self._directory}/broker"
        self._unix("a unix socket", socket.SOCK_STREAM, self.scene.path)

    def _datagrams(self) -> None:
        self.scene.datagrams = f"{self._directory}/datagrams"
        self._unix("a unix datagram socket", socket.SOCK_DGRAM, self.scene.datagrams)

    def _abstract(self) -> None:
        self.scene.abstract = f"netjail-doctor-{os.getpid()}-{self.scene.tcp}"
        name = f"\0{self.scene.abstract}"
        self._unix("an abstract unix socket", socket.SOCK_STREAM, name)

    def _connected(self) -> int:
        """A socket that is through to a canary already, as the doctor's own."""
        opened = self._open(socket.AF_INET, socket.SOCK_DGRAM)
        opened.connect(("127.0.0.1", self.scene.udp))
        return opened.fileno()

    def _victim(self) -> None:
        self.scene.held = self._connected()
        self.scene.socket = os.dup(self.scene.held)
        self._stack.callback(os.close, self.scene.socket)
        self.inherited.append(self.scene.socket)
        self._victim_process = Victim()
        self.scene.victim = self._victim_process.pid
        self.scene.cell = self._victim_process.address
        self._pids.append(self.scene.victim)
        self._limit = resource.prlimit(self.scene.victim, resource.RLIMIT_NOFILE)

    def _stranger(self) -> None:
        self.scene.stranger, self.scene.elsewhere, descriptor = start_stranger()
        self._pids.append(self.scene.stranger)
        opened = self._stack.enter_context(socket.socket(fileno=descriptor))
        self._canaries.append(Canary("another network namespace", opened))

    def _terminal(self) -> None:
        master, self.terminal = os.openpty()
        self._stack.callback(os.close, master)
        self._stack.callback(os.close, self.terminal)
        tty.setraw(self.terminal)
        os.set_blocking(self.terminal, False)

    def _ring(self) -> None:
        self.scene.ring_socket = self._connected()
        open_ring(self.scene)
        self._stack.callback(os.close, self.scene.ring)
        self.inherited.append(self.scene.ring)

    def _end_processes(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    # -- Hearing --

    def begin(self, door: Door) -> str:
        """
        Get ready for a probe.

        :returns: why it cannot be tried, "" if it can.
        """
        self.heard()
        for part in door.needs:
            if part == "sniffer":
                self._try(part, self._sniff)
            if part in self.missing:
                return self.missing[part]
        return ""

    def _sniff(self) -> None:
        # Where a source-routed packet goes no listener is. The filter comes before the
        # first packet: others' must not push ours out.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _LED))
        program = struct.pack("HP", len(_LED), ctypes.addressof(code))
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        opened.bind(("lo", _ETH_P_ALL))
        self._sniffer = opened

    def pump(self) -> None:
        """Take what the allowed canaries got, so that more can come."""
        self._arrived += self._allowed_tcp.take() + self._allowed_udp.take()

    def heard(self) -> tuple[list[str], int]:
        """Who was reached since the last time, and how often the allowed ones were."""
        settle()
        self.pump()
        found = [canary.title for canary in self._canaries if canary.take()]
        found += self._harm() + self._sniffed()
        arrived, self._arrived = self._arrived, 0
        return found, arrived

    def _harm(self) -> list[str]:
        found = []
        if "victim" not in self.missing:
            found += self._victim_process.harmed()
            if resource.prlimit(self.scene.victim, resource.RLIMIT_NOFILE) != self._limit:
                resource.prlimit(self.scene.victim, resource.RLIMIT_NOFILE, self._limit)
                found.append("a limit of a process outside was changed")
        if self.terminal >= 0:
            with contextlib.suppress(BlockingIOError):
                os.read(self.terminal, 64)
                found.append("a terminal outside was typed into")
        return found

    def _sniffed(self) -> list[str]:
        if self._sniffer is None:
            return []
        found = []
        with self._sniffer, contextlib.suppress(BlockingIOError):
            while True:
                packet = self._sniffer.recv(2048)
                if TOKEN in packet:
                    found = ["a packet was led elsewhere"]
        self._sniffer = None
        return found


def _unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
