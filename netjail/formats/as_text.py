"""
A report for a person at a terminal: what was denied and what to add come first.

Lines are lists of pieces, each a text and a style's name; ``_paint`` makes them a
string. rich is imported for colours only, and only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from netjail.endpoints import Question
from netjail.formats import visible
from netjail.model import QUIET, Decision, Reason
from netjail.report import Chain, Group, Report, Scope

Line = list[tuple[str, str]]

_STYLES = {
    "": "",
    "bad": "bold red",
    "good": "bold green",
    "title": "bold",
    "denied": "red",
    "fix": "cyan",
    "warning": "yellow",
    "faint": "dim",
}

# How many lines a section has before the rest is one line; -v lifts it.
_ROOM = 12
_DEPTH = 6

# For verdicts that bring no sentence of their own.
_WHY = {
    Reason.RULE: "a rule denies it",
    Reason.DEFAULT: "no rule allows it",
    Reason.FOREIGN: "it belongs to a program outside this jail",
    Reason.REBINDING: "a public name that gives a private address",
    Reason.AMBIGUOUS: "not allowed for every protocol that its socket could have",
    Reason.STRUCTURE: "no rule can open this",
    Reason.INTERNAL: "it could not be done safely",
}

# Folded to one line each.
_FOLDED = {
    Reason.NO_LISTENER: "nobody listens at",
    Reason.NAME_SERVICE: "name services outside stay closed:",
    Reason.MALFORMED: "refused as the kernel would:",
}

_DOORS = {
    "ptrace": "gdb, strace and LeakSanitizer need it; try ASAN_OPTIONS=detect_leaks=0",
    "io_uring_setup": "libraries fall back to ordinary calls",
    "userfaultfd": "it could hold the supervisor for ever",
}

_SCOPES = {
    Scope.MACHINE: "this machine only",
    Scope.OPEN: "open to the network",
    Scope.LOCAL: "programs outside this jail can reach it",
    Scope.REFUSED: "refused",
}


def render(report: Report, colour: bool = False, width: int = 80, verbose: bool = False) -> str:
    """The summary at the end of a run: plain text, or with ANSI colours."""
    room = len(report.groups) + _ROOM if verbose else _ROOM
    lines = list(_head(report))
    for title, body in (
        ("would be denied" if report.audit else "denied", _denied(report, room, width)),
        ("allowed", _allowed(report, room, width)),
        ("listening", _listening(report, room, width)),
        ("always shut", _doors(report, width)),
        ("warnings", _warnings(report, room, width)),
        ("rules", _rules(report, width) if verbose else iter(())),
    ):
        section = list(body)
        if section:
            lines += [[(title, "title")], *section]
    return "".join(_paint(line, colour) + "\n" for line in lines)


def _head(report: Report) -> Iterator[Line]:
    for path in report.policies:
        yield [(f"netjail: policy {visible(path, 1000)}", "")]
    start = ("netjail: audit, " if report.audit else "netjail: ", "")
    calls = _calls(report.attempted, "network ")
    if not report.attempted:
        yield [start, ("no network calls", "good")]
    elif report.denied:
        verb = "would be denied" if report.audit else "denied"
        yield [start, (f"{report.denied} of {calls} {verb}", "bad")]
    else:
        yield [start, (f"{calls}, none denied", "good")]


def _denied(report: Report, room: int, width: int) -> Iterator[Line]:
    groups = report.select(Decision.DENY, set(Reason) - QUIET)
    for group in groups[:room]:
        yield [_count(group), (_where(group, width - 16), "denied")]
        yield from _indented([_asked(group), *_reasons(group)], width)
        if group.verdict.fix:
            # Never cut or wrapped: it is there to be copied.
            yield [(f"{'':16}fix: ", ""), (visible(group.verdict.fix, 1000), "fix")]
    yield from _rest(groups[room:], report.crowded[Decision.DENY])
    for reason, text in _FOLDED.items():
        folded = report.select(Decision.DENY, {reason})
        if folded:
            yield from _fold(folded, text, width)


def _allowed(report: Report, room: int, width: int) -> Iterator[Line]:
    groups = report.select(Decision.ALLOW)
    for group in groups[:room]:
        where = _where(group, width - 16)
        line = [_count(group), (where, "")]
        detail = f"{_asked(group)}; {_by(group)}"
        if 18 + len(where) + len(detail) <= width:
            yield [*line, (f"  {detail}", "faint")]
        else:
            yield line
            yield from _indented([detail], width)
    yield from _rest(groups[room:], report.crowded[Decision.ALLOW])


def _listening(report: Report, room: int, width: int) -> Iterator[Line]:
    listeners = list(report.listeners)
    for listener in listeners[:room]:
        place = visible(str(listener.endpoint), width - 2)
        scope = f"  {_SCOPES[listener.scope]}"
        if 2 + len(place) + len(scope) <= width:
            yield [(f"  {place}", ""), (scope, "faint")]
        else:
            yield [(f"  {place}", "")]
            yield from _indented([scope.strip()], width, 6)
        yield from _indented([_chain(listener.chain)], width, 6)
        if listener.fix:
            yield [("      to open: ", ""), (visible(listener.fix, 1000), "fix")]
    yield from _more(len(listeners[room:]) + report.lost["listeners"])


def _doors(report: Report, width: int) -> Iterator[Line]:
    for group in report.doors.values():
        yield [(f"{group.count:8}  ", "faint"), (visible(group.syscall), "denied")]
        hint = group.verdict.why or _DOORS.get(group.syscall, "")
        yield from _indented([_asked(group), visible(hint, 400)], width, 10)


def _warnings(report: Report, room: int, width: int) -> Iterator[Line]:
    warnings = list(report.warnings)
    for text in warnings[:room]:
        for line in wrap(visible(text, 1000), width - 2, break_on_hyphens=False):
            yield [("  ", ""), (line, "warning")]
    yield from _more(len(warnings[room:]) + report.lost["warnings"])


def _more(count: int) -> Iterator[Line]:
    if count:
        yield [(f"  and {count} more", "faint")]


def _rules(report: Report, width: int) -> Iterator[Line]:
    for rule, count in report.rules.most_common():
        yield [(f"{count:8}  ", "faint"), (visible(rule, width - 10), "")]


def _count(group: Group) -> tuple[str, str]:
    protocols = "/".join(sorted(protocol.value for protocol in group.protocols))
    return (f"{group.count:8}  {visible(protocols, 30):<4}  ", "faint")


def _where(group: Group, width: int) -> str:
    """``example.org:443 (192.0.2.1, 2 more)``, or the bare address."""
    name = group.verdict.name
    if isinstance(group.endpoint, Question):
        return visible(str(group.endpoint), width)
    if not name:
        return visible(str(group.endpoint), width)
    port = getattr(group.endpoint, "port", "")
    first = str(getattr(group.places[0], "address", group.places[0]))
    more = f", {len(group.places) - 1} more" if len(group.places) > 1 else ""
    return visible(f"{visible(name, width - 6)}:{port} ({first}{more})", width)


def _asked(group: Group) -> str:
    """``curl <- make <- sh (10), wget <- sh (2)``."""
    chains = group.chains.most_common(3)
    if len(chains) == 1 and not group.others:
        return _chain(chains[0][0])
    text = ", ".join(f"{_chain(chain)} ({count})" for chain, count in chains)
    rest = group.count - sum(count for _, count in chains)
    return f"{text}, others ({rest})" if rest else text


def _chain(chain: Chain) -> str:
    names = [visible(name, 32) for name in chain[:_DEPTH]]
    return " <- ".join([*names, "..."] if len(chain) > _DEPTH else names)


def _reasons(group: Group) -> Iterator[str]:
    verdict = group.verdict
    yield visible(verdict.why or _WHY.get(verdict.reason, verdict.reason.value), 400)
    if verdict.rule and verdict.rule not in verdict.why:
        yield f"rule: {_by(group)}"


def _by(group: Group) -> str:
    """``--deny private``, ``netjail.toml:3: private``, or why it came without a rule."""
    verdict = group.verdict
    if not verdict.rule:
        return verdict.reason.value
    colon = "" if verdict.layer.startswith("-") else ":"
    return visible(f"{verdict.layer}{colon} {verdict.rule}" if verdict.layer else verdict.rule)


def _fold(groups: list[Group], text: str, width: int) -> Iterator[Line]:
    shown = ", ".join(visible(str(group.endpoint), 50) for group in groups[:3])
    more = f" and {len(groups) - 3} more" if len(groups) > 3 else ""
    calls = _calls(sum(group.count for group in groups))
    line = f"{text} {shown}{more} ({calls}, not counted)"
    yield from _indented([line], width, 2)


def _rest(groups: list[Group], crowded: int) -> Iterator[Line]:
    count = sum(group.count for group in groups) + crowded
    if count:
        # Beyond a thousand destinations their number is not known, only the calls'.
        places = "other" if crowded else f"{len(groups)} other"
        yield [(f"{count:8}  at {places} destinations", "faint")]


def _indented(texts: Iterable[str], width: int, by: int = 16) -> Iterator[Line]:
    for text in texts:
        for line in wrap(text, max(width - by, 20), break_on_hyphens=False):
            yield [(" " * by + line, "faint")]


def _calls(count: int, kind: str = "") -> str:
    return f"{count} {kind}call{'' if count == 1 else 's'}"


def _paint(line: Line, colour: bool) -> str:
    if not colour:
        return "".join(text for text, _ in line)
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(
        Style.parse(_STYLES[style]).render(text, color_system=ColorSystem.STANDARD)
        for text, style in line
    )
