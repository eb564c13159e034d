"""
What a benchmark stands on: compiled programs, ports that somebody holds, a project to build.

Everything lives in one temporary directory and ends with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SOURCES = ROOT / "fixtures" / "bench"

# program: what the compiler needs besides -Wall -Werror
PROGRAMS: dict[str, tuple[str, ...]] = {
    "minimal": (),
    "loops": ("-pthread",),
    "quit": ("-static", "-nostdlib"),
}

_UNITS = 24  # of the generated project: a second or two of work for two compilers


@dataclass(frozen=True, slots=True)
class Scene:
    """Where things are; fields fill the ``{…}`` in a workload's words."""

    work: Path
    udp: int
    """A UDP port on 127.0.0.1 that this process holds, outside of every jail."""
    tcp: int
    """A TCP port on 127.0.0.1 where a server outside accepts and closes."""
    python: str = sys.executable

    def fill(self, words: tuple[str, ...]) -> list[str]:
        """Put paths and ports into *words*."""
        places = {name: str(self.work / name) for name in PROGRAMS}
        values = {"udp": self.udp, "tcp": self.tcp, "work": self.work, "here": HERE}
        free = _free_port() if any("{free}" in word for word in words) else 0
        return [word.format(**places, **values, python=self.python, free=free) for word in words]


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Compile, open the ports, generate the project; undo it all."""
    with tempfile.TemporaryDirectory(prefix="netjail-bench-") as name:
        work = Path(name)
        work.chmod(0o755)
        _compile(work)
        _generate(work / "project")
        with _udp() as udp, _server(work / "loops") as tcp:
            yield Scene(work, udp, tcp)


def name_server() -> str:
    """A name server of this machine's as ADDRESS:53, "" for none."""
    found = re.search(r"^nameserver\s+([0-9.]+)\s*$", Path("/etc/resolv.conf").read_text(), re.M)
    return f"{found[1]}:53" if found else ""


def environment() -> dict[str, str]:
    """What every subject gets: this tree's netjail, and messages that can be parsed."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}


def _compile(work: Path) -> None:
    for name, options in PROGRAMS.items():
        source = SOURCES / f"{name}.c"
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", *options]
        subprocess.run([*command, "-o", work / name, source], check=True)


def _generate(project: Path) -> None:
    project.mkdir()
    units = [f"unit{number}" for number in range(_UNITS)]
    for name in units:
        body = "\n".join(f'\tprintf("{name} %d\\n", {line});' for line in range(50))
        text = f"#include <stdio.h>\nvoid {name}(void)\n{{\n{body}\n}}\n"
        (project / f"{name}.c").write_text(text)
    calls = "".join(f"void {name}(void);" for name in units), "".join(f"{u}();" for u in units)
    (project / "main.c").write_text(f"{calls[0]}\nint main(void) {{ {calls[1]} return 0; }}\n")
    objects = " ".join(f"{name}.o" for name in [*units, "main"])
    (project / "Makefile").write_text(f"CFLAGS = -O2\nmain: {objects}\n\t$(CC) -o $@ $^\n")


@contextlib.contextmanager
def _udp() -> Iterator[int]:
    # Nobody reads it: once its buffer is full each datagram is dropped on arrival.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def _server(loops: Path) -> Iterator[int]:
    pipe = subprocess.PIPE
    with subprocess.Popen([loops, "tcp-server"], stdin=pipe, stdout=pipe) as server:
        assert server.stdin and server.stdout
        yield int(server.stdout.readline())
        server.stdin.close()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
