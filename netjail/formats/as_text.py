"""
A report for a person at a terminal: what was denied and what to add come first.

A whole report and the end of a run share their sections; see ``lines`` and ``overview``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from netjail.formats import additions, visible
from netjail.formats.compose import audited
from netjail.formats.document import Asker, Destination, Document, RuleUse
from netjail.formats.lines import Line, indented, more, paint
from netjail.formats.overview import process_lines, run_lines
from netjail.formats.results import outcome
from netjail.model import Reason
from netjail.policy.files import writable

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
    "machine": "this machine only",
    "open": "open to the network",
    "local": "programs outside this jail can reach it",
    "refused": "refused",
}


def render(document: Document, colour: bool = False, width: int = 80, verbose: bool = False) -> str:
    """A whole report: plain text, or with ANSI colours."""
    lines = [_verdict(document, "")]
    for run in document.runs:
        lines += [*run_lines(run, len(document.runs) > 1, width)]
    rest = (("processes", process_lines(document, _room(document, verbose), width)),)
    files = [file for run in document.runs for file in run.files]
    return _together([*lines, *_sections(document, width, verbose, files, rest)], colour)


def summary(
    document: Document,
    colour: bool = False,
    width: int = 80,
    verbose: bool = False,
    found: Sequence[str] = (),
    files: Sequence[str] = (),
) -> str:
    """The end of a run; of the policy's *files* some were *found*, not named."""
    lines: list[Line] = [[(f"netjail: policy {visible(path, 1000)}", "")] for path in found]
    lines.append(_verdict(document, "netjail: "))
    return _together([*lines, *_sections(document, width, verbose, files)], colour)


def _together(lines: Iterable[Line], colour: bool) -> str:
    return "".join(paint(line, colour) + "\n" for line in lines)


def _room(document: Document, verbose: bool) -> int:
    return len(document.destinations) + len(document.processes) + _ROOM if verbose else _ROOM


def _sections(
    document: Document,
    width: int,
    verbose: bool,
    files: Sequence[str],
    more: Iterable[tuple[str, Iterator[Line]]] = (),
) -> Iterator[Line]:
    files = writable(files)
    room = _room(document, verbose)
    rules = _rules(document, width) if verbose else _unused(document, width)
    for title, body in (
        ("would be denied" if audited(document) else "denied", _denied(document, room, width)),
        ("refused as usual, not counted", _folded(document, width)),
        (additions.title(files), additions.lines(files, _counted(document), room)),
        ("allowed", _allowed(document, room, width)),
        ("listening", _listening(document, room, width, files)),
        *more,
        ("always shut", _doors(document, width)),
        ("warnings", _warnings(document, room, width)),
        ("rules" if verbose else "rules that decided nothing", rules),
    ):
        section = list(body)
        if section:
            yield [(title, "title")]
            yield from section


def _verdict(document: Document, begin: str) -> Line:
    totals, audit = document.totals, audited(document)
    runs = f"{len(document.runs)} runs, " if len(document.runs) > 1 else ""
    start = begin + runs + ("audit, " if audit else "")
    style = "bad" if totals.denied else "good"
    return [*([(start, "")] if start else []), (outcome(totals, audit), style)]


def _counted(document: Document) -> list[Destination]:
    return [one for one in document.destinations if one.verdict == "deny" and one.counted]


def _denied(document: Document, room: int, width: int) -> Iterator[Line]:
    found = _counted(document)
    for one in found[:room]:
        yield [_count(one), (_where(one, width - 16), "denied")]
        yield from indented([_asked(one), *_reasons(one)], width)
        if one.fix:
            # Never cut or wrapped: it is there to be copied.
            yield [(f"{'':16}fix: ", ""), (visible(one.fix, 1000), "fix")]
    yield from _rest(found[room:], document.omitted.get("attempts_denied", 0))


def _folded(document: Document, width: int) -> Iterator[Line]:
    """What does not count, one line a reason."""
    every = [one for one in document.destinations if one.verdict == "deny"]
    for reason, text in _FOLDED.items():
        folded = [one for one in every if one.reason == reason.value]
        if folded:
            yield from _fold(folded, text, width)


def _allowed(document: Document, room: int, width: int) -> Iterator[Line]:
    found = [one for one in document.destinations if one.verdict == "allow"]
    for one in found[:room]:
        where = _where(one, width - 16)
        line = [_count(one), (where, "")]
        detail = f"{_asked(one)}; {_by(one)}{_led(one)}"
        if 18 + len(where) + len(detail) <= width:
            yield [*line, (f"  {detail}", "faint")]
        else:
            yield line
            yield from indented([detail], width)
        yield from indented(_failed(one), width)
    yield from _rest(found[room:], document.omitted.get("attempts_allowed", 0))


