"""Calls that nobody denies answer as they do natively; doors that are shut stay so."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess

import int80
import pytest
from jail import Result, Runner, every_abi, unmet
from servers import closed_port

ANY = ("--allow", "any", "--allow", "unix:*")


def rows_of(fixture: str) -> list[object]:
    """A fixture's rows by their names, so that each is a test of its own."""
    from conftest import FIXTURES

    lines = (FIXTURES / f"{fixture}.c").read_text().splitlines()
    names = [line.split('"')[1] for line in lines if line.strip().startswith("row(")]
    return [pytest.param(fixture, name, id=f"{fixture}-{name}") for name in names]


@pytest.fixture(scope="module")
def runs() -> dict[object, tuple[dict[str, str], dict[str, str]]]:
    """What each row said natively and in the jail; asked once for each user and ABI."""
    return {}


def answers(text: str) -> dict[str, str]:
    return dict(line.rsplit(": ", 1) for line in text.splitlines())


def ask(runner: Runner, serve, fixture: str) -> tuple[dict[str, str], dict[str, str]]:
    tcp = serve("tcp", port=closed_port())
    udp = serve("udp", port=tcp.port)
    serve("udp", "::1", port=tcp.port)
    what = {"fixture": fixture, "args": [str(udp.port)]}
    native, jailed = runner.native(**what), runner.trace(*ANY, **what)
    assert (native.exit_code, jailed.exit_code) == (0, 0), jailed.stderr
    return answers(native.stdout), answers(jailed.stdout)


@every_abi
@pytest.mark.parametrize(("fixture", "row"), rows_of("bad_calls") + rows_of("socketcalls"))
def test_the_kernel_s_answer_is_kept(runs, runner, serve, fixture, row):
    key = fixture, runner.user, runner.abi
    if key not in runs:
        if fixture == "socketcalls" and not int80.works():
            unmet("this kernel runs no i386 calls")
        runs[key] = ask(runner, serve, fixture)
    native, jailed = runs[key]
    assert jailed[row] == native[row]


@every_abi
@pytest.mark.parametrize("how", ["plain", "restart", "ignored-child", "ignored-winch"])
@pytest.mark.parametrize(
    "call",
    [
        "connect",
        "accept",
        "recv",
        "sendmsg",
        "sendmsg-datagram",
        "sendmsg-timeout",
        "write-timeout",
        "epoll_wait",
        "poll",
        "nanosleep",
        "sigtimedwait",
    ],
)
def test_a_signal_interrupts_what_it_would_natively(native, trace, how, call):
    what = {"fixture": "interrupted", "args": [how, call]}
    plain, jailed = native(**what), trace(**what)
    assert jailed.stdout == plain.stdout
    assert jailed.status == plain.status


def test_a_connect_that_waits_does_not_hold_up_the_others(trace, server):
    """A blocked call keeps its slot; another thread's call goes on."""
    code = f"""
import socket, threading
full = socket.create_server(("127.0.0.1", 0), backlog=0)
fill = [socket.socket() for _ in range(4)]
for s in fill:
    s.setblocking(False)
    s.connect_ex(full.getsockname())
def wait():
    s = socket.socket()
    s.settimeout(None)
    s.connect_ex(full.getsockname())
threads = [threading.Thread(target=wait, daemon=True) for _ in range(5)]
for t in threads:
    t.start()
for _ in range(20):
    socket.create_connection(("127.0.0.1", {server.port})).close()
print("done", flush=True)
import os
os._exit(0)
"""
    result = trace("--allow", f"127.0.0.1:{server.port}", command=["python", "-c", code])
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert server.accepted == 20


# -- What a program inherits --------------------------------------------------


def prepared(how: str) -> dict[str, object]:
    """Keywords of Popen that start a program in an unusual state."""

    def mask() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN + 3])

    def ignore() -> None:
        # Not SIGPIPE: an interpreter that starts cannot tell what it was.
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)

    def limits() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))

    return {
        "nothing": {},
        "mask": {"preexec_fn": mask},
        "ignored": {"preexec_fn": ignore},
        "limits": {"preexec_fn": limits},
        "umask": {"umask": 0o137},
        "nice": {"preexec_fn": functools.partial(os.nice, 5)},
        "environment": {"env": {"A": "b=c", "EMPTY": "", "NEWLINE": "a\nb", "LC_ALL": "C"}},
    }[how]


@every_abi
@pytest.mark.parametrize(
    "how", ["nothing", "mask", "ignored", "limits", "umask", "nice", "environment"]
)
def test_a_program_inherits_what_it_would_natively(native, trace, how):
    what = {"fixture": "print_status", "args": ["a", "b c", ""], "keywords": prepared(how)}
    plain, jailed = native(**what), trace("--keep-caps", **what)
    assert jailed.stdout.splitlines() == plain.stdout.splitlines()


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_closed_standard_descriptors_stay_closed(runner, closed):
    report = runner.workdir / "report"
    closing = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in closed)
    words = ["sh", "-c", f'exec "$@" {closing}', "sh"]
    command = ["python", "-S", "-c", REPORT_DESCRIPTORS, str(report)]
    runner.run([*words, *runner.user.prefix, *command])
    plain = report.read_text()
    report.unlink()
    runner.run([*words, *runner.jailed(), *command])
    assert report.read_text() == plain


REPORT_DESCRIPTORS = """
import os, sys
found = []
for fd in range(64):
    try:
        os.fstat(fd)
        found.append(fd)
    except OSError:
        pass
with open(sys.argv[1], "w") as file:
    file.write(str([fd for fd in found if fd != file.fileno()]))
"""


