"""What ``netjail lock`` does: it writes where a command goes, or holds it to that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from netjail.cli.files import new_file
from netjail.cli.jail import Task
from netjail.cli.options import Options
from netjail.cli.terminal import write
from netjail.errors import UsageError
from netjail.formats import visible
from netjail.lock import changes, files
from netjail.lock.cover import Cover, Use, cover
from netjail.lock.files import Line, Lock
from netjail.lock.judge import is_new, locked, rules_used
from netjail.lock.wants import Want, Wants, calls, ephemeral
from netjail.model import Decision, Reason
from netjail.policy import Rules

if TYPE_CHECKING:
    from netjail.cli.files import NewFile

Say = Callable[[str], None]


def task(options: Options, rules: Rules) -> Task:
    """
    Write, renew or check the lock that *options* name.

    :raises NetjailError: if it is there and should not be, or the other way round.
    """
    _check(options)
    old = files.read(options.file) if options.check or options.update else None
    file = None if options.check else new_file(options.file, options.update)
    audit = options.audit or not options.check
    policy = locked(msgspec.structs.replace(rules, audit=audit), old, options.file)
    wants = Wants(ephemeral())
    lock = old or Lock(name=options.file)
    given = Rules(allow=(*rules.allow, *lock.rules), default=Decision.DENY)
    say = voice(options)

    def finish() -> int | None:
        found = cover(wants.select(lambda want: _unknown(want, lock)), given)
        gone = _gone(lock, wants)
        if file:
            _renew(file, lock, found, gone, wants, say)
            return None
        how = ", let through" if options.audit else ", refused"
        return options.exit_code if compare(lock, found, gone, how, say) else None

    return Task(policy, wants.take, finish, summary=options.check)


def voice(options: Options) -> Say:
    """What says a line, unless the user wants none."""

    def say(line: str) -> None:
        if not options.quiet:
            write(f"{line}\n")

    return say


def _check(options: Options) -> None:
    if options.check and options.update:
        raise UsageError("--check and --update: which of them?", "--check first, then --update")
    if options.audit and not options.check:
        raise UsageError("--audit goes with --check", "without it nothing is refused anyway")
    if not options.check and not options.update:
        _check_absent(options.file)


def _check_absent(path: str) -> None:
    import os

    if os.path.lexists(path):
        hint = "--check holds the command to it, --update writes it again"
        raise UsageError(f"{path} is there already", hint)


def _unknown(want: Want, lock: Lock) -> bool:
    """What the lock has not; where nobody listened as well, since elsewhere somebody may."""
    return is_new(want, lock.name) or (not want.allowed and want.reason is Reason.NO_LISTENER)


def _gone(lock: Lock, wants: Wants) -> list[Line]:
    used = rules_used(list(wants), lock.name)
    return [line for line in lock.lines if line.rule not in used]


def _failed(wants: Wants) -> bool:
    return bool(wants.end and (wants.end.code or wants.end.signal))


def _renew(
    file: NewFile, lock: Lock, found: Cover, gone: list[Line], wants: Wants, say: Say
) -> None:
    if wants.end and wants.end.code in (126, 127) and not wants.select(bool):
        return  # it was not run
    if _failed(wants) and gone:
        say("netjail: the command failed: lines that it did not come to stay in the lock")
        gone = []
    new = _lines(found)
    after = lock.changed(new, gone)
    file.write(after.text)
    say(f"netjail: {_shown(lock.name)}: {_count(after.lines)}, {len(new)} new, {len(gone)} gone")
    _say_uses("+", found, say)
    _say_gone(gone, say)
    _say_left(found, say)


def compare(lock: Lock, found: Cover, gone: list[Line], how: str, say: Say) -> bool:
    """Say what is new and *how* that was dealt with, and what is gone; whether anything is new."""
    new = _lines(found)
    name = _shown(lock.name)
    if new:
        say(f"netjail: {name}: {len(new)} new{how}")
    else:
        say(f"netjail: {name}: {_count(lock.lines)}, nothing new")
    _say_uses("+", found, say)
    _say_gone(gone, say)
    _say_left(found, say)
    if new:
        say("netjail: if that is meant, apply this patch, or run netjail lock --update")
        for line in changes.patch(lock, new).splitlines():
            say(visible(line, 4000))
    return bool(new or found.left)


def _lines(found: Cover) -> list[Line]:
    return [files.line(target, use) for target, use in sorted(found.targets.items())]


def _count(lines: Iterable[Line]) -> str:
    count = len(list(lines))
    return f"{count} destination{'' if count == 1 else 's'}"


def _say_uses(sign: str, found: Cover, say: Say) -> None:
    for target, use in sorted(found.targets.items()):
        say(f"  {sign} {visible(target.rule)}  {_who(use)}")


def _say_gone(gone: Iterable[Line], say: Say) -> None:
    for line in gone:
        by = f", which was of {_shown(line.program)}" if line.program else ""
        say(f"  - {visible(line.rule)}  is gone{by}")


def _say_left(found: Cover, say: Say) -> None:
    for text, use in sorted(found.left.items()):
        say(f"  ! {visible(text)}  {_who(use)}: no rule can say it")


def _who(use: Use) -> str:
    """``curl <- make (pid 12, /usr/bin/curl), 3 calls``."""
    proc = use.record.proc
    chain = " <- ".join(visible(name, 60) for name in proc.chain[:8])
    return f"{chain or '?'} (pid {proc.pid}, {visible(proc.exe)}), {calls(use.count)}"


def _shown(text: str) -> str:
    return visible(text, 1000)