def _listening(document: Document, room: int, width: int, files: Sequence[str]) -> Iterator[Line]:
    for listener in document.listeners[:room]:
        place = visible(listener.shown, width - 2)
        scope = f"  {_SCOPES.get(listener.scope, visible(listener.scope))}"
        if 2 + len(place) + len(scope) <= width:
            yield [(f"  {place}", ""), (scope, "faint")]
        else:
            yield [(f"  {place}", "")]
            yield from indented([scope.strip()], width, 6)
        yield from indented([_chain(listener.chain)], width, 6)
        if listener.fix:
            yield [("      to open: ", ""), (visible(listener.fix, 1000), "fix")]
    yield from additions.bindings(files, document.listeners[:room], _counted(document))
    yield from more(len(document.listeners[room:]) + document.omitted.get("listeners", 0))


def _doors(document: Document, width: int) -> Iterator[Line]:
    for door in document.doors:
        yield [(f"{door.count:8}  ", "faint"), (visible(door.syscall), "denied")]
        hint = door.why or _DOORS.get(door.syscall, "")
        who = _askers(door.askers, door.count, 0)
        yield from indented([who, visible(hint, 400)], width, 10)


def _warnings(document: Document, room: int, width: int) -> Iterator[Line]:
    for notice in document.warnings[:room]:
        for line in wrap(visible(notice.text, 1000), width - 2, break_on_hyphens=False):
            yield [("  ", ""), (line, "warning")]
    yield from more(len(document.warnings[room:]) + document.omitted.get("warnings", 0))


def _rules(document: Document, width: int) -> Iterator[Line]:
    for rule in document.rules:
        count = f"{rule.count:8}" if rule.count else f"{'unused':>8}"
        style = "" if rule.count else "faint"
        yield [(f"{count}  ", "faint"), (visible(_rule(rule), width - 10), style)]


def _unused(document: Document, width: int) -> Iterator[Line]:
    """The first few rules that decided nothing: -v has the others."""
    unused = [_rule(rule) for rule in document.rules if not rule.count]
    if unused:
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        text = ", ".join(visible(rule, 60) for rule in unused[:5]) + more
        yield from indented([text], width, 2)


def _rule(rule: RuleUse) -> str:
    return _written(rule.layer, rule.rule)


def _written(layer: str, rule: str) -> str:
    """``--deny private``, ``netjail.toml:3: private``."""
    colon = "" if layer.startswith("-") else ":"
    return f"{layer}{colon} {rule}" if layer else rule


def _count(one: Destination) -> tuple[str, str]:
    protocols = one.proto.replace("+", "/")
    return (f"{one.count:8}  {visible(protocols, 30):<4}  ", "faint")


def _where(one: Destination, width: int) -> str:
    """``example.org:443 (192.0.2.1, 2 more)``, or the bare address."""
    if one.kind != "inet" or not one.name:
        return visible(one.shown, width)
    more = f", {len(one.places) - 1} more" if len(one.places) > 1 else ""
    first = f" ({one.places[0]}{more})" if one.places else ""
    return visible(f"{visible(one.name, width - 6)}:{one.port}{first}", width)


def _asked(one: Destination) -> str:
    return _askers(one.askers, one.count, one.others)


def _askers(askers: Sequence[Asker], count: int, others: int) -> str:
    """``curl <- make <- sh (10), wget <- sh (2)``."""
    if len(askers) == 1 and not others:
        return _chain(askers[0].chain)
    text = ", ".join(f"{_chain(asker.chain)} ({asker.count})" for asker in askers[:3])
    rest = count - sum(asker.count for asker in askers[:3])
    return f"{text}, others ({rest})" if rest else text


def _chain(chain: Sequence[str]) -> str:
    names = [visible(name, 32) for name in chain[:_DEPTH]]
    return " <- ".join([*names, "..."] if len(chain) > _DEPTH else names)


def _reasons(one: Destination) -> Iterator[str]:
    why = _WHY.get(Reason(one.reason), one.reason)
    yield visible(one.why or why, 400)
    if one.rule and one.rule not in one.why:
        yield f"rule: {_by(one)}"
    yield from _failed(one)


def _failed(one: Destination) -> Iterator[str]:
    if one.failure:
        yield f"failed: {visible(one.failure, 400)}"


def _led(one: Destination) -> str:
    return f"; led to {visible(one.redirect, 60)}" if one.redirect else ""


def _by(one: Destination) -> str:
    """``--deny private``, ``netjail.toml:3: private``, or why it came without a rule."""
    return visible(_written(one.layer, one.rule)) if one.rule else one.reason


def _fold(some: list[Destination], text: str, width: int) -> Iterator[Line]:
    shown = ", ".join(visible(one.shown, 50) for one in some[:3])
    more = f" and {len(some) - 3} more" if len(some) > 3 else ""
    calls = _calls(sum(one.count for one in some))
    line = f"{text} {shown}{more} ({calls})"
    yield from indented([line], width, 2)


def _rest(some: list[Destination], crowded: int) -> Iterator[Line]:
    count = sum(one.count for one in some) + crowded
    if count:
        # Beyond a thousand destinations their number is not known, only the calls'.
        places = "other" if crowded else f"{len(some)} other"
        yield [(f"{count:8}  at {places} destinations", "faint")]


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"
