"""
Under a terminal, and seen from outside: the jail is the command.

Each test runs twice, natively and jailed, and asks for the same. What tells when to go
on is what the programs write, never the clock.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from jail import Runner, needs

PROMPT = "netjail-test> "
INTERRUPT, SUSPEND, QUIT, END = "\x03", "\x1a", "\x1c", "\x04"
ROUNDS = 20
STOP, CONT, TERM, USR1 = signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGUSR1
LAST = signal.SIGRTMAX  # delivered after all others


@pytest.fixture(params=["native", "jailed"])
def words(request, runner: Runner) -> list[str]:
    """What comes before a command, for one who is the user already."""
    return runner.inner("-q") if request.param == "jailed" else []


class Shell:
    """An interactive bash with job control on a terminal of its own."""

    def __init__(self, runner: Runner, words: list[str]) -> None:
        command = [*runner.user.prefix, "bash", "--noprofile", "--norc", "--noediting", "-i"]
        self.jail = shlex.join(words)
        self.terminal = pexpect.spawn(
            command[0],
            command[1:],
            env={**runner.environment, "PS1": PROMPT, "HISTFILE": "", "PS2": ""},
            cwd=str(runner.workdir),
            echo=False,
            timeout=60,
            encoding="utf-8",
            dimensions=(24, 200),
        )
        self.terminal.expect_exact(PROMPT)

    def type(self, line: str) -> None:
        """Type a line; ``{jail}`` in it jails what follows."""
        self.terminal.sendline(line.replace("{jail}", self.jail))

    def press(self, key: str) -> None:
        self.terminal.send(key)

    def sees(self, *texts: str) -> None:
        """Wait until the terminal shows each of *texts*, one after the other."""
        for text in texts:
            self.terminal.expect_exact(text)

    def run(self, line: str) -> str:
        """A line's whole output, up to the next prompt."""
        self.type(line)
        self.terminal.expect_exact(PROMPT)
        return self.terminal.before.replace("\r", "").strip()

    def prompt(self) -> None:
        self.sees(PROMPT)

    def status(self) -> int:
        return int(self.run("echo $?"))

    def close(self) -> None:
        self.terminal.close(force=True)


@pytest.fixture
def shell(runner: Runner, words: list[str]) -> Iterator[Shell]:
    needs("bash")
    opened = Shell(runner, words)
    yield opened
    opened.close()


@pytest.fixture
def count(program) -> str:
    return program("count_signals")


# -- Keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "status"),
    [
        pytest.param(INTERRUPT, 130, id="interrupt"),
        pytest.param(QUIT, 131, id="quit"),
    ],
)
def test_a_key_ends_the_command(shell, key, status):
    shell.run("ulimit -c 0")
    shell.type("{jail} sh -c 'echo here; exec sleep 100'")
    shell.sees("here")
    shell.press(key)
    shell.prompt()
    assert shell.status() == status


def test_a_key_is_one_signal(shell, count):
    shell.type(f"{{jail}} {count} 2 3")
    shell.sees("ready")
    for _ in range(ROUNDS):
        shell.press(INTERRUPT)
        shell.sees("2 128 0 0")
    shell.press(SUSPEND)
    shell.sees("Stopped")
    shell.prompt()
    shell.type("bg; kill %1; wait %1; echo status=$?")
    shell.sees(f"status={ROUNDS}")


def test_a_key_ends_what_is_in_a_group_of_its_own(shell):
    """timeout(1) makes itself the leader of its group, which a job already is."""
    shell.type("{jail} timeout 100 sh -c 'echo here; exec sleep 100'")
    shell.sees("here")
    shell.press(INTERRUPT)
    shell.prompt()
    assert shell.status() in (124, 130)


def test_what_is_in_a_group_of_its_own_reads_the_terminal(shell):
    shell.type("{jail} timeout 100 sh -c 'echo here; read line; echo got $line'")
    shell.sees("here")
    shell.type("something")
    shell.sees("got something")
    shell.prompt()
    assert shell.status() == 0


