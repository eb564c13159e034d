"""The journal of real runs: written first, folded, whole after any death, never in silence."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import time

import pytest
from jail import read_events

KEYS = {"ts", "verdict", "mode", "syscall", "operation", "proto", "dest", "errno", "rule"}
KEYS |= {"layer", "reason", "fix", "proc", "result", "assurance", "count"}


def until(condition, seconds: float = 60):
    """What *condition* gives once it is true; what it waits for happens in another process."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
    raise AssertionError("it never happened")


def test_a_journal_begins_and_ends(trace, server):
    result = trace("--allow", "loopback", fixture="connect_inet", to=server)
    assert result.events[0]["type"] == "start"
    assert result.events[-1]["type"] == "end"
    assert {event["schema"] for event in result.events} == {"netjail/event/1"}
    assert (result.end.code, result.end.signal) == (0, 0)
    assert (result.end.attempts, result.end.allowed, result.end.denied) == (1, 1, 0)
    assert result.start.mode == "enforce"


def test_an_attempt_has_all_its_keys(trace, server):
    result = trace(fixture="connect_inet", to=server)
    (event,) = [event for event in result.events if event["type"] == "attempt"]
    assert set(event) >= KEYS
    assert set(event["proc"]) >= {"id", "pid", "tid", "exe", "argv", "chain", "cwd", "uid"}


def test_who_ran_is_told(trace, server, user, workdir, program):
    (event,) = trace(fixture="connect_inet", to=server).attempts
    assert event.proc.uid == user.uid
    assert event.proc.cwd == str(workdir)
    assert event.proc.exe == program("connect_inet")


def test_lines_are_compact(trace, server, workdir):
    trace(fixture="connect_inet", to=server)
    for line in (workdir / "events-1.jsonl").read_text().splitlines():
        compact = json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=False)
        assert len(line.encode()) == len(compact.encode())


@pytest.mark.parametrize("verdict", ["allow", "deny"])
def test_a_loop_is_folded(trace, serve, verdict):
    server = serve("udp")
    options = ("--allow", "loopback") if verdict == "allow" else ()
    code = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(20_000):
    try:
        s.sendto(b"x", ("127.0.0.1", {server.port}))
    except ConnectionRefusedError:
        pass
"""
    result = trace(*options, command=["python", "-c", code])
    (event,) = result.attempts
    assert (event.verdict, event.count) == (verdict, 20_000)
    assert len(result.events) < 300
    assert result.end.attempts == 20_000


def test_an_interrupted_call_hides_no_other(trace, workdir):
    """The same registers, but the name that they point to was rewritten in between."""
    own, other = str(workdir / "own"), str(workdir / "other")
    result = trace(fixture="retarget", args=[own, other])
    assert result.exit_code == errno.ENOENT
    assert {event.dest.unix for event in result.attempts} == {own, other}


def test_different_destinations_are_not_folded(trace):
    args = ["-p", "200", "tcp://192.0.2.1:1"]
    result = trace(fixture="connect_inet", args=args)
    assert sorted(event.dest.port for event in result.attempts) == list(range(1, 201))


def test_an_attempt_is_written_before_its_call_returns(runner, program, workdir):
    """The connect waits for a full listener: its line is there, its result is not."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        journal = workdir / "journal"
        words = runner.jailed("--allow", "loopback", events=journal)
        command = [program("connect_inet"), f"tcp://127.0.0.1:{port}"]
        with runner.started([*words, *command]) as process:
            line = until(lambda: [e for e in read_events(journal) if e["type"] == "attempt"])
            assert line[0]["dest"]["port"] == port
            assert not [e for e in read_events(journal) if e["type"] == "result"]
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGTERM
        (result,) = [e for e in read_events(journal) if e["type"] == "result"]
        assert result["result"] in ("gone", "EINTR")
        for filler in fillers:
            filler.close()


