"""Facts by hand, and attempts in one line, for the tests of the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from netjail.endpoints import Inet, Unix
from netjail.model import Attempt, Operation, Owner, Protocol
from netjail.policy.facts import UNKNOWN, Caller, Known
from netjail.stops import Descriptor


@dataclass
class World:
    """Facts by hand; *asked* is what the policy wanted to know."""

    owned: Owner = Owner.REMOTE
    names: dict[str, list[str] | None] = field(default_factory=dict)
    local_names: frozenset[str] = frozenset()
    error: int = 0
    true_path: bytes | None = None
    asked: list[str] = field(default_factory=list)
    asked_names: frozenset[str] = frozenset()
    stale: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    asker: Caller = UNKNOWN

    def owner(self, attempt, protocol):
        self.asked.append("owner")
        return self.owned

    def caller(self, attempt):
        self.asked.append("caller")
        return self.asker

    def missing(self, attempt):
        return self.error

    def resolved(self, attempt):
        if self.error:
            return b""
        return attempt.endpoint.path if self.true_path is None else self.true_path

    def addresses(self, name):
        self.asked.append(name)
        found = self.names.get(name, [])
        return None if found is None else frozenset(map(ip_address, found))

    def known(self, address):
        names = [name for name, found in self.names.items() if str(address) in (found or ())]
        return Known(tuple(n for n in names if n in self.asked_names), tuple(self.stale), "asked")

    def search(self):
        return self.domains

    def resolvers(self):
        return frozenset({ip_address("127.0.0.53")})

    def trusted(self, name):
        return name in self.local_names


def attempt(endpoint, *protocols, operation=Operation.CONNECT):
    if isinstance(endpoint, str):
        host, _, port = endpoint.rpartition(":")
        endpoint = Inet(ip_address(host.strip("[]")), int(port))
    if not protocols:
        protocols = (Protocol.UNIX,) if isinstance(endpoint, Unix) else (Protocol.TCP,)
    return Attempt(1, 1, "connect", operation, frozenset(protocols), endpoint, Descriptor(0))
