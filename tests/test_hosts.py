"""The jail where much is missing: in containers, behind filters, without /proc and the like."""

from __future__ import annotations

import errno

import confine
import pytest
from confine import Host, without
from jail import USERS, inside, needs
from servers import Server, closed_port


def pair(serve, kind: str, workdir) -> tuple[Server, Server, str]:
    """A server to reach, one not to reach, and the rule that says so."""
    if kind == "unix":
        allowed, denied = (serve(kind, str(workdir / name)) for name in ("one", "two"))
        return allowed, denied, f"unix:{allowed.address}"
    allowed, denied = serve(kind), serve(kind)
    return allowed, denied, f"127.0.0.1:{allowed.port}"


HOSTS = [
    pytest.param(Host(confine.DOCKER), id="docker"),
    pytest.param(Host(confine.DOCKER, ""), id="docker-cap-drop-all"),
    pytest.param(Host(confine.DOCKER_20), id="docker-20"),
    pytest.param(Host(confine.PODMAN), id="podman"),
    pytest.param(Host(without(310, 311)), id="no-process-vm"),
    pytest.param(Host(without(438)), id="no-pidfd-getfd"),
    pytest.param(Host(without(434, 438, error=errno.ENOSYS)), id="no-pidfd"),
    pytest.param(Host(without(444, 445, 446, error=errno.ENOSYS)), id="no-landlock"),
    pytest.param(Host(without(462, error=errno.ENOSYS)), id="no-mseal"),
    pytest.param(Host(without(437, 439, 436, error=errno.ENOSYS)), id="no-openat2"),
]

# Where nothing says who listens: nothing is self.
BLIND = [
    pytest.param(Host(confine.NO_NETLINK), id="no-netlink"),
    pytest.param(Host(confine.NO_SOCK_DIAG), id="no-sock-diag"),
]


@pytest.mark.parametrize("host", HOSTS + BLIND)
@pytest.mark.parametrize(
    ("kind", "fixture", "args"),
    [
        pytest.param("tcp", "connect_inet", [], id="tcp"),
        pytest.param("udp", "send_inet", ["sendto"], id="udp"),
        pytest.param("udp", "send_inet", ["sendmsg"], id="udp-sendmsg"),
        pytest.param("unix", "connect_unix", [], id="unix"),
    ],
)
def test_what_is_allowed_arrives_and_nothing_else(
    trace_in, serve, workdir, host, kind, fixture, args
):
    allowed, denied, rule = pair(serve, kind, workdir)
    refused = trace_in(host, "--allow", rule, fixture=fixture, args=args, to=denied)
    passed = trace_in(host, "--allow", rule, fixture=fixture, args=args, to=allowed)
    assert (refused.exit_code, denied.accepted) == (errno.ECONNREFUSED, 0), refused.stderr
    assert (passed.exit_code, allowed.accepted) == (0, 1), passed.stderr


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("what", "kind"),
    [("connect", "tcp"), ("sendto", "udp"), ("name", "udp"), ("link", "unix")],
)
def test_no_race_is_won(trace_in, serve, workdir, host, what, kind):
    allowed, denied, rule = pair(serve, kind, workdir)
    args = [what, "thread", "1"]
    result = trace_in(host, "--allow", rule, fixture="flip", args=args, to=[allowed, denied])
    assert result.exit_code == 0, result.stderr
    assert denied.accepted == 0
    assert allowed.accepted >= 20


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("how", [[], ["-f"]], ids=["one-process", "two-processes"])
@pytest.mark.parametrize(
    "listen",
    [
        "tcp://127.0.0.1:0",
        "tcp://0.0.0.0:0",
        "mptcp://127.0.0.1:0",
        "udp://127.0.0.1:0",
        "unix:socket",
        "unix:@netjail-{dir}",
    ],
)
def test_the_jail_reaches_itself(trace_in, workdir, host, listen, how):
    target = listen.replace("{dir}", workdir.name)
    result = trace_in(host, fixture="self_connect", args=[*how, target])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("host", BLIND)
@pytest.mark.parametrize(
    ("listen", "rule"),
    [
        ("tcp://127.0.0.1:0", "loopback"),
        ("mptcp://127.0.0.1:0", "loopback"),
        ("udp://127.0.0.1:0", "loopback"),
        ("unix:socket", "unix:{dir}/socket"),
        ("unix:@netjail-{name}", "unix:@netjail-{name}"),
    ],
)
def test_nothing_is_its_own_where_that_cannot_be_asked(trace_in, workdir, host, listen, rule):
    places = {"dir": workdir, "name": workdir.name}
    fixture = {"fixture": "self_connect", "args": [listen.format(**places)]}
    refused = trace_in(host, **fixture)
    assert refused.exit_code == errno.ECONNREFUSED, refused.stderr
    (workdir / "socket").unlink(missing_ok=True)
    allowed = trace_in(host, "--allow", rule.format(**places), **fixture)
    assert allowed.exit_code == 0, allowed.stderr
    for run in (refused, allowed):
        said = " ".join(run.stderr.split())
        assert said.count("whose socket listens cannot be asked here") == 1
        assert "RestrictAddressFamilies= must name AF_NETLINK" in said


