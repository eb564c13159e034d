"""What the policy asks of the world; whoever judges calls hands these answers in."""

from __future__ import annotations

from typing import Protocol as Interface

from netjail.endpoints import Address
from netjail.model import Attempt, Owner, Protocol


class Facts(Interface):
    """Live answers; asked only where no rule on a literal address decides."""

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        """Whose socket would receive, over *protocol*."""

    def missing(self, attempt: Attempt) -> int:
        """The errno that looking up the attempt's unix path gives, 0 if it is there."""

    def resolved(self, attempt: Attempt) -> bytes:
        """The attempt's unix path, absolute and without links; empty if it is not there."""

    def addresses(self, name: str) -> frozenset[Address] | None:
        """What a host name resolves to; empty: it does not; None: looked up, ask again."""

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""

    def trusted(self, name: str) -> bool:
        """Whether a name may give a private address: no dot in it, or from /etc/hosts."""
