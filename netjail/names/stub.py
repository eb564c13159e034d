"""
The stub: a name server on loopback that stands in for the system's.

Whatever the jail sends to a configured name server arrives here instead. A question is
read, judged (by the loop, which is asked for that), and answered: at once if it is
refused, else with what the supervisor's own look-up gave. One thread does it all.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Inet
from netjail.model import Protocol
from netjail.names.lookups import SERVFAIL, Reply, start
from netjail.names.rulings import Asker, Done, Judge, Ruling
from netjail.names.streams import Streams
from netjail.names.truth import Names

if TYPE_CHECKING:
    from netjail.names.questions import Asked

_ASKERS = 4096  # sockets remembered, those that were led here longest ago go first
_LAST_CALL = 5.0  # seconds
_BATCH = 64  # datagrams of one server before the others get their turn


class Server(msgspec.Struct, frozen=True):
    """One name server's stand-in, the same port for datagrams and streams."""

    means: Inet
    place: Inet
    """Where it is reached."""
    datagrams: socket.socket
    listener: socket.socket


def _open(means: Inet) -> Server:
    family = socket.AF_INET6 if means.address.version == 6 else socket.AF_INET
    host = "::1" if means.address.version == 6 else "127.0.0.1"
    for attempt in range(16):
        datagrams = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            datagrams.bind((host, 0))
            listener.bind(datagrams.getsockname())
            listener.listen(64)
            place = Inet(ip_address(host), datagrams.getsockname()[1])
            return Server(means, place, datagrams, listener)
        except OSError:  # somebody has that port for streams
            datagrams.close()
            listener.close()
            if attempt == 15:
                raise
    raise AssertionError


