"""What ``netjail learn`` does: an audit, and a policy of what it saw."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from netjail.cli.files import STDOUT, new_file, stdout
from netjail.cli.jail import Task
from netjail.cli.options import Options
from netjail.cli.terminal import write
from netjail.errors import NetjailError
from netjail.formats import visible
from netjail.lock import learned
from netjail.lock.cover import VAIN, Cover, cover
from netjail.lock.wants import Want, Wants, ephemeral
from netjail.model import Decision, Reason
from netjail.policy import Policy

if TYPE_CHECKING:
    from netjail.policy import Rules


def task(options: Options, rules: Rules) -> Task:
    """
    Learn from the run that *options* describe.

    :raises NetjailError: if the file is there already, or cannot be written.
    """
    # What a found file says is what a learned one shall replace.
    given = msgspec.structs.replace(rules, default=Decision.DENY, audit=True, search=False)
    policy = Policy.load(given)
    new = options.output != STDOUT
    file = new_file(options.output, options.force) if new else stdout()
    ports = ephemeral()
    wants = Wants(ports)

    def finish() -> None:
        if wants.end and wants.end.code in (126, 127) and not wants.select(bool):
            return  # it was not run, and its file would be empty
        found = cover(wants.select(_wanted), given)
        text = learned.write(wants, found, ports)
        _prove(text, given)
        file.write(text)
        if not options.quiet:
            _say(wants, found, options.output)

    return Task(policy, wants.take, finish, summary=False)


def _wanted(want: Want) -> bool:
    """What no rule speaks of yet."""
    return not want.allowed and want.reason is not Reason.RULE


def _prove(text: str, given: Rules) -> None:
    """
    Read a policy as it will be read.

    :raises NetjailError: if it is none, which would be our mistake.
    """
    fd = os.memfd_create("netjail.toml")
    try:
        os.write(fd, text.encode())
        files = (*given.files, f"/proc/self/fd/{fd}")
        Policy.load(msgspec.structs.replace(given, files=files))
    except NetjailError as error:
        write(text)
        raise NetjailError(f"what was learned is no policy: {error}", "please report it") from error
    finally:
        os.close(fd)


def _say(wants: Wants, found: Cover, output: str) -> None:
    count = sum(1 for use in found.targets.values() if use.note != VAIN)
    where = "" if output == STDOUT else f" to {visible(output, 1000)}"
    write(f"netjail: learned {count} destination{'' if count == 1 else 's'}, written{where}\n")
    for text, use in sorted(found.left.items()):
        write(f"  no rule can say: {visible(text)}: {visible(use.program)}\n")
    if wants.end and (wants.end.code or wants.end.signal):
        write("  the command failed: what it would have done after that is not in it\n")
