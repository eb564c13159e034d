"""
What is run, one row each, and what netjail is held to.

The last line that a workload prints is what one operation took, in nanoseconds. To add one,
write its row in ``WORKLOADS``; a loop of its own goes to ``fixtures/bench/loops.c``. The
counts make a run some tenths of a second where each operation costs two stops.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """At most *limit* times what *reference* takes, as a ratio of medians."""

    limit: float
    reference: str


UNTRAPPED = Target(1.1, "minimal")
DENIED = Target(1.3, "minimal")  # the minimal tracer with one stop
ALLOWED = Target(1.3, "minimal")  # the minimal tracer with two stops
LIFECYCLE = Target(1.2, "minimal")
START = Target(5.0, "native")  # where native is the interpreter alone


@dataclass(frozen=True, slots=True)
class Workload:
    """A command for every subject; ``{…}`` in *words* is filled in by the scene."""

    name: str
    words: tuple[str, ...]
    target: Target | None = None
    count: int = 0
    """What ``{count}`` stands for, before ``--scale``."""
    rules: tuple[str, ...] = ("--allow", "127.0.0.1")
    """netjail's options; the other subjects open loopback, or refuse everything."""
    denied: bool = False
    """Every call is to be refused, so that nothing runs it natively."""
    native: tuple[str, ...] = ()
    """What runs natively, if not *words*."""
    outside: bool = False
    """Timed with the subject's own start and end, else inside of it."""
    needs: tuple[str, ...] = ()
    """Programs that it cannot do without."""

    @property
    def missing(self) -> str:
        """The first program that is not installed, or ""."""
        return next((name for name in self.needs if not shutil.which(name)), "")


def _loop(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{loops}", name, "{count}", *arguments)


_HELD = "127.0.0.1:{udp}"
_SERVER = "127.0.0.1:{tcp}"
_NOWHERE = "192.0.2.1:9"  # TEST-NET-1, RFC 5737
_DENY = ("--deny", "192.0.2.0/24")
_SELF = ()
_BUILD = ("{loops}", "time", "make", "-s", "-B", "-j2", "-C", "{work}/project")
_REDIS = ("sh", "{here}/redis.sh", "{free}", "{count}")
_NGINX = ("sh", "{here}/nginx.sh", "{free}", "{work}")
_PYTHON = ("{python}", "-c", "pass")

# fmt: off
WORKLOADS = (
    Workload("getpid", _loop("getpid"), UNTRAPPED, 2_000_000),
    Workload("mmap", _loop("mmap"), UNTRAPPED, 100_000),  # netjail's filter reads its arguments
    Workload("udp-send", _loop("udp-send", _HELD), UNTRAPPED, 50_000),  # no address, no stop
    Workload("udp-connect denied", _loop("udp-connect", _NOWHERE), DENIED, 4000, _DENY, True),
    Workload("udp-sendto denied", _loop("udp-sendto", _NOWHERE), DENIED, 4000, _DENY, True),
    Workload("udp-connect allowed", _loop("udp-connect", _HELD), ALLOWED, 3000),
    Workload("udp-sendto allowed", _loop("udp-sendto", _HELD), ALLOWED, 3000),
    Workload("tcp rule", _loop("tcp-connect", _SERVER), ALLOWED, 2000),
    Workload("tcp self", _loop("tcp-self"), ALLOWED, 2000, _SELF),
    Workload("fork", _loop("fork"), LIFECYCLE, 1500),
    Workload("exec", _loop("exec", "{quit}"), LIFECYCLE, 1500),
    Workload("threads", _loop("threads"), LIFECYCLE, 3000),
    Workload("start-up", ("/bin/true",), START, native=_PYTHON, outside=True),
    Workload("make -j2", _BUILD, needs=("make", "cc")),
    Workload("redis", _REDIS, None, 10_000, _SELF, needs=("redis-server", "redis-benchmark")),
    Workload("nginx", _NGINX, rules=_SELF, needs=("nginx", "wrk")),
)
# fmt: on
