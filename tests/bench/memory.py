"""
Whether the supervisor's memory stays flat, however many attempts it judges.

A jailed loop makes its attempts, says so and waits; the supervisor is read meanwhile.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from scene import Scene, environment, name_server
from subjects import RunFailed, end

FEW = 1000
LIMIT = 1.1
"""Flat means that many attempts take at most this many times the memory of a few."""

_DENY = ("--deny", "192.0.2.0/24")

# name: (netjail's options, the loop without its count, how many times fewer attempts it makes)
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "one denied address": (_DENY, ("udp-connect", "192.0.2.1:9"), 1),
    "one denied address, --events": (
        (*_DENY, "--events", "{work}/events.jsonl"),
        ("udp-connect", "192.0.2.1:9"),
        1,
    ),
    "another address each time": (_DENY, ("udp-spread",), 1),
    "one allowed address": (("--allow", "127.0.0.1"), ("udp-connect", "127.0.0.1:{udp}"), 1),
    # A look-up takes about a millisecond.
    "another name each time": (("--allow", "a.test"), ("look-up-spread", name_server()), 10),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """What the supervisor of one run held at its end, in KiB."""

    attempts: int
    resident: int
    peak: int


@dataclass(frozen=True, slots=True)
class Growth:
    """One kind of attempt, a few times and many times."""

    kind: str
    few: Memory
    many: Memory

    @property
    def ratio(self) -> float:
        """How many times the peak of a few is the peak of many."""
        return self.many.peak / self.few.peak

    @property
    def flat(self) -> bool:
        """Whether that is within ``LIMIT``."""
        return self.ratio <= LIMIT

    def __str__(self) -> str:
        runs = (f"{run.attempts} attempts {run.peak} KiB" for run in (self.few, self.many))
        return f"memory, {self.kind}: {', '.join(runs)}: x {self.ratio:.2f}"


def measure(kind: str, attempts: int, place: Scene, timeout: float) -> Memory:
    """
    Run the loop of *kind* and read its supervisor.

    :raises RunFailed: if netjail or its jail ended early.
    """
    options, loop, _ = KINDS[kind]
    return hold(options, loop, attempts, place, timeout)


def hold(
    options: tuple[str, ...], loop: tuple[str, ...], attempts: int, place: Scene, timeout: float
) -> Memory:
    """
    Run *loop* in a jail with *options* and read its supervisor at the end.

    :raises RunFailed: if netjail or its jail ended early.
    """
    jail = ("{python}", "-m", "netjail", "trace", "-q", *options, "--")
    words = (*jail, "{loops}", "-w", loop[0], str(attempts), *loop[1:])
    with subprocess.Popen(
        place.fill(words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.work,
        env=environment(),
        start_new_session=True,
    ) as front:
        return _watch(front, attempts, timeout)


def _watch(front: subprocess.Popen[str], attempts: int, timeout: float) -> Memory:
    import select

    assert front.stdout
    ready, _, _ = select.select([front.stdout], [], [], timeout)
    if not ready:
        end(front)
        raise RunFailed(f"did not end in {timeout:.0f} s")
    if not front.stdout.readline():
        _, errors = front.communicate(timeout=timeout)
        raise RunFailed(f"ended with {front.returncode}: {errors.strip().splitlines()[-1:]}")
    status = _status(_supervisor(front.pid))
    front.communicate("", timeout=timeout)
    return Memory(attempts, _kibibytes(status["VmRSS"]), _kibibytes(status["VmHWM"]))


def _supervisor(front: int) -> int:
    """Give the child of *front* that traces another one."""
    children = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = _status(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        if int(status["PPid"]) == front:
            children[int(path.name)] = int(status["TracerPid"])
    for tracer in children.values():
        if tracer in children:
            return tracer
    raise RunFailed(f"no child of {front} traces another")


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _kibibytes(text: str) -> int:
    return int(text.split()[0])


def compare(kind: str, many: int, place: Scene) -> Growth:
    """Measure *kind* with a few and with *many* attempts."""
    few = measure(kind, FEW, place, 60)
    # By name, though there are fewer of them, it takes longer.
    return Growth(kind, few, measure(kind, many // KINDS[kind][2], place, 60 + many / 1000))
