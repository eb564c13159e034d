"""
Which addresses a host name has: looked up by the supervisor itself, off its loop.

A look-up runs in a daemon thread and its result is picked up at the next question,
so that a slow name server never holds the jail. The order is the system's: literal,
``localhost``, the hosts file, then DNS with the search list of resolv.conf(5).
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Address

if TYPE_CHECKING:
    from dns.resolver import Resolver

_LOOPBACK: frozenset[Address] = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})
_FLOOR = 5.0
"""Seconds for which an answer is kept at least, whatever its TTL says."""
_CEILING = 3600.0
_LONGEST_CHAIN = 8  # CNAMEs that lead out of one answer into the next


class Configuration(msgspec.Struct, frozen=True):
    """What resolv.conf(5) says that matters here."""

    servers: tuple[str, ...]
    """As written: an IPv6 one may have a scope id."""
    search: tuple[str, ...] = ()
    ndots: int = 1


def read_configuration(path: Path) -> Configuration:
    """Read resolv.conf; one that is missing or empty means a server on this machine."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            words = re.split("[#;]", line)[0].split()
            if words[:1] == ["nameserver"] and words[1:] and _literal(words[1]):
                servers.append(words[1])
            elif words[:1] in (["search"], ["domain"]):
                search = words[1:]  # the last one counts
            elif words[:1] == ["options"]:
                found = [word[6:] for word in words if re.fullmatch(r"ndots:\d+", word)]
                ndots = min(int(found[-1]), 15) if found else ndots
    return Configuration(tuple(servers) or ("127.0.0.1",), tuple(search), ndots)


def read_hosts(path: Path) -> dict[str, frozenset[Address]]:
    """Read hosts(5): every name of it with all its addresses."""
    found: dict[str, set[Address]] = {}
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            first, *names = line.partition("#")[0].split() or [""]
            address = _literal(first)
            for name in names if address else ():
                found.setdefault(_plain(name), set()).update({address} if address else ())
    return {name: frozenset(addresses) for name, addresses in found.items()}


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


class _Answer(msgspec.Struct, frozen=True):
    addresses: frozenset[Address]
    seconds: float
    """How long it holds."""
    failure: str = ""


class _Entry(msgspec.Struct):
    answer: _Answer
    expires: float
    before: frozenset[Address] = frozenset()
    """The addresses of the answer before: busy names rotate, and a program may hold those."""


class Names:
    """
    The names of one run. Made and asked by one thread, the supervisor's.

    :param port: of the name servers.
    :param timeout: seconds that one look-up may take in all.
    """

    def __init__(
        self,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        hosts: Path = Path("/etc/hosts"),
        port: int = 53,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configuration = read_configuration(resolv_conf)
        self._hosts_path = hosts
        self._hosts: dict[str, frozenset[Address]] = {}
        self._hosts_stamp: tuple[int, int] | None = None
        self._port = port
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._running: set[str] = set()
        self._finished = False

    def addresses(self, name: str) -> frozenset[Address] | None:
        """
        What *name* resolves to, of both families.

        :returns: an empty set if it does not resolve; None while it is looked up
            for the first time: ask again after :meth:`poll` said that one finished.
        """
        name = _plain(name)
        known = self._local(name)
        if known is not None:
            return known
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.expires <= self._clock():
                self._start(name)
                entry = self._entries.get(name)
            # An old answer serves while the next is under way.
            return entry.answer.addresses | entry.before if entry else None

    def poll(self) -> bool:
        """Whether a look-up finished since the last call."""
        with self._lock:
            finished, self._finished = self._finished, False
            return finished

    @property
    def outstanding(self) -> bool:
        """Whether a look-up is under way."""
        with self._lock:
            return bool(self._running)

    def trusted(self, name: str) -> bool:
        """Whether *name* may give a private address: it has no dot, or is a local one."""
        name = _plain(name)
        return "." not in name or self._local(name) is not None

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""
        return frozenset(ip_address(server) for server in self._configuration.servers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each name whose last look-up failed."""
        with self._lock:
            failures = {name: entry.answer.failure for name, entry in self._entries.items()}
        return tuple(f"{name}: {text}" for name, text in failures.items() if text)

    def _local(self, name: str) -> frozenset[Address] | None:
        literal = _literal(name)
        if literal:
            return frozenset({literal})
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
            return _LOOPBACK
        return self._from_hosts().get(name)

    def _from_hosts(self) -> dict[str, frozenset[Address]]:
        try:
            status = self._hosts_path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (0, 0)
        if stamp != self._hosts_stamp:
            self._hosts = read_hosts(self._hosts_path)
            self._hosts_stamp = stamp
        return self._hosts

    def _start(self, name: str) -> None:
        if name in self._running:
            return
        thread = threading.Thread(target=self._run, args=(name,), name=f"name {name}", daemon=True)
        # Signals are the loop's: a thread that took one would leave its wait uninterrupted.
        # A new thread inherits the mask, and so do those that it makes.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
            self._running.add(name)
        except RuntimeError as error:  # the limit of processes, RLIMIT_NPROC
            self._keep(name, _Answer(frozenset(), _FLOOR, f"cannot be looked up: {error}"))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run(self, name: str) -> None:
        try:
            answer = self._look_up(name)
        except Exception as error:
            # Whatever a name server can make the library do, it is a name that does not
            # resolve; a thread that died silently would leave the caller waiting.
            answer = _Answer(frozenset(), _FLOOR, f"cannot be looked up: {error}")
        with self._lock:
            self._keep(name, answer)
            self._running.discard(name)

    def _keep(self, name: str, answer: _Answer) -> None:
        before = self._entries.get(name)
        kept = before.answer.addresses if before else frozenset()
        expires = self._clock() + min(max(answer.seconds, _FLOOR), _CEILING)
        self._entries[name] = _Entry(answer, expires, kept)
        self._finished = True

    def _look_up(self, name: str) -> _Answer:
        answers: list[_Answer] = []
        threads = [
            threading.Thread(
                target=lambda kind=kind: answers.append(self._ask(name, kind)), daemon=True
            )
            for kind in ("A", "AAAA")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self._timeout + 1)
        return _joined(answers)

    def _ask(self, name: str, kind: str) -> _Answer:
        import dns.exception
        import dns.resolver

        end = time.monotonic() + self._timeout
        resolver = self._resolver()
        seconds = _CEILING
        try:
            for _ in range(_LONGEST_CHAIN):
                left = max(end - time.monotonic(), 0.01)
                # The search list is for what was asked, not for what a CNAME names.
                found = resolver.resolve(
                    name, kind, raise_on_no_answer=False, lifetime=left, search=name[-1:] != "."
                )
                seconds = min(seconds, found.chaining_result.minimum_ttl)
                if found.rrset is not None:
                    return _Answer(frozenset(ip_address(row.address) for row in found), seconds)
                if found.canonical_name == found.qname:
                    break
                name = found.canonical_name.to_text()
            return _Answer(frozenset(), seconds, "does not resolve")
        except dns.resolver.NXDOMAIN:
            return _Answer(frozenset(), _FLOOR, "does not resolve: no such name")
        except dns.exception.Timeout:
            return _Answer(frozenset(), _FLOOR, "does not resolve: no answer in time")
        except dns.exception.DNSException as error:
            return _Answer(frozenset(), _FLOOR, f"does not resolve: {error}")

    def _resolver(self) -> Resolver:
        import dns.name
        from dns.resolver import Resolver

        resolver = Resolver(configure=False)
        resolver.nameservers = list(self._configuration.servers)
        resolver.port = self._port
        resolver.search = [dns.name.from_text(domain) for domain in self._configuration.search]
        resolver.ndots = self._configuration.ndots
        # Leaves time for another server where one does not answer.
        resolver.timeout = self._timeout / (len(self._configuration.servers) + 1)
        return resolver


def _joined(answers: list[_Answer]) -> _Answer:
    addresses = frozenset[Address]().union(*(answer.addresses for answer in answers))
    seconds = min((answer.seconds for answer in answers if answer.addresses), default=_FLOOR)
    failures = [answer.failure for answer in answers if answer.failure]
    failure = (failures or ["does not resolve: no answer in time"])[0]
    return _Answer(addresses, seconds, "" if addresses else failure)
