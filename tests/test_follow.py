"""No descendant escapes: every way to make one, storms of them, and what outlives the first."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
from jail import unmet

WAYS = [
    "reach",
    "fork",
    "vfork",
    "vfork-reach",
    "posix_spawn",
    "system",
    "exec",
    "exec-chain",
    "clone-vm",
    "clone-files",
    "clone-vfork",
    "clone-untraced",
    "clone-signalless",
    "clone-parent",
    "clone3",
    "thread",
    "exec-thread",
    "leaderless",
    "thread-fork",
    "daemon",
    "subreaper",
]


def reaches(way: str) -> int:
    """How often a way reaches its target."""
    return 2 if way == "thread-fork" else 1


@pytest.mark.parametrize("build", [[], ["musl"]], ids=["glibc", "static-musl"])
@pytest.mark.parametrize("way", WAYS)
def test_a_descendant_is_held(trace, server, way, build):
    result = trace(fixture="follow", args=[way], build=build, to=server)
    assert result.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0
    assert {event.verdict for event in result.attempts} == {"deny"}


@pytest.mark.parametrize("build", [[], ["musl"]], ids=["glibc", "static-musl"])
@pytest.mark.parametrize("way", WAYS)
def test_a_descendant_runs_as_natively(trace, server, way, build):
    options = ("--allow", "{host}:{port}")
    result = trace(*options, fixture="follow", args=[way], build=build, to=server)
    assert (result.exit_code, result.signal) == (0, None)
    assert server.accepted == reaches(way)
    assert {event.verdict for event in result.attempts} == {"allow"}


def test_an_attempt_says_whose_it_is(trace, server):
    result = trace("--show-args", fixture="follow", args=["system"], to=server)
    (event,) = result.attempts
    assert event.proc.argv[1:] == ["reach", server.target]
    names = event.proc.chain
    assert names[0].startswith("follow") and names[-1].startswith("follow")
    assert event.proc.pid == event.proc.tid


def test_arguments_are_kept_to_itself_unless_asked_for(trace, server):
    result = trace(fixture="connect_inet", to=server)
    assert server.target not in str(result.events)


def test_a_daemon_whose_parents_are_gone_still_has_a_name(trace, server):
    (event,) = trace(fixture="follow", args=["daemon"], to=server).attempts
    assert all(name.startswith("follow") for name in event.proc.chain)
    assert event.proc.chain


def test_netjail_stays_until_the_last_process_ends(trace, server):
    result = trace(fixture="follow", args=["outlive"], to=server)
    assert (result.exit_code, result.stdout) == (0, f"{errno.ECONNREFUSED}\n")
    assert server.accepted == 0


def test_what_outlives_the_command_reaches_what_is_allowed(trace, server):
    result = trace("--allow", "loopback", fixture="follow", args=["outlive"], to=server)
    assert (result.exit_code, result.stdout) == (0, "0\n")
    assert server.accepted == 1


def test_orphans_can_be_killed_with_the_command(trace, workdir):
    command = ["sh", "-c", "setsid sleep 1000 & echo $! >pid; exit 3"]
    result = trace("--orphans", "kill", command=command)
    assert result.exit_code == 3
    assert gone([int((workdir / "pid").read_text())])


def test_who_is_waited_for_is_said(runner, workdir):
    os.mkfifo(workdir / "gate")
    os.chown(workdir / "gate", runner.user.uid, -1)
    command = ["sh", "-c", "cat gate >/dev/null & exit 0"]
    with runner.started([*runner.jailed(), *command]) as process:
        line = process.stderr.readline()
        (workdir / "gate").write_text("")
        process.communicate()
    assert "cat" in line
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("storm", "count", "reached", "stdout"),
    [
        pytest.param("threads", 1000, 1000, "1000", id="a-thousand-threads-at-once"),
        pytest.param("forks", 300, 300, "300", id="three-hundred-forks"),
        pytest.param("execs", 60, 60, "60", id="sixty-execs"),
        pytest.param("tree", 7, 128, "2", id="a-tree-of-processes"),
    ],
)
def test_a_storm_is_followed(trace, server, storm, count, reached, stdout):
    what = {"fixture": "storm", "args": [storm, str(count)], "to": server}
    result = trace("--allow", "{host}:{port}", **what)
    assert (result.exit_code, result.stdout.strip()) == (0, stdout)
    assert server.accepted == reached
    assert sum(event.count for event in result.attempts) == reached


MANY = """
import os, socket
server = socket.create_server(("127.0.0.1", 0), backlog=200)
out, into = os.pipe()
stay, go = os.pipe()
for _ in range(150):
    if os.fork() == 0:
        os.close(go)
        os.write(into, bytes([socket.socket().connect_ex(server.getsockname())]))
        os._exit(len(os.read(stay, 1)))
