"""The jails: from options to a plan, and from its outcome to our end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from netjail.cli.options import Options, read
from netjail.errors import NetjailError, UsageError

if TYPE_CHECKING:
    from netjail.cli.target import Target
    from netjail.policy import Policy, Rules
    from netjail.records import Record
    from netjail.report import Report
    from netjail.supervisor import Plan, Watch

FAILED = 125
"""netjail's own failure, wrong options included; see env(1) and timeout(1)."""


class Task(NamedTuple):
    """What a jail does beside running the command."""

    policy: Policy
    observe: Callable[[Record], None]
    """Is shown each record, whether there is a file for them or not."""
    finish: Callable[[], int | None]
    """Called at the end, after the summary; see ``Plan.finish``."""
    summary: bool
    """Whether the summary is printed without being asked for."""


# jail: the module here that makes its task of the options
_TASKS = {"learn": "learning", "lock": "locking"}


def jail(name: str, words: Sequence[str]) -> bool:
    """
    Run ``netjail NAME WORDS``; does not return from a run.

    :returns: True if the user asks for help instead.
    """
    from netjail.cli.terminal import complain

    try:
        options = read(words, name)
        if options.help:
            return True
        _check(name, options)
        _run(_plan(name, options))
    except NetjailError as error:
        complain(error)
        sys.exit(FAILED)
    return False


def _check(name: str, options: Options) -> None:
    if not options.command:
        raise UsageError("no command given", f"netjail {name} [OPTIONS] -- COMMAND...")
    if options.append and options.events is None:
        raise UsageError("--append needs a file", "name it with --events")
    for fd in options.keep_fd:
        _check_open(fd)


def _check_open(fd: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError as error:
        hint = "it must be open when netjail starts"
        raise UsageError(f"--keep-fd: descriptor {fd} is not open", hint) from error


def rules_of(options: Options, audit: bool) -> Rules:
    """What *options* say of the policy."""
    from netjail.model import Decision
    from netjail.policy import Rules

    return Rules(
        allow=options.allow,
        deny=options.deny,
        files=options.policy,
        default=Decision(options.default) if options.default else None,
        errno=options.errno,
        bind=options.bind,
        search=not options.no_config,
        audit=audit,
        presets=options.preset,
        # What the pipeline shall not overlook; it changes no verdict.
        expired_fails=bool(os.environ.get("CI")),
    )


def _task(name: str, options: Options, rules: Rules) -> Task | None:
    module = "watching" if options.fail_on == "new" else _TASKS.get(name)
    if module is None:
        return None
    from importlib import import_module

    task: Task = import_module(f"netjail.cli.{module}").task(options, rules)
    return task


def _targets(options: Options) -> list[Target]:
    """Where reports go; each can be written."""
    if not options.report and not options.summary:
        return []
    from netjail.cli.files import STDOUT
    from netjail.cli.target import parse, step_summary

    targets = [parse(text) for text in options.report]
    targets += [step_summary()] if options.summary else []
    taken = [os.path.abspath(options.events)] if options.events else []
    for target in targets:
        if target.path in taken:
            raise UsageError(f"{target.path} is written twice", "give each a file of its own")
        taken += [target.path] if target.path != STDOUT else []
        target.check()
    return targets


def _end(
    report: Report, options: Options, policy: Policy, task: Task | None, targets: list[Target]
) -> int | None:
    """Say how it went, where that was asked for."""
    from netjail.cli.terminal import summarise

    for warning in policy.warnings:
        report.warn(warning)
    summary = not options.quiet and (task is None or task.summary or options.verbose)
    if summary or targets:
        from netjail.formats.compose import compose

        document = compose(report)
        if summary:
            found = tuple(file for file in policy.files if file not in options.policy)
            summarise(document, options.color, options.verbose, found, policy.files)
        for target in targets:
            target.write(document)
    return task.finish() if task else None


def _plan(name: str, options: Options) -> Plan:
    from netjail.cli.terminal import complain, write
    from netjail.formats import visible
    from netjail.journal.writing import Journal, Observed
    from netjail.policy import Policy
    from netjail.supervisor import Plan

    rules = rules_of(options, options.audit or name == "audit")
    task = _task(name, options, rules)
    policy = task.policy if task else Policy.load(rules)

    watch = _watch(options, policy.audit)
    targets = _targets(options)

    def finish(report: Report) -> int | None:
        watch.end()
        return _end(report, options, policy, task, targets)

    kept = (options.events, options.append)

    def say(line: str) -> None:
        if not options.quiet:
            write(f"netjail: {visible(line, 1000)}\n")

    return Plan(
        command=options.command,
        policy=policy,
        # Opened when the rules are known to be right: a slip must not cost an old journal.
        journal=Observed(task.observe, *kept) if task else Journal(*kept),
        audit=policy.audit,
        orphans=options.orphans,
        keep_fds=options.keep_fd,
        keep_caps=options.keep_caps,
        show_args=options.show_args,
        strict=options.strict,
        fail_on=options.fail_on,
        exit_code=options.exit_code,
        quiet=options.quiet,
        verbose=options.verbose,
        finish=finish,
        say=say,
        complain=complain,
        watch=watch,
        details=bool(targets),
    )


def _watch(options: Options, audit: bool) -> Watch:
    if not options.live or options.quiet:
        from netjail.supervisor import Watch

        return Watch()
    from netjail.cli.live import live

    return live(audit, options.color)


def _run(plan: Plan) -> None:
    from netjail.supervisor import leave, run

    leave(run(plan))
