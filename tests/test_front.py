"""
The front: seen from outside it is the command.

Real processes, a tracer that does only what the front needs, and no waiting by the
clock: a signal that must not come is followed by one that must.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fronts import PATIENCE, Front, libc, sigqueue

USR1, TERM, CONT = signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT
LAST = signal.SIGRTMAX  # the lowest number is delivered first, so this one after all others
STOP, TSTP = signal.SIGSTOP, signal.SIGTSTP
SI_USER, SI_QUEUE, SI_KERNEL = 0, -1, 0x80
ROUNDS = 30


@pytest.fixture
def start() -> Iterator[Callable[..., Front]]:
    """Start fronts; all end with the test."""
    started: list[Front] = []

    def begin(command, **options) -> Front:
        started.append(Front(command, **options))
        return started[-1]

    yield begin
    for front in started:
        front.close()


@pytest.fixture
def counting(start, program) -> Callable[..., Front]:
    """A front whose command counts the given signals and is ready."""

    def begin(*numbers: int, own: bool = False, **options) -> Front:
        words = [*(["own"] if own else []), *(str(int(number)) for number in numbers)]
        front = start([program("count_signals"), *words], **options)
        front.command = front.ready()
        return front

    return begin


def until(holds: Callable[[], object]) -> None:
    """Wait for what only /proc tells."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


# -- How it ends --------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
def test_leaves_with_the_commands_status(start, code):
    assert start(lambda: os._exit(code)).end() == code


@pytest.mark.parametrize("number", [TERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN + 3])
def test_dies_by_the_commands_signal(start, number):
    assert start(lambda: os.kill(os.getpid(), number)).end() == -number


def test_leaves_no_core_of_its_own(start, tmp_path):
    def prepare() -> None:
        os.setpgid(0, 0)
        os.chdir(tmp_path)

    front = start(lambda: os.kill(os.getpid(), signal.SIGABRT), prepare=prepare)
    code, status = front.report(os.WEXITED)
    assert (code, status) == (os.CLD_KILLED, signal.SIGABRT)
    assert len(list(tmp_path.iterdir())) <= 1


def test_says_when_the_supervisor_died(start):
    assert start(lambda: None, dies=True).end() == 125


def test_waits_for_the_supervisor_without_a_command(start):
    assert start(None).end() == 0


def test_a_signal_at_the_end_does_not_change_how_it_leaves(counting):
    front = counting()
    os.killpg(front.pid, TERM)
    assert front.end() == 0


# -- Forwarding ---------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGHUP, id="hang-up"),
        pytest.param(USR1, id="a-usual-one"),
        pytest.param(CONT, id="continue-of-one-that-runs"),
        pytest.param(signal.SIGWINCH, id="one-that-is-ignored-by-default"),
        pytest.param(signal.SIGPIPE, id="one-that-the-interpreter-ignores"),
        pytest.param(signal.SIGSEGV, id="a-fault-sent-by-hand"),
        pytest.param(signal.SIGALRM, id="alarm"),
        pytest.param(signal.SIGRTMAX, id="realtime"),
    ],
)
def test_forwards_as_it_was_sent(counting, number):
    front = counting(number)
    os.kill(front.pid, number)
    assert front.seen() == (number, SI_USER, os.getpid(), 0)


@pytest.mark.parametrize("number", [USR1, signal.SIGRTMIN])
def test_forwards_the_value_of_sigqueue(counting, number):
    front = counting(number)
    sigqueue(front.pid, number, 4711)
    assert front.seen() == (number, SI_QUEUE, os.getpid(), 4711)


def test_forwards_each_realtime_signal(counting):
    front = counting(signal.SIGRTMIN)
    for value in range(ROUNDS):
        sigqueue(front.pid, signal.SIGRTMIN, value)
    assert [front.seen()[3] for _ in range(ROUNDS)] == list(range(ROUNDS))


def test_does_not_forward_sigchld(counting):
    front = counting(signal.SIGCHLD, LAST)
    os.kill(front.pid, signal.SIGCHLD)
    assert front.seen_until(LAST) == []


def test_one_after_the_other_are_two(counting):
    front = counting(USR1)
    for _ in range(ROUNDS):
        os.kill(front.pid, USR1)
        assert front.seen()[0] == USR1
    os.kill(front.pid, TERM)
    assert front.end() == ROUNDS


def test_a_kill_of_the_group_arrives_once(counting):
    front = counting(USR1, LAST)
    for _ in range(ROUNDS):
        os.killpg(front.pid, USR1)
        assert front.seen_until(LAST) == [USR1]


