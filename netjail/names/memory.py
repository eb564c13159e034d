"""What look-ups gave: by name, and by the address that they led to; bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from netjail.endpoints import Address, canonical
from netjail.names.lookups import CEILING, FLOOR, SERVFAIL, Reply

GRACE = 60.0
"""
Seconds for which an address counts beyond its answer: busy names rotate, and a program
may connect a while after it asked.
"""
NAMES = 4096
"""Answers kept; what was not asked for longest goes first."""
_PAIRS = 65536  # names and addresses that they lead to
_BACKWARDS = 1024

Key = tuple[str, str]
"""A name and the type that was asked for."""


class Held(msgspec.Struct):
    """What is known of one name and type."""

    reply: Reply
    expires: float
    """When to ask again."""
    how: str
    """``asked`` by the jail, or for a ``rule``."""
    addresses: dict[Address, float]
    """Every form of each, and until when it counts."""

    def living(self, now: float) -> list[Address]:
        """The addresses that count."""
        return [address for address, until in self.addresses.items() if until > now]


class Memory:
    """The answers of one run; its caller holds the lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: OrderedDict[Key, Held] = OrderedDict()
        self._index: dict[Address, dict[Key, None]] = {}
        self._pairs = 0
        self._backwards: OrderedDict[Address, tuple[str, ...]] = OrderedDict()

    def get(self, key: Key) -> Held | None:
        """What is held of *key*, however old."""
        found = self._held.get(key)
        if found:
            self._held.move_to_end(key)
        return found

    def fresh(self, key: Key) -> Held | None:
        """What is held of *key*, if it need not be asked for again."""
        found = self.get(key)
        return found if found and found.expires > self._clock() else None

    def leading_to(self, address: Address) -> list[tuple[Key, Held]]:
        """What leads to a form of an address, or did."""
        return [(key, self._held[key]) for key in self._index.get(address, ())]

    def keep(self, key: Key, reply: Reply, how: str) -> None:
        """Take in an answer; what the one before said counts for a while yet."""
        now = self._clock()
        seconds = min(max(reply.seconds, FLOOR), CEILING)
        before = self._drop(key)
        addresses = {a: t for a, t in before.addresses.items() if t > now} if before else {}
        until = now + seconds + max(GRACE, seconds)
        if key[1] in ("A", "AAAA"):
            forms = (form for address in reply.addresses() for form in canonical(address))
            addresses.update(dict.fromkeys(forms, until))
        if before and (reply.code == SERVFAIL or before.how == "asked"):
            how = before.how
        self._held[key] = Held(reply, now + seconds, how, addresses)
        for address in addresses:
            self._index.setdefault(address, {})[key] = None
        self._pairs += len(addresses)
        while len(self._held) > NAMES or (self._pairs > _PAIRS and len(self._held) > 1):
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> Held | None:
        held = self._held.pop(key, None)
        for address in held.addresses if held else ():
            keys = self._index[address]
            del keys[key]
            if not keys:
                del self._index[address]
        self._pairs -= len(held.addresses) if held else 0
        return held

    def claimed(self, address: Address) -> tuple[str, ...]:
        """The names that *address* has by what its owner says; anybody may say so."""
        return self._backwards.get(address, ())

    def claim(self, address: Address, names: tuple[str, ...]) -> None:
        """Note what a look-up backwards gave."""
        self._backwards[address] = names[:8]
        self._backwards.move_to_end(address)
        if len(self._backwards) > _BACKWARDS:
            self._backwards.popitem(last=False)
