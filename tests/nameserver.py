"""
A name server of the tests: says what it is told, and remembers what reached it.

A test of look-ups is judged by that first: which names left the jail, and in which words.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class Zone:
    """What there is: rows by name and type, both as DNS writes them; others are NXDOMAIN."""

    rows: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ttl: int = 60

    def add(self, name: str, kind: str, *rows: str) -> None:
        self.rows[f"{name}.", kind] = list(rows)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        if not any(known == name for known, _ in self.rows):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        while (name, "CNAME") in self.rows and kind != "CNAME":
            answer.answer.append(self._rrset(name, "CNAME"))
            name = self.rows[name, "CNAME"][0]
            if len(answer.answer) > 20:
                break
        if self.rows.get((name, kind)):
            answer.answer.append(self._rrset(name, kind))
        return answer

    def _rrset(self, name: str, kind: str) -> dns.rrset.RRset:
        return dns.rrset.from_text_list(name, self.ttl, "IN", kind, self.rows[name, kind])


def _both(family: socket.AddressFamily, address: str, port: int) -> list[socket.socket]:
    """A socket for datagrams and one for streams, on one port; any free one for 0."""
    for tries_left in reversed(range(20)):
        with contextlib.ExitStack() as stack:
            kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
            both = [stack.enter_context(socket.socket(family, kind)) for kind in kinds]
            datagrams, listener = both
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            datagrams.bind((address, port))
            try:
                listener.bind(datagrams.getsockname())
                listener.listen()
            except OSError as error:
                # The kernel chose for datagrams alone: somebody's TCP may have that port.
                if error.errno != errno.EADDRINUSE or port or not tries_left:
                    raise
                continue
            stack.pop_all()
            return both
    raise AssertionError


class NameServer:
    """
    Serves a zone over UDP and TCP, on one port.

    *silent*: never answers; *delay*: seconds before it does; *raw*: what it answers
    instead; *wrong_id*: it answers with another id first; *truncates*: over UDP it says
    that TCP is to be used.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0, zone: Zone | None = None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.zone = zone or Zone()
        self.received: list[bytes] = []
        self.streamed = 0
        self.silent = self.wrong_id = self.truncates = False
        self.code: int | None = None
        self.closed = False
        self.delay = 0.0
        self.raw: bytes | None = None
        self._datagrams, self._listener = _both(family, address, port)
        self.address, self.port = self._datagrams.getsockname()[:2]
        for job in (self._serve_datagrams, self._serve_streams):
            threading.Thread(target=job, daemon=True).start()

    def close(self) -> None:
        self.closed = True
        for one in (self._datagrams, self._listener):
            # Closing alone does not wake who waits in it, and its port stays taken.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def settle(self) -> None:
        """Wait until everything that was sent to it is in *received*."""
        marker = b"settle" + os.urandom(8)
        with socket.socket(self._datagrams.family, socket.SOCK_DGRAM) as one:
            one.sendto(marker, (self.address, self.port))
        end = time.monotonic() + 60
        while marker not in self.received:
            assert time.monotonic() < end
            time.sleep(0.002)
        self.received.remove(marker)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """What was asked for, as it was spelled, in order."""
        return [
            (question.name.to_text(), dns.rdatatype.to_text(question.rdtype))
            for raw in list(self.received)
            for question in dns.message.from_wire(raw).question
        ]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.asked}

    def _serve_datagrams(self) -> None:
        while True:
            try:
                raw, peer = self._datagrams.recvfrom(65535)
            except OSError:
                return
            if not peer:
                return
            self.received.append(raw)
            if not self.silent:
                threading.Thread(target=self._answer, args=(raw, peer), daemon=True).start()

    def _answer(self, raw: bytes, peer: object) -> None:
        time.sleep(self.delay)
        try:
            query = dns.message.from_wire(raw)
        except Exception:
            return
        if self.wrong_id:
            lie = struct.pack("!H", query.id ^ 1) + self._say(query, 65535)[2:]
            self._datagrams.sendto(lie, peer)
        if self.truncates:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            self._datagrams.sendto(short.to_wire(), peer)
            return
        self._datagrams.sendto(self._say(query, max(query.payload, 512)), peer)

    def _say(self, query: dns.message.Message, room: int) -> bytes:
        if self.raw is not None:
            return struct.pack("!H", query.id) + self.raw
        answer = self.zone.answer(query)
        if self.code is not None:
            answer = dns.message.make_response(query)
            answer.set_rcode(dns.rcode.Rcode(self.code))
        return answer.to_wire(max_size=room, prefer_truncation=True)

    def _serve_streams(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_stream, args=(connection,), daemon=True).start()

    def _serve_stream(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(2):
                raw = stream.read(int.from_bytes(head))
                self.received.append(raw)
                self.streamed += 1
                if self.silent:
                    continue
                try:
                    answer = self._say(dns.message.from_wire(raw), 65535)
                    connection.sendall(len(answer).to_bytes(2) + answer)
                except (OSError, dns.exception.DNSException):
                    return
