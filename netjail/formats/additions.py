"""
What to put into a policy file so that what was denied goes through: denials in, TOML out.

It is there to be pasted, at the end of a file: a first one begins with ``allow``, a table
of its own can follow whatever stands there. What only another rule could change, a deny
that matched or a listener, is left to the lines that tell of it; so is what should not be
allowed in passing: brokers, and the clouds' metadata. A lock has lines alone, which ``lock``
writes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence

from netjail.errors import Place, RuleError, Source
from netjail.formats import visible
from netjail.formats.document import Destination, Listener
from netjail.formats.lines import Line
from netjail.policy.files import NAMES, rule_table, table_of
from netjail.policy.paths import parse_unix

_NEW = NAMES[0]


def title(files: Sequence[str]) -> str:
    """What to do with the lines; *files* are the policy's."""
    where = f"add to the end of {visible(files[0], 1000)}" if files else f"write into {_NEW}"
    return f"to allow what you trust of it, {where}"


def lines(files: Sequence[str], found: Sequence[Destination], room: int) -> Iterator[Line]:
    """The rules for the first of *found*, each with the program that asked."""
    rules = dict(_rules(found))
    if not rules or _locked(files, found):
        return
    if files:
        yield [("  ", ""), (rule_table(files[0]), "fix")]
    yield [("  ", ""), ("allow = [", "fix")]
    for rule, program in list(rules.items())[:room]:
        yield [("      ", ""), (f"{json.dumps(rule, ensure_ascii=False)},", "fix"), program]
    if len(rules) > room:
        yield [(f"      # and {len(rules) - room} more: -v", "faint")]
    yield [("  ", ""), ("]", "fix")]


def bindings(
    files: Sequence[str], listeners: Sequence[Listener], found: Sequence[Destination] = ()
) -> Iterator[Line]:
    """The key that opens *listeners*: it stands before any table."""
    ports = [_option(one.fix, "--bind") for one in listeners]
    rules = list(dict.fromkeys(rule for rules in ports for rule in rules))
    if rules and not _locked(files, found):
        text = json.dumps(rules, ensure_ascii=False)
        yield [(f"  to open, {_before_tables(files)}: ", ""), (f"bind = {text}", "fix")]


def _before_tables(files: Sequence[str]) -> str:
    file = visible(files[0], 1000) if files else _NEW
    table = ".".join(table_of(file))
    return f"under [{table}] in {file}" if table else f"at the top of {file}"


def _locked(files: Sequence[str], found: Iterable[Destination]) -> bool:
    """Whether one of *files* is a lock: by its name, or because it refused as a whole."""
    whole = {one.layer for one in found}
    return any(file.endswith(".lock") or file in whole for file in files)


def _rules(found: Sequence[Destination]) -> Iterator[tuple[str, tuple[str, str]]]:
    ports = [rule for one in found if one.kind == "inet" for rule in _option(one.fix, "--allow")]
    reached = {rule.rpartition(":")[0] for rule in ports}
    for one in found:
        program = visible(one.askers[0].chain[0], 32) if one.askers else ""
        for rule in _option(one.fix, "--allow") if one.owner != "metadata" else ():
            # A rule on a port of a host implies the look-up of its name.
            implied = one.kind == "lookup" and rule in reached
            if _harmless(rule) and not implied:
                yield rule, (f"  # {program}" if program else "", "faint")


def _option(fix: str, option: str) -> list[str]:
    """The values of *option*, where a fix gives no other."""
    words = _words(fix)
    return words[1::2] if set(words[::2]) == {option} else []


def _words(fix: str) -> list[str]:
    # What would be changed by showing it would be another rule when it is pasted.
    if visible(fix, 1000) != fix:
        return []
    try:
        return shlex.split(fix)
    except ValueError:
        return []


def _harmless(rule: str) -> bool:
    if not rule.startswith("unix:"):
        return True
    from netjail.policy import brokers

    try:
        return not any(brokers.warnings([parse_unix(rule, Source(rule, Place("")), "")], []))
    except RuleError:
        return False
