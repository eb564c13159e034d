"""
Attempts as they happen: told at once, never in the middle of the command's output.

What the command writes is compared with its native run; what a person sees is read from
a real terminal's screen, tmux's.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jail import Runner, needs
from scene import CHAIN, allowed, attempt, denied, inet

from netjail.cli import live as module
from netjail.cli.live import LINES, Live
from netjail.endpoints import Unix
from netjail.model import Operation, Reason

NOWHERE = "192.0.2.1"


class Screen:
    """Takes what would be written."""

    def __init__(self, audit: bool = False, colour: bool = False, room: int = 0) -> None:
        self.lines: list[str] = []
        self.ready = True
        self.live = Live(audit, colour, self.lines.append, lambda: self.ready, lambda: room)

    def note(self, port: int = 443, verdict=None, chain=CHAIN, count: int = 1, **what) -> None:
        call = attempt(inet(NOWHERE, port), **what)
        self.live.note(call, verdict or denied(), chain, count)


@pytest.mark.parametrize(
    ("verdict", "audit", "line"),
    [
        pytest.param(denied(), False, "denied   tcp 192.0.2.1:443", id="denied"),
        pytest.param(denied(), True, "would be denied  tcp 192.0.2.1:443", id="audit"),
        pytest.param(allowed(), False, "allowed  tcp 192.0.2.1:443", id="allowed"),
        pytest.param(denied(Reason.NO_LISTENER), False, "refused  tcp 192.0.2.1:443", id="quiet"),
        pytest.param(denied(name="example.org"), False, "denied   tcp example.org:443", id="named"),
    ],
)
def test_a_line_says_what_came_of_whom(verdict, audit, line):
    screen = Screen(audit)
    screen.note(verdict=verdict)
    assert screen.lines == [f"netjail: {line}  curl <- make <- sh\n"]


def test_a_call_that_goes_nowhere_is_named():
    screen = Screen()
    shut = denied(Reason.STRUCTURE)
    screen.note(verdict=shut, chain=("gdb",), syscall="ptrace", operation=Operation.FORBIDDEN)
    assert screen.lines == ["netjail: denied   ptrace  gdb\n"]


def test_repeats_are_folded():
    screen = Screen()
    for _ in range(1000):
        screen.note()
    screen.note(count=500)
    assert len(screen.lines) == 1
    screen.live.tick()
    assert screen.lines[1:] == [
        "netjail: denied   tcp 192.0.2.1:443 (1499 calls)  curl <- make <- sh\n"
    ]
    screen.live.tick()
    screen.live.end()
    assert len(screen.lines) == 2


def test_a_flood_fills_no_screen_and_no_memory():
    screen = Screen()
    for port in range(1, 60_000):
        screen.note(port, allowed() if port % 2 else denied())
    assert len(screen.lines) == LINES
    assert len(screen.live._seen) == len(screen.live._waiting) == 1024
    screen.live.tick()
    assert len(screen.lines) == 2 * LINES + 1  # the last tells how many had no room
    assert screen.lines[-1].startswith(f"netjail: and {59_999 - LINES - 1024} more calls, ")
    screen.live.end()
    assert len(screen.lines) == 3 * LINES + 2
    assert screen.lines[-1].startswith(f"netjail: and {1024 - 2 * LINES} more calls, ")


def test_denials_come_first():
    screen = Screen()
    for port in range(1, 100):
        screen.note(port, allowed())
    assert len(screen.lines) == LINES - 5
    screen.note(7000)
    assert "denied   tcp 192.0.2.1:7000" in screen.lines[-1]
    for port in range(8000, 8040):
        screen.note(port)
    screen.live.tick()
    assert all("denied" in line for line in screen.lines[-LINES:])


def test_where_a_write_would_wait_it_waits():
    screen = Screen()
    screen.ready = False
    screen.note()
    screen.live.tick()
    assert screen.lines == []
    screen.ready = True
    screen.live.tick()
    assert len(screen.lines) == 1


def test_a_line_begins_where_a_line_begins():
    screen = Screen(room=40)
    screen.note(chain=("x" * 99,) * 9)
    (line,) = screen.lines
    assert line.startswith(" " * 40 + "\rnetjail: denied")
    assert len(line.partition("\r")[2]) <= 40


@given(st.text(st.characters(codec=None)), st.binary(max_size=108), st.integers(0, 200))
def test_no_control_character_gets_through(text, path, room):
    screen = Screen(room=room)
    hostile = attempt(Unix(path), syscall=text)
    for call in (hostile, attempt(inet(NOWHERE, 1), operation=Operation.FORBIDDEN, syscall=text)):
        screen.live.note(call, denied(name=text), (text, text), 1)
    for line in screen.lines:
        assert line.endswith("\n")
        assert line.partition("\r")[2].removesuffix("\n").isprintable()
        assert line[:-1].replace("\r", "").isprintable()


def test_colours_are_richs():
    screen = Screen(colour=True)
    screen.note()
    assert "\x1b[1;31mdenied" in screen.lines[0]


def test_a_full_pipe_is_not_ready():
    read, to = os.pipe()
    os.set_blocking(to, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(to, bytes(1 << 16))
    saved = os.dup(2)
    os.dup2(to, 2)
    try:
        assert not module._ready()
        os.read(read, 1 << 16)
        assert module._ready()
    finally:
        os.dup2(saved, 2)
        for fd in (saved, read, to):
            os.close(fd)


# -- For real -----------------------------------------------------------------

TALKS = f"""
import socket, sys
def connect(port):
    try:
        socket.create_connection(("{NOWHERE}", port), 0.1)
    except OSError as error:
        return error.errno