os.close(into)
seen = b""
while len(seen) < 150:
    seen += os.read(out, 150)
print(set(seen))
"""


def test_more_processes_than_netjail_may_have_descriptors(runner):
    limited = ["prlimit", "--nofile=64:64", *runner.jailed("-q"), "python", "-c", MANY]
    assert runner.run(limited).stdout == "{0}\n"


@pytest.mark.parametrize(("storm", "count"), [("threads", 300), ("forks", 100), ("tree", 5)])
def test_a_storm_is_held(trace, server, storm, count):
    result = trace(fixture="storm", args=[storm, str(count)], to=server)
    assert (result.exit_code, result.stdout.strip()) == (errno.ECONNREFUSED, "0")
    assert server.accepted == 0


def test_a_fork_whose_parent_is_killed_at_once_is_followed(trace, server, program):
    """The event of a fork may never come when the parent dies in it."""
    reach = f"{program('connect_inet')} {server.target}"
    script = f"""
for i in 1 2 3 4 5 6 7 8 9 10; do
    sh -c '(while :; do ({reach}) & done) & kill -9 $!; kill -9 $$'
done 2>/dev/null
true
"""
    result = trace(command=["sh", "-c", script])
    assert result.exit_code == 0
    assert server.accepted == 0


def test_a_child_that_is_killed_before_its_first_breath_holds_nobody_up(trace):
    for _ in range(5):
        result = trace(fixture="early_kill", args=["200"])
        assert (result.exit_code, result.signal) == (0, None)


def test_an_exec_that_fails_when_there_is_no_way_back_is_no_task_left_over(native, trace):
    """Its thread has no end that a tracer could see."""
    what = {"fixture": "broken_exec"}
    plain, jailed = native(**what), trace(**what)
    assert (jailed.exit_code, jailed.signal) == (plain.exit_code, None)
    assert plain.exit_code in (signal.SIGSEGV, signal.SIGKILL)


def test_the_init_of_a_pid_namespace_ends_by_its_fault(native, trace):
    """The kernel would let it live while it is traced, and fault for ever."""
    what = {"fixture": "init_crash"}
    if native(**what).exit_code in (errno.EPERM, errno.ENOSPC):
        unmet("no user namespaces here")
    assert native(**what).exit_code == 0
    assert trace(**what).exit_code == 0


# -- The jail dies with its supervisor ----------------------------------------


def descendants(pid: int) -> list[int]:
    """All processes below *pid*, by what /proc says of parents."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = [pid]
    for at in found:
        found += [child for child, parent in parents.items() if parent == at]
    return found[1:]


def tracer_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    raise AssertionError


def gone(pids: list[int]) -> bool:
    """Whether all of them end within some seconds; zombies have ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        alive = []
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                alive.append(pid)
        if not alive:
            return True
    return False


SLEEPERS = ["sh", "-c", "sleep 1000 & (setsid sleep 1000 &) ; echo ready; exec sleep 1000"]


@pytest.mark.parametrize("victim", ["supervisor", "front"])
def test_no_jailed_process_survives_the_death_of(runner, victim):
    with runner.started([*runner.jailed(), *SLEEPERS]) as process:
        assert process.stdout.readline() == "ready\n"
        jailed = [pid for pid in descendants(process.pid) if tracer_of(pid)]
        (supervisor,) = {tracer_of(pid) for pid in jailed} - {0}
        jailed = [pid for pid in jailed if pid != supervisor]
        assert jailed
        os.kill(supervisor if victim == "supervisor" else process.pid, signal.SIGKILL)
        assert gone(jailed)
        process.communicate(timeout=60)
    assert process.returncode != 0


def test_looking_a_path_up_as_another_user_keeps_it_mortal(runner, program, workdir):
    """A change of credentials makes the kernel forget what to do when the parent dies."""
    if runner.user.uid:
        pytest.skip("an ordinary user's jail has one user")
    look = f"setpriv --reuid=65534 --clear-groups {program('connect_unix')} unix:{workdir}/none"
    script = f"{look}; echo ready; exec sleep 1000"
    with runner.started([*runner.jailed("-q"), "sh", "-c", script]) as process:
        assert process.stdout.readline() == "ready\n"
        jailed = [pid for pid in descendants(process.pid) if tracer_of(pid)]
        process.kill()
        assert gone(jailed)
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_netjail_reaches_the_command(runner, number):
    script = (
        f"trap 'echo caught; exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    )
    with runner.started([*runner.jailed("-q"), "sh", "-c", script]) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == "caught\n"
    assert process.returncode == 7