class Stub:
    """
    The name servers of one run.

    :param judge: says what becomes of a question; called in the stub's thread.
    :param done: told how a token's question was answered, and why it brought nothing.
    """

    def __init__(self, names: Names, judge: Judge, done: Done) -> None:
        self._names = names
        self._judge = judge
        self._done = done
        self._servers: dict[Inet, Server] = {}
        self._askers: OrderedDict[tuple[Protocol, Inet, int], Asker] = OrderedDict()
        self._anyone = False
        self._outbox: deque[Callable[[], None]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._streams = Streams(self._selector, self._from_stream)
        self._pending: set[tuple[object, int]] = set()
        self._thread: threading.Thread | None = None
        self.trouble = ""
        """What went wrong inside, as it should not."""

    def lead(self, means: Inet) -> Inet:
        """
        Where a socket is led that wants to talk to the name server *means*.

        :raises OSError: if there is no such place on this machine.
        """
        server = self._servers.get(means)
        if server is None:
            server = self._servers[means] = _open(means)
            self._post(partial(self._listen, server))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stub", daemon=True)
            start(self._thread)
        return server.place

    def admit(self, protocol: Protocol, place: Inet, port: int | None, asker: Asker) -> None:
        """
        Answer the socket that is bound to *port*, which is led to *place*.

        Others on this machine get no answer. None: this host does not let us see ports.
        """
        self._anyone |= port is None
        key = (protocol, place, port or 0)
        self._askers[key] = asker
        self._askers.move_to_end(key)
        while len(self._askers) > _ASKERS:
            self._askers.popitem(last=False)

    def _asker(self, protocol: Protocol, place: Inet, port: int) -> Asker | None:
        found = self._askers.get((protocol, place, port))
        return found or (self._askers.get((protocol, place, 0)) if self._anyone else None)

    @property
    def alive(self) -> bool:
        """Whether anybody is there to answer."""
        return self._thread is not None and self._thread.is_alive()

    def drain(self) -> threading.Event:
        """Have everything read that has arrived; the event tells when that is done."""
        drained = threading.Event()
        self._post(partial(self._drain, drained))
        return drained

    # ---- the thread ----

    def _post(self, job: Callable[[], None]) -> None:
        """Have *job* done in the stub's thread."""
        self._outbox.append(job)
        with suppress(BlockingIOError):  # full: it will wake anyway
            self._waker.send(b"x")

    def _run(self) -> None:
        self._selector.register(self._woken, selectors.EVENT_READ, self._work_off)
        while True:
            for key, events in self._selector.select(self._streams.patience()):
                self._do(partial(key.data, events))
            self._streams.expire()

    # Without its thread nobody would be answered any more, or refused.
    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"

    # Loopback delivers at once: when the jail is gone, all that it sent is there. Others
    # cannot hold this up for ever.
    def _drain(self, drained: threading.Event) -> None:
        end = time.monotonic() + _LAST_CALL
        while time.monotonic() < end:
            ready = [one for one in self._selector.select(0) if one[0].fileobj != self._woken]
            for key, events in ready:
                self._do(partial(key.data, events))
            if not ready:
                break
        drained.set()

    def _work_off(self, events: int) -> None:
        self._woken.recv(4096)
        while self._outbox:
            self._do(self._outbox.popleft())

    def _listen(self, server: Server) -> None:
        read = selectors.EVENT_READ
        self._selector.register(server.datagrams, read, partial(self._receive, server))
        self._selector.register(server.listener, read, partial(self._accept, server))

    def _receive(self, server: Server, events: int) -> None:
        from netjail.names.questions import LONGEST

        for _ in range(_BATCH):
            try:
                raw, peer = server.datagrams.recvfrom(LONGEST + 1)
            except OSError:  # nothing left, or what an ICMP message brought back
                return
            asker = self._asker(Protocol.UDP, server.place, peer[1])
            if asker:
                send = partial(self._send, server, peer)
                self._take(raw, asker, Protocol.UDP, server.means, peer, send)

    @staticmethod
    def _send(server: Server, peer: tuple[object, ...], raw: bytes) -> None:
        if not raw:
            return
        try:
            server.datagrams.sendto(raw, peer)
        except OSError:
            return  # it is gone, or does not read: as on any network

    def _accept(self, server: Server, events: int) -> None:
        try:
            connection, peer = server.listener.accept()
        except OSError:
            return
        asker = self._asker(Protocol.TCP, server.place, peer[1])
        if asker:
            self._streams.add(connection, (asker, server.means))
        else:
            connection.close()

    def _from_stream(
        self, whose: tuple[Asker, Inet], raw: bytes, stream: object, send: Callable[[bytes], None]
    ) -> None:
        self._take(raw, whose[0], Protocol.TCP, whose[1], stream, send)

    # ---- a question ----

    def _take(
        self,
        raw: bytes,
        asker: Asker,
        protocol: Protocol,
        means: Inet,
        peer: object,
        send: Callable[[bytes], None],
    ) -> None:
        from netjail.names import questions

        asked = questions.read(raw)
        if isinstance(asked, bytes):
            self._judge(asker, protocol, means, "", "")
            send(asked)
            return
        retry = (peer, asked.query.id) if protocol is Protocol.UDP else None
        ruling = self._judge(asker, protocol, means, asked.name, asked.kind)
        if ruling.code is not None:
            send(questions.refuse(asked.query, ruling.code, ruling.why))
            return
        # A datagram that comes again is answered once.
        if retry in self._pending:
            return
        finish = partial(self._finish, asked, ruling, protocol, send, retry)
        local = self._names.local(asked.name)
        if local is None and ruling.stand_in:
            local = self._names.stand_in(asked.name)
        if local is not None:
            finish(questions.local(asked, local))
            return
        if retry:
            self._pending.add(retry)
        self._names.ask(asked.name, asked.kind, lambda reply: self._post(partial(finish, reply)))

    def _finish(
        self,
        asked: Asked,
        ruling: Ruling,
        protocol: Protocol,
        send: Callable[[bytes], None],
        retry: tuple[object, int] | None,
        reply: Reply,
    ) -> None:
        from netjail.names import questions

        if retry:
            self._pending.discard(retry)
        try:
            raw = questions.answer(asked, reply, stream=protocol is Protocol.TCP)
        except Exception:
            # What a name server said cannot be said again.
            reply = Reply(SERVFAIL, failure="what was answered cannot be said again")
            raw = questions.answer(asked, reply, stream=protocol is Protocol.TCP)
        if ruling.token:
            result = questions.code_name(reply.code) if reply.code else "ok"
            self._done(ruling.token, result, reply.failure)
        send(raw)
