"""What a rule says beside where: who has to call, why it is there, what it does."""

from __future__ import annotations

import msgspec

from netjail.endpoints import Inet


class Who(msgspec.Struct, frozen=True):
    """Whose calls a rule speaks of; each field that is not empty has to match."""

    exe: tuple[str, ...] = ()
    """Globs of the program's path; one of them has to match."""
    argv: tuple[str, ...] = ()
    """Globs; one of them has to match one word of the command line."""
    parent: tuple[str, ...] = ()
    """Globs as in *exe*, of any ancestor inside the jail."""


class Terms(msgspec.Struct, frozen=True):
    """The terms of a rule; the empty ones are those of a rule that is a string alone."""

    name: str = ""
    """What reports call it."""
    reason: str = ""
    """The user's own words, shown with each verdict by this rule."""
    who: Who | None = None
    error: int = 0
    """The errno of a call that it denies; 0: the policy's."""
    redirect: Inet | None = None
    """Where a call that it allows goes instead."""


PLAIN = Terms()
