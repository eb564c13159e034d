"""
One look-up: a name and a type in, what the system's name servers say out.

The question is made from nothing but the name: its own random id and port, no option
and no letter's case of the program that wanted to know.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Address
from netjail.names.configuration import Configuration

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver
    from dns.rrset import RRset

CEILING = 3600.0
"""Seconds for which an answer is kept at most, whatever its TTL says."""
FLOOR = 5.0
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3  # RFC 1035, 4.1.1
_NOTHING = 60.0  # seconds that "it has none" is kept at most
_LONGEST_CHAIN = 8  # CNAMEs that lead out of one answer into the next
_PAYLOAD = 1232  # of a datagram: what no network splits, www.dnsflagday.net/2020


class Reply(msgspec.Struct, frozen=True):
    """What was answered."""

    code: int
    """NOERROR, SERVFAIL (nobody could say) or NXDOMAIN."""
    answer: tuple[RRset, ...] = ()
    """The chain of aliases and what it leads to."""
    authority: tuple[RRset, ...] = ()
    seconds: float = FLOOR
    """How long it holds."""
    failure: str = ""

    def addresses(self) -> frozenset[Address]:
        """Of a look-up for A or AAAA."""
        return frozenset(
            ip_address(row.address)
            for rrset in self.answer[-1:]
            for row in rrset
            if hasattr(row, "address")
        )

    def targets(self) -> tuple[str, ...]:
        """Of a look-up for PTR: names, which whoever owns the address chose."""
        return tuple(
            row.target.to_text(omit_final_dot=True).lower()
            for rrset in self.answer[-1:]
            for row in rrset
            if hasattr(row, "target")
        )


class Lookup:
    """
    Asks the system's name servers.

    :param timeout: seconds that one look-up may take in all.
    """

    def __init__(self, configuration: Configuration, port: int, timeout: float) -> None:
        self._configuration = configuration
        self._port = port
        self._timeout = timeout

    def ask(self, name: str, kind: str) -> Reply:
        """Whatever a name server can make the library do, this gives a reply."""
        import dns.exception
        import dns.resolver

        try:
            return self._follow(name, kind)
        except dns.resolver.NXDOMAIN as error:
            replies = error.kwargs.get("responses", {}).values()
            proof = next(iter(replies)).authority if replies else []
            return Reply(NXDOMAIN, (), _proof(proof), FLOOR, "no such name")
        except dns.exception.Timeout:
            servers = ", ".join(self._configuration.servers)
            return Reply(SERVFAIL, failure=f"no answer in time from {servers}")
        except dns.resolver.NoNameservers as error:
            return Reply(SERVFAIL, failure=_said(error.kwargs.get("errors", ())) or str(error))
        except Exception as error:
            return Reply(SERVFAIL, failure=str(error) or type(error).__name__)

    def _follow(self, name: str, kind: str) -> Reply:
        import time

        import dns.name

        end = time.monotonic() + self._timeout
        resolver = self._resolver()
        target = dns.name.from_text(name + ".")
        chain: list[RRset] = []
        seconds = CEILING
        for _ in range(_LONGEST_CHAIN):
            found = resolver.resolve(
                target,
                kind,
                raise_on_no_answer=False,
                lifetime=max(end - time.monotonic(), 0.01),
                search=False,
            )
            seconds = min(seconds, found.chaining_result.minimum_ttl)
            chain += _chain(found)
            if found.rrset is not None or found.canonical_name == target or kind == "CNAME":
                failure = "" if found.rrset is not None else "it has none"
                seconds = min(seconds, _NOTHING) if failure else seconds
                return Reply(
                    NOERROR, tuple(chain), _proof(found.response.authority), seconds, failure
                )
            target = found.canonical_name
        return Reply(SERVFAIL, failure="aliases without an end")

    def _resolver(self) -> Resolver:
        from dns.resolver import Resolver

        resolver = Resolver(configure=False)
        resolver.nameservers = list(self._configuration.servers)
        resolver.port = self._port
        resolver.use_edns(0, 0, _PAYLOAD)
        # Leaves time for another server where one does not answer.
        resolver.timeout = self._timeout / (len(self._configuration.servers) + 1)
        return resolver


def _said(errors: Iterable[tuple[object, ...]]) -> str:
    """What each server said, of a library that calls one ``Do53:192.0.2.53@53``."""
    said = (
        f"{str(server).removeprefix('Do53:').rpartition('@')[0]} answered {what}"
        for server, _, _, what, *_ in errors
    )
    return ", ".join(dict.fromkeys(said))


def _chain(found: Answer) -> list[RRset]:
    """What of an answer is about its question; the rest nobody asked for."""
    rrset = found.rrset
    return [*found.chaining_result.cnames, *([rrset] if rrset is not None else [])]


def _proof(authority: list[RRset]) -> tuple[RRset, ...]:
    """The SOA record, which says how long a "no" may be kept: RFC 2308."""
    return tuple(rrset for rrset in authority if rrset.rdtype == 6)


class Workers:
    """A bounded number of threads that work through a bounded queue."""

    def __init__(self, most: int = 16, room: int = 1000) -> None:
        self._most = most
        self._room = room
        self._queue: deque[Callable[[], None]] = deque()
        self._ready = threading.Condition()
        self._threads = 0
        self._idle = 0

    def run(self, job: Callable[[], None]) -> bool:
        """Have *job* done off this thread; False: there is no room for it."""
        with self._ready:
            if len(self._queue) >= self._room:
                return False
            if self._idle <= len(self._queue) and self._threads < self._most:
                self._start()
            if not self._threads:
                return False
            self._queue.append(job)
            self._ready.notify()
            return True

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="names", daemon=True)
        try:
            start(thread)
            self._threads += 1
        except RuntimeError:  # the limit of processes, RLIMIT_NPROC
            return

    def _work(self) -> None:
        while True:
            with self._ready:
                self._idle += 1
                while not self._queue:
                    self._ready.wait()
                self._idle -= 1
                job = self._queue.popleft()
            job()


def start(thread: threading.Thread) -> None:
    """
    Start a thread that takes no signal: those are the loop's, which must wake by them.

    A new thread inherits the mask, and so do those that it makes.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
