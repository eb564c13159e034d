"""
The loop: wait, decide, act, resume, until no process is left.

A :class:`Plan` goes in and an :class:`Outcome` comes out; what happened in between
is in the plan's journal and in the report that it is given at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netjail.journal import Journal
    from netjail.policy import Policy
    from netjail.report import Report


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and how."""

    command: tuple[str, ...]
    policy: Policy
    journal: Journal
    audit: bool
    orphans: str
    """``wait`` or ``kill``: what becomes of processes that outlive the command."""
    keep_fds: tuple[int, ...]
    show_args: bool
    strict: bool
    fail_on: str
    """``denied``, ``attempt`` or ``never``; see ``report.exit_status``."""
    exit_code: int
    quiet: bool
    verbose: bool
    finish: Callable[[Report], None]
    """Called in the supervisor at the end: prints the summary."""
    say: Callable[[str], None]
    """Writes one line to stderr, unless -q was given."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the command ended, as netjail shall end."""

    code: int
    signal: int
    """The fatal signal to raise again, or 0."""


def run(plan: Plan) -> Outcome:
    """
    Run the plan's command under its policy, and wait for its last process.

    :raises NetjailError: where netjail itself fails; exit status 125.
    """
    raise NotImplementedError


def leave(outcome: Outcome) -> None:
    """End this process as *outcome* says: does not return."""
    raise NotImplementedError
