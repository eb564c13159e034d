"""
A front for tests: a real one, with a small supervisor that traces and judges nothing.

``Front`` forks the front, which forks the supervisor and the command, as netjail does.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import select
import signal
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from netjail.kernel._core import ffi, lib

# sys/ptrace.h and linux/wait.h
_CONT, _SEIZE, _LISTEN, _EVENT_STOP = 7, 0x4206, 0x4208, 128
_WALL = 0x40000000
_STOPS = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}

PATIENCE = 60.0
"""Seconds until a test that waits gives up."""

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

Shared = Any  # struct nj_shared *


def ptrace(request: int, pid: int, data: int = 0) -> None:
    if libc.ptrace(request, pid, None, data) < 0 and ctypes.get_errno() != 3:  # ESRCH: killed
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def sigqueue(pid: int, number: int, value: int) -> None:
    """sigqueue(3), which Python does not have."""
    if libc.sigqueue(pid, number, ctypes.c_void_p(value)) < 0:
        raise OSError(ctypes.get_errno(), "sigqueue")


class Supervisor:
    """What the supervisor owes the front, see api.h; runs until the command ended."""

    def __init__(self, shared: Shared, front: int, command: int, said: int) -> None:
        self.shared, self.front, self.command, self.said = shared, front, command, said
        ptrace(_SEIZE, front)
        ptrace(_SEIZE, command)

    def run(self, lingers: bool) -> int:
        """Until the command ended, or until the front gives up; its wait status."""
        end = 0
        while self.command or (lingers and not self.shared.give_up):
            pid, status = os.waitpid(-1, _WALL | os.WNOHANG)
            if pid == self.front:
                lib.nj_front_stopped(self.shared, pid, status)
            elif pid and os.WIFSTOPPED(status):
                self._stopped(pid, status)
            elif pid:
                lib.nj_command_changed(self.shared, self.front, status)
                os.write(self.said, b"ended\n")
                self.command, end = 0, status
            else:
                signal.sigwait({signal.SIGCHLD, signal.SIGALRM})
        return end

    def _stopped(self, pid: int, status: int) -> None:
        number = os.WSTOPSIG(status)
        if status >> 16 == _EVENT_STOP:
            lib.nj_command_changed(self.shared, self.front, status)
            ptrace(_LISTEN if number in _STOPS else _CONT, pid)
            if number in _STOPS:
                os.write(self.said, b"held\n")
            return
        deliver, void = ffi.new("int *", 1), ffi.new("int *")
        lib.nj_arrived(self.shared, pid, deliver)
        if number in (signal.SIGTTIN, signal.SIGTTOU):
            lib.nj_lend_terminal(self.front, self.command, pid, void)
        ptrace(_CONT, pid, number if deliver[0] and not void[0] else 0)


class Lines:
    """A pipe of lines, read as they come."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self._rest = b""

    def next(self) -> str:
        while b"\n" not in self._rest:
            if not select.select([self.read], [], [], PATIENCE)[0]:
                raise TimeoutError("no line came")
            got = os.read(self.read, 4096)
            if not got:
                raise EOFError(self._rest)
            self._rest += got
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def close(self) -> None:
        for fd in (self.read, self.write):
            with contextlib.suppress(OSError):
                os.close(fd)


class Front:
    """
    A front with its supervisor and its command.

    :param command: what the child executes; None: there is no child.
    :param lingers: the supervisor stays for orphans until it is told to give up.
    :param prepare: runs first in the front.
    :param dies: the supervisor ends without a word once the command has.
    """

    def __init__(
        self,
        command: Sequence[str] | Callable[[], None] | None,
        *,
        lingers: bool = False,
        dies: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        new = ffi.new("struct nj_shared **")
        assert lib.nj_shared_new(new) == 0
        self.shared: Shared = new[0]
        self.out, self.said = Lines(), Lines()
        self._command, self._lingers, self._dies = command, lingers, dies
        self._prepare = prepare or (lambda: os.setpgid(0, 0))
        self.pid = self._fork(self._front)
        self.reported: os.waitid_result | None = None

    def _fork(self, run: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            return pid
        faulthandler.disable()
        try:
            run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)

    def _front(self) -> None:
        self._prepare()
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        go, pids = os.pipe(), os.pipe()
        front = os.getpid()
        supervisor = self._fork(lambda: self._supervise(front, pids[0], go[1]))
        child = self._fork(lambda: self._child(go[0])) if self._command else 0
        self.shared.command = child
        os.write(pids[1], child.to_bytes(4, "little"))
        before = _state()
        leave = ffi.new("int *")
        error = lib.nj_front(self.shared, supervisor, leave)
        if error or _state() != before:
            os._exit(125 if error else 98)
        if leave[0] < 0:
            lib.nj_leave(-leave[0])
        os._exit(leave[0])

    def _supervise(self, front: int, pids: int, go: int) -> None:
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        os.setpgid(0, 0)
        command = int.from_bytes(os.read(pids, 4), "little")
        status = 0
        if command:
            tracer = Supervisor(self.shared, front, command, self.said.write)
            os.write(go, b"g")
            status = tracer.run(self._lingers)
        if not self._dies:
            code = os.waitstatus_to_exitcode(status)
            self.shared.exit_signal = max(-code, 0)
            self.shared.exit_code = max(code, 0)
            self.shared.ended = 1
        os._exit(0)

    def _child(self, go: int) -> None:
        libc.prctl(1, signal.SIGKILL)
        os.read(go, 1)
        os.dup2(self.out.write, 1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if callable(self._command):
            self._command()
            os._exit(0)
        assert self._command is not None
        os.execv(self._command[0], list(self._command))

    def ready(self) -> int:
        """Wait for the fixture's first line; the command's pid."""
        word, pid = self.out.next().split()
        assert word == "ready"
        return int(pid)

    def seen(self) -> tuple[int, int, int, int]:
        """The next signal that the command saw: number, si_code, si_pid, value."""
        number, code, pid, value = map(int, self.out.next().split())
        return number, code, pid, value

    def seen_until(self, last: int) -> list[int]:
        """The signals that the command saw before *last*, which is sent to the front."""
        os.kill(self.pid, last)
        numbers = []
        while (number := self.seen()[0]) != last:
            numbers.append(number)
        return numbers

    def report(self, kind: int) -> tuple[int, int]:
        """The front's next report of *kind* to its parent: si_code, si_status."""
        result = os.waitid(os.P_PID, self.pid, kind)
        assert result is not None
        if result.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            self.reported = result
        return result.si_code, result.si_status

    def stopped(self) -> int:
        """Wait until the front is stopped; by which signal."""
        code, number = self.report(os.WSTOPPED)
        assert code == os.CLD_STOPPED
        return number

    def continued(self) -> None:
        assert self.report(os.WCONTINUED)[0] == os.CLD_CONTINUED

    def end(self) -> int:
        """Wait for the front's end; as subprocess gives it, negative for a signal."""
        code, status = self.report(os.WEXITED)
        return status if code == os.CLD_EXITED else -status

    def close(self) -> None:
        if self.reported is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED)
        self.out.close()
        self.said.close()


def _state() -> tuple[object, ...]:
    """The mask and the dispositions, as the kernel has them."""
    with open("/proc/self/status") as file:
        return tuple(line for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt")))
