"""Root's jail: what would undo it is dropped, the rest of root works as without netjail."""

from __future__ import annotations

import os
import shutil
import subprocess
from errno import EACCES, EFAULT, ENOEXEC, ENOSYS, ENXIO, EPERM

import pytest
from jail import ORDINARY, ROOT, needs, unmet

pytestmark = pytest.mark.parametrize("user", [ROOT], indirect=True)

UNDOING = {
    "cap_net_admin": 12,
    "cap_net_raw": 13,
    "cap_sys_module": 16,
    "cap_sys_rawio": 17,
    "cap_sys_ptrace": 19,
    "cap_perfmon": 38,
    "cap_bpf": 39,
}
MASK = sum(1 << bit for bit in UNDOING.values())
# A network of its own, so that what opens changes nobody's.
APART = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
SETS = ["grep", "Cap...:", "/proc/self/status"]


@pytest.fixture(autouse=True)
def _as_root(user):
    if os.geteuid():
        unmet("these tests need root")
    needs("unshare", "ip", "setpriv")


@pytest.fixture
def apart(runner):
    """Run a command, jailed with options or not, in a network namespace of its own."""

    def run(command, options=None):
        jail = [] if options is None else runner.jailed(*options)
        return runner.run([*APART, *jail, *command])

    return run


@pytest.fixture
def outsider():
    """The pid of a process outside the jail, of the same user."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield str(process.pid)
        process.kill()


def sets(output):
    """The masks of /proc/self/status by their names, in capabilities(7)'s words."""
    return {line[3:6]: int(line.split()[1], 16) for line in output.splitlines()}


# What the kernel answers where it lets root through the door.
DOORS = [
    pytest.param("add-address", 0, EPERM, id="network-configuration"),
    pytest.param("tun", 0, EPERM, id="tun-devices"),
    pytest.param("load-module", ENOEXEC, EPERM, id="kernel-modules"),
    pytest.param("io-ports", 0, EPERM, id="io-ports"),
    pytest.param("physical-memory", 0, EPERM, id="physical-memory"),
    pytest.param("bpf", 0, EPERM, id="bpf"),
    pytest.param("raw-socket", 0, EPERM, id="raw-sockets"),
    pytest.param("packet-socket", 0, EPERM, id="packet-sockets"),
    pytest.param("raise-again", 0, EPERM, id="the-permitted-set"),
    pytest.param("raise-ambient", 0, EPERM, id="the-ambient-set"),
    pytest.param("change-user", 0, EPERM, id="another-user-and-back"),
    pytest.param("exec-again", 0, EPERM, id="exec-by-root"),
]
# The kernel itself has no such door.
ABSENT = {ENOSYS, ENXIO}


@pytest.mark.parametrize(("door", "opened", "held"), DOORS)
def test_a_door_of_root_s_is_shut(apart, program, workdir, door, opened, held):
    binary = program("root_doors")
    paths = {"exec-again": binary, "physical-memory": str(workdir / "mem")}
    command = [binary, door, *filter(None, [paths.get(door)])]
    native = apart(command).exit_code
    (workdir / "mem").unlink(missing_ok=True)
    jailed = apart(command, []).exit_code
    if native in ABSENT:
        assert jailed in (native, held)
    else:
        assert (native, jailed) == (opened, held)


@pytest.mark.parametrize(
    ("door", "opened", "held"),
    [
        pytest.param("foreign-memory", 0, EACCES, id="proc-pid-mem"),
        pytest.param("foreign-read", EFAULT, EPERM, id="process_vm_readv"),
        pytest.param("foreign-signal", 0, EPERM, id="signals"),
        pytest.param("enter-namespace", 0, EPERM, id="setns"),
    ],
)
def test_no_process_outside_is_in_reach(runner, program, outsider, door, opened, held):
    command = [program("root_doors"), door]
    assert runner.run([*command, outsider]).exit_code == opened
    for target in ([outsider], []):  # without one, it is the supervisor
        assert runner.run([*runner.jailed(), *command, *target]).exit_code == held


def test_a_user_namespace_gives_nothing_back(apart, program):
    command = [program("root_doors"), "user-namespace"]
    assert apart(command).exit_code == apart(command, []).exit_code == EPERM


@pytest.mark.parametrize("capabilities", ["cap_net_admin,cap_net_raw=eip", "cap_net_raw=ep"])
def test_a_file_with_capabilities_gives_none_back(apart, program, place, capabilities):
    needs("setcap")
    binary = str(place / "with-capabilities")
    shutil.copy(program("root_doors"), binary)
    if subprocess.run(["setcap", capabilities, binary], check=False).returncode:
        unmet("setcap does not work on this file system")
    gain = [*APART[:2], "setpriv", f"--reuid={ORDINARY}", "--", binary, "raw-socket"]
    assert subprocess.run(gain, check=False).returncode == 0
    jailed = apart(["sh", "-c", f"{binary} raw-socket; echo $?; {binary} after-exec; echo $?"], [])
    # As root, a file that wants what the bounding set lacks is not executed: 126.
    wanted = ["126", "126"] if "admin" in capabilities else [str(EPERM), str(EPERM)]
    assert jailed.stdout.split() == wanted


