"""
A report as findings: what a machine that reads CI's results shows one by one.

SARIF, JUnit and GitHub's annotations are made of these.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

import msgspec

from netjail.formats import visible
from netjail.formats.document import Asker, Destination, Document, Door, Run
from netjail.model import Reason

_LONG = 1000  # a fix is there to be copied; whatever is longer was made to be in the way


class Level(enum.Enum):
    """How much it matters; the value is SARIF's word."""

    ERROR = "error"
    WARNING = "warning"  # audit: it was let through
    NOTE = "note"  # refused, but nobody asked about


class Finding(msgspec.Struct, frozen=True):
    """One thing to look at. Its texts are safe to show, a line each."""

    level: Level
    rule: Reason
    """Why it is one; what SARIF calls a rule."""
    where: str
    """``example.org:443``."""
    title: str
    text: str
    """Sentences: who, why, how often."""
    fix: str
    file: str
    """Where the rule that decided stands, or where one that changes it would go."""
    line: int
    """0: it is about the file as a whole."""
    key: tuple[str, ...]
    """What is the same in each run."""
    count: int
    askers: tuple[Asker, ...]
    source: Destination | Door


class Rule(msgspec.Struct, frozen=True):
    """What stands behind findings of one reason, in words."""

    name: str
    short: str
    help: str


RULES = {
    Reason.RULE: Rule(
        "DeniedByRule",
        "A rule of the policy denies it.",
        "Remove the rule, or give it an exception, if the call is meant to be made.",
    ),
    Reason.DEFAULT: Rule(
        "NoRuleAllows",
        "No rule of the policy allows it.",
        "Add the rule that the message names, if the call is meant to be made.",
    ),
    Reason.SELF: Rule("OwnListener", "The jail's own listener.", "A rule denies `self`."),
    Reason.FOREIGN: Rule(
        "ForeignListener",
        "A program outside the jail listens there, on this machine.",
        "Add the rule that the message names, if the jail is meant to reach that program.",
    ),
    Reason.NO_LISTENER: Rule(
        "NobodyListens", "Nobody listens there.", "The kernel would have said the same."
    ),
    Reason.NAME_SERVICE: Rule(
        "NameService",
        "A name service or log of this machine, outside the jail.",
        "Programs go on without it.",
    ),
    Reason.STUB: Rule("NameServer", "The supervisor's name server.", "It judges each question."),
    Reason.REBINDING: Rule(
        "Rebinding",
        "A name from outside leads to an address inside.",
        "Allow the address as well, if the name is meant to lead there.",
    ),
    Reason.AMBIGUOUS: Rule(
        "AmbiguousProtocol",
        "It is allowed for one protocol that the socket could have, not for another.",
        "Allow both protocols, or neither.",
    ),
    Reason.MALFORMED: Rule(
        "Malformed", "The kernel would refuse the call as well.", "Look at the program."
    ),
    Reason.STRUCTURE: Rule(
        "AlwaysShut", "No rule can open this.", "Let the program do without; see the message."
    ),
    Reason.INTERNAL: Rule(
        "NotSafelyDone",
        "It could not be done safely on this host.",
        "`netjail doctor` says what this host offers.",
    ),
}


def findings(document: Document) -> list[Finding]:
    """What was refused, or would have been, the most important first."""
    found = [*_destinations(document), *(_door(document, door) for door in document.doors)]
    order = list(Level)
    return sorted(found, key=lambda one: (order.index(one.level), -one.count, one.key))


def _destinations(document: Document) -> Iterator[Finding]:
    runs = {run.id: run for run in document.runs}
    for one in document.destinations:
        if one.verdict == "deny":
            run = next((runs[id] for id in one.runs if id in runs), None)
            yield _destination(one, run or next(iter(document.runs), None))


def _destination(one: Destination, run: Run | None) -> Finding:
    reason = Reason(one.reason)
    file, line = _place(one.layer, run)
    level = Level.NOTE if not one.counted else Level.ERROR if one.carried else Level.WARNING
    shown = where(one)
    verb = "denied" if one.carried else "would be denied"
    why = visible(one.why or RULES[reason].short.rstrip("."), _LONG)
    return Finding(
        level,
        reason,
        shown,
        f"{verb}: {shown}",
        f"{_who(one.askers, one.others)}; {why}; {_calls(one.count)}",
        visible(one.fix, _LONG),
        file,
        line,
        (one.verdict, one.reason, one.kind, one.proto, one.shown),
        one.count,
        one.askers,
        one,
    )


def failures(document: Document) -> Iterator[str]:
    """What was let through and brought nothing: no finding, but why a program may fail."""
    for one in document.destinations:
        if one.failure:
            yield f"{where(one)} failed: {visible(one.failure, _LONG)}; {_who(one.askers)}"


def where(one: Destination) -> str:
    """``example.org:443 (tcp)``."""
    proto = f" ({one.proto})" if one.proto and one.kind != "unix" else ""
    return visible(f"{one.shown}{proto}")


def _door(document: Document, door: Door) -> Finding:
    file, line = _place("", next(iter(document.runs), None))
    call = visible(door.syscall)
    why = visible(door.why or RULES[Reason.STRUCTURE].short.rstrip("."), _LONG)
    return Finding(
        Level.NOTE,
        Reason.STRUCTURE,
        call,
        f"always shut: {call}",
        f"{_who(door.askers)}; {why}; {_calls(door.count)}",
        "",
        file,
        line,
        ("deny", "structure", "door", door.syscall),
        door.count,
        door.askers,
        door,
    )


_LAYER = re.compile(r"(?!-)(.+):(\d{1,9})", re.DOTALL)


def _place(layer: str, run: Run | None) -> tuple[str, int]:
    """The line of the rule; else the policy's file, the journal, or the file to make."""
    found = _LAYER.fullmatch(layer)
    if found:
        return found[1], int(found[2])
    files = (*run.files, run.journal) if run else ()
    return next(filter(None, files), "netjail.toml"), 0


def chain(names: tuple[str, ...]) -> str:
    """``curl <- make <- sh``."""
    return " <- ".join(visible(name, 60) for name in names[:8]) or "?"


def _who(askers: tuple[Asker, ...], others: int = 0) -> str:
    shown = ", ".join(chain(asker.chain) for asker in askers[:3]) or "?"
    return f"{shown} and others" if others or len(askers) > 3 else shown


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"


def command(run: Run) -> str:
    """The command of a run, as a shell would take it."""
    import shlex

    return visible(shlex.join(run.command), _LONG)