# -- Jobs ---------------------------------------------------------------------


def test_suspends_and_goes_on_in_the_foreground(shell, count):
    shell.type(f"{{jail}} {count} 2 18")
    shell.sees("ready")
    for _ in range(3):
        shell.press(SUSPEND)
        shell.sees("Stopped")
        shell.prompt()
        shell.type("fg")
        shell.sees("18 0")
        shell.press(INTERRUPT)
        shell.sees("2 128 0 0")
    shell.press(SUSPEND)
    shell.sees("Stopped")
    shell.prompt()


def test_suspends_and_goes_on_in_the_background(shell, count):
    shell.type(f"{{jail}} {count} 18")
    shell.sees("ready")
    shell.press(SUSPEND)
    shell.sees("Stopped")
    shell.prompt()
    shell.type("bg")
    shell.sees("18 0")
    shell.type("kill %1; wait %1; echo status=$?")
    shell.sees("status=1")


def test_a_job_that_reads_in_the_background_stops(shell):
    shell.type("{jail} cat &")
    shell.prompt()
    # bash tells of a job's change at the next prompt.
    while "Stopped" not in shell.run("jobs"):
        pass
    shell.type("fg")
    shell.type("something")
    shell.sees("something")
    shell.press(END)
    shell.prompt()
    assert shell.status() == 0


def test_a_pipe_of_jobs_suspends_as_one(shell, count):
    shell.type(f"{{jail}} {count} 18 | {{jail}} cat")
    shell.sees("ready")
    shell.press(SUSPEND)
    shell.sees("Stopped")
    shell.prompt()
    shell.type("fg")
    shell.sees("18 0")
    shell.press(INTERRUPT)
    shell.prompt()
    assert shell.run("echo ${PIPESTATUS[*]}") in ("130 130", "130")


def test_a_job_is_killed(shell):
    shell.type("{jail} sh -c 'echo here; exec sleep 100' &")
    shell.sees("here")
    shell.type("kill %1; wait %1; echo status=$?")
    shell.sees("status=143")


# -- A shell in the jail ------------------------------------------------------


@pytest.fixture
def inner(shell) -> Shell:
    """The same terminal, with an interactive bash of the jail in front."""
    shell.type("PS1='outer> '")
    shell.sees("outer> ")
    shell.type(f"PS1='{PROMPT}' {{jail}} bash --noprofile --norc --noediting -i")
    shell.prompt()
    return shell


def test_a_shell_in_the_jail_controls_its_jobs(inner, count):
    inner.type(f"{count} 18")
    inner.sees("ready")
    inner.press(SUSPEND)
    inner.sees("Stopped")
    inner.prompt()
    inner.type("fg")
    inner.sees("18 0")
    inner.press(INTERRUPT)
    inner.prompt()
    assert inner.status() == 130
    inner.type("exit 7")
    inner.sees("outer> ")
    inner.type("echo status=$?")
    inner.sees("status=7")


def test_a_shell_in_the_jail_keeps_the_interrupt_key_for_itself(inner):
    inner.press(INTERRUPT)
    inner.prompt()
    assert inner.run("echo still here") == "still here"


def test_a_shell_in_the_jail_is_suspended_and_resumed(inner):
    for _ in range(3):
        inner.type("suspend")
        inner.sees("Stopped", "outer> ")
        inner.type("fg")
        inner.type("echo back again")
        inner.sees("back again", PROMPT)
    inner.type("exit 3")
    inner.sees("outer> ")
    inner.type("echo status=$?")
    inner.sees("status=3")


# -- The size -----------------------------------------------------------------


def test_a_change_of_size_is_seen(shell):
    script = 'trap "stty size; kill \\$!; exit 3" WINCH; echo here; sleep 100 & wait'
    shell.type(f"{{jail}} bash -c {shlex.quote(script)}")
    shell.sees("here")
    shell.terminal.setwinsize(33, 77)
    shell.sees("33 77")
    shell.prompt()
    assert shell.status() == 3