# Root of a container has no CAP_SYS_PTRACE: it may look into a program of another user
# only as that user, and not at all into one that gave up root without an exec.
CONTAINERS = [
    pytest.param(Host(confine.DOCKER), id="docker"),
    pytest.param(Host(confine.DOCKER_20), id="docker-20"),
    pytest.param(Host(confine.PODMAN), id="podman"),
]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


@pytest.mark.parametrize("user", USERS[:1], indirect=True)
@pytest.mark.parametrize("host", CONTAINERS)
@pytest.mark.parametrize(
    ("kind", "fixture", "args"),
    [
        pytest.param("tcp", "connect_inet", [], id="tcp"),
        pytest.param("udp", "send_inet", ["sendmsg"], id="udp-sendmsg"),
    ],
)
def test_a_program_that_gives_up_root(trace_in, program, serve, host, kind, fixture, args):
    needs("setpriv")
    allowed, denied = serve(kind), serve(kind)
    words = [*NOBODY, program(fixture), *args]
    passed = trace_in(host, "--allow", f"127.0.0.1:{allowed.port}", command=words, to=allowed)
    assert (passed.exit_code, allowed.accepted) == (0, 1), passed.stderr
    # Podman has pidfd_getfd, but not for another user's: the kind may stay unknown there.
    if host.profile is not confine.PODMAN:
        kinds = {event.proto for event in passed.attempts}
        assert kinds - {"unix"} == {kind}  # setpriv asks nscd
    refused = trace_in(host, "--allow", f"127.0.0.1:{allowed.port}", command=words, to=denied)
    assert (refused.exit_code, denied.accepted) == (errno.ECONNREFUSED, 0), refused.stderr
    assert allowed.accepted == 1


@pytest.mark.parametrize("user", USERS[:1], indirect=True)
@pytest.mark.parametrize("host", CONTAINERS[:2])
@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:0", "mptcp://127.0.0.1:0"])
def test_a_server_that_gives_up_root(trace_in, program, host, listen):
    needs("setpriv")
    words = [*NOBODY, program("self_connect"), listen]
    result = trace_in(host, command=words)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("user", USERS[:1], indirect=True)
@pytest.mark.parametrize("host", CONTAINERS)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_giving_up_root_wins_no_race(trace_in, program, serve, host, kind):
    needs("setpriv")
    allowed, denied = serve(kind), serve(kind)
    what = "connect" if kind == "tcp" else "sendto"
    words = [*NOBODY, program("flip"), what, "thread", "2"]
    rule = f"127.0.0.1:{allowed.port}"
    result = trace_in(host, "--allow", rule, command=words, to=[allowed, denied])
    assert (result.exit_code, denied.accepted) == (0, 0), result.stderr
    assert allowed.accepted >= 5


SETUID = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(socket.socket().connect_ex(("127.0.0.1", {port})))
"""


@pytest.mark.parametrize("user", USERS[:1], indirect=True)
@pytest.mark.parametrize("host", CONTAINERS)
def test_who_gives_up_root_without_an_exec_is_refused(trace_in, runner, serve, host):
    """It cannot be read: nothing goes out, and the summary says what would help."""
    server = serve()
    command = [runner.python, "-c", SETUID.format(port=server.port)]
    result = trace_in(host, "--allow", "any", command=command)
    assert (result.exit_code, result.stdout.split()) == (0, [str(errno.EFAULT)]), result.stderr
    assert server.accepted == 0
    if host.profile is not confine.PODMAN:
        assert "--cap-add SYS_PTRACE" in " ".join(result.stderr.split())


# Where pidfd_getfd is refused, the tracee lends what it calls with: kernel/lend.c.
LENDERS = [
    pytest.param(Host(confine.DOCKER), id="docker"),
    pytest.param(Host(without(438)), id="no-pidfd-getfd"),
]


@pytest.mark.parametrize("host", LENDERS)
def test_the_kind_of_a_descriptor_is_known(trace_in, serve, host):
    """A rule for TCP alone would not do for a descriptor that could be a UDP socket."""
    server = serve()
    rule = f"tcp://127.0.0.1:{server.port}"
    result = trace_in(host, "--allow", rule, fixture="connect_inet", to=server)
    assert (result.exit_code, server.accepted) == (0, 1)
    assert [event.proto for event in result.attempts] == ["tcp"]


@pytest.mark.parametrize("host", LENDERS)
def test_swapping_descriptors_reaches_no_other_protocol(trace_in, serve, host):
    allowed = serve("tcp", port=closed_port())
    denied = serve("udp", port=allowed.port)
    rule = f"tcp://127.0.0.1:{allowed.port}"
    args = ["descriptor", "thread", "1"]
    result = trace_in(host, "--allow", rule, fixture="flip", args=args, to=[allowed, denied])
    assert result.exit_code == 0
    assert denied.accepted == 0


@pytest.mark.parametrize("host", LENDERS)
def test_a_listener_is_tied_to_this_machine(trace_in, host):
    result = trace_in(host, fixture="self_connect", args=["-s", "tcp://0.0.0.0:0"])
    assert (result.exit_code, result.stdout.split()[1:]) == (0, ["'lo'"]), result.stderr


BAD = """
import errno, os, socket, sys
where = ("127.0.0.1", {port})
closed = socket.socket()
os.close(closed.fileno())
for call in (lambda: closed.connect(where), lambda: closed.listen(), lambda: closed.bind(where)):
    try:
        call()
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("host", LENDERS)
def test_a_closed_descriptor_is_none(trace_in, runner, serve, host):
    server = serve()
    rule = f"127.0.0.1:{server.port}"
    command = [runner.python, "-c", BAD.format(port=server.port)]
    plain = runner.native(command=command)
    jailed = trace_in(host, "--allow", rule, command=command)
    assert (jailed.exit_code, jailed.stdout) == (0, plain.stdout)
    assert plain.stdout.split() == ["EBADF"] * 3


