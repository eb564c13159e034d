"""
A new user: from a denial on the screen to a policy that works, by pasting what is there.

Each story is told twice at a terminal: once with the options after ``fix:``, once with the
lines for netjail.toml. Nothing else is known to whoever sits there.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from jail import USERS, Runner, User, needs, unmet
from test_inbound import THIS, Wire
from town import Town, town

PROMPT = "new-user> "
ROUNDS = 4

CURL, PIP = "curl -sS", "pip install -q --disable-pip-version-check --no-cache-dir"
STORIES = [
    pytest.param(f"{CURL} http://example.org/", ["hello from example.org"], id="curl-by-name"),
    pytest.param(f"{CURL} https://example.com/", ["hello from example.com"], id="curl-with-tls"),
    pytest.param(
        f"{CURL} http://127.0.0.1:8000/", ["hello from outside the jail"], id="curl-by-address"
    ),
    pytest.param(
        f"{CURL} --unix-socket /srv/app.sock http://app/",
        ["hello from a unix socket"],
        id="curl-by-unix-socket",
    ),
    pytest.param(
        f"{PIP} --target out demo && python3 out/demo.py",
        ["hello from pypi.example.org", "hello from files.example.org"],
        id="pip",
    ),
    pytest.param(
        "rm -rf project; git clone -q https://git.example.org/project && ls -A project",
        ["hello from git.example.org"],
        id="git",
    ),
    pytest.param(
        f"{CURL} http://example.org/ && {CURL} http://127.0.0.1:8000/ && {CURL} https://example.com/",
        ["hello from example.org", "hello from outside the jail", "hello from example.com"],
        id="one-after-the-other",
    ),
    pytest.param(
        f"{CURL} http://example.org/; {CURL} http://127.0.0.1:8000/",
        ["hello from example.org", "hello from outside the jail"],
        id="two-at-once",
    ),
]  # fmt: skip


class Terminal:
    """A shell, begun by *words*."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: Path) -> None:
        command = [*words, "bash", "--noprofile", "--norc", "--noediting", "-i"]
        self._terminal = pexpect.spawn(
            command[0], command[1:], env={**environment, "PS1": PROMPT, "PS2": ""},
            cwd=str(folder), echo=False, timeout=60, encoding="utf-8", dimensions=(50, 90),
        )  # fmt: skip
        self._terminal.expect_exact(PROMPT)

    def type(self, line: str) -> str:
        """What the screen shows after a line, up to the next prompt."""
        self._terminal.sendline(line)
        self._terminal.expect_exact(PROMPT)
        return self._terminal.before.replace("\r", "")

    def start(self, line: str, until: str) -> None:
        """Begin what goes on until :meth:`type` types for it."""
        self._terminal.sendline(line)
        self._terminal.expect_exact(until)

    def status(self) -> int:
        return int(self.type("echo $?"))

    def paste(self, lines: str, file: str) -> None:
        """Add *lines* to the end of a file."""
        self.type(f"cat >>{file} <<'END'\n{lines}END")

    def close(self) -> None:
        self._terminal.close(force=True)


@pytest.fixture
def user() -> User:
    return USERS[-1]


@pytest.fixture
def world(runner: Runner) -> Iterator[Town]:
    needs("bash", "curl", "git")
    with town(runner) as made:
        yield made


@pytest.fixture
def terminal(world: Town) -> Iterator[Terminal]:
    opened = Terminal(world.words, world.environment, Path("/"))
    yield opened
    opened.close()


def fixes(screen: str) -> str:
    return " ".join(re.findall(r"^ +fix: (.*)$", screen, re.M))


def addition(screen: str) -> tuple[str, str]:
    """The file that the screen names, and the lines for it."""
    found = re.search(
        r"^to allow .*, (?:write into|add to the end of) (.*)\n((?: .*\n)+)", screen, re.M
    )
    assert found, screen
    return found[1], found[2]


def jailed(command: str, options: str = "") -> str:
    return f"netjail trace {options} -- sh -c {shlex.quote(command)}"


def natively(world: Town, terminal: Terminal, command: str, words: list[str]) -> str:
    """What the command prints without a jail; it can, and the servers see it."""
    shown = terminal.type(f"({command})")
    assert terminal.status() == 0, shown
    assert set(words) <= set(world.seen)
    terminal.type("rm -rf out project")
    for site in world.sites:
        site.seen.clear()
    return shown


@pytest.mark.parametrize(("command", "words"), STORIES)
def test_the_options_are_pasted(world, terminal, command, words):
    shown = natively(world, terminal, command, words)
    options = ""
    for number in range(ROUNDS):
        screen = terminal.type(jailed(command, options))
        new = fixes(screen)
        if not new:
            break
        assert number or not world.seen, "it was denied"
        options += f" {new}"
    assert ", none denied" in screen
    assert screen.startswith(shown)
    assert set(words) <= set(world.seen)


@pytest.mark.parametrize(("command", "words"), STORIES)
def test_the_file_is_pasted(world, terminal, command, words):
    shown = natively(world, terminal, command, words)
    for number in range(ROUNDS):
        screen = terminal.type(jailed(command))
        if ", none denied" in screen:
            break
        assert number or not world.seen, "it was denied"
        file, lines = addition(screen)
        terminal.paste(lines, file)
    assert ", none denied" in screen
    assert screen.startswith(shown)
    assert set(words) <= set(world.seen)
    assert screen.count("netjail: policy /srv/project/netjail.toml") == 1


# -- A server that other machines shall reach ---------------------------------

SERVE = """
import socket
server = socket.create_server(("0.0.0.0", 8080))
print("ready", flush=True)
input()
"""


@pytest.fixture
def wire() -> Iterator[Wire]:
    needs("unshare", "nsenter", "ip")
    if os.geteuid():
        unmet("two machines need root")
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def server(wire: Wire, runner: Runner) -> Iterator[Callable[[str], tuple[bool, str]]]:
    """Serve at a shell: whether another machine gets in, and what the screen says then."""
    words = ["nsenter", "-t", wire.this, "-n", "--", *runner.user.prefix]
    terminal = Terminal(words, runner.environment, runner.workdir)

    def serve(options: str | None) -> tuple[bool, str]:
        jail = "" if options is None else f"python3 -m netjail trace {options} -- "
        terminal.start(f"{jail}python3 -c {shlex.quote(SERVE)}", "ready")
        (error,) = wire.visit(wire.other, 8080, THIS)
        return error == 0, terminal.type("")

    yield serve
    terminal.close()


def test_a_listener_is_opened_by_the_option(server):
    assert server(None)[0]
    entered, screen = server("")
    assert not entered
    assert server(re.findall("to open: (.*)", screen)[0])[0]


def test_a_listener_is_opened_by_the_file(server, runner):
    entered, screen = server("")
    assert not entered
    ((file, line),) = re.findall("to open, at the top of (.*): (.*)", screen)
    (runner.workdir / file).write_text(f"{line}\n")
    os.chown(runner.workdir / file, runner.user.uid, -1)
    entered, screen = server("")
    assert entered
    assert f"netjail: policy {runner.workdir}/{file}" in screen
