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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netjail.formats import visible
from netjail.formats.document import Destination, Document, Notice
from netjail.formats.family import family
from netjail.formats.phrases import FILTERS, STATES, state

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
_SCRIPTS = ("dataTables.min.js", "uPlot.iife.min.js", "report.js")
_STYLES = ("uPlot.min.css", "report.css")

_LANES = 16
"""Destinations with a line of their own in the timeline."""
_CARDS = 6
"""Denied destinations that are shown before the tables."""


def render(document: Document) -> str:
    """The page, with all that it needs inside."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            document=document,
            destinations=document.destinations,
            denied=_denied(document),
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
    made.filters.update(FILTERS)
    return made


# ---- sums ----


def _denied(document: Document) -> list[Destination]:
    """Look-ups of hosts that were called as well come last: there is nothing new in them."""
    found = [one for one in document.destinations if state(one) in ("denied", "would")]
    called = {one.name for one in found if one.kind == "inet"}
    return sorted(found, key=lambda one: one.kind == "lookup" and one.name in called)


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