FULL = """
import os, resource, socket
first, second = socket.socket(), socket.socket()
second.bind(("127.0.0.1", 0))
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
try:
    while True:
        os.dup(0)
except OSError:
    pass
print(first.connect_ex(("127.0.0.1", {port})))
try:
    second.listen()
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("host", LENDERS)
def test_a_full_table_of_descriptors_lends_nothing(trace_in, runner, serve, host):
    """Its kind is unknown then: judged as every kind, and it cannot be tied to listen."""
    server = serve()
    command = [runner.python, "-c", FULL.format(port=server.port)]
    result = trace_in(host, "--allow", f"127.0.0.1:{server.port}", command=command)
    assert (result.exit_code, result.stdout.split()) == (0, ["0", str(errno.EPERM)])
    assert server.accepted == 1
    assert "tcp+udp" in {event.proto for event in result.attempts}
    assert " ".join(result.stderr.split()).count("what some sockets are could not be read") == 1


@pytest.mark.parametrize("abi", [("-m32",)], indirect=True, ids=["i386"])
@pytest.mark.parametrize("host", LENDERS)
def test_that_a_kind_is_unknown_is_said_once(trace_in, serve, host):
    """32-bit calls lend nothing."""
    allowed, denied = serve(), serve()
    rule = f"127.0.0.1:{allowed.port}"
    result = trace_in(host, "--allow", rule, fixture="connect_inet", to=allowed)
    refused = trace_in(host, "--allow", rule, fixture="connect_inet", to=denied)
    assert (result.exit_code, allowed.accepted) == (0, 1), result.stderr
    assert (refused.exit_code, denied.accepted) == (errno.ECONNREFUSED, 0)
    for run in (result, refused):
        said = " ".join(run.stderr.split())
        assert said.count("what some sockets are could not be read") == 1
        assert "--cap-add SYS_PTRACE" in said


MANY = """
import socket
for _ in range(300):
    with socket.create_connection(("127.0.0.1", {port})) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
"""


@pytest.mark.parametrize("host", LENDERS)
def test_what_was_lent_is_given_back(trace_in, runner, serve, host):
    """Else a closed connection would stay open, and our own table would fill up."""
    server = serve()
    limits = ["prlimit", "--nofile=60:60"]
    code = MANY.format(port=server.port)
    command = [runner.python, "-c", code]
    result = trace_in(host, "--allow", f"127.0.0.1:{server.port}", command=command, around=limits)
    assert (result.exit_code, server.accepted) == (0, 300), result.stderr


REFUSED = [
    pytest.param(
        confine.CONTAINERD_1_6, "ptrace is refused here", "SYS_PTRACE", id="containerd-1.6"
    ),
    pytest.param(confine.PODMAN_3, "ptrace is refused here", "SYS_PTRACE", id="podman-3"),
    pytest.param(without(101), "ptrace is refused here", "SYS_PTRACE", id="no-ptrace"),
    pytest.param(without(317), "seccomp filters are refused", "seccomp(2)", id="no-seccomp"),
    pytest.param(without(319), "no memory can be sealed", "memfd_create", id="no-memfd"),
    pytest.param(without(435), "no thread can be started", "clone3 with EPERM", id="no-threads"),
    pytest.param(without(214), "notification", "seccomp", id="no-notification"),
]


@pytest.mark.parametrize(("profile", "cause", "hint"), REFUSED)
def test_a_host_that_cannot_hold_a_jail_is_refused(trace_in, workdir, profile, cause, hint):
    result = trace_in(Host(profile), command=["touch", str(workdir / "ran")])
    assert result.exit_code == 125
    assert cause in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr
    assert not (workdir / "ran").exists()


def test_without_proc_it_is_refused(runner):
    over = "mount -t tmpfs none /proc"
    result = inside(runner, "-rm", over, *runner.inner(), "touch", "ran")
    assert result.exit_code == 125
    assert "/proc is not mounted" in result.stderr
    assert not (runner.workdir / "ran").exists()


@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_it_can_be_process_1(runner, code, status):
    proc = "mount -t proc proc /proc"
    result = inside(runner, "-rpfm", proc, *runner.inner("-q"), "sh", "-c", code)
    assert (result.status, result.stderr) == (status, "")
