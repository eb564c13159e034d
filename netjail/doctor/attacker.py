"""The attacker's process as the doctor holds it: started, asked, watched, ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from netjail.doctor.attack import Request
from netjail.kernel.doors import Scene, Tried

# What a probe that is over its time may take to be ended and told of, in seconds.
_GRACE = 5.0


class Gone(Exception):
    """The attacker ended, or does not answer; the text says what is known."""


class Attacker:
    """
    A process that tries doors, under *prefix* or unguarded.

    :param prefix: the words before its own command.
    :param inherited: descriptors that it starts with.
    :param terminal: the terminal that it controls, -1 for none.
    :raises Gone: if it cannot be started.
    """

    def __init__(self, prefix: Sequence[str], inherited: Sequence[int], terminal: int) -> None:
        source, self._ask = os.pipe()
        self._answer, target = os.pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, closed with this object
        self._rest = b""
        python = (sys.executable, "-P", "-m", "netjail.doctor.attack")

        def control() -> None:
            if terminal >= 0:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        try:
            self._process = subprocess.Popen(
                [*prefix, *python, str(source), str(target)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=(source, target, *inherited),
                env=environment(),
                start_new_session=True,
                preexec_fn=control,
            )
        except OSError as error:
            self._shut()
            raise Gone(f"it cannot be started: {error}") from error
        finally:
            os.close(source)
            os.close(target)

    def ask(self, name: str, scene: Scene, bound: int, meanwhile: Callable[[], None]) -> Tried:
        """
        Have it run a probe.

        :param bound: the probe's milliseconds.
        :param meanwhile: called again and again until the answer is here.
        :raises Gone: if there is none.
        """
        line = msgspec.json.encode(Request(name, scene, bound)) + b"\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ask, line)
        end = time.monotonic() + bound / 1000 + _GRACE
        while b"\n" not in self._rest:
            meanwhile()
            if select.select([self._answer], [], [], 0.002)[0]:
                data = os.read(self._answer, 4096)
                if not data:
                    raise Gone(self._end())
                self._rest += data
            elif time.monotonic() > end:
                raise Gone("it does not answer")
        answer, _, self._rest = self._rest.partition(b"\n")
        return msgspec.json.decode(answer, type=Tried)

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self._said.seek(0)
        said = self._said.read(2000).decode(errors="replace").strip().splitlines()
        return f"it ended with {self._process.returncode}" + (f": {said[-1]}" if said else "")

    def close(self) -> None:
        """End it, and all that it started."""
        self._shut()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        with contextlib.suppress(ProcessLookupError):
            # The supervisor dies with the front, and the jail with the supervisor.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _shut(self) -> None:
        os.close(self._ask)
        os.close(self._answer)


def environment() -> dict[str, str]:
    """Ours, so that the same netjail is found without the working directory."""
    root = str(Path(__file__).parent.parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def jail(scene: Scene) -> list[str]:
    """The words that jail a command, as any user would; the rules allow what *scene* says."""
    allowed = (
        # For any protocol: where pidfd_getfd is refused nobody knows a socket's.
        f"127.0.0.1:{scene.allowed_tcp},{scene.allowed_udp}",
        # Where an IPv6 source route pretends to go.
        f"udp://[2001:db8::9]:{scene.allowed_udp}",
    )
    rules = [word for rule in allowed for word in ("--allow", rule)]
    netjail = (sys.executable, "-P", "-m", "netjail", "trace")
    return [*netjail, "--no-config", "--quiet", "--orphans", "kill", *rules, "--"]
