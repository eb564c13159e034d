"""
Who runs a workload: nobody, the yardstick, netjail, and its peers.

To add a peer, write its row in ``SUBJECTS``: a function from a workload to the words that
go before the command.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from scene import Scene, environment
from workloads import Workload

_CALLS = "connect,sendto,sendmsg,sendmmsg"


@dataclass(frozen=True, slots=True)
class Subject:
    """*prefix* gives the words before the command; they are filled in like a workload's."""

    name: str
    prefix: Callable[[Workload], tuple[str, ...]]
    optional: bool = True
    """Whether a benchmark without it is still a whole one."""


def _minimal(workload: Workload) -> tuple[str, ...]:
    return ("{minimal}", "-d" if workload.denied else "-a", "--")


def _netjail(workload: Workload) -> tuple[str, ...]:
    return ("{python}", "-m", "netjail", "trace", "-q", *workload.rules, "--")


def _strace(workload: Workload) -> tuple[str, ...]:
    inject = ("-e", f"inject={_CALLS}:error=ECONNREFUSED") if workload.denied else ()
    follow = ("strace", "-f", "--seccomp-bpf", "-e", f"trace={_CALLS}")
    return (*follow, *inject, "-o", "/dev/null", "--")


def _sandlock(workload: Workload) -> tuple[str, ...]:
    return ("{python}", "{here}/sandlocked.py")


SUBJECTS = (
    Subject("native", lambda workload: (), optional=False),
    Subject("minimal", _minimal, optional=False),
    Subject("netjail", _netjail, optional=False),
    Subject("strace", _strace),
    Subject("sandlock", _sandlock),
)


class RunFailed(Exception):
    """A command that did not end with 0 and a number; the text is one line."""


def command(subject: Subject, workload: Workload, place: Scene, scale: float) -> list[str]:
    """Give the whole command line of one run."""
    words = workload.native if subject.name == "native" and workload.native else workload.words
    count = max(1, round(workload.count * scale))
    words = tuple(word.replace("{count}", str(count)) for word in words)
    clock = ("{loops}", "time") if workload.outside else ()
    return place.fill((*clock, *subject.prefix(workload), *words))


def run(words: list[str], place: Scene, timeout: float) -> str:
    """
    Run *words* to their end and give their standard output.

    :raises RunFailed: if they do not end with 0 within *timeout* seconds.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True,
        cwd=place.work, env=environment(), start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end(process)
            raise RunFailed(f"did not end in {timeout:.0f} s") from None
    if process.returncode:
        said = [line.strip() for line in errors.splitlines() if line.strip()] or [""]
        raise RunFailed(f"ended with {process.returncode}: {' / '.join(said[-2:])}")
    return output


def end(process: subprocess.Popen[str]) -> None:
    """Kill *process* and its session's group; jails end with their tracer."""
    import os
    import signal

    with_group = os.getpgid(process.pid) == process.pid
    (os.killpg if with_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def measure(words: list[str], place: Scene, timeout: float) -> float:
    """
    Give the nanoseconds that the run of *words* printed.

    :raises RunFailed: also if its last line is not a number.
    """
    output = run(words, place, timeout).splitlines()
    try:
        return float(output[-1])
    except (IndexError, ValueError):
        raise RunFailed(f"printed no number: {output[-1:]}") from None


def absence(subject: Subject, place: Scene) -> str:
    """Why *subject* cannot run here, or "" if it can."""
    probe = Workload("probe", ("/bin/true",))
    try:
        run(command(subject, probe, place, 1), place, 30)
    except FileNotFoundError:
        return "not installed"
    except RunFailed as failure:
        return str(failure)
    return ""
