"""What the jail itself serves can be reached from inside; what others serve cannot."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess

import pytest
from jail import every_abi, unmet
from servers import closed_port

PAIRS = [
    pytest.param("tcp://127.0.0.1:0", None, id="tcp-on-loopback"),
    pytest.param("tcp://[::1]:0", None, id="tcp-on-ipv6-loopback"),
    pytest.param("tcp://0.0.0.0:0", "tcp://127.0.0.1:0", id="tcp-on-every-address"),
    pytest.param("tcp://0.0.0.0:0", "tcp://0.0.0.0:0", id="tcp-to-zero"),
    pytest.param("tcp://[::]:0", "tcp://[::1]:0", id="tcp-on-every-ipv6-address"),
    pytest.param("tcp://[::]:0", "tcp://[::]:0", id="tcp-to-ipv6-zero"),
    pytest.param("tcp://127.0.0.1:0", "tcp://[::ffff:127.0.0.1]:0", id="tcp-by-a-mapped-address"),
    pytest.param("mptcp://127.0.0.1:0", None, id="mptcp"),
    pytest.param("udp://127.0.0.1:0", None, id="udp-on-loopback"),
    pytest.param("udp://[::1]:0", None, id="udp-on-ipv6-loopback"),
    pytest.param("udp://0.0.0.0:0", "udp://127.0.0.1:0", id="udp-on-every-address"),
    pytest.param("unix:socket", None, id="unix-path"),
    pytest.param("unix:./socket", "unix:../{dir}/socket", id="unix-path-by-another-name"),
    pytest.param("unix-dgram:socket", None, id="unix-datagrams"),
    pytest.param("unix-seqpacket:socket", None, id="unix-packets"),
    pytest.param("unix:@netjail-{dir}", None, id="abstract"),
    pytest.param("unix-dgram:@netjail-{dir}", None, id="abstract-datagrams"),
]


@every_abi
@pytest.mark.parametrize("how", [[], ["-f"]], ids=["one-process", "two-processes"])
@pytest.mark.parametrize(("listen", "connect"), PAIRS)
def test_the_jail_reaches_itself(trace, native, workdir, listen, connect, how):
    targets = [text.replace("{dir}", workdir.name) for text in (listen, connect) if text]
    what = {"fixture": "self_connect", "args": [*how, *targets]}
    plain = native(**what)
    (workdir / "socket").unlink(missing_ok=True)
    jailed = trace("--fail-on", "denied", **what)
    assert (jailed.exit_code, jailed.stderr.count("listen:")) == (plain.exit_code, 0), jailed.stderr
    assert jailed.exit_code == 0
    assert {(event.verdict, event.reason) for event in jailed.attempts} == {("allow", "self")}


@every_abi
@pytest.mark.parametrize("listen", ["tcp://[::]:0", "udp://[::]:0"])
def test_a_dual_stack_listener_is_self_over_ipv4(trace, listen):
    connect = listen.replace("[::]", "127.0.0.1")
    result = trace(fixture="self_connect", args=["-d", listen, connect])
    assert result.exit_code == 0


@every_abi
def test_a_listener_that_was_closed_is_nobody(trace):
    result = trace(fixture="self_connect", args=["-c", "tcp://127.0.0.1:0"])
    assert result.exit_code == errno.ECONNREFUSED
    (event,) = [event for event in result.attempts if event.operation == "connect"]
    assert event.reason == "no-listener"


def test_deny_beats_self(trace):
    result = trace("--deny", "loopback", fixture="self_connect", args=["tcp://127.0.0.1:0"])
    assert result.exit_code == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("kind", "address"), [("tcp", "127.0.0.1"), ("tcp", "::1"), ("udp", "127.0.0.1")]
)
def test_the_same_by_an_outsider_is_foreign(trace, serve, kind, address):
    server = serve(kind, address)
    fixture = "connect_inet" if kind == "tcp" else "send_inet"
    args = [] if kind == "tcp" else ["sendto"]
    result = trace(fixture=fixture, args=args, to=server)
    assert (result.exit_code, server.accepted) == (errno.ECONNREFUSED, 0)
    (event,) = result.attempts
    assert event.reason == "foreign"
    assert "outside this jail" in result.stderr


def test_a_port_shared_with_an_outsider_is_not_self(trace, user):
    """SO_REUSEPORT spreads connections over all who listen: some would go outside."""
    with contextlib.closing(socket.socket()) as outsider:
        if user.change:  # sharing needs one owner: inet_csk_bind_conflict
            os.seteuid(user.uid)
        try:
            outsider.close()
            outsider = socket.socket()
            outsider.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            outsider.bind(("127.0.0.1", 0))
        finally:
            if user.change:
                os.seteuid(0)
        outsider.listen()
        outsider.setblocking(False)
        port = outsider.getsockname()[1]
        args = ["-r", f"tcp://127.0.0.1:{port}"]
        result = trace(fixture="self_connect", args=args)
        assert result.exit_code == errno.ECONNREFUSED
        with pytest.raises(BlockingIOError):
            outsider.accept()
        outsider.close()


def test_a_wildcard_beside_an_outsider_s_address_is_not_self(trace, serve):
    """The kernel gives a connection to the more exact address: the outsider's."""
    server = serve()
    args = ["-r", f"tcp://0.0.0.0:{server.port}", f"tcp://127.0.0.1:{server.port}"]
    result = trace(fixture="self_connect", args=args)
    assert result.exit_code in (errno.ECONNREFUSED, 200)  # 200: the kernel refused to share
    assert server.accepted == 0


