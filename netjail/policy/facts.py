"""What the policy asks of the world; whoever judges calls hands these answers in."""

from __future__ import annotations

from typing import Protocol as Interface

import msgspec

from netjail.endpoints import Address
from netjail.model import Attempt, Owner, Protocol


class Known(msgspec.Struct, frozen=True):
    """The names that lead to an address."""

    names: tuple[str, ...] = ()
    """The supervisor's own look-ups say so."""
    stale: tuple[str, ...] = ()
    """They said so once; each is looked up again."""
    how: str = ""
    """
    How it came that they are known: ``asked`` for by the jail, looked up for a ``rule``,
    found by going back from the address (``reverse``); of an address that was made up
    for a name, ``stand-in``.
    """
    claimed: tuple[str, ...] = ()
    """What the owner of the address says; no reason to allow anything."""


class Caller(msgspec.Struct, frozen=True):
    """What is proven of a process; nothing, where it is left out."""

    exe: str = ""
    """The program's path, without links; "" where it is not known."""
    argv: tuple[str, ...] = ()
    """Its command line, as it was at its exec."""
    whole: bool = False
    """*argv* is all of it."""
    ancestors: tuple[str, ...] = ()
    """The programs that it was started by, or in place of, the nearest first."""
    rooted: bool = False
    """*ancestors* reach up to the command."""


UNKNOWN = Caller()


class Seen(msgspec.Struct, frozen=True):
    """What the facts said of one attempt, whatever the policy asked: for the journal."""

    owners: dict[Protocol, Owner] = {}
    names: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    resolver: bool = False
    search: tuple[str, ...] = ()
    missing: int = 0
    path: bytes = b""
    caller: Caller | None = None
    """None: no rule asks who calls."""


class Facts(Interface):
    """Live answers; asked only where no rule on a literal address decides."""

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        """Whose socket would receive, over *protocol*."""

    def caller(self, attempt: Attempt) -> Caller:
        """Who asks; asked for only where a rule has terms on that."""

    def missing(self, attempt: Attempt) -> int:
        """The errno that looking up the attempt's unix path gives, 0 if it is there."""

    def resolved(self, attempt: Attempt) -> bytes:
        """The attempt's unix path, absolute and without links; empty if it is not there."""

    def addresses(self, name: str) -> frozenset[Address] | None:
        """What a host name resolves to; empty: it does not; None: looked up, ask again."""

    def known(self, address: Address) -> Known:
        """Which names lead to *address*."""

    def search(self) -> tuple[str, ...]:
        """The domains that a resolver appends to a name, see resolv.conf(5)."""

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""

    def trusted(self, name: str) -> bool:
        """Whether a name may give a private address: no dot in it, or from /etc/hosts."""
