"""
Whether long lists change what a verdict costs: the same loops under ten rules and under
100,000 networks and 1,000,000 names; and what it takes to load those.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import memory
from scene import Scene, name_server
from subjects import RunFailed, measure, run

LIMIT = 1.1
"""A verdict with lists takes at most this many times one with ten rules."""
NETWORKS, NAMES = 100_000, 1_000_000
SIZE = 300_000  # KiB of the supervisor, "well under 500 MB"
SECONDS = 10.0  # to load the lists, the interpreter and the command included

# Ten rules, and the same with lists in the place of each kind; both refuse TEST-NET-1.
_FEW = (
    *(f"198.18.{number}.0/24" for number in range(4)),
    "192.0.2.0/24",
    *(f"host{number}.example" for number in range(4)),
    "ads.example",
)
_LISTS = ("@{work}/networks", "@{work}/names")
_ALLOW = ("--allow", "127.0.0.1")


def _deny(rules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for rule in rules for word in ("--deny", rule))


@dataclass(frozen=True, slots=True)
class Workload:
    """One loop; *few* and *many* are the rules it runs under in turn."""

    name: str
    loop: tuple[str, ...]
    count: int
    few: tuple[str, ...] = _FEW
    many: tuple[str, ...] = _LISTS


WORKLOADS = (
    # Each address is new, and judged anew.
    Workload("another denied address each time", ("udp-spread",), 4000),
    Workload("another address that no rule has", ("udp-spread",), 4000, _FEW[:4] + _FEW[5:],
             ("@{work}/others", "@{work}/names")),
    # Its verdict is remembered in C.
    Workload("one denied address", ("udp-connect", "192.0.2.1:9"), 8000),
    Workload("one allowed address, networks alone", ("udp-connect", "127.0.0.1:{udp}"), 4000,
             _FEW[:5], _LISTS[:1]),
    # Rules on names are asked each time.
    Workload("one allowed address", ("udp-connect", "127.0.0.1:{udp}"), 4000),
    Workload("look-up of a denied name", ("look-up", name_server()), 1500),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds of an operation, a sample a round."""

    name: str
    few: list[float]
    many: list[float]
    target: str = f"{LIMIT:g}"

    @property
    def ratio(self) -> float:
        """How many times the median with ten rules is the one with lists."""
        return statistics.median(self.many) / statistics.median(self.few)

    @property
    def reached(self) -> bool:
        """Whether that is within ``LIMIT``."""
        return self.ratio <= LIMIT

    def __str__(self) -> str:
        few, many = (statistics.median(each) / 1000 for each in (self.few, self.many))
        rounds = [b / a for a, b in zip(self.few, self.many, strict=True)]
        spread = f"{min(rounds):.2f}-{max(rounds):.2f}"
        return (
            f"lists, {self.name}: ten rules {few:.1f} µs, lists {many:.1f} µs: "
            f"x {self.ratio:.2f}, by round {spread}"
        )


@dataclass(frozen=True, slots=True)
class Loading:
    """What it takes to read both lists."""

    seconds: list[float]
    peak: int
    """KiB, of the supervisor."""
    name: str = "loading"
    target: str = f"{SECONDS:g} s, {SIZE} KiB"

    @property
    def reached(self) -> bool:
        """Whether both are within their limits."""
        return statistics.median(self.seconds) <= SECONDS and self.peak <= SIZE

    def __str__(self) -> str:
        median = statistics.median(self.seconds)
        return f"lists, {self.name}: {median:.1f} s, supervisor {self.peak} KiB"


def write(work: Path) -> None:
    """Write the lists: networks with and without TEST-NET-1, and names."""
    # 11.0.0.0 and on, in steps that no two are neighbours: each stays a span of its own.
    networks = [f"{11 + (n >> 15)}.{n >> 7 & 255}.{(n & 127) * 2}.0/24" for n in range(NETWORKS)]
    (work / "others").write_text("\n".join(networks))
    (work / "networks").write_text("\n".join([*networks, "192.0.2.0/24"]))
    names = (f"0.0.0.0 host{n}.tracker{n % 997}.example" for n in range(NAMES))
    (work / "names").write_text("\n".join([*names, "0.0.0.0 ads.example"]))


def _command(rules: tuple[str, ...], words: tuple[str, ...], place: Scene) -> list[str]:
    jail = ("{python}", "-m", "netjail", "trace", "-q", *_ALLOW, *_deny(rules), "--")
    return place.fill((*jail, *words))


def compare(workload: Workload, rounds: int, scale: float, place: Scene) -> Cost:
    """
    Run *workload* under few rules and many in turn.

    :raises RunFailed: if a run did not end well.
    """
    if not all(workload.loop):
        raise RunFailed("/etc/resolv.conf names no server by its IPv4 address")
    count = str(max(1, round(workload.count * scale)))
    loop = ("{loops}", workload.loop[0], count, *workload.loop[1:])
    samples: dict[tuple[str, ...], list[float]] = {workload.few: [], workload.many: []}
    for number in range(rounds):
        for rules in list(samples) if number % 2 else reversed(samples):
            samples[rules].append(measure(_command(rules, loop, place), place, 120))
    return Cost(workload.name, samples[workload.few], samples[workload.many])


def load(rounds: int, place: Scene) -> Loading:
    """
    Load both lists for a command that does nothing.

    :raises RunFailed: if a run did not end well.
    """
    seconds = []
    for _ in range(rounds):
        begun = time.monotonic()
        run(_command(_LISTS, ("/bin/true",), place), place, 120)
        seconds.append(time.monotonic() - begun)
    options = (*_ALLOW, *_deny(_LISTS))
    held = memory.hold(options, ("udp-spread",), 1000, place, 120)
    return Loading(seconds, held.peak)
