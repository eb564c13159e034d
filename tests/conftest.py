"""
What the end-to-end tests share: fixtures compiled on demand, servers that say what
reached them, and the jail run as root and as an ordinary user.

A test is judged by what the servers received and by the errno the program saw; the
journal is looked at second.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import int80
import pytest
from confine import Host
from hypothesis import settings
from jail import USERS, Result, Runner, User, needs, read_events, unmet
from outdoors import Outdoors, repository, wheel
from servers import Server

FIXTURES = Path(__file__).parent.parent / "fixtures"

# What the jailed tests' own programs import; pip and pytest run inside the jail.
PACKAGES = ("pip", "pytest")


# A busy machine is no mistake.
settings.register_profile("netjail", deadline=None)
settings.load_profile("netjail")

# A job in the background of a script, or under nohup, ignores these, and so would
# every program that a test starts and then sends them to.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


# -- Programs and places ------------------------------------------------------


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory that every user may read; pytest's own is its owner's alone."""
    path = Path(tempfile.mkdtemp(prefix="netjail-tests-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def program(place: Path) -> Callable[..., str]:
    """
    Compile fixtures/NAME.c and give the program's path.

    Flags go to the compiler; "musl" stands for a static program of musl-gcc.
    """

    def compiled(name: str, *flags: str) -> str:
        compiler = "musl-gcc" if "musl" in flags else "gcc"
        needs(compiler)
        flags = tuple("-static" if flag == "musl" else flag for flag in flags)
        source = FIXTURES / f"{name}.c"
        command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
        content = source.read_bytes() + b"".join(
            path.read_bytes() for path in sorted(FIXTURES.glob("*.h"))
        )
        digest = hashlib.sha256(content + repr(command).encode()).hexdigest()[:12]
        target = place / f"{name}-{digest}"
        if not target.exists():
            subprocess.run([*command, str(source), "-o", str(target)], check=True)
            target.chmod(0o755)
        return str(target)

    return compiled


def _requirements(names: Sequence[str]) -> set[str]:
    """All distributions that *names* need, themselves included, extras left out."""
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            wants = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        plain = (want for want in wants if "extra ==" not in want)
        queue += [re.split(r"[^\w.-]", want, maxsplit=1)[0] for want in plain]
    return found


def _dependencies() -> list[str]:
    """The names that pyproject.toml asks for, without versions."""
    import tomllib

    document = tomllib.loads((FIXTURES.parent / "pyproject.toml").read_text())
    return [line.split(">")[0] for line in document["project"]["dependencies"]]


def _copy_distribution(name: str, target: Path) -> None:
    """Copy an installed distribution's files, compiled ones included."""
    tops = set()
    for file in importlib.metadata.files(name) or []:
        top = file.parts[0]
        if top != ".." and top not in tops:
            tops.add(top)
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if source.is_dir():
                shutil.copytree(source, target / top, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target / top)


@pytest.fixture(params=USERS, ids=[user.name for user in USERS])
def user(request: pytest.FixtureRequest) -> User:
    """Each test that jails something runs as every user there is."""
    chosen: User = request.param
    if chosen.change:
        needs("setpriv")
    return chosen


def _interpreter(reader: User) -> str:
    """An interpreter of our version that *reader* may execute."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = getattr(sys, "_base_executable", sys.executable)
    for path in (base, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        probe = [*reader.prefix, path, "-c", "import json, venv"]
        if subprocess.run(probe, stderr=subprocess.DEVNULL, cwd="/", check=False).returncode == 0:
            return path
    unmet(f"no {version} that uid {reader.uid} may execute")
    raise AssertionError


@pytest.fixture(scope="session")
def python(place: Path) -> str:
    """An interpreter that every user may run, with netjail, pip and pytest in it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    venv = place / "venv"
    base = _interpreter(USERS[-1])
    subprocess.run([base, "-m", "venv", "--without-pip", str(venv)], check=True, cwd="/")
    packages = venv / "lib" / version / "site-packages"
    for name in _requirements([*_dependencies(), *PACKAGES]):
        _copy_distribution(name, packages)
    spec = importlib.util.find_spec("netjail")
    assert spec is not None and spec.submodule_search_locations is not None
    shutil.copytree(spec.submodule_search_locations[0], packages / "netjail")
    executable = str(venv / "bin" / "python")
    # Ordinary users cannot write the caches; without them each start would compile.
    subprocess.run([executable, "-m", "compileall", "-q", str(packages)], check=False)
    return executable


@pytest.fixture
def workdir(user: User) -> Iterator[Path]:
    """An empty directory of the user's own, short enough for a unix socket's path."""
    path = Path(tempfile.mkdtemp(prefix="nj-"))
    if user.change:
        os.chown(path, user.uid, user.uid)
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


# -- Servers ------------------------------------------------------------------


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers: ``serve("udp", "::1")``; all end with the test."""
    started: list[Server] = []

    def start(
        kind: str = "tcp", address: str = "127.0.0.1", port: int = 0, answer: bytes = b""
    ) -> Server:
        try:
            server = Server(kind, address, port, answer)
        except OSError as error:
            if kind != "mptcp" and ":" not in address:
                raise
            unmet(f"no {kind} on {address} here: {error}")
            raise
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A TCP server on 127.0.0.1."""
    return serve()


# -- The jail -----------------------------------------------------------------


@functools.cache
def _makes_32_bit_programs() -> bool:
    command = ["gcc", "-m32", "-include", "stdio.h", "-xc", "/dev/null", "-c", "-o", "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def i386() -> None:
    """Holds where 32-bit programs can be made and run."""
    needs("gcc")
    if not _makes_32_bit_programs():
        unmet("no 32-bit headers: install gcc-multilib")
    if not int80.works():
        unmet("this kernel runs no i386 calls")


@pytest.fixture
def abi(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The compiler's flags for the fixtures' ABI; tests say ``every_abi`` to have each."""
    flags: tuple[str, ...] = getattr(request, "param", ())
    if flags:
        request.getfixturevalue("i386")
    return flags


@pytest.fixture
def runner(
    user: User, python: str, program: Callable[..., str], workdir: Path, abi: tuple[str, ...]
) -> Runner:
    """Runs programs as the test's user."""
    return Runner(user, python, program, workdir, abi)


@pytest.fixture
def trace(runner: Runner) -> Callable[..., Result]:
    """``trace(*options, fixture=… | command=…, args=(), to=server)`` runs it jailed."""
    return runner.trace


@pytest.fixture
def trace_in(runner: Runner) -> Callable[..., Result]:
    """``trace_in(host, *options, fixture=…)``: as ``trace``, on another host."""

    def run(host: Host, *options: str, around: Sequence[str] = (), **what: object) -> Result:
        runner.runs += 1
        journal = runner.workdir / f"events-{runner.runs}.jsonl"
        words = [*around, *host.around(runner), *runner.inner("--events", str(journal), *options)]
        result = runner.run([*words, *runner.command(**what)])
        return Result(result.status, result.stdout, result.stderr, read_events(journal))

    return run


@pytest.fixture
def native(runner: Runner) -> Callable[..., Result]:
    """The same without a jail, to compare with."""
    return runner.native


# -- A network with names -----------------------------------------------------


@pytest.fixture(scope="session")
def outdoor_site(place: Path) -> Path:
    """What the web server has: a file, a repository, a package index."""
    needs("git")
    folder = place / "outdoors"
    folder.mkdir()
    (folder / "file").write_text("hello\n")
    wheel(folder / "simple" / "demo", "demo", "1.0", "WORD = 'installed'\n")
    repository(folder)
    return folder


@pytest.fixture
def outdoors(runner: Runner, outdoor_site: Path) -> Iterator[Callable[..., Outdoors]]:
    needs("nsenter", "unshare", "ip")
    with contextlib.ExitStack() as stack:

        def make(options: str = "") -> Outdoors:
            try:
                made = Outdoors(runner, outdoor_site, options)
            except (OSError, subprocess.CalledProcessError) as error:
                unmet(f"no network namespace: {error}")
                raise
            stack.callback(made.close)
            return made

        yield make
