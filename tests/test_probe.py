"""What the host offers: fakes for what cannot be arranged, the real thing for what can."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confine import without
from jail import needs
from msgspec import structs

from netjail.errors import HostError
from netjail.kernel.probe import Host, probe, require

GOOD = Host(release="6.1.0-28-amd64", machine="x86_64", bits=64, landlock=2)

# Prints the cause that require() gives, or "fine".
ASK = """
from netjail.errors import HostError
from netjail.kernel.probe import probe, require
try:
    require(probe())
except HostError as error:
    print(error)
else:
    print("fine")
"""


def ask(*outer: str) -> str:
    """What netjail says of the host when it runs under the command *outer*."""
    command = (*outer, sys.executable, "-c", ASK)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def proc(tmp_path):
    """A procfs of files: this process, untraced and unfiltered."""
    own = tmp_path / str(os.getpid())
    own.mkdir()
    (tmp_path / "self").symlink_to(own.name)
    (own / "status").write_text("Name:\tpython3\nTracerPid:\t0\nSeccomp:\t0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("release", "version"),
    [
        pytest.param("5.10.0", (5, 10), id="plain"),
        pytest.param("6.18-rc2", (6, 18), id="release-candidate"),
        pytest.param("5.15.167.4-microsoft-standard-WSL2", (5, 15), id="four-numbers"),
        pytest.param("unknown", (0, 0), id="says-nothing"),
    ],
)
def test_kernel_version(release, version):
    assert structs.replace(GOOD, release=release).kernel == version


@pytest.mark.parametrize(
    ("changes", "cause", "hint"),
    [
        pytest.param({"release": "5.9.16"}, "Linux 5.9.16 is too old", "older", id="too-old"),
        pytest.param({"release": "4.4.0"}, "needs 5.10 or newer", "older", id="gvisor-or-wsl1"),
        pytest.param({"machine": "aarch64"}, "this machine is aarch64", "x86-64", id="arm"),
        pytest.param({"bits": 32}, "this Python is a 32-bit program", "64-bit", id="32-bit-python"),
        pytest.param({"jailed": True}, "already inside a netjail", "outer jail", id="nested"),
        pytest.param(
            {"jailed": True, "tracer": 7, "seize_error": errno.EPERM, "filtered": True},
            "already inside a netjail",
            "outer jail",
            id="nested-is-told-before-what-it-leads-to",
        ),
        pytest.param(
            {"tracer": 7, "tracer_name": "gdb", "seize_error": errno.EPERM},
            "already traced by gdb (pid 7)",
            "one tracer",
            id="traced",
        ),
        pytest.param(
            {"tracer": 7}, "already traced by another program", "one", id="traced-by-whom"
        ),
        pytest.param(
            {"yama": 3, "seize_error": errno.EPERM}, "ptrace_scope is 3", "restart", id="yama-3"
        ),
        pytest.param(
            {"yama": 2, "seize_error": errno.EPERM}, "ptrace_scope is 2", "sysctl", id="yama-2"
        ),
        pytest.param(
            {"seize_error": errno.EPERM, "filtered": True},
            "ptrace is refused here: Operation not permitted, and a seccomp filter",
            "SYS_PTRACE",
            id="container",
        ),
        pytest.param(
            {"seize_error": errno.ENOSYS}, "Function not implemented", "security module", id="lsm"
        ),
        pytest.param(
            {"listener_error": errno.EBUSY}, "another supervisor", "leave seccomp", id="lxd"
        ),
        pytest.param(
            {"trace_error": errno.EOPNOTSUPP}, "seccomp filters are refused", "leave", id="no-trace"
        ),
        pytest.param(
            {"notify_error": errno.EOPNOTSUPP}, "not supported", "leave seccomp", id="no-notify"
        ),
        pytest.param(
            {"seal_error": errno.EINVAL}, "no memory can be sealed", "memfd", id="no-seal"
        ),
        pytest.param({"proc_error": "/proc is not mounted"}, "not mounted", "mount", id="no-proc"),
    ],
)
def test_refused(changes, cause, hint):
    with pytest.raises(HostError) as caught:
        require(structs.replace(GOOD, **changes))
    assert cause in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="debian-12"),
        pytest.param({"release": "5.10.0", "landlock": 0}, id="oldest"),
        pytest.param({"yama": 1}, id="yama-1-lets-a-parent-trace"),
        pytest.param({"yama": 2}, id="yama-2-lets-an-administrator-trace"),
        pytest.param({"filtered": True}, id="a-filter-that-lets-ptrace-through"),
        pytest.param({"getfd_error": errno.EPERM}, id="docker-refuses-pidfd-getfd"),
        pytest.param({"readv_error": errno.EPERM}, id="no-process-vm-readv"),
        pytest.param({"machine": "i686"}, id="setarch-i386"),
    ],
)
def test_taken(changes):
    require(structs.replace(GOOD, **changes))


@pytest.mark.parametrize(("abi", "weak"), [(0, True), (5, True), (6, False), (7, False)])
def test_weak_without_landlock_scopes(abi, weak):
    assert structs.replace(GOOD, landlock=abi).weak is weak


def test_this_host():
    host = probe()
    require(host)
    assert host.kernel >= (5, 10)
    assert (host.release, host.machine) == (os.uname().release, os.uname().machine)
    assert not host.jailed


def test_reads_proc(proc):
    (proc / "self/status").write_text("Name:\tpython3\nTracerPid:\t7\nSeccomp:\t2\n")
    (proc / "7").mkdir()
    (proc / "7/comm").write_text("strace\n")
    (proc / "sys/kernel/yama").mkdir(parents=True)
    (proc / "sys/kernel/yama/ptrace_scope").write_text("2\n")
    host = probe(proc)
    assert (host.tracer, host.tracer_name, host.filtered, host.yama) == (7, "strace", True, 2)


def test_a_tracer_whose_name_cannot_be_read(proc):
    (proc / "self/status").write_text("TracerPid:\t7\n")
    host = probe(proc)
    assert (host.tracer, host.tracer_name) == (7, "")


def test_without_yama(proc):
    assert probe(proc).yama == 0


def test_no_proc(tmp_path):
    assert probe(tmp_path).proc_error == f"{tmp_path} is not mounted"


def test_proc_of_another_namespace(proc):
    (proc / "self").unlink()
    (proc / "1").mkdir()
    (proc / "1/status").write_text("TracerPid:\t0\n")
    (proc / "self").symlink_to("1")
    assert probe(proc).proc_error == f"{proc} shows another pid namespace"


@pytest.mark.parametrize("follow", [("-f",), ()], ids=["follows-forks", "does-not"])
def test_under_strace(follow):
    needs("strace")
    assert ask("strace", *follow, "-o", os.devnull).startswith("already traced by strace (pid ")


@pytest.mark.parametrize(
    ("number", "error", "cause"),
    [
        pytest.param(101, errno.EPERM, "ptrace is refused here: Operation not", id="ptrace"),
        pytest.param(101, errno.ENOSYS, "ptrace is refused here: Function not", id="no-ptrace"),
        pytest.param(317, errno.EPERM, "seccomp filters are refused here", id="seccomp"),
        pytest.param(319, errno.EPERM, "no memory can be sealed here", id="memfd_create"),
        pytest.param(438, errno.EPERM, "fine", id="pidfd_getfd-is-missed-but-not-needed"),
        pytest.param(310, errno.EPERM, "fine", id="process_vm_readv-has-a-substitute"),
        pytest.param(444, errno.ENOSYS, "fine", id="landlock-is-told-as-weak"),
    ],
)
def test_under_a_seccomp_filter(program, tmp_path, number, error, cause):
    profile = tmp_path / "profile"
    profile.write_bytes(without(number, error=error).program())
    assert ask(program("confined"), str(profile)).startswith(cause)


def test_netjail_ends_with_125_before_the_command_runs(tmp_path):
    needs("strace")
    ran = tmp_path / "ran"
    netjail = (sys.executable, "-m", "netjail", "trace", "--", "touch", ran)
    command = ("strace", "-f", "-o", os.devnull, *netjail)
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 125
    assert b"already traced by strace" in result.stderr
    assert b"Traceback" not in result.stderr
    assert not ran.exists()


def test_leaves_nothing_behind():
    probe()  # loads the core
    children = Path("/proc/thread-self/children")
    before = os.listdir("/proc/self/fd"), children.read_text()
    for _ in range(20):
        probe()
    assert (os.listdir("/proc/self/fd"), children.read_text()) == before


def test_is_cheap():
    probe()
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        probe()
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.003
