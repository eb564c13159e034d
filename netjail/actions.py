"""
What can be done about an attempt, one row each.

To add an action, write its row in ``ACTIONS``: the supervisor does what the row
says and asks nothing else about it. ``choose`` is the one place where a verdict
and the mode meet.
"""

from __future__ import annotations

import msgspec

from netjail.model import Decision, Reason, Verdict


class Action(msgspec.Struct, frozen=True):
    """What the kernel is made to do with a stopped call."""

    name: str
    runs: bool
    """The call runs on the judged copy; else it fails with the verdict's errno."""
    leads: bool = False
    """The copy has the verdict's other destination."""


# (decision, whether the verdict leads elsewhere): action
ACTIONS: dict[tuple[Decision, bool], Action] = {
    (Decision.ALLOW, False): Action("allow", runs=True),
    (Decision.ALLOW, True): Action("redirect", runs=True, leads=True),
    (Decision.DENY, False): Action("deny", runs=False),
}

# Audit lifts what the rules refuse. These are not the rules' doing: a call that the
# kernel would refuse, a door that is shut for good, a copy that could not be made.
_HELD_IN_AUDIT = frozenset({Reason.STRUCTURE, Reason.MALFORMED, Reason.INTERNAL})


def choose(verdict: Verdict, audit: bool) -> Action:
    """What to do about a judged attempt; audit lets it go where it wanted."""
    if audit and verdict.reason not in _HELD_IN_AUDIT:
        return ACTIONS[Decision.ALLOW, False]
    return ACTIONS[verdict.decision, verdict.redirect is not None]