def test_no_line_is_lost_when_everything_is_killed(runner, program, workdir):
    """Each refused connect that the program speaks of is in the journal already."""
    code = """
import socket
port = 0
while True:
    port += 1
    socket.socket().connect_ex(("192.0.2.1", port))
    print(port, flush=True)
"""
    journal = workdir / "journal"
    with runner.started([*runner.jailed(events=journal), "python", "-c", code]) as process:
        last = [int(process.stdout.readline()) for _ in range(50)][-1]
        os.killpg(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split()
    text = journal.read_text()
    lines = [json.loads(line) for line in text[: text.rindex("\n")].splitlines()]
    ports = {line["dest"]["port"] for line in lines if line["type"] == "attempt"}
    last = int(rest[-1]) if rest else last
    assert set(range(1, last + 1)) <= ports


def test_a_journal_that_exists_is_replaced_or_added_to(runner, workdir):
    journal = workdir / "journal"
    runner.run([*runner.jailed(events=journal), "true"])
    first = len(read_events(journal))
    runner.run([*runner.jailed(events=journal), "true"])
    assert len(read_events(journal)) == first
    runner.run([*runner.jailed("--append", events=journal), "true"])
    assert len(read_events(journal)) == 2 * first


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("echo x >>journal", "bytes", id="longer"),
        pytest.param(": >journal", "bytes", id="emptied"),
        pytest.param("rm journal", "removed", id="removed"),
        pytest.param("cp journal j; rm journal; mv j journal", "replaced", id="replaced"),
    ],
)
def test_a_journal_that_the_command_alters_is_named(runner, workdir, script, said):
    result = runner.run([*runner.jailed(events=workdir / "journal"), "sh", "-c", script])
    assert result.exit_code == 125
    assert "journal" in result.stderr and said in result.stderr


def test_a_full_disk_is_found_at_the_start(trace, workdir):
    result = trace("--events", "/dev/full", command=["touch", "ran"])
    assert result.exit_code == 125
    assert "/dev/full" in result.stderr
    assert not (workdir / "ran").exists()


def test_a_journal_that_cannot_grow_stops_the_program(runner, program, workdir):
    """Nothing runs unrecorded: the limit is met in the middle, the rest never happens."""
    # More than the vault, a file too, takes of it.
    import resource

    journal = workdir / "journal"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    script = '"$0" -p 20000 tcp://192.0.2.1:1; echo went on'
    words = [*runner.jailed(events=journal), "sh", "-c", script, program("connect_inet")]
    result = runner.run(words, preexec_fn=limit)
    assert (result.exit_code, result.stdout) == (125, "")
    assert "journal" in result.stderr
    assert read_events(journal)


def test_without_a_journal_it_runs_as_well(runner, program, server):
    words = [*runner.jailed(), program("connect_inet"), server.target]
    assert runner.run(words).exit_code == errno.ECONNREFUSED


def test_processes_have_ids_that_do_not_recur(trace, program, server):
    script = 'for i in 1 2 3; do "$0" "$1"; done; true'
    command = ["sh", "-c", script, program("connect_inet"), server.target]
    result = trace(command=command)
    ids = [event.proc.id for event in result.attempts]
    assert len(ids) == len(set(ids)) == 3


def test_the_line_of_a_caller_is_written_down(trace, program):
    result = trace(command=["sh", "-c", f"{program('connect_inet')} tcp://192.0.2.1:80; true"])
    lines = {line.id: line for line in result.of_type("process")}
    (event,) = result.attempts
    caller = lines[event.proc.id]
    assert caller.cwd and caller.exe == program("connect_inet")
    names = []
    while caller.parent:
        caller = lines[caller.parent]
        names.append(os.path.basename(caller.argv[0]))
    # The shell's fork has the shell's name until it executes another program.
    assert set(names) == {"sh"}


@pytest.mark.parametrize("audit", [False, True], ids=["trace", "audit"])
def test_whose_socket_it_is_is_written_down(trace, server, audit, workdir):
    code = f"""
import socket
own = socket.create_server(("127.0.0.1", 0))
for place in (own.getsockname(), ("127.0.0.1", {server.port})):
    socket.socket().connect_ex(place)
for path in ("own", "gone"):
    with socket.socket(socket.AF_UNIX) as one:
        if path == "own":
            one.bind(path)
            one.listen()
    socket.socket(socket.AF_UNIX).connect_ex(path)
"""
    options = ("--audit",) if audit else ()
    result = trace(*options, command=["python", "-c", code])
    owners = [vars(event.seen.owners) for event in result.attempts]
    assert owners[:2] == [{"tcp": "jail"}, {"tcp": "outside"}]
    assert owners[2:] == [{"unix": "nobody"}, {"unix": "nobody"}]
    paths = [event.seen.__dict__.get("path") for event in result.attempts[2:]]
    assert paths == [str(workdir / "own"), None]
    assert result.attempts[3].seen.missing == "ENOENT"
