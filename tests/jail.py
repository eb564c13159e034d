"""
The jail as the end-to-end tests run it: as a user, on a command, with its journal read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from servers import Server

ORDINARY = 65534  # uid and gid of an ordinary user when the tests run as root
BROKEN = 200  # the exit status of a fixture that could not do its own work


def unmet(reason: str) -> None:
    """Skip the test; in CI, where everything is installed, fail it instead."""
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks what this test needs: {reason}")
    pytest.skip(reason)


def needs(*programs: str) -> None:
    """Skip (in CI: fail) unless all *programs* are installed."""
    missing = [name for name in programs if which(name) is None]
    if missing:
        unmet(f"not installed: {', '.join(missing)}")


def which(name: str) -> str | None:
    """Where *name* is, in sbin as well: Debian keeps it out of an ordinary user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


# For a test that holds for programs of every ABI: their fixtures are compiled for each.
every_abi = pytest.mark.parametrize(
    "abi", [pytest.param((), id="x86-64"), pytest.param(("-m32",), id="i386")], indirect=True
)


@dataclass(frozen=True)
class User:
    """Whom the jail runs as."""

    name: str
    uid: int
    change: bool
    """Whether setpriv(1) has to make us this user."""

    @property
    def prefix(self) -> list[str]:
        """The command that becomes this user and leaves the rest alone."""
        if not self.change:
            return []
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        # setpriv's own exec still passes closed directories: its capabilities go with it.
        return ["setpriv", *ids, "--", "env"]


ROOT = User("root", 0, False)
if os.getuid() == 0:
    USERS = (ROOT, User("ordinary", ORDINARY, True))
else:
    USERS = (User("ordinary", os.getuid(), False),)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _named(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_named(item) for item in value]
    return value


@dataclass(frozen=True)
class Result:
    """How a run ended, and what its journal says."""

    status: int
    """As subprocess gives it: negative for a signal."""
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exit_code(self) -> int | None:
        return self.status if self.status >= 0 else None

    @property
    def signal(self) -> signal.Signals | None:
        return signal.Signals(-self.status) if self.status < 0 else None

    def of_type(self, kind: str) -> list[Any]:
        """The events of one type, their keys as attributes."""
        return [_named(event) for event in self.events if event["type"] == kind]

    @property
    def attempts(self) -> list[Any]:
        """Each attempt once: its folded lines counted together, its result filled in."""
        found: dict[int, Any] = {}
        for line in self.of_type("attempt"):
            if line.id in found:
                found[line.id].count += line.count
            else:
                line.__dict__.setdefault("count", 1)
                found[line.id] = line
        for line in self.of_type("result"):
            found[line.id].result = line.result
        return list(found.values())

    @property
    def start(self) -> Any:
        (event,) = self.of_type("start")
        return event

    @property
    def end(self) -> Any:
        (event,) = self.of_type("end")
        return event


def read_events(path: Path) -> list[dict[str, Any]]:
    """A journal's lines; each must be whole."""
    if not path.exists():
        return []
    text = path.read_text()
    assert not text or text.endswith("\n"), "the journal's last line is cut"
    return [json.loads(line) for line in text.splitlines()]


@dataclass
class Runner:
    """Runs programs as one user, in the jail or natively, with the same environment."""

    user: User
    python: str
    program: Callable[..., str]
    workdir: Path
    abi: tuple[str, ...] = ()
    """What the compiler is told for every fixture."""
    runs: int = 0

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(self.python).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {"PATH": path, "HOME": str(self.workdir), "LANG": "C.UTF-8", "TERM": "dumb"}

    def command(
        self,
        command: Sequence[str] | None = None,
        fixture: str | None = None,
        args: Sequence[str] = (),
        to: Server | Sequence[Server] = (),
        build: Sequence[str] = (),
    ) -> list[str]:
        """The command's words: a fixture, its arguments, then the servers' targets."""
        first = [self.program(fixture, *build, *self.abi)] if fixture else []
        targets = [to] if isinstance(to, Server) else to
        return [*first, *(command or ()), *args, *(server.target for server in targets)]

    def jailed(self, *options: str, events: Path | None = None) -> list[str]:
        """The words before the command that jail it."""
        journal = ["--events", str(events)] if events else []
        netjail = [self.python, "-m", "netjail", "trace", "--no-config"]
        return [*self.user.prefix, *netjail, *journal, *options, "--"]

    def inner(self, *options: str) -> list[str]:
        """As ``jailed``, for a command that runs as the user already."""
        return self.jailed(*options)[len(self.user.prefix) :]

    @contextlib.contextmanager
    def started(self, words: Sequence[str], **keywords: Any) -> Iterator[subprocess.Popen[str]]:
        """
        Start *words* as they are, in a session of their own.

        Whatever is left of them at the end is killed: the supervisor dies with the
        front, and the jail with the supervisor.
        """
        for stream in ("stdin", "stdout", "stderr"):
            default = subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE
            keywords.setdefault(stream, default)
        keywords.setdefault("cwd", self.workdir)
        env = {**self.environment, **keywords.pop("env", {})}
        process = subprocess.Popen(words, env=env, text=True, start_new_session=True, **keywords)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

    def run(self, words: Sequence[str], timeout: float = 60, **keywords: Any) -> Result:
        """Run *words* to their end; a hang fails the test."""
        text = keywords.pop("input", None)
        if text is not None:
            keywords["stdin"] = subprocess.PIPE
        with self.started(words, **keywords) as process:
            try:
                stdout, stderr = process.communicate(text, timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
                pytest.fail(f"no end after {timeout} s: {list(words)}\n{stdout}\n{stderr}")
        return Result(process.returncode, stdout or "", stderr or "")

    def native(self, timeout: float = 60, keywords: Any = None, **what: Any) -> Result:
        """Run a command without a jail."""
        words = [*self.user.prefix, *self.command(**what)]
        return self.run(words, timeout, **(keywords or {}))

    def trace(
        self, *options: str, timeout: float = 60, keywords: Any = None, **what: Any
    ) -> Result:
        """
        Run a command in the jail.

        ``{port}`` and ``{host}`` in *options* are those of the (first) server *to*.
        """
        self.runs += 1
        journal = self.workdir / f"events-{self.runs}.jsonl"
        to = what.get("to")
        if to:
            first = to if isinstance(to, Server) else to[0]
            options = tuple(o.format(port=first.port, host=first.host) for o in options)
        words = [*self.jailed(*options, events=journal), *self.command(**what)]
        result = self.run(words, timeout, **(keywords or {}))
        return Result(result.status, result.stdout, result.stderr, read_events(journal))


def inside(runner: Runner, flags: str, script: str, *words: str) -> Result:
    """Run *words* in namespaces of their own, after *script*; skip where that is forbidden."""
    needs("unshare", "ip")
    namespaces = [*runner.user.prefix, "unshare", flags]
    if runner.run([*namespaces, "true"]).exit_code:
        unmet(f"unshare {flags} is not permitted here")
    return runner.run([*namespaces, "sh", "-ec", f'{script}\nexec "$@"', "sh", *words])
