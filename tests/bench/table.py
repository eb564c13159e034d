"""
Samples in, ratios of medians out, and the table that shows them.

A sample is nanoseconds; ``samples[workload][subject]`` is a list with one for each round.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from workloads import WORKLOADS, Target, Workload

Samples = dict[str, dict[str, list[float]]]

_UNITS = ((1e9, "s "), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_HEAD = ("", "native", "minimal", "netjail", "strace", "sandlock")
_RATIOS = ("strace", "sandlock")


def time(nanoseconds: float) -> str:
    """Give three digits and a unit."""
    unit, name = next((row for row in _UNITS if nanoseconds >= row[0]), _UNITS[-1])
    value = nanoseconds / unit
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {name}"


def ratio(cells: dict[str, list[float]], subject: str, reference: str) -> float | None:
    """Divide the medians of *subject* and *reference*; None where one was not measured."""
    if not cells.get(subject) or not cells.get(reference):
        return None
    return statistics.median(cells[subject]) / statistics.median(cells[reference])


def spread(cells: dict[str, list[float]], subject: str, reference: str) -> str:
    """Give the lowest and highest ratio within one round, where the runs were neighbours."""
    pairs = [a / b for a, b in zip(cells[subject], cells[reference], strict=False)]
    return f"{min(pairs):.2f}-{max(pairs):.2f}"


def reached(cells: dict[str, list[float]], target: Target) -> bool | None:
    """Say whether netjail is within *target*; None where that was not measured."""
    value = ratio(cells, "netjail", target.reference)
    return None if value is None else value <= target.limit


def lines(samples: Samples) -> list[str]:
    """Lay out everything that was measured."""
    rows = [_heads()]
    rows += [_row(row, samples[row.name]) for row in WORKLOADS if row.name in samples]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _heads() -> list[str]:
    ratios = [f"{name}/min" for name in _RATIOS]
    return [*_HEAD, *ratios, "netjail/nat", "netjail/min", "by round", "target", ""]


def _row(workload: Workload, cells: dict[str, list[float]]) -> list[str]:
    times = [time(statistics.median(cells[name])) if cells.get(name) else "-" for name in _HEAD[1:]]
    ratios = [_number(ratio(cells, name, "minimal")) for name in _RATIOS]
    ours = [_number(ratio(cells, "netjail", name)) for name in ("native", "minimal")]
    reference = workload.target.reference if workload.target else "minimal"
    both = cells.get("netjail") and cells.get(reference)
    return [
        workload.name,
        *times,
        *ratios,
        *ours,
        spread(cells, "netjail", reference) if both else "-",
        _target(workload.target),
        _outcome(cells, workload.target),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _target(target: Target | None) -> str:
    return f"{target.limit:g} x {target.reference}" if target else "-"


def _outcome(cells: dict[str, list[float]], target: Target | None) -> str:
    words = {True: "reached", False: "MISSED", None: ""}
    return words[reached(cells, target) if target else None]


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    first, *rest = (
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()
