"""
Measure what netjail costs: ``python tests/bench/run.py``; see docs/benchmark.md.

Each workload runs under every subject in turn, round after round, so that what the machine
does meanwhile falls on all of them. Ends with 0 whatever the figures; 1 if something that
should have run did not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import lists
import memory
import table
from scene import Scene, scene
from subjects import SUBJECTS, RunFailed, Subject, absence, command, measure
from workloads import WORKLOADS, Workload

_TIMEOUT = 120.0  # seconds for one run
_MEMORY = "memory"
_LISTS = "lists"


@dataclass(slots=True)
class Results:
    """What was measured, and what could not be."""

    samples: table.Samples = field(default_factory=dict)
    growth: list[memory.Growth] = field(default_factory=list)
    lists: list[lists.Cost | lists.Loading] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def _arguments() -> argparse.Namespace:
    names = [row.name for row in WORKLOADS] + [_MEMORY, _LISTS]
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"NAME: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each pair (default 7)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may repeat")
    parser.add_argument("--subject", action="append", default=[], help="of these only; may repeat")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every count")
    parser.add_argument("--attempts", type=int, default=1_000_000, help="of the memory runs")
    parser.add_argument("--cpu", type=int, help="keep everything on this CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    options = parser.parse_args()
    unknown = [name for name in options.only if not any(_matches(name, n) for n in names)]
    if unknown:
        parser.error(f"no workload is called {unknown[0]}; there are {', '.join(names)}")
    return options


def _matches(word: str, name: str) -> bool:
    # "udp-connect" stands for its denied and its allowed row.
    return name == word or name.startswith(f"{word} ")


def _wanted(options: argparse.Namespace, name: str) -> bool:
    return not options.only or any(_matches(word, name) for word in options.only)


def _present(options: argparse.Namespace, place: Scene, results: Results) -> list[Subject]:
    wanted = [row for row in SUBJECTS if not options.subject or row.name in options.subject]
    for subject in wanted:
        if reason := absence(subject, place):
            results.absent[subject.name] = reason
            _say(f"without {subject.name}: {reason}")
    return [row for row in wanted if row.name not in results.absent]


def _rounds(
    workload: Workload,
    subjects: list[Subject],
    options: argparse.Namespace,
    place: Scene,
    results: Results,
) -> None:
    subjects = [row for row in subjects if not (workload.denied and row.name == "native")]
    cells = results.samples[workload.name] = {row.name: [] for row in subjects}
    for number in range(options.rounds):
        for subject in subjects if number % 2 else reversed(subjects):
            if f"{workload.name}, {subject.name}" in results.failures:
                continue
            words = command(subject, workload, place, options.scale)
            try:
                cells[subject.name].append(measure(words, place, _TIMEOUT))
            except RunFailed as failure:
                results.failures[f"{workload.name}, {subject.name}"] = str(failure)
                _say(f"{workload.name}, {subject.name}: {failure}")


def _time(
    subjects: list[Subject], options: argparse.Namespace, place: Scene, results: Results
) -> None:
    for workload in WORKLOADS:
        if not _wanted(options, workload.name):
            continue
        if workload.missing:
            results.absent[workload.name] = f"{workload.missing} is not installed"
            _say(f"without {workload.name}: {results.absent[workload.name]}")
            continue
        _say(f"{workload.name} ...")
        _rounds(workload, subjects, options, place, results)


def _remember(options: argparse.Namespace, place: Scene, results: Results) -> None:
    for kind in memory.KINDS:
        _say(f"memory, {kind} ...")
        try:
            results.growth.append(memory.compare(kind, options.attempts, place))
        except RunFailed as failure:
            results.failures[f"memory, {kind}"] = str(failure)
            _say(f"memory, {kind}: {failure}")


def _list(options: argparse.Namespace, place: Scene, results: Results) -> None:
    lists.write(place.work)
    steps = {row.name: partial(lists.compare, row, options.rounds, options.scale, place)
             for row in lists.WORKLOADS}  # fmt: skip
    steps["loading"] = partial(lists.load, options.rounds, place)
    for name, step in steps.items():
        _say(f"lists, {name} ...")
        try:
            results.lists.append(step())
        except RunFailed as failure:
            results.failures[f"lists, {name}"] = str(failure)
            _say(f"lists, {name}: {failure}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _host() -> str:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    cpus = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"Linux {platform.release()}, {cpus} CPUs, load {load}, Python {python}"


def _print(results: Results, host: str, options: argparse.Namespace) -> None:
    print(f"{host}, {options.rounds} rounds; medians")
    print("\n".join(table.lines(results.samples)))
    for row in results.growth:
        print(f"{row} (target {memory.LIMIT:g}: {'reached' if row.flat else 'MISSED'})")
    for cost in results.lists:
        print(f"{cost} (target {cost.target}: {'reached' if cost.reached else 'MISSED'})")
    for name, reason in results.absent.items():
        print(f"not measured: {name}: {reason}")
    for name, reason in results.failures.items():
        print(f"FAILED: {name}: {reason}")
    print("targets " + _verdict(results))


def _verdict(results: Results) -> str:
    held = {row.name: row.target for row in WORKLOADS if row.target}
    outcomes = {
        name: table.reached(cells, held[name])
        for name, cells in results.samples.items()
        if name in held
    }
    outcomes |= {f"memory, {row.kind}": row.flat for row in results.growth}
    outcomes |= {f"lists, {row.name}": row.reached for row in results.lists}
    yes = [name for name, outcome in outcomes.items() if outcome]
    no = [name for name, outcome in outcomes.items() if outcome is False]
    open_ = [name for name, outcome in outcomes.items() if outcome is None]
    texts = (("reached", yes), ("missed", no), ("not measured", open_))
    return "\ntargets ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in texts)


def _save(path: Path, results: Results, host: str) -> None:
    document = {
        "host": host,
        "nanoseconds": results.samples,
        "memory": [asdict(row) for row in results.growth],
        "lists": [asdict(row) for row in results.lists],
        "absent": results.absent,
        "failures": results.failures,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def main() -> int:
    """Measure, print, and say whether everything ran."""
    options = _arguments()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    results, host = Results(), _host()
    with scene() as place:
        subjects = _present(options, place, results)
        _time(subjects, options, place, results)
        ours = any(row.name == "netjail" for row in subjects)
        if ours and _wanted(options, _MEMORY):
            _remember(options, place, results)
        if ours and _wanted(options, _LISTS):
            _list(options, place, results)
    _print(results, host, options)
    if options.json:
        _save(options.json, results, host)
    needed = [row.name for row in SUBJECTS if not row.optional]
    return 1 if results.failures or any(name in needed for name in results.absent) else 0


if __name__ == "__main__":
    sys.exit(main())