def test_what_is_dropped_is_dropped_from_every_set(trace, native):
    before, after = (sets(run(command=SETS).stdout) for run in (native, trace))
    for name in ("Inh", "Prm", "Eff", "Amb"):
        assert after[name] == before[name] & ~MASK, name
    # cap_net_raw stays bounding: without it there, /usr/bin/ping is not executed at all.
    assert after["Bnd"] == before["Bnd"] & ~(MASK ^ 1 << UNDOING["cap_net_raw"])


def test_the_journal_says_what_was_dropped(trace, native):
    held = sets(native(command=SETS).stdout)["Prm"]
    result = trace(command=["true"])
    assert result.start.dropped == [name for name, bit in UNDOING.items() if held >> bit & 1]
    assert result.start.assurance == "vault"
    assert result.start.warnings == result.end.warnings
    assert [line for line in result.stderr.splitlines() if "as root" in line] != []


def test_capabilities_are_kept_on_demand(trace, native):
    result = trace("--keep-caps", command=SETS)
    assert sets(result.stdout) == sets(native(command=SETS).stdout)
    assert result.start.dropped == []
    assert result.start.assurance == "vault weak"
    (kept,) = (text for text in result.start.warnings if "--keep-caps" in text)
    assert "cap_net_admin" in kept
    assert "--keep-caps" in result.stderr


def test_capabilities_of_an_ordinary_user_are_dropped(runner):
    lent = "+net_admin,+net_bind_service"
    become = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    become += [f"--inh-caps={lent}", f"--ambient-caps={lent}", "--", "env"]
    native = sets(runner.run([*become, *SETS]).stdout)
    jailed = runner.run([*become, *runner.jailed(), *SETS])
    assert native["Eff"] >> UNDOING["cap_net_admin"] & 1
    for name in ("Inh", "Prm", "Eff", "Amb"):
        assert sets(jailed.stdout)[name] == native[name] & ~MASK == 1 << 10, name
    assert "as root" not in jailed.stderr


def test_root_without_the_right_to_bound_itself_is_held(runner):
    """Without CAP_SETPCAP the bounding set stays; no_new_privs holds what it allows."""
    bare = ["setpriv", "--bounding-set=-setpcap", "--", "env"]
    command = ["sh", "-c", 'exec "$@"', "sh", *SETS]
    jailed = sets(runner.run([*bare, *runner.jailed(), *command]).stdout)
    assert jailed["Bnd"] & MASK
    assert not jailed["Prm"] & MASK


# -- The rest of root ---------------------------------------------------------

WORK = """
set -e
mkdir "$1" && cd "$1"
install -o nobody -m 640 /dev/null file
chown daemon file && stat -c %U:%a file
mkdir -p root && chroot / id -u
setpriv --reuid=65534 --clear-groups id -u
su -s /bin/sh -c 'id -u' nobody
python3 -c 'import os, socket; s = socket.socket(); s.bind(("127.0.0.1", 17)); print("bound")'
nice -n -5 nice
mknod device c 1 3 && echo > device && echo devices
mkdir mount && mount -t tmpfs none mount && umount mount && echo mounts
unshare -m true && unshare -Ur id -u
"""


def test_root_works_as_without_netjail(apart):
    native = apart(["sh", "-c", WORK, "sh", "native"])
    jailed = apart(["sh", "-c", WORK, "sh", "jailed"], ["-q"])
    assert (native.exit_code, native.stderr) == (0, "")
    assert (jailed.stdout, jailed.stderr, jailed.exit_code) == (native.stdout, "", 0)


def test_ping_falls_back_to_a_ping_socket(runner):
    needs("ping")
    open_to_all = 'echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range && exec "$@"'
    prefix = [*APART, "sh", "-c", open_to_all, "sh"]
    # It asks by a UDP connect to port 1025 which address it has.
    jail = runner.jailed("--allow", "icmp://127.0.0.1", "--allow", "udp://127.0.0.1:1025")
    for words in ([], jail):
        result = runner.run([*prefix, *words, "ping", "-c1", "-W5", "127.0.0.1"])
        assert "1 received" in result.stdout, result.stderr


UNIX = """
import socket, sys
server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
sys.exit(client.connect_ex(sys.argv[1]))
"""


def test_a_program_that_gave_up_root_is_told_why_it_gets_no_unix_socket(runner):
    runner.workdir.chmod(0o777)
    command = ["setpriv", f"--reuid={ORDINARY}", "--clear-groups", "/usr/bin/env", "python3"]
    assert runner.native(command=[*command, "-c", UNIX, "one"]).exit_code == 0
    result = runner.trace(command=[*command, "-c", UNIX, "two"])
    assert result.exit_code == EACCES
    (warning,) = [said for said in result.end.warnings if "gave up root" in said]
    assert "start netjail as its user" in warning


def test_a_program_that_kept_root_is_told_nothing_of_it(runner):
    result = runner.trace(command=["python", "-c", UNIX, "socket"])
    assert result.exit_code == 0, result.stderr
    assert "gave up root" not in result.stderr
