"""
Questions over TCP: connections in, messages with their two bytes of length out.

Their number, their silence and what they leave unread are bounded: RFC 7766, 6.2.3.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

MOST = 128
"""Connections at a time; the one that was silent longest makes room."""
SILENCE = 30.0
"""Seconds."""
_UNREAD = 1 << 18  # bytes of answers that nobody reads, and as many in the kernel

_W = TypeVar("_W")


class _Stream(Generic[_W]):
    """One connection."""

    def __init__(self, connection: socket.socket, whose: _W) -> None:
        self.connection = connection
        self.whose = whose
        self.coming = bytearray()
        self.going = bytearray()
        self.used = time.monotonic()
        self.owed = 0
        self.ended = False


class Streams(Generic[_W]):
    """
    The connections of one stub.

    :param take: gets whose connection it is, a message, the connection and how to answer.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        take: Callable[[_W, bytes, object, Callable[[bytes], None]], None],
    ) -> None:
        self._selector = selector
        self._take = take
        self._open: dict[int, _Stream[_W]] = {}

    def add(self, connection: socket.socket, whose: _W) -> None:
        """Serve a connection."""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD // 2)
        stream = _Stream(connection, whose)
        self._open[connection.fileno()] = stream
        self._selector.register(connection, selectors.EVENT_READ, partial(self._ready, stream))
        if len(self._open) > MOST:
            self._close(min(self._open.values(), key=lambda one: one.used))

    def patience(self) -> float | None:
        """Seconds until a connection may have been silent for too long."""
        return SILENCE if self._open else None

    def expire(self) -> None:
        """Close what was silent for too long."""
        oldest = time.monotonic() - SILENCE
        for stream in [one for one in self._open.values() if one.used < oldest]:
            self._close(stream)

    def _ready(self, stream: _Stream[_W], events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._write(stream)
            if events & selectors.EVENT_READ:
                self._read(stream)
        except BlockingIOError:
            return
        except OSError:
            self._close(stream)

    def _read(self, stream: _Stream[_W]) -> None:
        data = stream.connection.recv(1 << 16)
        if not data:
            self._end(stream)
            return
        stream.used = time.monotonic()
        stream.coming += data
        while len(stream.coming) >= 2:
            size = int.from_bytes(stream.coming[:2]) + 2
            if len(stream.coming) < size:
                return
            message = bytes(stream.coming[2:size])
            del stream.coming[:size]
            stream.owed += 1
            self._take(stream.whose, message, stream, partial(self._send, stream))

    # It says nothing more, but may still listen.
    def _end(self, stream: _Stream[_W]) -> None:
        if not stream.owed:
            self._close(stream)
        elif not stream.ended:
            self._selector.unregister(stream.connection)
            stream.ended = True

    def _send(self, stream: _Stream[_W], raw: bytes) -> None:
        stream.owed -= 1
        if not raw:
            return
        if stream.connection.fileno() < 0:
            return  # closed while its question was looked up
        stream.going += len(raw).to_bytes(2) + raw
        if len(stream.going) > _UNREAD:
            self._close(stream)
            return
        try:
            self._write(stream)
        except BlockingIOError:
            self._watch(stream)
        except OSError:
            self._close(stream)

    def _write(self, stream: _Stream[_W]) -> None:
        sent = stream.connection.send(stream.going)
        del stream.going[:sent]
        stream.used = time.monotonic()
        self._watch(stream)

    def _watch(self, stream: _Stream[_W]) -> None:
        if stream.ended:
            self._end(stream)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.going else 0)
        key = self._selector.get_key(stream.connection)
        if key.events != events:
            self._selector.modify(stream.connection, events, key.data)

    def _close(self, stream: _Stream[_W]) -> None:
        number = stream.connection.fileno()
        if self._open.pop(number, None) is None:
            return
        if not stream.ended:
            self._selector.unregister(stream.connection)
        stream.connection.close()