def test_pipes_are_inherited_and_sockets_are_not(runner, workdir):
    """make's jobserver and <(…) need the first; the second would be a way out."""
    import socket

    report = workdir / "report"
    command = ["python", "-S", "-c", REPORT_DESCRIPTORS, str(report)]
    reader, writer = os.pipe()
    one, other = socket.socketpair()
    try:
        keep = (reader, writer, one.fileno())
        words = [*runner.jailed(), *command]
        runner.run(words, pass_fds=keep)
        found = report.read_text()
        assert str(reader) in found and str(writer) in found
        assert one.fileno() not in eval(found)
        words = [*runner.jailed("--keep-fd", str(one.fileno())), *command]
        runner.run(words, pass_fds=keep)
        assert one.fileno() in eval(report.read_text())
    finally:
        os.close(reader)
        os.close(writer)
        one.close()
        other.close()


def test_stdin_reaches_the_command(trace):
    result = trace(command=["cat"], keywords={"input": "a line\n"})
    assert result.stdout == "a line\n"


# -- Doors that are shut ------------------------------------------------------

REFUSED = None  # any errno will do


@every_abi
@pytest.mark.parametrize(
    ("door", "seen"),
    [
        ("x32-connect", errno.ENOSYS),
        ("x32-sendto", errno.ENOSYS),
        ("minus-one", errno.ENOSYS),
        ("unused-numbers", errno.ENOSYS),
        ("io_uring_setup", errno.ENOSYS),
        ("io_uring_enter", errno.ENOSYS),
        ("io_uring_register", errno.ENOSYS),
        ("userfaultfd", REFUSED),
        ("ptrace-traceme", errno.EPERM),
        ("ptrace-seize", errno.EPERM),
        ("ptrace-attach", errno.EPERM),
        ("notify-listener", errno.EBUSY),
        ("clone3", errno.ENOSYS),
        ("terminal", REFUSED),
        ("setns", errno.EPERM),
        ("foreign-descriptor", REFUSED),
        ("foreign-limit", REFUSED),
        ("foreign-signal", errno.EPERM),
        ("foreign-memory", REFUSED),
        ("foreign-read", errno.EPERM),
        ("route-ipv4", REFUSED),
        ("route-ipv6", REFUSED),
        ("route-ipv6-old", REFUSED),
    ],
)
@pytest.mark.parametrize(
    "mode", [("--allow", "tcp://10.0.0.1"), ("--audit",)], ids=["rules", "audit"]
)
def test_a_door_is_shut(trace, server, user, mode, door, seen):
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            args = [door, server.target, str(victim.pid)]
            result = trace(*mode, fixture="doors", args=args)
        finally:
            victim.kill()
    assert result.signal is None
    assert result.exit_code == seen if seen else result.exit_code not in (0, 200)
    assert server.accepted == 0


@every_abi
@pytest.mark.parametrize("door", ["connect", "socketcall", "sendto", "sendmsg", "dirty"])
@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        pytest.param((), errno.ECONNREFUSED, id="denied"),
        pytest.param(("--allow", "{host}:{port}"), 0, id="allowed"),
        pytest.param(("--audit",), 0, id="audit"),
    ],
)
def test_an_i386_call_is_judged_as_any(trace, native, server, door, mode, seen):
    what = {"fixture": "doors", "args": [f"i386-{door}"], "to": server}
    assert native(**what).exit_code == 0
    result = trace(*mode, **what)
    assert (result.exit_code, server.accepted) == (seen, 2 if seen == 0 else 1)
    (event,) = result.attempts
    assert (event.dest.ip, event.dest.port) == (server.address, server.port)


@every_abi
def test_an_i386_call_beside_does_not_blind_us(trace, server):
    result = trace(fixture="doors", args=["i386-beside"], to=server)
    assert result.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0


@every_abi
@pytest.mark.parametrize("allowed", [False, True], ids=["denied", "allowed"])
def test_a_program_that_hides_its_memory_is_judged_all_the_same(trace, server, allowed):
    options = ("--allow", "{host}:{port}") if allowed else ()
    result = trace(*options, fixture="doors", args=["not-dumpable"], to=server)
    assert result.exit_code == (0 if allowed else errno.ECONNREFUSED)
    assert server.accepted == allowed


@every_abi
def test_the_shut_door_is_said_with_a_hint(trace, server):
    result = trace(fixture="doors", args=["ptrace-traceme"], to=server)
    assert "ptrace" in result.stderr
    (event,) = result.attempts
    assert (event.verdict, event.reason, event.syscall) == ("deny", "structure", "ptrace")


@every_abi
@pytest.mark.parametrize("way", ["trace", "trace-connect", "errno", "kill", "trap", "strict"])
def test_a_program_s_own_filters_work(native, trace, server, way):
    what = {"fixture": "own_filter", "args": [way], "to": server}
    plain = native(**what)
    accepted = server.accepted
    jailed = trace("--allow", "{host}:{port}", **what)
    if way == "trace-connect":  # both filters want the stop; the kernel calls the later one's
        assert jailed.exit_code in (0, errno.ENOSYS)
    else:
        assert jailed.status == plain.status
        assert server.accepted == 2 * accepted


@every_abi
@pytest.mark.parametrize("way", ["trace", "trace-connect", "errno", "trap", "strict"])
def test_a_program_s_own_filters_open_nothing(trace, server, way):
    result: Result = trace(fixture="own_filter", args=[way], to=server)
    assert result.exit_code != 0
    assert server.accepted == 0
