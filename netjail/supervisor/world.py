"""The facts that the policy asks for, as they are at this moment; see ``policy.Facts``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netjail.endpoints import Address, Unix
from netjail.kernel.owners import Owners, Resolved
from netjail.kernel.tracee import patience
from netjail.model import Attempt, Owner, Protocol

if TYPE_CHECKING:
    from netjail.names import Names


class World:
    """
    Owners of sockets, paths and names, for the attempt that is being judged.

    A unix path is looked up once an attempt: what was judged is what is pinned.
    """

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._names: Names | None = None
        self._judged: Attempt | None = None
        self._found: Resolved | None = None

    def begin(self, attempt: Attempt) -> None:
        """Forget what was found for the attempt before."""
        if self._found is not None and self._found.fd is not None:
            os.close(self._found.fd)
        self._judged, self._found = attempt, None

    @property
    def names(self) -> Names:
        """Made when a rule first asks: few policies name hosts."""
        if self._names is None:
            from netjail.names import Names

            self._names = Names()
        return self._names

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong with names."""
        return tuple(self._names.warnings) if self._names else ()

    def poll(self) -> bool:
        """Whether a look-up has ended since the last call."""
        return self.names.poll()

    def unix(self, attempt: Attempt) -> Resolved:
        """What is at the attempt's unix address; :meth:`begin` closes its descriptor."""
        assert isinstance(attempt.endpoint, Unix)
        if self._found is None:
            tid, descriptor = attempt.tid, attempt.descriptor
            # A directory of FUSE can hold whoever walks it for ever.
            with patience():
                self._found = self._owners.resolve(attempt.endpoint, tid, descriptor)
        return self._found

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        """Whose socket would receive; proven each time."""
        if isinstance(attempt.endpoint, Unix):
            return self.unix(attempt).owner
        return self._owners.owner(attempt.endpoint, protocol, attempt.descriptor, attempt.tid)

    def missing(self, attempt: Attempt) -> int:
        """The errno that looking up the attempt's unix path gives, 0 if it is there."""
        return self.unix(attempt).error

    def resolved(self, attempt: Attempt) -> bytes:
        """The attempt's unix path, absolute and without links; empty if it is not there."""
        return self.unix(attempt).path

    def addresses(self, name: str) -> frozenset[Address] | None:
        """What a host name resolves to; None: looked up, ask again."""
        return self.names.addresses(name)

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""
        return self.names.resolvers()

    def trusted(self, name: str) -> bool:
        """Whether a name may give a private address."""
        return self.names.trusted(name)
