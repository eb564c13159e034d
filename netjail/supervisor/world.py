"""The facts that the policy asks for, as they are at this moment; see ``policy.Facts``."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Address, Inet, Question, Unix, canonical
from netjail.kernel.owners import Owners, Resolved
from netjail.kernel.tracee import patience
from netjail.model import Attempt, Owner, Protocol, Reason, Verdict
from netjail.policy.facts import UNKNOWN, Caller, Known, Seen
from netjail.policy.naming import reverse
from netjail.policy.query import leads_to
from netjail.stops import Descriptor

if TYPE_CHECKING:
    from netjail.names.truth import Names


_UNMATCHED = (Reason.DEFAULT, Reason.FOREIGN)
_CALLERS = 4096  # remembered; the others are asked for again
_FILES = ("/etc/resolv.conf", "/etc/hosts")


# What the jail could write is read before it begins: else it could say itself where a
# name leads, or whom to ask.
def _now(path: str) -> str | None:
    true = os.path.realpath(path)
    places = (true, os.path.dirname(true), os.path.dirname(path))
    if not any(os.access(place, os.W_OK) for place in places):
        return None
    try:
        with open(true, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class World:
    """
    Owners of sockets, paths and names, for the attempt that is being judged.

    A unix path is looked up once an attempt: what was judged is what is pinned.

    :param by_name: the policy has rules on host names.
    :param callers: tells who a process is, by the tid of a task of it.
    """

    def __init__(
        self,
        owners: Owners,
        by_name: bool = False,
        callers: Callable[[int, int], Caller] = lambda tid, process: UNKNOWN,
    ) -> None:
        self._owners = owners
        self._by_name = by_name
        self._ask_who = callers
        self._callers: OrderedDict[int, Caller] = OrderedDict()
        self._asker: Caller | None = None
        self._names: Names | None = None
        self._texts = {path: text for path in _FILES if (text := _now(path)) is not None}
        self._judged: Attempt | None = None
        self._found: Resolved | None = None

    def begin(self, attempt: Attempt, asker: Caller | None = None) -> None:
        """Forget what was found for the attempt before; *asker*, if known, is whose this is."""
        if self._found is not None and self._found.fd is not None:
            os.close(self._found.fd)
        self._judged, self._found, self._asker = attempt, None, asker

    @property
    def names(self) -> Names:
        """Made when a rule first asks: few policies name hosts."""
        if self._names is None:
            from netjail.names.configuration import File
            from netjail.names.truth import Names

            resolv_conf, hosts = (File(path, self._texts.get(path)) for path in _FILES)
            self._names = Names(resolv_conf, hosts)
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

    def caller(self, attempt: Attempt) -> Caller:
        """Who asks; its process is stopped in the call that is judged."""
        if self._asker is not None:
            return self._asker
        found = self._callers.get(attempt.process)
        if found is None:
            found = self._ask_who(attempt.tid, attempt.process)
            # Of others it may yet become known who started them.
            if found.rooted:
                self._callers[attempt.process] = found
            if len(self._callers) > _CALLERS:
                self._callers.popitem(last=False)
        return found

    def missing(self, attempt: Attempt) -> int:
        """The errno that looking up the attempt's unix path gives, 0 if it is there."""
        return self.unix(attempt).error

    def resolved(self, attempt: Attempt) -> bytes:
        """The attempt's unix path, absolute and without links; empty if it is not there."""
        return self.unix(attempt).path

    def addresses(self, name: str) -> frozenset[Address] | None:
        """What a host name resolves to; None: looked up, ask again."""
        return self.names.addresses(name)

    def known(self, address: Address) -> Known:
        """Which names lead to an address, where names play a part at all."""
        return self.names.known(address) if self._names or self._by_name else Known()

    def named(self, attempt: Attempt, verdict: Verdict) -> tuple[Verdict, Known | None]:
        """The verdict with a name for its destination, if one leads there; and all names."""
        endpoint = attempt.endpoint
        if not isinstance(endpoint, Inet) or verdict.reason is Reason.STUB:
            return verdict, None
        if verdict.redirect and self._deserted(attempt, verdict.redirect):
            why = f"{verdict.why}; nobody listens there"
            verdict = msgspec.structs.replace(verdict, why=why)
        form = canonical(endpoint.address)[0]
        if form.is_loopback:
            return verdict, None
        known = self.known(form)
        if not known.names and self._names and verdict.reason in _UNMATCHED:
            why = f"{verdict.why}, and no name led there"
            return msgspec.structs.replace(verdict, why=why), known
        if verdict.name or not known.names:
            return verdict, known
        return msgspec.structs.replace(verdict, name=known.names[0]), known

    def _deserted(self, attempt: Attempt, place: Inet) -> bool:
        there = msgspec.structs.replace(attempt, endpoint=place)
        return all(self.owner(there, one) is Owner.NOBODY for one in attempt.protocols)

    def seen(self, attempt: Attempt, known: Known | None) -> Seen:
        """What there is to know of *attempt*, for the journal: whoever replays it will ask."""
        endpoint = attempt.endpoint
        if isinstance(endpoint, Question):
            address = reverse(endpoint.name)
            names = self.known(address).names if address else ()
            return Seen(names=names, search=self.search(), caller=self._known_caller(attempt))
        if attempt is not self._judged:
            return Seen()
        if isinstance(endpoint, Unix):
            found = self.unix(attempt)
            owners = {Protocol.UNIX: found.owner}
            caller = self._known_caller(attempt)
            return Seen(owners, missing=found.error, path=found.path, caller=caller)
        if not isinstance(endpoint, Inet):
            return Seen()
        names = (known or self.known(canonical(endpoint.address)[0])).names
        return Seen(
            {protocol: self.owner(attempt, protocol) for protocol in attempt.protocols},
            names,
            tuple(name for name in names if self.trusted(name)),
            # Who the resolvers are takes reading files: not for every port.
            endpoint.port == 53 and bool(leads_to(self.resolvers(), endpoint)),
            caller=self._known_caller(attempt),
        )

    def _known_caller(self, attempt: Attempt) -> Caller | None:
        found = self.caller(attempt)
        return None if found is UNKNOWN else found

    def at_home(self, descriptor: Descriptor) -> bool:
        """Whether a socket may be in the supervisor's own network namespace."""
        return not (descriptor.netns and self._owners.netns) or (
            descriptor.netns == self._owners.netns
        )

    def search(self) -> tuple[str, ...]:
        """The domains that resolvers append."""
        return self.names.search()

    def resolvers(self) -> frozenset[Address]:
        """The configured name servers."""
        return self.names.resolvers()

    def trusted(self, name: str) -> bool:
        """Whether a name may give a private address."""
        return self.names.trusted(name)