def test_a_unix_path_that_an_outsider_took_over_is_not_self(trace, serve, workdir):
    path = workdir / "socket"
    server = serve("unix", str(path))
    code = f"""
import os, socket, sys
mine = socket.socket(socket.AF_UNIX)
mine.bind("{path}.mine")
mine.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("{path}.mine")
client.close()
os.rename("{path}", "{path}.mine")
sys.exit(socket.socket(socket.AF_UNIX).connect_ex("{path}.mine"))
"""
    result = trace(command=["python", "-c", code])
    assert result.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0


def test_another_jail_is_an_outsider(runner, trace, program):
    listener = [program("self_connect"), "-s", "tcp://127.0.0.1:0"]
    with runner.started([*runner.jailed(), *listener], stdin=subprocess.PIPE) as process:
        port = int(process.stdout.readline().split()[0])
        result = trace(fixture="connect_inet", args=[f"tcp://127.0.0.1:{port}"])
        assert result.exit_code == errno.ECONNREFUSED
        (event,) = result.attempts
        assert event.reason == "foreign"
        process.communicate("")


# -- Listening ----------------------------------------------------------------


@every_abi
@pytest.mark.parametrize(
    "bind",
    [
        pytest.param((), id="this-machine-only"),
        pytest.param(("--bind", ":{port}"), id="opened-by-a-rule"),
    ],
)
@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "127.0.0.1", "[::1]"])
def test_a_listener_stays_bound_as_it_was(trace, address, bind):
    port = closed_port()
    options = [word.format(port=port) for word in bind]
    args = ["-s", f"tcp://{address}:{port}"]
    result = trace(*options, fixture="self_connect", args=args)
    assert result.exit_code == 0
    if address in ("0.0.0.0", "[::]"):
        # Where it cannot be given a filter, it is tied to lo: see kernel/inbound.c.
        devices = ("''",) if bind else ("''", "'lo'")
        assert result.stdout in [f"{port} {device}\n" for device in devices]
        assert f":{port}" in result.stderr
        (event,) = result.of_type("listen")
        assert event.dest.port == port


def test_a_listener_is_reached_from_this_machine(runner, program):
    listener = [program("self_connect"), "-s", "-a", "tcp://0.0.0.0:0"]
    with runner.started([*runner.jailed(), *listener], stdin=subprocess.PIPE) as process:
        port = int(process.stdout.readline().split()[0])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        process.communicate("")
    assert process.returncode == 0


def test_listening_without_a_bind_takes_any_port(trace, native):
    code = """
import socket
s = socket.socket()
s.listen()
print(s.getsockname()[0], s.getsockname()[1] > 0, s.getsockopt(socket.SOL_SOCKET, 30))
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).listen()
except OSError as error:
    print(error.errno)
"""
    what = {"command": ["python", "-c", code]}
    assert trace(**what).stdout == native(**what).stdout


def test_binding_a_port_in_use_fails_as_natively(trace, server):
    args = ["-s", f"tcp://127.0.0.1:{server.port}"]
    result = trace(fixture="self_connect", args=args)
    assert result.exit_code == 200
    assert "Address already in use" in result.stderr


def test_reaching_self_needs_no_rule_in_a_network_namespace_of_the_jail(trace, native):
    if native(command=["unshare", "-Urn", "true"]).exit_code:
        unmet("unshare -Urn is not permitted here")
    inner = ["ip", "link", "set", "lo", "up"]
    if native(command=["unshare", "-Urn", *inner]).exit_code:
        unmet("no ip, or loopback cannot be set up")
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(socket.socket().connect_ex(server.getsockname()))
"""
    script = 'ip link set lo up; exec "$@"'
    command = ["unshare", "-Urn", "sh", "-c", script, "sh", "python", "-c", code]
    result = trace(command=command)
    # Either the supervisor can see into that namespace, or it must not believe it is self.
    assert result.stdout in ("0\n", f"{errno.ECONNREFUSED}\n")


ASKED = """
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", {port}))
if os.fork() == 0:
    for _ in range(5):
        question, client = server.recvfrom(16)
        server.sendto(question, client)
    os._exit(0)
for number in range(5):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        client.{ask}
        print(client.recvfrom(16)[0].decode())
"""


@pytest.mark.parametrize("ask", ['sendto(b"x", {to})', 'connect({to}), client.send(b"x")'])
def test_each_socket_that_asks_by_a_rule_is_answered(trace, ask):
    """The answer is to self: every asking socket counts, whatever its number was before."""
    port = closed_port()
    code = ASKED.format(port=port, ask=ask.format(to=f'("127.0.0.1", {port})'))
    result = trace("--allow", f"127.0.0.1:{port}", command=["python", "-c", code])
    assert result.stdout == "x\n" * 5
