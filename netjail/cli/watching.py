"""What ``--fail-on new`` does: the run is compared with netjail.lock, and held to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netjail.cli.jail import Task
from netjail.cli.locking import compare, voice
from netjail.lock import files
from netjail.lock.cover import cover
from netjail.lock.judge import watched
from netjail.lock.wants import Wants, ephemeral
from netjail.model import Decision
from netjail.policy import Rules

if TYPE_CHECKING:
    from netjail.cli.options import Options


def task(options: Options, rules: Rules) -> Task:
    """
    Run under *rules*, and say what the lock has not.

    :raises RuleError: if there is no lock, or none that can be read.
    """
    lock = files.read(options.file)
    policy = watched(rules, lock)
    wants = Wants(ephemeral())
    given = Rules(allow=tuple(lock.rules), default=Decision.DENY)

    def finish() -> int | None:
        new = compare(lock, cover(wants.select(policy.is_new), given), [], "", voice(options))
        failed = not wants.end or wants.end.code or wants.end.signal
        return options.exit_code if new and not failed else None

    return Task(policy, wants.take, finish, summary=True)