"""

# A bar that is drawn over itself; stdout and stderr both.
BAR = (
    TALKS
    + """
for step in range(1, 6):
    print(f"\\rloading {step * 20:3}%", end="", flush=True)
    connect(step)
print("\\nall loaded")
print("and said so", file=sys.stderr)
"""
)

# What a pager does: keys unbuffered, another screen.
PAGER = (
    TALKS
    + """
import os, subprocess, termios, tty
kept = termios.tcgetattr(0)
tty.setraw(0)
sys.stdout.write("\\x1b[?1049h\\x1b[2J\\x1b[Hpage 1 of 1\\x1b[10;5Hmiddle")
sys.stdout.flush()
for port in range(1, 9):
    connect(port)
subprocess.run(["tmux", "-S", sys.argv[1], "wait-for", "-S", "drawn"])
os.read(0, 1)
sys.stdout.write("\\x1b[?1049l")
sys.stdout.flush()
termios.tcsetattr(0, termios.TCSADRAIN, kept)
"""
)


def test_what_the_command_writes_is_what_it_writes_natively(runner, trace, native):
    command = [runner.python, "-c", BAR]
    alone = native(command=command)
    with_us = trace("--live", command=command)
    assert with_us.exit_code == alone.exit_code == 0
    assert with_us.stdout == alone.stdout
    lines = with_us.stderr.splitlines()
    assert "and said so" in lines
    told = [line for line in lines if line.startswith("netjail: denied   tcp")]
    assert told == [
        f"netjail: denied   tcp {NOWHERE}:{n}  {Path(runner.python).resolve().name}"
        for n in range(1, 6)
    ]
    assert "\x1b" not in with_us.stderr


def test_quiet_is_quiet(runner, trace):
    result = trace("--live", "-q", command=[runner.python, "-c", BAR])
    assert result.stderr == "and said so\n"


def test_an_audit_says_what_it_would_deny(runner, trace, server):
    code = f"import socket; socket.create_connection(('{server.host}', {server.port}))"
    result = trace("--audit", "--live", "-a", "192.0.2.9", command=[runner.python, "-c", code])
    assert server.accepted == 1
    assert f"netjail: would be denied  tcp {server.host}:{server.port}  " in result.stderr


class Tmux:
    """A terminal that tells what it shows."""

    def __init__(self, runner: Runner) -> None:
        self.path = str(runner.workdir / "tmux")
        self._runner = runner
        self.run("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "200", "sleep", "99")

    def run(self, *words: str) -> str:
        result = self._runner.native(command=["tmux", "-S", self.path, *words])
        assert result.exit_code == 0, result
        return result.stdout

    def start(self, words: list[str]) -> None:
        script = f"{shlex.join(words)}; tmux -S {self.path} wait-for -S over; exec sleep 99"
        self.run("respawn-pane", "-k", "sh", "-c", script)

    def shown(self) -> list[str]:
        return self.run("capture-pane", "-p").rstrip("\n").split("\n")


@pytest.fixture
def tmux(runner: Runner) -> Iterator[Tmux]:
    needs("tmux")
    terminal = Tmux(runner)
    yield terminal
    terminal.run("kill-server")


def test_a_bar_stays_whole_on_the_screen(runner, tmux):
    tmux.start([*runner.inner("--live"), runner.python, "-c", BAR])
    tmux.run("wait-for", "over")
    told = [line for line in tmux.shown() if "netjail: denied" in line]
    assert [line.split()[3] for line in told] == [f"{NOWHERE}:{n}" for n in range(1, 6)]
    assert all(line.startswith("netjail: denied") for line in told)
    bar = [line for line in tmux.shown() if line.startswith("loading")]
    assert bar == [f"loading {step * 20:3}%" for step in range(1, 6)]
    assert "all loaded" in tmux.shown()


def test_a_pager_keeps_its_screen(runner, tmux):
    command = [runner.python, "-c", PAGER, tmux.path]
    screens = []
    # The jail must let the program say that it has drawn.
    for words in ([], runner.inner("--live", "--allow", f"unix:{tmux.path}")):
        tmux.start([*words, *command])
        tmux.run("wait-for", "drawn")
        screens.append(tmux.shown())
        tmux.run("send-keys", "q")
        tmux.run("wait-for", "over")
    assert screens[0] == screens[1]
    assert "page 1 of 1" in screens[0][0]
    told = [line for line in tmux.shown() if line.startswith("netjail: denied   tcp")]
    assert [line.split()[3] for line in told] == [f"{NOWHERE}:{n}" for n in range(1, 9)]
