"""
A network namespace of a test's own, with name servers where resolv.conf says.

Servers are threads of the tests, whose sockets are made inside; commands are run inside
by nsenter(1), with a resolv.conf and a hosts file of their own.
"""

from __future__ import annotations

import ctypes
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nameserver import NameServer, Zone

_CLONE_NEWNET = 0x40000000
RESOLVER = "192.0.2.53"

_ENTER = 'mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/hosts && shift && exec "$@"'


class Network:
    """A namespace in which *addresses* are this machine's, and *resolvers* name servers."""

    def __init__(self, resolvers: Sequence[str] = (RESOLVER,), options: str = "") -> None:
        self._jobs: queue.Queue[Any] = queue.Queue()
        self._ready = threading.Event()
        self._path = ""
        self._failure: OSError | None = None
        self._close: list[Callable[[], None]] = []
        threading.Thread(target=self._live, daemon=True).start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        self.folder = Path(tempfile.mkdtemp(prefix="nj-net-"))
        self.folder.chmod(0o755)
        self.resolv_conf = self.folder / "resolv.conf"
        self.hosts = self.folder / "hosts"
        self.resolv_conf.write_text("".join(f"nameserver {r}\n" for r in resolvers) + options)
        self.hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        for word in ("ip link set lo up", *(self._add(address) for address in resolvers)):
            self.command(word.split())
        self.zone = Zone()
        self.servers = [
            self.inside(lambda at=at: NameServer(at, 53, self.zone)) for at in resolvers
        ]
        self._close += [server.close for server in self.servers]

    @staticmethod
    def _add(address: str) -> str:
        size = "128 nodad" if ":" in address else "32"
        return f"ip address add {address}/{size.split()[0]} dev lo" + size[len(size.split()[0]) :]

    def address(self, *addresses: str) -> None:
        """Make *addresses* this machine's."""
        for address in addresses:
            self.command(self._add(address).split())

    @property
    def server(self) -> NameServer:
        return self.servers[0]

    def _live(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            self._failure = OSError(ctypes.get_errno(), "unshare")
        self._path = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        self._ready.set()
        while not self._failure:
            job, done = self._jobs.get()
            if job is None:
                return
            try:
                done.put((job(), None))
            except BaseException as error:
                done.put((None, error))

    def inside(self, job: Callable[[], Any]) -> Any:
        """Do *job* in a thread that is inside; threads that it makes are so too."""
        done: queue.Queue[Any] = queue.Queue()
        self._jobs.put((job, done))
        result, error = done.get()
        if error:
            raise error
        return result

    def command(self, words: Sequence[str]) -> None:
        """Run *words* inside, as ourselves."""
        subprocess.run(["nsenter", f"--net={self._path}", "--", *words], check=True)

    @property
    def prefix(self) -> list[str]:
        """The words before a command that put it inside."""
        enter = ["unshare", "-m", "sh", "-c", _ENTER, str(self.resolv_conf), str(self.hosts)]
        return ["nsenter", f"--net={self._path}", "--", *enter]

    def settle(self) -> None:
        """Wait until the name servers have taken what was sent to them."""
        for server in self.servers:
            if not server.closed:
                self.inside(server.settle)

    def close(self) -> None:
        for close in self._close:
            close()
        self._jobs.put((None, None))
        shutil.rmtree(self.folder, ignore_errors=True)
