"""
One policy's rules on unix sockets: an attempt in, a verdict out.

Nothing here is cacheable: paths change hands.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import msgspec

from netjail.endpoints import Unix
from netjail.model import Attempt, Decision, Owner, Protocol, Verdict
from netjail.policy import wording
from netjail.policy.facts import Caller, Facts
from netjail.policy.paths import PathRule
from netjail.policy.rulebook import Rulebook, addressed, on_paths
from netjail.policy.rules import AddressRule


class Paths(msgspec.Struct, frozen=True):
    """What the rules say of unix sockets."""

    allow: tuple[PathRule, ...]
    deny: tuple[PathRule, ...]
    own: tuple[AddressRule, ...]
    """Denials of ``self`` that mean unix listeners as well."""
    book: Rulebook

    @classmethod
    def of(cls, book: Rulebook) -> Paths:
        """Sort out the rules that count."""
        own = tuple(rule for rule in addressed(book.deny) if rule.covers_unix)
        return cls(on_paths(book.allow), on_paths(book.deny), own, book)

    def decide(self, attempt: Attempt, endpoint: Unix, facts: Facts) -> Verdict:
        """Judge a unix destination."""
        reached = self._reached(attempt, endpoint, facts)
        for rule in self._denying(attempt, endpoint, reached, facts):
            return wording.refused(rule, wording.path(reached or endpoint), self.book.error, False)
        own = self.book.deny_callers.heeded(self.own, _asker(attempt, facts))
        owner = facts.owner(attempt, Protocol.UNIX) if own else None
        if own and owner is Owner.JAIL:
            return wording.refused(own[0], "", self.book.error, False)
        for rule in self._allowing(attempt, reached, facts):
            return wording.allowed(rule)
        if self.book.default is Decision.ALLOW:
            return wording.open_by_default()
        return self._unmatched(attempt, endpoint, facts, owner)

    def _reached(self, attempt: Attempt, endpoint: Unix, facts: Facts) -> Unix | None:
        return _reached(attempt, endpoint, facts) if self.allow or self.deny else endpoint

    def _denying(
        self, attempt: Attempt, endpoint: Unix, reached: Unix | None, facts: Facts
    ) -> Sequence[PathRule]:
        met = [r for r in self.deny if r.matches(endpoint) or (reached and r.matches(reached))]
        return self.book.deny_callers.heeded(met, _asker(attempt, facts))

    def _allowing(self, attempt: Attempt, reached: Unix | None, facts: Facts) -> Sequence[PathRule]:
        met = [rule for rule in self.allow if reached and rule.matches(reached)]
        return self.book.allow_callers.heeded(met, _asker(attempt, facts))

    def _unmatched(
        self, attempt: Attempt, endpoint: Unix, facts: Facts, owner: Owner | None
    ) -> Verdict:
        owner = owner or facts.owner(attempt, Protocol.UNIX)
        if owner is Owner.JAIL:
            return wording.own(endpoint)
        if owner is Owner.NOBODY:
            missing = 0 if endpoint.abstract else facts.missing(attempt)
            return wording.nobody(endpoint, missing or errno.ECONNREFUSED)
        reached = _reached(attempt, endpoint, facts) or endpoint
        fix = wording.to_allow_unix(reached)
        if is_name_service(endpoint) or is_name_service(reached):
            return wording.name_service(endpoint, fix, self.book.error)
        return wording.foreign(endpoint, fix, self.book.error, known=owner is Owner.OUTSIDE)


def _asker(attempt: Attempt, facts: Facts) -> Callable[[], Caller]:
    return lambda: facts.caller(attempt)


# What a call on a path would reach: a link in the jail must not borrow a rule's name.
def _reached(attempt: Attempt, endpoint: Unix, facts: Facts) -> Unix | None:
    if endpoint.abstract:
        return endpoint
    resolved = facts.resolved(attempt)
    return Unix(resolved) if resolved else None


# Tried by every C library and logger, wanted by none of their callers.
_NAME_SERVICES = (
    b"/run/nscd/socket",
    b"/var/run/nscd/socket",
    b"/run/systemd/userdb/io.systemd.",
    b"/run/systemd/resolve/io.systemd.",
    b"/run/systemd/journal/",
    b"/dev/log",
)


def is_name_service(endpoint: Unix) -> bool:
    """Whether it is a service that every program tries, whoever runs it."""
    return not endpoint.abstract and endpoint.path.startswith(_NAME_SERVICES)
