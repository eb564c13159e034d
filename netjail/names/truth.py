"""
Which addresses a host name has: looked up by the supervisor itself, off its loop.

A look-up runs in a thread and its result is picked up at the next question, so that a
slow name server never holds the jail. The order is the system's: literal, ``localhost``,
the hosts file, then DNS with the search list of resolv.conf(5).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network

import msgspec

from netjail.endpoints import Address, canonical
from netjail.names.configuration import (
    HOSTS,
    LOOPBACK,
    RESOLV_CONF,
    Configuration,
    File,
    literal,
    plain,
    read_configuration,
    read_hosts,
)
from netjail.names.lookups import SERVFAIL, Lookup, Reply, Workers
from netjail.names.memory import Key, Memory
from netjail.policy.facts import Known
from netjail.policy.naming import reverse

FAMILIES = ("A", "AAAA")
STAND_INS = ip_network("198.18.0.0/15")  # RFC 2544: benchmarks, on no network
_WAITERS = 64  # askers of one name at a time; more are retries

Waiter = Callable[[Reply], None]


class Names:
    """
    The names of one run. Any thread may call any method.

    :param port: of the name servers.
    :param timeout: seconds that one look-up may take in all.
    """

    def __init__(
        self,
        resolv_conf: File | None = None,
        hosts: File | None = None,
        port: int = 53,
        timeout: float = 4.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolv_conf = resolv_conf or File(RESOLV_CONF)
        self._hosts_file = hosts or File(HOSTS)
        self._configuration = Configuration(())
        self._hosts: dict[str, frozenset[Address]] = {}
        self._by_address: dict[Address, tuple[str, ...]] = {}
        self._port = port
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.RLock()
        self._memory = Memory(clock)
        self._waiters: dict[Key, list[Waiter]] = {}
        self._failures: dict[str, str] = {}
        self._workers = Workers()
        self._stand_ins: dict[str, Address] = {}
        self._stood_for: dict[Address, str] = {}
        self._finished = False

    # ---- what the policy asks ----

    def addresses(self, name: str) -> frozenset[Address] | None:
        """
        What *name*, of a rule, resolves to, of both families.

        :returns: an empty set if it does not resolve; None while it is looked up
            for the first time: ask again after :meth:`poll` said that one finished.
        """
        name = plain(name)
        known = self.local(name)
        if known is not None:
            return known
        failure = ""
        with self._lock:
            for one in self.configuration.candidates(name):
                found = self._of(one)
                if found is None or found:
                    self._failures.pop(name, None)
                    return found
                held = self._memory.get((one, "A"))
                failure = failure or (held.reply.failure if held else "")
            self._failures[name] = failure
        return frozenset()

    def _of(self, name: str) -> frozenset[Address] | None:
        known: set[Address] = set()
        pending = False
        for key in ((name, kind) for kind in FAMILIES):
            if self._memory.fresh(key) is None:
                self._start(key, "rule")
            held = self._memory.get(key)
            found = held.living(self._clock()) if held else []
            # What it said before serves while the next look-up is under way.
            pending |= not found and key in self._waiters
            known.update(found)
        return None if pending else frozenset(known)

    def known(self, address: Address) -> Known:
        """Which names lead to *address*, one of its canonical forms."""
        if address in self._stood_for:
            return Known((self._stood_for[address],), (), "stand-in")
        names: dict[str, None] = {}
        stale: dict[str, None] = {}
        how = ""
        with self._lock:
            for key, held in self._memory.leading_to(address):
                if held.expires <= self._clock():
                    self._start(key, held.how)
                if held.addresses[address] > self._clock():
                    names[key[0]] = None
                    how = min(how or held.how, held.how)  # "asked" says more than "rule"
                elif key in self._waiters:
                    stale[key[0]] = None
            names |= dict.fromkeys(self._read_hosts() and self._by_address.get(address, ()))
            claimed = self._memory.claimed(address)
        how = how or ("reverse" if names or claimed else "")
        return Known(tuple(names), tuple(stale), how, claimed)

    def trusted(self, name: str) -> bool:
        """Whether *name* may give a private address: it has no dot, or is a local one."""
        name = plain(name)
        return "." not in name or self.local(name) is not None

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""
        return frozenset(ip_address(server) for server in self.configuration.servers)

    def search(self) -> tuple[str, ...]:
        """The domains that a resolver appends."""
        return self.configuration.search

    @property
    def configuration(self) -> Configuration:
        """What resolv.conf says."""
        with self._lock:
            if self._resolv_conf.changed():
                self._configuration = read_configuration(self._resolv_conf.lines())
            return self._configuration

    def stand_in(self, name: str) -> frozenset[Address]:
        """
        The address that stands in for *name* in this run; empty: there are too many.

        What leads there is judged as the name, see ``policy.leading``.
        """
        with self._lock:
            found = self._stand_ins.get(name)
            if found is None and len(self._stand_ins) < STAND_INS.num_addresses - 2:
                found = STAND_INS[len(self._stand_ins) + 1]
                self._stand_ins[name], self._stood_for[found] = found, name
            return frozenset({found}) if found else frozenset()

    # ---- what the supervisor asks ----

    def poll(self) -> bool:
        """Whether a look-up finished since the last call."""
        with self._lock:
            finished, self._finished = self._finished, False
            return finished

    @property
    def outstanding(self) -> bool:
        """Whether a look-up is under way."""
        with self._lock:
            return bool(self._waiters)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each name of a rule whose last look-up failed."""
        with self._lock:
            return tuple(
                f"{name}: does not resolve{why and ': '}{why}"
                for name, why in self._failures.items()
            )

    # ---- what the stub asks ----

    def local(self, name: str) -> frozenset[Address] | None:
        """The addresses of a name that no name server is asked for; None: one is."""
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
            return LOOPBACK
        address = literal(name)
        return frozenset({address}) if address else self._read_hosts().get(name)

    def ask(self, name: str, kind: str, waiter: Waiter) -> None:
        """
        Look *name* up for the jail; *waiter* gets the reply, in any thread.

        With one family the other is looked up as well: the policy asks for both.
        """
        key = (name, kind)
        with self._lock:
            for other in ((name, one) for one in FAMILIES if kind in FAMILIES and one != kind):
                if self._memory.fresh(other) is None:
                    self._start(other, "asked")
            held = self._memory.fresh(key)
            if held is None:
                self._start(key, "asked", waiter)
                return
            held.how = "asked"
            left = held.expires - self._clock()
        waiter(msgspec.structs.replace(held.reply, seconds=left))

    def _read_hosts(self) -> dict[str, frozenset[Address]]:
        with self._lock:
            if self._hosts_file.changed():
                self._hosts = read_hosts(self._hosts_file.lines())
                found: dict[Address, dict[str, None]] = {}
                for name, addresses in self._hosts.items():
                    for form in (form for one in addresses for form in canonical(one)):
                        found.setdefault(form, {})[name] = None
                self._by_address = {form: tuple(names) for form, names in found.items()}
            return self._hosts

    def _start(self, key: Key, how: str, waiter: Waiter | None = None) -> None:
        waiting = self._waiters.get(key)
        if waiting is None:
            waiting = self._waiters[key] = []
            lookup = Lookup(self.configuration, self._port, self._timeout)
            if not self._workers.run(partial(self._run, lookup, key, how)):
                waiting += [waiter] if waiter else []
                self._keep(key, Reply(SERVFAIL, failure="no room for one more look-up"), how)
                return
        if waiter and len(waiting) < _WAITERS:
            waiting.append(waiter)
        elif waiter:
            waiter(Reply(SERVFAIL, failure="too many wait for it"))

    def _run(self, lookup: Lookup, key: Key, how: str) -> None:
        reply = lookup.ask(*key)
        with self._lock:
            try:
                self._keep(key, reply, how)
            except Exception as error:
                # Whoever waits has to hear something, and the next one to find no trace.
                if key in self._waiters:
                    self._keep(key, Reply(SERVFAIL, failure=str(error)), how)

    def _keep(self, key: Key, reply: Reply, how: str) -> None:
        waiting = self._waiters[key]
        self._memory.keep(key, reply, "asked" if waiting else how)
        address = reverse(key[0]) if key[1] == "PTR" else None
        if address is not None:
            self._memory.claim(address, reply.targets())
        del self._waiters[key]
        self._finished = True
        for waiter in waiting:
            waiter(reply)
