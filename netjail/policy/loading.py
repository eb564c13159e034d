"""
Options and files in, the parts of a policy out: how they combine.

Within one policy lists add up; of the other words an option goes before files, and a file
before what it extends. The system's file is a policy of its own.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from netjail.errors import Place, RuleError
from netjail.model import Decision
from netjail.policy import files, rules
from netjail.policy.collector import Collector
from netjail.policy.engine import Engine
from netjail.policy.errnos import error_named
from netjail.policy.files import Shelf
from netjail.policy.group import MANY
from netjail.policy.rules import AddressRule
from netjail.policy.sheets import Entry, Mode, Refusal, Sheet, Test

if TYPE_CHECKING:
    from datetime import date


class Rules(msgspec.Struct, frozen=True):
    """What the command line says of the policy, as it was written."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    default: Decision | None = None
    errno: str | None = None
    bind: tuple[str, ...] = ()
    search: bool = False
    """Look for a policy file from the working directory upwards, unless *files* are given."""
    audit: bool = False
    presets: tuple[str, ...] = ()
    expired_fails: bool = False
    """A rule whose last day is over is an error, not a warning."""
    today: date | None = None
    """For rules that hold until a day; None: as UTC has it."""


class Loaded(NamedTuple):
    """The fields of a ``Policy``."""

    engines: tuple[Engine, ...]
    bind: tuple[tuple[AddressRule, ...], ...]
    warnings: tuple[str, ...]
    refusal: Refusal
    files: tuple[str, ...]
    audit: bool
    tests: tuple[Test, ...]


def load(given: Rules) -> Loaded:
    """
    Read and compile what is *given*.

    :raises RuleError: with every mistake of every option and file.
    """
    collector = Collector()
    paths = list(given.files)
    options = _options(given, collector)
    sheet = options.over(_caller(given, collector, paths))
    caller = _Part.of(sheet, given.audit or sheet.mode is Mode.AUDIT)
    parts = [caller]
    if os.path.exists(files.SYSTEM):
        paths.append(files.SYSTEM)
        system = Shelf(collector, given.today).read(files.SYSTEM)
        parts.append(_Part.of(_without_audit(system, files.SYSTEM), audit=False))
    expired = [error for part in parts for error in part.sheet.expired]
    if given.expired_fails:
        collector.errors += expired
    collector.finish()
    return Loaded(
        tuple(part.engine for part in parts),
        # A system policy that is silent about listening leaves it to the caller's.
        tuple(
            part.sheet.bind or () for part in parts if part.sheet.bind is not None or part is caller
        ),
        (*(warning for part in parts for warning in part.warnings), *map(str, expired)),
        next((part.sheet.refusal for part in parts if part.sheet.refusal), Refusal.NXDOMAIN),
        tuple(paths),
        caller.audit,
        caller.sheet.tests,
    )


def _caller(given: Rules, collector: Collector, paths: list[str]) -> Sheet:
    """The files and presets that are given; or else the file that is found."""
    shelf = Shelf(collector, given.today)
    sheets = [shelf.read(path) for path in given.files]
    for name in given.presets:
        place = _place("--preset", name)
        sheets.append(shelf.preset(Entry(name, place, "--preset")))
    if given.search and not given.files:
        found = shelf.found(os.getcwd())
        if found.path and found.sheet:
            paths.append(found.path)
            sheets.append(_without_audit(found.sheet, found.path))
        if found.warning:
            sheets.append(Sheet(warnings=(found.warning,)))
    return Sheet.together(sheets)


# A file that lies there must not open what the user believes to be shut.
def _without_audit(sheet: Sheet, path: str) -> Sheet:
    if sheet.mode is not Mode.AUDIT:
        return sheet
    warning = f'{path}: mode = "audit" is not heeded there; for it: --audit, or --policy {path}'
    return msgspec.structs.replace(sheet, mode=None, warnings=(*sheet.warnings, warning))


def _place(option: str, text: str) -> Place:
    shown = f"{option} {text}"
    start = len(option) + 2
    return Place(f"{option} {shlex.quote(text)}", 0, start, shown, len(text))


def _options(given: Rules, collector: Collector) -> Sheet:
    def entries(option: str, texts: Iterable[str]) -> Iterable[tuple[str, Place, str]]:
        return ((text, _place(option, text), option) for text in texts)

    return Sheet(
        default=given.default,
        allow=collector.all(rules.parse, entries("--allow", given.allow)),
        deny=collector.all(rules.parse, entries("--deny", given.deny)),
        error=_error(given.errno, collector),
        bind=collector.all(rules.parse_bind, entries("--bind", given.bind)),
    )


def _error(name: str | None, collector: Collector) -> int | None:
    if name is None:
        return None
    return collector.take(error_named, name, _place("--errno", name))


# Half of what names.memory keeps: else what is looked up would push itself out, for ever.
_LOOKED_UP = 1024


class _Part(msgspec.Struct, frozen=True):
    """One policy: what it says, compiled."""

    engine: Engine
    sheet: Sheet
    warnings: tuple[str, ...]
    audit: bool

    @classmethod
    def of(cls, sheet: Sheet, audit: bool) -> _Part:
        default = sheet.default
        warnings = sheet.warnings
        if sheet.deny and not sheet.allow and default is None and not audit:
            warnings += (
                "only --deny is given: the rest is denied as well; to allow it: --default allow",
            )
        if audit and not sheet.allow and not sheet.deny:
            default = default or Decision.ALLOW
        error = errno.ECONNREFUSED if sheet.error is None else sheet.error
        engine = Engine.of(sheet.allow, sheet.deny, default or Decision.DENY, error)
        if len(names := engine.looked_up) > _LOOKED_UP:
            raise RuleError(
                f"{len(names)} host names would be looked up for a call; at most {_LOOKED_UP} are",
                "put the names into a file, one a line, and write '@FILE': a list is not looked up",
            )
        if any(group.named for group in engine.allow.values()):
            warnings += (
                f"more than {MANY} rules allow one host each: their addresses are those that the "
                "command asks for, as with a list",
            )
        if engine.paths.allow:
            from netjail.policy import brokers

            warnings += tuple(brokers.warnings(engine.paths.allow, engine.paths.deny))
        return cls(engine, sheet, warnings, audit)