def test_a_realtime_kill_of_the_group_arrives_once(counting):
    front = counting(signal.SIGRTMIN, LAST)
    for _ in range(ROUNDS):
        os.killpg(front.pid, signal.SIGRTMIN)
        assert front.seen_until(LAST) == [signal.SIGRTMIN]


def test_group_and_single_kills_in_turn_all_arrive(counting):
    front = counting(USR1, LAST)
    for _ in range(ROUNDS):
        os.killpg(front.pid, USR1)
        assert front.seen_until(LAST) == [USR1]
        os.kill(front.pid, USR1)
        assert front.seen_until(LAST) == [USR1]


def test_a_kill_of_the_group_keeps_its_sender(counting):
    front = counting(USR1)
    os.killpg(front.pid, USR1)
    assert front.seen() == (USR1, SI_USER, os.getpid(), 0)


def test_a_timer_that_the_front_was_started_with_rings_at_the_command(counting):
    """Interval timers survive exec: `perl -e 'alarm 5; exec @ARGV'` is a usual idiom."""

    def alarm() -> None:
        os.setpgid(0, 0)
        signal.setitimer(signal.ITIMER_REAL, 5.0)

    front = counting(signal.SIGALRM, prepare=alarm)
    assert front.seen() == (signal.SIGALRM, SI_KERNEL, 0, 0)


# -- Stops --------------------------------------------------------------------


