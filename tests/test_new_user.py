"""
A new user: from a denial on the screen to a policy that works, by pasting what is there.

Each story is told twice at a terminal: once with the options after ``fix:``, once with the
lines for netjail.toml. Nothing else is known to whoever sits there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pexpect
import pytest
from jail import USERS, Runner, User, needs
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
    """A shell in the town."""

    def __init__(self, town: Town) -> None:
        self.town = town
        command = [*town.words, "bash", "--noprofile", "--norc", "--noediting", "-i"]
        self._terminal = pexpect.spawn(
            command[0], command[1:], env={**town.environment, "PS1": PROMPT, "PS2": ""},
            cwd="/", echo=False, timeout=60, encoding="utf-8", dimensions=(50, 90),
        )  # fmt: skip
        self._terminal.expect_exact(PROMPT)

    def type(self, line: str) -> str:
        """What the screen shows after a line, up to the next prompt."""
        self._terminal.sendline(line)
        self._terminal.expect_exact(PROMPT)
        return self._terminal.before.replace("\r", "")

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
def terminal(runner: Runner) -> Iterator[Terminal]:
    needs("bash", "curl", "git")
    with town(runner) as made:
        opened = Terminal(made)
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


def natively(terminal: Terminal, command: str, words: list[str]) -> str:
    """What the command prints without a jail; it can, and the servers see it."""
    shown = terminal.type(f"({command})")
    assert terminal.status() == 0, shown
    assert set(words) <= set(terminal.town.seen)
    terminal.type("rm -rf out project")
    for site in terminal.town.sites:
        site.seen.clear()
    return shown


@pytest.mark.parametrize(("command", "words"), STORIES)
def test_the_options_are_pasted(terminal, command, words):
    shown = natively(terminal, command, words)
    options = ""
    for number in range(ROUNDS):
        screen = terminal.type(jailed(command, options))
        new = fixes(screen)
        if not new:
            break
        assert number or not terminal.town.seen, "it was denied"
        options += f" {new}"
    assert ", none denied" in screen
    assert screen.startswith(shown)
    assert set(words) <= set(terminal.town.seen)


@pytest.mark.parametrize(("command", "words"), STORIES)
def test_the_file_is_pasted(terminal, command, words):
    shown = natively(terminal, command, words)
    for number in range(ROUNDS):
        screen = terminal.type(jailed(command))
        if ", none denied" in screen:
            break
        assert number or not terminal.town.seen, "it was denied"
        file, lines = addition(screen)
        terminal.paste(lines, file)
    assert ", none denied" in screen
    assert screen.startswith(shown)
    assert set(words) <= set(terminal.town.seen)
    assert screen.count("netjail: policy /srv/project/netjail.toml") == 1
