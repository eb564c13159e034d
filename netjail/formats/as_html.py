"""
A report as one page that opens anywhere, offline: who talked to whom, and may they?

The page is made from ``templates/report.html`` with everything it needs inside: its own
style and script, a table library and a plotting library (``assets/``). Its policy (a
meta element) lets nothing else run and lets no request leave. Text of a program's own
choosing goes through :func:`visible` and the template's escaping, nothing of it into a
script or an attribute that could act. Without JavaScript the tables are plain.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netjail.formats import visible
from netjail.formats.document import Asker, Destination, Document, Notice
from netjail.formats.family import family

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
_SCRIPTS = ("dataTables.min.js", "uPlot.iife.min.js", "report.js")
_STYLES = ("uPlot.min.css", "report.css")

# state: (mark, words); the mark is what tells them apart without colours.
STATES = {
    "denied": ("\N{MULTIPLICATION X}", "denied"),
    "would": ("\N{MULTIPLICATION X}", "would be denied"),
    "quiet": ("\N{EN DASH}", "not counted"),
    "allowed": ("\N{CHECK MARK}", "allowed"),
}
_LANES = 16
"""Destinations with a line of their own in the timeline."""
_CARDS = 6
"""Denied destinations that are shown before the tables."""

# For verdicts that bring no sentence of their own.
_WHY = {
    "rule": "a rule says so",
    "default": "no rule matches",
    "self": "the jail's own",
    "foreign": "it belongs to a program outside this jail",
    "no-listener": "nobody listens there",
    "name-service": "name services outside stay closed",
    "stub": "each question is judged by itself",
    "rebinding": "a public name that gives a private address",
    "ambiguous": "not allowed for every protocol that its socket could have",
    "malformed": "refused as the kernel would",
    "structure": "no rule can open this",
    "internal": "it could not be done safely",
}

_SCOPES = {
    "machine": "this machine only",
    "open": "open to the network",
    "local": "programs outside this jail can reach it",
    "refused": "refused",
}


def render(document: Document) -> str:
    """The page, with all that it needs inside."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            document=document,
            destinations=document.destinations,
            denied=[one for one in document.destinations if state(one) in ("denied", "would")],
            cards=_CARDS,
            names={one.id: one for one in document.destinations},
            states=STATES,
            tally=_tally(document),
            dated=_dated(document),
            branches=list(family(document.processes)),
            proxies=_proxies(document),
            warnings=_warnings(document),
            timeline=_timeline(document),
            scripts=_bodies(_SCRIPTS),
            styles=_bodies(_STYLES),
            csp=_csp(),
        )
    )


def state(destination: Destination) -> str:
    """A key of ``STATES``."""
    if destination.verdict == "allow":
        return "allowed"
    if not destination.counted:
        return "quiet"
    return "denied" if destination.carried else "would"


# ---- the page's own parts ----


@cache
def _body(name: str) -> str:
    return (_HERE / "assets" / name).read_text().strip()


def _bodies(names: tuple[str, ...]) -> list[str]:
    return [_body(name) for name in names]


def _csp() -> str:
    """What may run: these very scripts and styles. Nothing may be fetched."""
    hashes = {
        kind: " ".join(f"'sha256-{_hash(_body(name))}'" for name in names)
        for kind, names in (("script", _SCRIPTS), ("style", _STYLES))
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(_FILTERS)
    return made


# ---- what the template asks ----


def _shown(text: str, width: int = 200) -> str:
    return visible(text, width)


def _command(words: tuple[str, ...], width: int = 600) -> str:
    """As a shell would take it."""
    from shlex import join

    # Cut first: quoting a megabyte to show a line of it is slow.
    return visible(join(word[:width] for word in words[:width]), width)


def _chain(names: tuple[str, ...]) -> str:
    """The programs that started it: ``make ← sh``."""
    shown = [visible(name, 40) for name in names[1:6]]
    return " ← ".join([*shown, "…"] if len(names) > 6 else shown)


def _who(asker: Asker) -> str:
    return visible(asker.chain[0], 60) if asker.chain else "?"


def _why(destination: Destination) -> str:
    return visible(destination.why or _WHY.get(destination.reason, destination.reason), 400)


def _when(ts: str, dated: bool) -> str:
    """The time of day of an RFC 3339 time, with its date if *dated*."""
    day, _, rest = ts.partition("T")
    return visible(f"{day} {rest[:8]}" if dated else rest[:8], 30)


def _lasted(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _number(count: int) -> str:
    return f"{count:,}"


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _rule(destination: Destination) -> str:
    """``netjail.toml:3: private``; "" where no rule decided."""
    if not destination.rule:
        return ""
    colon = "" if destination.layer.startswith("-") else ":"
    layer = f"{destination.layer}{colon} " if destination.layer else ""
    return visible(layer + destination.rule, 300)


def _layer(layer: dict[str, object]) -> Iterator[tuple[str, list[str]]]:
    """A layer of a run's policy: what it is, and the rules."""
    for key in ("default", "allow", "deny"):
        value = layer.get(key) or ()
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and texts:
            yield key, [visible(str(text), 300) for text in texts]


_FILTERS: dict[str, Callable[..., Any]] = {
    "shown": _shown,
    "command": _command,
    "chain": _chain,
    "who": _who,
    "why": _why,
    "when": _when,
    "lasted": _lasted,
    "number": _number,
    "calls": _calls,
    "rule": _rule,
    "layer": _layer,
    "state": state,
    "scope": lambda word: _SCOPES.get(word, visible(word)),
}


# ---- sums ----


def _tally(document: Document) -> dict[str, int]:
    """How many destinations there are of each state."""
    found = dict.fromkeys(STATES, 0)
    for destination in document.destinations:
        found[state(destination)] += 1
    return found


def _dated(document: Document) -> bool:
    """Whether a time of day would not tell which day."""
    days = {one[:10] for run in document.runs for one in (run.start, run.end) if one}
    return len(days) > 1


def _proxies(document: Document) -> list[tuple[str, str]]:
    found = {pair: None for run in document.runs for pair in run.proxies.items()}
    return [(visible(key, 60), visible(value)) for key, value in found]


def _warnings(document: Document) -> tuple[Notice, ...]:
    lost = [
        f"{count:,} more {visible(what)} found no room here"
        for what, count in document.omitted.items()
        if count
    ]
    return (*document.warnings, *map(Notice, lost))


def _timeline(document: Document) -> dict[str, Any]:
    """
    What the script draws: lanes from the top, points as (seconds, lane, calls, state, text).

    Those without a lane of their own share the last.
    """
    from datetime import datetime

    shown = document.destinations
    lanes = shown if len(shown) <= _LANES else shown[: _LANES - 1]
    place = {one.id: lane for lane, one in enumerate(lanes)}
    names = [[visible(one.shown, 60), state(one)] for one in lanes]
    if len(lanes) < len(shown):
        names.append([f"{len(shown) - len(lanes):,} others", ""])
    by_id = {one.id: one for one in shown}
    points: list[tuple[float, int, int, str, str]] = []
    for moment in document.timeline:
        destination = by_id.get(moment.destination)
        if destination is None:
            continue
        try:
            at = datetime.fromisoformat(moment.ts).timestamp()
        except ValueError:
            continue
        lane = place.get(moment.destination, len(lanes))
        points.append((at, lane, moment.count, state(destination), visible(destination.shown, 80)))
    return {"lanes": names, "points": sorted(points)}