@pytest.mark.parametrize("number", [STOP, TSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_stops_and_goes_on_with_the_command(counting, number):
    front = counting(CONT, LAST)
    for _ in range(ROUNDS):
        os.kill(front.command, number)
        assert front.stopped() == number
        os.kill(front.pid, CONT)
        front.continued()
        assert front.seen_until(LAST) == [CONT]


@pytest.mark.parametrize("number", [TSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_a_stop_signal_to_the_front_stops_both(counting, number):
    front = counting(CONT, LAST)
    os.kill(front.pid, number)
    assert front.stopped() == number
    os.kill(front.pid, CONT)
    assert front.seen_until(LAST) == [CONT]


def test_sigstop_to_the_front_stops_both(counting):
    front = counting(CONT, LAST)
    for _ in range(ROUNDS):
        os.kill(front.pid, STOP)
        assert front.stopped() == STOP
        assert front.said.next() == "held"
        os.kill(front.pid, CONT)
        assert front.seen_until(LAST) == [CONT]


@pytest.mark.parametrize("number", [STOP, TSTP])
def test_the_group_stops_and_goes_on(counting, number):
    front = counting(CONT, LAST)
    for _ in range(ROUNDS):
        os.killpg(front.pid, number)
        assert front.stopped() == number
        assert front.said.next() == "held"
        os.killpg(front.pid, CONT)
        assert front.seen_until(LAST) == [CONT]


@pytest.mark.parametrize("number", [STOP, TSTP])
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["front", "group"])
def test_a_stop_that_is_continued_at_once_leaves_both_running(counting, number, to):
    front = counting(LAST)
    for _ in range(ROUNDS):
        to(front.pid, number)
        to(front.pid, CONT)
        assert front.seen_until(LAST) == []
    os.kill(front.pid, TERM)
    assert front.end() == ROUNDS


def test_the_front_goes_on_when_the_command_does(counting):
    front = counting(LAST)
    for _ in range(ROUNDS):
        os.kill(front.command, STOP)
        assert front.stopped() == STOP
        os.kill(front.command, CONT)
        front.continued()
        assert front.seen_until(LAST) == []


def test_a_command_stopped_and_continued_at_once_does_not_leave_the_front_stopped(counting):
    front = counting(LAST)
    for _ in range(ROUNDS):
        os.kill(front.command, STOP)
        os.kill(front.command, CONT)
        assert front.seen_until(LAST) == []


def test_stops_again_when_the_command_does(counting):
    front = counting(LAST)
    for _ in range(ROUNDS):
        os.kill(front.command, STOP)
        assert front.stopped() == STOP
        os.killpg(front.pid, CONT)
        os.kill(front.command, STOP)
        until(lambda: "T" in _state_of(front.pid) or "t" in _state_of(front.pid))
        os.killpg(front.pid, CONT)
        assert front.seen_until(LAST) == []


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_stopped_command_that_is_killed_ends_the_front(counting):
    front = counting()
    os.kill(front.command, STOP)
    assert front.stopped() == STOP
    os.kill(front.command, signal.SIGKILL)
    assert front.end() == -signal.SIGKILL


def test_a_front_stopped_from_outside_ends_with_a_killed_command(counting):
    front = counting()
    os.kill(front.pid, STOP)
    assert front.stopped() == STOP
    os.kill(front.command, signal.SIGKILL)
    assert front.end() == -signal.SIGKILL


def test_a_signal_waits_while_both_are_stopped(counting):
    front = counting(USR1, LAST)
    os.kill(front.pid, STOP)
    assert front.stopped() == STOP
    os.kill(front.pid, USR1)
    os.kill(front.pid, CONT)
    assert front.seen_until(LAST) == [USR1]


# -- After the command --------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, TERM, signal.SIGHUP, signal.SIGQUIT])
def test_gives_up_waiting_for_orphans(start, number):
    front = start(lambda: os._exit(5), lingers=True)
    assert front.said.next() == "ended"
    until(lambda: _children(front.pid) == 1)  # the supervisor
    os.kill(front.pid, number)
    assert front.end() == 5
    assert front.shared.give_up


def test_an_ignored_signal_does_not_give_up(start):
    def nohup() -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    front = start(lambda: os._exit(5), lingers=True, prepare=nohup)
    assert front.said.next() == "ended"
    os.kill(front.pid, signal.SIGHUP)
    os.kill(front.pid, USR1)
    until(lambda: not int(_status(front.pid, "ShdPnd"), 16))
    assert not front.shared.give_up
    os.kill(front.pid, TERM)
    assert front.end() == 5


def test_stops_by_itself_while_orphans_live(start):
    front = start(lambda: os._exit(5), lingers=True)
    assert front.said.next() == "ended"
    until(lambda: _children(front.pid) == 1)  # the supervisor
    os.kill(front.pid, TSTP)
    assert front.stopped() == TSTP
    os.kill(front.pid, CONT)
    os.kill(front.pid, TERM)
    assert front.end() == 5


def test_reaps_children_that_it_did_not_make(start):
    front = start(_clone_parent, lingers=True)
    stranger = int(front.out.next())
    assert front.said.next() == "ended"
    until(lambda: not Path(f"/proc/{stranger}").exists())
    until(lambda: _children(front.pid) == 1)  # the supervisor
    os.kill(front.pid, TERM)
    assert front.end() == 0


def _clone_parent() -> None:
    pid = libc.syscall(56, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)  # clone, CLONE_PARENT
    if pid == 0:
        os._exit(3)
    os.write(1, f"{pid}\n".encode())


def _status(pid: int, key: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{key}:"))


def _children(pid: int) -> int:
    """How many children *pid* has, the dead ones included."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


# -- A terminal ---------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[], None]]]:
    """A pty's master, and what makes a front the leader of a session on it."""
    master, slave = os.openpty()

    def prepare() -> None:
        os.close(master)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    yield master, prepare
    for fd in (master, slave):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.mark.parametrize("own", [False, True], ids=["our-group", "a-group-of-its-own"])
def test_the_interrupt_key_arrives_once(counting, terminal, own):
    master, prepare = terminal
    front = counting(signal.SIGINT, LAST, own=own, prepare=prepare)
    for _ in range(ROUNDS):
        os.write(master, b"\x03")
        # The front's own kill of that group, unless the key came before its loop began.
        codes = (SI_USER, SI_KERNEL) if own else (SI_KERNEL,)
        number, code, *_ = front.seen()
        assert number == signal.SIGINT
        assert code in codes
        assert front.seen_until(LAST) == []


@pytest.mark.parametrize("own", [False, True], ids=["our-group", "a-group-of-its-own"])
def test_a_change_of_size_arrives_once(counting, terminal, own):
    master, prepare = terminal
    front = counting(signal.SIGWINCH, LAST, own=own, prepare=prepare)
    for row in range(1, ROUNDS):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", row, 80, 0, 0))
        assert front.seen()[0] == signal.SIGWINCH
        assert front.seen_until(LAST) == []


@pytest.mark.parametrize("own", [False, True], ids=["our-group", "a-group-of-its-own"])
def test_a_hang_up_arrives_once(counting, terminal, own):
    """A session's leader is told of a hang-up, and natively the command is the leader."""
    master, prepare = terminal
    front = counting(signal.SIGHUP, CONT, LAST, own=own, prepare=prepare)
    os.close(master)
    assert {front.seen()[:2], front.seen()[:2]} == {
        (signal.SIGHUP, SI_KERNEL),
        (CONT, SI_KERNEL),
    }
    assert front.seen_until(LAST) == []


def test_the_suspend_key_does_nothing_in_an_orphaned_group(counting, terminal):
    master, prepare = terminal
    front = counting(CONT, LAST, own=True, prepare=prepare)
    os.write(master, b"\x1a")
    front.seen_until(LAST)  # a SIGCONT may show, that it runs is what counts
    os.kill(front.pid, TERM)
    assert front.end() >= 1
