"""
The loop: wait, decide, act, resume, until no process is left.

A :class:`Plan` goes in and an :class:`Outcome` comes out; what happened in between
is in the plan's journal and in the report that it is given at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from netjail.errors import NetjailError, limited
from netjail.model import Decision

if TYPE_CHECKING:
    from netjail.journal.writing import Journal
    from netjail.kernel.links import Links
    from netjail.kernel.probe import Host
    from netjail.model import Attempt, Verdict
    from netjail.policy import Policy
    from netjail.report import Chain, Report


class Watch:
    """Is told of attempts as they happen, and never waits; this one does not care."""

    def note(self, attempt: Attempt, verdict: Verdict, chain: Chain, count: int) -> None:
        """*count* attempts by the program that *chain* names."""

    def tick(self) -> None:
        """About a second has gone by."""

    def end(self) -> None:
        """There will be no more."""


_NOBODY = Watch()


class Plan(msgspec.Struct, frozen=True):
    """What to run, and how."""

    command: tuple[str, ...]
    policy: Policy
    journal: Journal
    audit: bool
    orphans: str
    """``wait`` or ``kill``: what becomes of processes that outlive the command."""
    keep_fds: tuple[int, ...]
    keep_caps: bool
    """Leave the capabilities that would undo the jail."""
    show_args: bool
    strict: bool
    fail_on: str
    """``denied``, ``attempt``, ``new`` or ``never``; see ``report.exit_status``."""
    exit_code: int
    quiet: bool
    verbose: bool
    finish: Callable[[Report], int | None]
    """
    Called in the supervisor at the end: prints the summary. A status that it returns is
    what netjail ends with, however the command did.
    """
    say: Callable[[str], None]
    """Writes one line to stderr, unless -q was given."""
    complain: Callable[[NetjailError], None]
    """Says what stops netjail, on stderr, -q or not."""
    details: bool = False
    """Keep what a whole report needs, not what a summary needs alone."""
    watch: Watch = _NOBODY
    """Who is told of attempts as they happen."""


class Outcome(msgspec.Struct, frozen=True):
    """How the command ended, as netjail shall end."""

    code: int
    signal: int
    """The fatal signal to raise again, or 0."""


def run(plan: Plan) -> Outcome:
    """
    Run the plan's command under its policy, and wait for its last process.

    :raises NetjailError: where netjail itself fails; exit status 125.
    """
    from netjail.kernel.probe import probe, require

    # First of all: the rest loads the core, which another architecture has not.
    host = probe()
    require(host)

    from netjail.filter import program
    from netjail.kernel.inherited import Inherited
    from netjail.kernel.start import Launch, start
    from netjail.supervisor.loop import Supervisor
    from netjail.supervisor.setting import Setting
    from netjail.syscalls import ROWS

    key = int.from_bytes(os.urandom(8), "little")
    code = program(ROWS, key, weak=host.weak)
    setting = Setting(host, Inherited.read(plan.keep_fds), plan.keep_caps)

    def supervise(links: Links) -> None:
        try:
            Supervisor(plan, setting, links).run(code, key)
        except NetjailError as error:
            links.shared.end(125, 0)
            plan.complain(error)
        except Exception as error:
            links.shared.end(125, 0)
            plan.complain(limited(error) or _internal(error))

    launch = Launch(
        plan.command, code, _scopes(plan, host), setting.inherited.closed, setting.dropped
    )
    return Outcome(*start(launch, supervise))


def _internal(error: Exception) -> NetjailError:
    """A mistake of ours, with the place for the report; the jail ends, fail closed."""
    from traceback import extract_tb

    where = "; ".join(f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__))
    kind = type(error).__name__
    return NetjailError(f"internal error: {kind}: {error} ({where})", "please report this line")


def _scopes(plan: Plan, host: Host) -> int:
    """What the Landlock domain keeps inside; see landlock(7), "Scope flags"."""
    from netjail.kernel.start import SCOPE_ABSTRACT, SCOPE_SIGNAL

    if host.weak:
        return 0
    # Its kernel would refuse an abstract name outside before a rule could allow it.
    outside = plan.audit or _reaches_abstract(plan.policy)
    return SCOPE_SIGNAL | (0 if outside else SCOPE_ABSTRACT)


def _reaches_abstract(policy: Policy) -> bool:
    return any(
        engine.book.default is Decision.ALLOW
        or any(rule.glob.abstract for rule in engine.paths.allow)
        for engine in policy.engines
    )


def leave(outcome: Outcome) -> None:
    """End this process as *outcome* says: does not return."""
    from netjail.kernel.start import leave as end

    end(outcome.code, outcome.signal)
