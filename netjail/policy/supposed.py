"""
Facts that are supposed, or remembered, instead of asked: for explaining and replaying.

Nothing here looks anything up, but for what the caller brings along to do so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

import msgspec

from netjail.endpoints import Address, canonical
from netjail.model import Attempt, Owner, Protocol
from netjail.policy.addresses import AddressSet
from netjail.policy.facts import UNKNOWN, Caller, Known
from netjail.policy.policy import Policy
from netjail.policy.rules import AddressRule
from netjail.policy.words import addresses


class Local(msgspec.Struct, frozen=True):
    """What the files of a machine say, see resolv.conf(5) and hosts(5)."""

    resolvers: frozenset[Address] = frozenset()
    search: tuple[str, ...] = ()
    hosts: Mapping[str, frozenset[Address]] = {}

    def aliases(self, name: str) -> tuple[str, ...]:
        """What resolvers may ask for when a program says *name*."""
        return (name, *(f"{name}.{domain}" for domain in self.search if "." not in name))


class Supposed(msgspec.Struct):
    """The facts of one attempt, see :class:`netjail.policy.Facts`."""

    owned: Owner = Owner.REMOTE
    """Who receives."""
    leads: Mapping[str, frozenset[Address]] = {}
    """Where names lead."""
    asked: tuple[str, ...] = ()
    """The names that the jail asked for."""
    path: bytes = b""
    """The unix path without links; empty: nothing is there."""
    error: int = 0
    """What looking it up gives then."""
    who: Caller = UNKNOWN
    local: Local = Local()
    ask: Callable[[str], frozenset[Address]] | None = None
    """Looks a name up, and waits; None: what is not in *leads* leads elsewhere."""

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        """Who receives; an address of another machine's is nobody's here."""
        return self.owned

    def caller(self, attempt: Attempt) -> Caller:
        """Who asks."""
        return self.who

    def missing(self, attempt: Attempt) -> int:
        """The errno of a path that is not there."""
        return self.error

    def resolved(self, attempt: Attempt) -> bytes:
        """The path without links."""
        return self.path

    def addresses(self, name: str) -> frozenset[Address] | None:
        """Where a name leads."""
        found: frozenset[Address] | None = self.local.hosts.get(name)
        if found is None:
            named = (self.leads[one] for one in self.local.aliases(name) if one in self.leads)
            found = next(named, None)
        if found is None:
            found = self.ask(name) if self.ask else frozenset()
        return found

    def known(self, address: Address) -> Known:
        """The names that were asked for and lead to *address*."""
        asked = (name for name in self.asked if self._leads(name, address))
        listed = (name for name in self.local.hosts if self._leads(name, address))
        names = tuple(dict.fromkeys((*asked, *listed)))
        return Known(names, how="asked" if names else "")

    def _leads(self, name: str, address: Address) -> bool:
        found = self.addresses(name) or frozenset()
        return any(address in canonical(one) for one in found)

    def search(self) -> tuple[str, ...]:
        """The domains that a resolver appends."""
        return self.local.search

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""
        return self.local.resolvers

    def trusted(self, name: str) -> bool:
        """Whether a name may lead into this machine's networks."""
        return "." not in name or name in self.local.hosts or is_localhost(name)


def is_localhost(name: str) -> bool:
    """Whether a name means this machine, everywhere: RFC 6761, 6.3."""
    return name == "localhost" or name.endswith(".localhost")


def unnamed_address(policy: Policy) -> Address:
    """A public IPv4 address that no rule names but those which mean every public one."""
    public = addresses("public")
    world = public - AddressSet.of(["::/0"])
    named = AddressSet.union(
        target.addresses
        for rule in policy.rules
        if isinstance(rule, AddressRule)
        for target in (rule.target, *rule.exceptions)
        if world - target.addresses
    )
    # A step that is no multiple of anything: it soon leaves whatever the rules name.
    tried = map(IPv4Address, range(0x01000001, 0xDF000000, 0x3D0F1))
    return next(
        (one for one in tried if one in public and one not in named), IPv4Address(0x01000001)
    )
