"""
What can be done about an attempt, one row each, and the errnos it can be given.

To add an action, write its row in ``ACTIONS``: the supervisor does what the row
says and asks nothing else about it. ``choose`` is the one place where a verdict
and the mode meet.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from netjail.errors import Place, RuleError, guess
from netjail.model import Decision, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Action:
    """What the kernel is made to do with a stopped call."""

    name: str
    runs: bool
    """The call runs on the judged copy; else it fails with the verdict's errno."""


# decision: action
ACTIONS: dict[Decision, Action] = {
    Decision.ALLOW: Action("allow", runs=True),
    Decision.DENY: Action("deny", runs=False),
}

# Audit lifts what the rules refuse. These are not the rules' doing: a call that the
# kernel would refuse, a door that is shut for good, a copy that could not be made.
_HELD_IN_AUDIT = frozenset({Reason.STRUCTURE, Reason.MALFORMED, Reason.INTERNAL})


def choose(verdict: Verdict, audit: bool) -> Action:
    """What to do about a judged attempt."""
    if audit and verdict.reason not in _HELD_IN_AUDIT:
        return ACTIONS[Decision.ALLOW]
    return ACTIONS[verdict.decision]


# name: number; errno.errorcode has one name a number, so the other names are added
ERRNOS: dict[str, int] = {name: number for number, name in errno.errorcode.items()} | {
    "EWOULDBLOCK": errno.EWOULDBLOCK,
    "EOPNOTSUPP": errno.EOPNOTSUPP,
    "ENOTSUP": errno.ENOTSUP,
    "EDEADLOCK": errno.EDEADLOCK,
}


def error_named(name: str, place: Place | None = None) -> int:
    """
    The number of an errno, for a denied call.

    :raises RuleError: for a name that errno(3) does not have; a number is refused
        as well: 0 would tell the program that its call was made.
    """
    number = ERRNOS.get(name.upper())
    if number is None:
        hint = guess(name.upper(), _USUAL) + ", and every other name of errno(3)"
        raise RuleError(f"{name!r} is not the name of an errno", hint, place)
    return number


_USUAL = (
    "EACCES",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETDOWN",
    "ENETUNREACH",
    "EPERM",
    "ETIMEDOUT",
)
