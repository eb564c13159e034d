"""No jailed program touches a process outside: not its user's others, nor netjail's own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIXTURES

# By the errno alone: nothing of what they do can be seen in the victim.
LOOKS = ["ptrace", "mem", "open-file", "root", "directory", "namespace", "namespaces"]
LOOKS += ["read", "write", "descriptor", "comparison"]
# Those that root's CAP_PERFMON or CAP_SYS_NICE lets through: they change nothing.
HARMLESS_TO_ROOT = ["memory-map", "environment", "advice", "counter"]
# Natively these need a second memory node, or change nothing that is not so already.
INVISIBLE = ["pages", "parameters"]
# Natively these need a victim of the same session: they have a test of their own.
ENTERING = ["nice-entered", "io-priority-entered"]


def rows() -> list[str]:
    text = (FIXTURES / "outside.c").read_text()
    return [line.split('"')[1] for line in text.splitlines() if line.startswith('\t{ "')]


def state(pid: int) -> object:
    """What a hostile process of the same user could have changed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return "gone"
    if status[0] in "ZX":
        return "gone"
    io = ctypes.CDLL(None).syscall(252, 1, pid)
    limits = Path(f"/proc/{pid}/limits").read_text()
    return status[16], status[38], os.sched_getaffinity(pid), io, limits


def changes(pid: int, before: object) -> bool:
    """Whether it is another one within some seconds: a signal takes a moment to kill."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if state(pid) != before:
            return True
    return False


@pytest.fixture
def victim(user) -> Iterator[int]:
    """A process of the test's user outside every jail, in a group of its own."""
    with subprocess.Popen(
        [*user.prefix, "sleep", "1000"], stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        # setpriv and env come first.
        while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()[:5]:
            pass
        # Not idle, as whoever runs the tests may be: it could not be lowered.
        assert ctypes.CDLL(None).syscall(251, 1, process.pid, 2 << 13 | 4) == 0
        yield process.pid
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.mark.parametrize("way", [row for row in rows() if row not in [*INVISIBLE, *ENTERING]])
def test_it_can_be_touched_natively(native, victim, way):
    """Else the tests below would say nothing."""
    if way.endswith("-user"):
        pytest.skip("it would touch whoever else runs here")
    before = state(victim)
    result = native(fixture="outside", args=[way, str(victim)])
    if result.exit_code and way in [*HARMLESS_TO_ROOT, "namespace", "namespaces"]:
        pytest.skip("an ordinary user may not")
    assert result.exit_code == 0
    if way not in [*LOOKS, *HARMLESS_TO_ROOT]:
        assert changes(victim, before)


@pytest.mark.parametrize("way", rows())
def test_it_cannot_be_touched_from_a_jail(trace, user, victim, way):
    before = state(victim)
    result = trace(fixture="outside", args=[way, str(victim)])
    assert state(victim) == before
    by_root = user.uid == 0 and way in HARMLESS_TO_ROOT
    # The kernel drops what is sent by way of a descriptor's owner, and says nothing.
    assert result.exit_code != 0 or by_root or way.startswith("owner")


ENTERED = """
import ctypes, os, subprocess, sys
victim = subprocess.Popen(["sleep", "1000"], process_group=0)
ctypes.CDLL(None).syscall(251, 1, victim.pid, 2 << 13 | 4)  # not idle, as we may be
def state():
    return os.getpriority(0, victim.pid), ctypes.CDLL(None).syscall(252, 1, victim.pid)
before = state()
error = subprocess.run([*sys.argv[1:], str(victim.pid)], stderr=subprocess.DEVNULL).returncode
print(error, state() == before)
victim.kill()
"""


@pytest.mark.parametrize("way", ENTERING)
def test_nor_by_entering_its_group(runner, native, program, way):
    words = [program("outside"), way]
    plain = native(command=["python", "-c", ENTERED, *words])
    assert plain.stdout == "0 False\n", plain.stderr
    jailed = native(command=["python", "-c", ENTERED, *runner.inner(), *words])
    assert jailed.stdout == "1 True\n", jailed.stderr  # EPERM


# What is sent to the parent's group would hit the command itself.
TOUCHES = """
tracer=$(sed -n 's/TracerPid:[[:space:]]*//p' /proc/self/status) parent=$PPID
eval "who=\\$$1"
program=$2
shift 2
for way; do
    before=$(ps -o ni=,cls= -p $who)
    $program $way $who
    echo $way $? $before / $(ps -o ni=,cls= -p $who)
done
"""


@pytest.mark.parametrize("whom", ["tracer", "parent"])
def test_netjail_itself_cannot_be_touched(runner, trace, program, user, whom):
    ways = [row for row in rows() if not row.endswith("group")]
    result = trace(command=["sh", "-c", TOUCHES, "sh", whom, program("outside"), *ways])
    assert result.exit_code == 0, result.stderr  # the command's end came through
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    assert [way for way, _, _ in lines] == ways
    for way, error, states in lines:
        before, after = states.split(" / ")
        assert before == after != "", way
        by_root = user.uid == 0 and way in HARMLESS_TO_ROOT
        assert error not in ("0", "200") or by_root or way.startswith("owner"), way


def test_a_program_s_own_processes_can_be(trace, native):
    code = """
import os, signal, sys
pid = os.fork()
if not pid:
    signal.pause()
os.sched_setaffinity(pid, {0})
os.setpriority(os.PRIO_PROCESS, pid, 17)
os.setpriority(os.PRIO_PROCESS, 0, 16)
os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
print(os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid))
os.kill(pid, signal.SIGKILL)
"""
    what = {"command": ["python", "-c", code]}
    assert trace(**what).stdout == native(**what).stdout == "17 {0}\n"


def test_nor_does_a_pid_namespace_of_its_own_hinder_it(trace, native):
    code = "import os; os.setpriority(os.PRIO_PROCESS, 1, 17); print(os.getpriority(0, 1))"
    what = {"command": ["unshare", "-rpf", "--mount-proc", "python", "-c", code]}
    assert trace(**what).stdout == native(**what).stdout == "17\n"


# The holder, which a jail may look into, was forked by the front.
SHARED = """
import os
looked, shared = 0, []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        parent = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
        if parent != os.getppid() or int(pid) == os.getpid():
            continue
        memory = open(f"/proc/{pid}/mem", "r+b", 0)
        maps = open(f"/proc/{pid}/maps").readlines()
    except OSError:
        continue
    looked += 1
    for line in maps:
        if "rw-s" in line:
            shared.append(line)
            memory.seek(int(line.split("-")[0], 16))
            memory.write(bytes(3000))
print(looked, shared)
"""


def test_what_it_may_look_into_shares_no_memory_with_netjail(trace):
    result = trace(command=["python", "-c", SHARED])
    assert (result.exit_code, result.stdout) == (0, "1 []\n"), result.stderr