def test_a_change_of_size_is_one_signal(shell, count):
    shell.type(f"{{jail}} {count} 28 2")
    shell.sees("ready")
    for row in range(30, 30 + ROUNDS):
        shell.terminal.setwinsize(row, 80)
        shell.sees("28 128 0 0")
        shell.press(INTERRUPT)
        shell.sees("2 128 0 0")


# -- Without job control, and from outside ------------------------------------


@pytest.mark.parametrize("number", [TERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_shell_sees_the_signal_that_ended_the_command(runner, words, number):
    script = f"{shlex.join(words)} sh -c 'kill -{int(number)} $$'; echo $?"
    result = runner.run([*runner.user.prefix, "bash", "-c", script])
    assert result.stdout.split() == [str(128 + number)]


def test_a_pipe_that_closes_ends_the_command(runner, words):
    script = f"{shlex.join(words)} yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = runner.run([*runner.user.prefix, "bash", "-c", script])
    assert result.stdout.split() == ["y", "141"]


def test_a_closed_stdin_stays_closed(runner, words):
    script = f"{shlex.join(words)} sh -c 'test ! -e /proc/$$/fd/0' <&-"
    assert runner.run([*runner.user.prefix, "sh", "-c", script]).status == 0


def test_one_core_at_most(runner, words):
    script = f"ulimit -c unlimited; exec {shlex.join(words)} sh -c 'kill -SEGV $$'"
    result = runner.run([*runner.user.prefix, "sh", "-c", script])
    assert result.signal == signal.SIGSEGV
    assert len(list(runner.workdir.glob("core*"))) <= 1


def test_a_command_that_stops_itself_and_is_continued_from_within_ends(runner, words):
    """Whoever waits without job control must not wait for a stopped front for ever."""
    script = "(while sleep 0.2; do kill -CONT $$; done) & kill -STOP $$; kill $!; wait; exit 7"
    for _ in range(3):
        assert runner.run([*runner.user.prefix, *words, "sh", "-c", script]).status == 7


Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def counting(runner: Runner, words: list[str], count: str) -> Iterator[Started]:
    """Start the counting program as our child; it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(*numbers: int) -> subprocess.Popen[str]:
        command = [*runner.user.prefix, *words, count, *(str(int(n)) for n in numbers)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=runner.environment, process_group=0
        )
        started.append(process)
        assert line(process).startswith("ready")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def seen_until_last(process: subprocess.Popen[str]) -> list[int]:
    """What arrived before a last signal that is sent to the front alone."""
    os.kill(process.pid, LAST)
    numbers = []
    while (number := int(line(process).split()[0])) != LAST:
        numbers.append(number)
    return numbers


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["front", "group"])
@pytest.mark.parametrize("number", [USR1, signal.SIGRTMIN])
def test_a_signal_arrives_once_and_as_it_was_sent(counting, send, number):
    process = counting(number, LAST)
    for _ in range(ROUNDS):
        send(process.pid, number)
        assert line(process).split() == [str(int(number)), "0", str(os.getpid()), "0"]
        assert seen_until_last(process) == []


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["front", "group"])
@pytest.mark.parametrize("number", [STOP, signal.SIGTSTP])
def test_a_stop_is_a_stop(counting, send, number):
    process = counting(CONT, LAST)
    for _ in range(ROUNDS):
        send(process.pid, number)
        report = os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert report is not None
        assert report.si_status == number
        send(process.pid, CONT)
        report = os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert report is not None
        assert seen_until_last(process) == [CONT]


def test_every_process_is_gone_with_the_front(counting):
    process = counting(USR1)
    before = descendants(process.pid)
    process.kill()
    process.wait()
    assert line(process) == ""  # the pipe's last writer is gone
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in before):
        assert time.monotonic() < deadline


def descendants(pid: int) -> list[int]:
    """The living descendants of *pid*, itself included."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        if children.exists():
            queue += map(int, children.read_text().split())
    return found
