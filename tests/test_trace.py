"""From the command line to the errno that the program sees, and back to the journal."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import socket

import pytest
from jail import every_abi, inside, needs, read_events
from servers import closed_port, ttls

PAYLOAD = b"payload"

# fixture, its arguments, the server's kind, its address
WAYS = [
    pytest.param("connect_inet", (), "tcp", "127.0.0.1", id="tcp-over-ipv4"),
    pytest.param("connect_inet", (), "tcp", "::1", id="tcp-over-ipv6"),
    pytest.param("connect_inet", ("-n",), "tcp", "127.0.0.1", id="tcp-without-blocking"),
    pytest.param("connect_inet", ("-t", "5000"), "tcp", "127.0.0.1", id="tcp-with-a-timeout"),
    pytest.param("connect_inet", (), "mptcp", "127.0.0.1", id="mptcp-over-ipv4"),
    pytest.param("connect_inet", (), "mptcp", "::1", id="mptcp-over-ipv6"),
    pytest.param("send_inet", ("sendto",), "udp", "127.0.0.1", id="sendto-over-ipv4"),
    pytest.param("send_inet", ("sendto",), "udp", "::1", id="sendto-over-ipv6"),
    pytest.param("send_inet", ("sendmsg",), "udp", "127.0.0.1", id="sendmsg-over-ipv4"),
    pytest.param("send_inet", ("sendmsg",), "udp", "::1", id="sendmsg-over-ipv6"),
    pytest.param("send_inet", ("control",), "udp", "127.0.0.1", id="sendmsg-with-control-data"),
    pytest.param("send_inet", ("nameless",), "udp", "127.0.0.1", id="connect-then-sendmsg"),
    pytest.param("send_inet", ("connected",), "udp", "::1", id="connect-then-send"),
    pytest.param("send_inet", ("unspecified",), "udp", "127.0.0.1", id="sendto-by-af-unspec"),
    pytest.param("send_inet", ("sendmmsg",), "udp", "127.0.0.1", id="sendmmsg-of-one"),
    pytest.param("send_inet", ("sendmmsg",), "udp", "::1", id="sendmmsg-over-ipv6"),
    pytest.param("send_inet", ("fastopen",), "tcp", "127.0.0.1", id="sendto-with-fastopen"),
    pytest.param("send_inet", ("fastopen",), "tcp", "::1", id="fastopen-over-ipv6"),
    pytest.param("send_inet", ("fastopen-message",), "tcp", "127.0.0.1", id="sendmsg-fastopen"),
    pytest.param("send_inet", ("fastopen-connect",), "tcp", "127.0.0.1", id="fastopen-connect"),
]


@every_abi
@pytest.mark.parametrize(("fixture", "args", "kind", "address"), WAYS)
def test_what_no_rule_allows_is_refused(trace, serve, fixture, args, kind, address):
    server = serve(kind, address)
    result = trace(fixture=fixture, args=args, to=server)
    assert result.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0
    (event,) = result.attempts
    assert (event.verdict, event.reason, event.errno) == ("deny", "foreign", "ECONNREFUSED")
    assert (event.dest.ip, event.dest.port) == (address, server.port)
    assert (event.result, event.assurance.split()[0]) == ("refused", "denied")
    assert event.fix.startswith("--allow ")
    assert event.fix in result.stderr


@every_abi
@pytest.mark.parametrize(("fixture", "args", "kind", "address"), WAYS)
def test_what_a_rule_allows_runs_as_it_would_natively(
    trace, native, serve, fixture, args, kind, address
):
    server = serve(kind, address)
    plain = native(fixture=fixture, args=args, to=server)
    accepted, received = server.accepted, server.received
    result = trace("--allow", "{host}:{port}", fixture=fixture, args=args, to=server)
    assert (result.exit_code, result.stdout) == (plain.exit_code, plain.stdout)
    assert server.accepted == 2 * accepted == 2
    assert server.received == 2 * received
    (event,) = [event for event in result.attempts if hasattr(event.dest, "port")]
    assert (event.verdict, event.reason) == ("allow", "rule")
    assert (event.dest.ip, event.dest.port) == (address, server.port)
    assert event.assurance.split()[0] == "vault"


@pytest.mark.parametrize(("fixture", "args", "kind", "address"), WAYS)
def test_the_fix_that_is_printed_opens_the_way(trace, serve, fixture, args, kind, address):
    server = serve(kind, address)
    (event,) = trace(fixture=fixture, args=args, to=server).attempts
    assert trace(*shlex.split(event.fix), fixture=fixture, args=args, to=server).exit_code == 0
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        pytest.param((), "deny", id="nothing-is-allowed-by-default"),
        pytest.param(("--allow", "127.0.0.1:{port}"), "allow", id="a-rule-lets-it-through"),
        pytest.param(("--allow", "127.0.0.1"), "allow", id="no-port-is-every-port"),
        pytest.param(("--allow", "127.0.0.1:*"), "allow", id="a-star-is-every-port"),
        pytest.param(("--allow", "127.0.0.1:1"), "deny", id="another-port-is-not-it"),
        pytest.param(("--allow", "127.0.0.1:1,{port}"), "allow", id="ports-in-a-list"),
        pytest.param(("--allow", "127.0.0.1:1-65535"), "allow", id="ports-in-a-range"),
        pytest.param(("--allow", ":{port}"), "allow", id="a-port-of-any-host"),
        pytest.param(("--allow", "tcp://127.0.0.1:{port}"), "allow", id="the-right-scheme"),
        pytest.param(("--allow", "udp://127.0.0.1:{port}"), "deny", id="the-wrong-scheme"),
        pytest.param(("--allow", "127.0.0.0/8"), "allow", id="a-prefix-that-covers-it"),
        pytest.param(("--allow", "10.0.0.0/8"), "deny", id="a-prefix-that-does-not"),
        pytest.param(("--allow", "loopback"), "allow", id="the-word-loopback"),
        pytest.param(("--allow", "localhost"), "allow", id="localhost-is-loopback"),
        pytest.param(("--allow", "any"), "allow", id="the-word-any"),
        pytest.param(("--allow", "*"), "allow", id="a-star-is-any"),
        pytest.param(("--allow", "private"), "deny", id="loopback-is-not-private"),
        pytest.param(("--allow", "public"), "deny", id="loopback-is-not-public"),
        pytest.param(("--allow", "self"), "deny", id="the-server-is-not-self"),
        pytest.param(("--allow", "[::1]"), "deny", id="another-family"),
        pytest.param(("--allow", "any", "--deny", "loopback"), "deny", id="deny-beats-allow"),
        pytest.param(("--deny", "loopback", "--allow", "any"), "deny", id="order-is-nothing"),
        pytest.param(("--allow", "any", "--deny", ":{port}"), "deny", id="a-port-is-denied"),
        pytest.param(("-a", "any !127.0.0.1"), "deny", id="an-exception-inside-a-rule"),
        pytest.param(("-a", "any !127.0.0.2"), "allow", id="an-exception-for-another"),
        pytest.param(("--default", "allow"), "allow", id="the-default-can-be-allow"),
        pytest.param(("--default", "allow", "-d", "127.0.0.1"), "deny", id="but-deny-holds"),
        pytest.param(("-d", "10.0.0.0/8"), "deny", id="only-deny-still-denies-the-rest"),
        pytest.param(("-a", "[::ffff:127.0.0.1]:{port}"), "allow", id="a-mapped-rule-is-ipv4"),
    ],
)
def test_connect(trace, server, options, verdict):
    result = trace(*options, fixture="connect_inet", to=server)
    assert result.exit_code == (0 if verdict == "allow" else errno.ECONNREFUSED)
    assert server.accepted == (verdict == "allow")
    (event,) = result.attempts
    assert (event.verdict, event.dest.port) == (verdict, server.port)


@pytest.mark.parametrize(
    ("written", "rule", "verdict"),
    [
        pytest.param("[::ffff:127.0.0.1]", "127.0.0.1", "allow", id="v4-mapped-is-ipv4"),
        pytest.param("[::ffff:127.0.0.1]", "[::1]", "deny", id="v4-mapped-is-not-ipv6"),
        pytest.param("0.0.0.0", "127.0.0.1", "allow", id="zero-means-loopback"),
        pytest.param("0.0.0.0", "10.0.0.0/8", "deny", id="zero-is-nothing-else"),
    ],
)
def test_an_address_is_made_canonical(trace, server, written, rule, verdict):
    target = f"tcp://{written}:{server.port}"
    result = trace("--allow", f"{rule}:{server.port}", fixture="connect_inet", args=[target])
    assert result.exit_code == (0 if verdict == "allow" else errno.ECONNREFUSED)
    assert server.accepted == (verdict == "allow")


@every_abi
@pytest.mark.parametrize(
    ("refused", "sent"),
    [
        pytest.param((), 3, id="all-of-them"),
        pytest.param((2,), 2, id="until-the-denied-one"),
        pytest.param((0,), 0, id="none-when-the-first-is-denied"),
        pytest.param((1,), 1, id="never-past-a-denied-one"),
    ],
)
def test_a_sendmmsg_stops_where_the_rules_do(trace, serve, refused, sent):
    servers = [serve("udp") for _ in range(3)]
    allowed = [s for at, s in enumerate(servers) if at not in refused]
    rules = [word for s in allowed for word in ("--allow", f"127.0.0.1:{s.port}")]
    result = trace(*rules, fixture="send_inet", args=["sendmmsg"], to=servers)
    assert [s.accepted for s in servers] == [int(at < sent) for at in range(3)]
    if sent:
        lengths = [len(PAYLOAD) if at < sent else 0 for at in range(3)]
        assert result.stdout.split() == [str(sent), *map(str, lengths)]
        assert result.exit_code == 0
    else:
        assert (result.exit_code, result.stdout.split()[0]) == (errno.ECONNREFUSED, "-1")


def test_a_program_that_cannot_be_read_spoils_no_others_sendmmsg(trace, serve, program, workdir):
    hidden, server = workdir / "hidden", serve("udp")
    shutil.copy(program("connect_inet"), hidden)
    hidden.chmod(0o711)
    script = f"{hidden} {server.target}; exec {program('send_inet')} sendmmsg {server.target}"
    result = trace("--allow", "{host}:{port}", command=["sh", "-c", script], to=server)
    assert (result.exit_code, result.stdout) == (0, "1 7\n")
    assert server.received == [PAYLOAD]


@every_abi
def test_a_sendmmsg_of_more_than_the_kernel_takes_is_cut(trace, native, serve):
    server = serve("udp")
    what = {"fixture": "send_inet", "args": ["sendmmsg"], "to": [server] * 1050}
    plain = native(**what)
    assert plain.stdout.split()[0] == "1024"
    result = trace("--allow", "127.0.0.1:{port}", **what)
    assert result.stdout == plain.stdout
    assert server.accepted == 2048


@every_abi
def test_control_data_arrives_with_the_judged_copy(trace, serve):
    server = serve("udp")
    trace("--allow", "loopback", fixture="send_inet", args=["control"], to=server)
    assert ttls(server) == [7]


@every_abi
def test_source_routing_in_control_data_is_refused(trace, serve):
    server = serve("udp")
    result = trace("--allow", "any", fixture="send_inet", args=["route"], to=server)
    assert result.exit_code != 0
    assert server.accepted == 0


@every_abi
def test_a_connected_socket_can_be_sent_elsewhere_only_by_the_rules(trace, serve):
    here, there = serve("udp"), serve("udp")
    what = {"fixture": "send_inet", "args": ["elsewhere"], "to": [here, there]}
    assert trace("--allow", "127.0.0.1:{port}", **what).exit_code == errno.ECONNREFUSED
    assert (here.accepted, there.accepted) == (0, 0)
    assert trace("--allow", "loopback", **what).exit_code == 0
    assert (here.accepted, there.accepted) == (0, 1)


@every_abi
def test_a_udp_socket_is_disconnected_without_a_rule(trace, serve):
    server = serve("udp")
    result = trace("--allow", "{host}:{port}", fixture="connect_inet", args=["-d"], to=server)
    assert result.exit_code == 0


@every_abi
def test_an_ipv4_address_on_an_ipv6_socket_is_judged_as_ipv4(trace, serve):
    server = serve("udp")
    what = {"fixture": "connect_inet", "args": ["-6", "-w", "x"], "to": server}
    assert trace("--allow", "[::]/0", **what).exit_code == errno.ECONNREFUSED
    assert server.accepted == 0


@every_abi
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_data_flows_both_ways(trace, serve, kind):
    server = serve(kind, answer=b"hello")
    what = {"fixture": "connect_inet", "args": ["-w", "question"], "to": server}
    if kind == "udp":
        what = {"fixture": "send_inet", "args": ["sendto"], "to": server}
    result = trace("--allow", "{host}:{port}", **what)
    assert result.exit_code == 0
    assert server.received == [b"question" if kind == "tcp" else PAYLOAD]
    assert result.stdout == ("hello" if kind == "tcp" else "7\n")


@every_abi
@pytest.mark.parametrize("kind", ["unix", "unix-dgram", "unix-seqpacket"])
@pytest.mark.parametrize("where", ["path", "abstract"])
def test_unix_sockets_outside_need_a_rule(trace, serve, workdir, kind, where):
    name = str(workdir / "socket") if where == "path" else f"@netjail{workdir}"
    server = serve(kind, name)
    denied = trace(fixture="connect_unix", to=server)
    assert denied.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0
    (event,) = denied.attempts
    assert (event.verdict, event.proto) == ("deny", "unix")
    assert event.dest.unix == name
    allowed = trace("--allow", f"unix:{name}", fixture="connect_unix", to=server)
    assert allowed.exit_code == 0
    if kind != "unix-dgram":
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        pytest.param("unix:{dir}/*", "allow", id="a-star-matches-the-name"),
        pytest.param("unix:{dir}*", "allow", id="a-star-crosses-slashes"),
        pytest.param("unix:{dir}/other", "deny", id="another-path"),
        pytest.param("unix:@*", "deny", id="abstract-names-are-not-paths"),
        pytest.param("any", "deny", id="any-is-never-unix"),
        pytest.param("*", "deny", id="a-star-is-never-unix"),
    ],
)
def test_unix_rules(trace, serve, workdir, rule, verdict):
    server = serve("unix", str(workdir / "socket"), answer=b"hi")
    options = ("--allow", rule.replace("{dir}", str(workdir)))
    result = trace(*options, fixture="connect_unix", args=["-w", "x"], command=None, to=server)
    assert result.exit_code == (0 if verdict == "allow" else errno.ECONNREFUSED)
    assert server.accepted == (verdict == "allow")


def test_a_relative_unix_path_is_judged_by_where_it_leads(trace, serve, workdir):
    server = serve("unix", str(workdir / "socket"))
    (workdir / "sub").mkdir(mode=0o755)
    args = ["-c", str(workdir / "sub"), "unix:../socket"]
    assert trace(fixture="connect_unix", args=args).exit_code == errno.ECONNREFUSED
    allow = ("--allow", f"unix:{workdir}/socket")
    assert trace(*allow, fixture="connect_unix", args=args).exit_code == 0
    assert server.accepted == 1


def test_a_symbolic_link_to_a_socket_is_judged_by_its_target(trace, serve, workdir):
    server = serve("unix", str(workdir / "socket"))
    (workdir / "link").symlink_to("socket")
    (workdir / "other").symlink_to("nothing")
    args = [f"unix:{workdir}/link"]
    other = trace("--allow", f"unix:{workdir}/other", fixture="connect_unix", args=args)
    assert other.exit_code == errno.ECONNREFUSED
    # A link that is there when the rule is read is the user's own word for its target.
    for name in ("socket", "link"):
        allowed = trace("--allow", f"unix:{workdir}/{name}", fixture="connect_unix", args=args)
        assert allowed.exit_code == 0
    assert server.accepted == 2


def test_a_link_that_the_jail_makes_widens_no_rule(trace, serve, program, workdir):
    server = serve("unix", str(workdir / "socket"))
    (workdir / "free").mkdir(mode=0o777)
    (workdir / "free").chmod(0o777)
    link = f"{workdir}/free/link"
    script = f"ln -s ../socket {link} && exec {program('connect_unix')} unix:{link}"
    result = trace("--allow", f"unix:{workdir}/free/*", command=["sh", "-c", script])
    assert result.exit_code == errno.ECONNREFUSED
    assert server.accepted == 0
    (event,) = result.attempts
    assert (event.verdict, event.reason) == ("deny", "foreign")


@pytest.mark.parametrize("allow", [(), ("--allow", "unix:*")], ids=["denied", "allowed"])
def test_a_unix_path_that_is_not_there_is_enoent(trace, workdir, allow):
    result = trace(*allow, fixture="connect_unix", args=[f"unix:{workdir}/nothing"])
    assert result.exit_code == errno.ENOENT
    if not allow:
        (event,) = result.attempts
        assert (event.verdict, event.reason) == ("deny", "no-listener")


def test_a_local_port_without_a_listener_is_no_denial(trace):
    port = closed_port()
    what = {"fixture": "connect_inet", "args": [f"tcp://127.0.0.1:{port}"]}
    result = trace("--fail-on", "denied", **what)
    assert result.exit_code == errno.ECONNREFUSED
    (event,) = result.attempts
    assert (event.verdict, event.reason) == ("deny", "no-listener")


def test_addresses_of_other_machines_are_refused_at_once(trace):
    result = trace(fixture="connect_inet", args=["tcp://192.0.2.1:80"])
    assert result.exit_code == errno.ECONNREFUSED
    (event,) = result.attempts
    assert (event.verdict, event.reason) == ("deny", "default")
    assert event.fix == "--allow 192.0.2.1:80"


def test_another_errno_can_be_chosen(trace, server):
    result = trace("--errno", "EACCES", fixture="connect_inet", to=server)
    assert result.exit_code == errno.EACCES
    (event,) = result.attempts
    assert event.errno == "EACCES"


@every_abi
@pytest.mark.parametrize(("fixture", "args", "kind", "address"), WAYS)
def test_audit_refuses_nothing_and_records_all(trace, serve, fixture, args, kind, address):
    server = serve(kind, address)
    result = trace("--audit", fixture=fixture, args=args, to=server)
    assert result.exit_code == 0
    assert server.accepted == 1
    (event,) = [event for event in result.attempts if hasattr(event.dest, "port")]
    assert (event.mode, event.verdict) == ("audit", "allow")
    assert event.assurance.split()[0] == "vault"


def test_audit_says_what_the_rules_would_have_refused(trace, server):
    options = ("--audit", "--deny", "loopback")
    result = trace(*options, fixture="connect_inet", to=server)
    assert result.exit_code == 0
    assert server.accepted == 1
    (event,) = result.attempts
    assert (event.mode, event.verdict, event.result) == ("audit", "deny", "ok")


def test_the_audit_command_is_trace_with_audit(runner, server):
    words = [*runner.user.prefix, runner.python, "-m", "netjail", "audit", "--no-config", "--"]
    result = runner.run([*words, *runner.command(fixture="connect_inet", to=server)])
    assert result.exit_code == 0
    assert server.accepted == 1
    assert str(server.port) in result.stderr


def test_a_policy_file_holds(trace, server, workdir):
    policy = workdir / "policy.toml"
    policy.write_text(f'allow = ["127.0.0.1:{server.port}"]\ndefault = "deny"\nerrno = "EPERM"\n')
    allowed = trace("-p", str(policy), fixture="connect_inet", to=server)
    assert (allowed.exit_code, server.accepted) == (0, 1)
    (event,) = allowed.attempts
    assert "policy.toml:1" in event.layer
    options = ("-p", str(policy), "--deny", "loopback")
    denied = trace(*options, fixture="connect_inet", to=server)
    assert (denied.exit_code, server.accepted) == (errno.EPERM, 1)


def test_stdout_belongs_to_the_command(trace, server):
    result = trace("-a", "loopback", command=["sh", "-c", "echo out; echo err >&2"])
    assert result.stdout == "out\n"
    assert result.stderr.startswith("err\n")


def test_quiet_prints_nothing(trace, server):
    result = trace("-q", fixture="connect_inet", to=server)
    assert (result.exit_code, result.stdout, result.stderr) == (errno.ECONNREFUSED, "", "")


def test_the_summary_says_who_asked_and_what_to_add(trace, program, server):
    command = ["sh", "-c", '"$0" "$1"; true', program("connect_inet"), server.target]
    result = trace(command=command)
    assert "<- sh" in result.stderr
    assert f"fix: --allow 127.0.0.1:{server.port}" in result.stderr.replace("tcp://", "")
    (event,) = result.attempts
    assert event.proc.chain[1] == "sh"


def test_a_program_that_asks_for_nothing_gets_no_summary_of_calls(trace):
    result = trace(command=["true"])
    assert (result.exit_code, result.attempts) == (0, [])


@pytest.mark.parametrize(
    "build", [("musl",), ("-static",), ("-s",)], ids=["musl", "glibc", "strip"]
)
def test_static_and_stripped_programs_are_held(trace, server, build):
    what = {"fixture": "connect_inet", "build": build, "to": server}
    assert trace(**what).exit_code == errno.ECONNREFUSED
    assert server.accepted == 0
    assert trace("--allow", "{host}:{port}", **what).exit_code == 0
    assert server.accepted == 1


def test_a_script_is_held(trace, workdir, program, server):
    script = workdir / "script"
    script.write_text(f"#!/bin/sh\nexec {program('connect_inet')} {server.target}\n")
    script.chmod(0o755)
    assert trace(command=[str(script)]).exit_code == errno.ECONNREFUSED
    assert trace("-a", "loopback", command=[str(script)]).exit_code == 0
    assert server.accepted == 1


def test_the_kernel_may_be_asked_about_interfaces(trace, native):
    needs("ip")
    what = {"command": ["ip", "-o", "address", "show", "dev", "lo"]}
    plain, result = native(**what), trace(**what)
    assert (result.exit_code, result.stdout) == (0, plain.stdout)


def test_libc_can_look_up_addresses_without_a_network(trace, native):
    code = "import socket; print(socket.getaddrinfo('127.0.0.1', 80), socket.if_nameindex())"
    what = {"command": ["python", "-c", code]}
    plain, result = native(**what), trace(**what)
    assert (result.exit_code, result.stdout) == (0, plain.stdout)


def test_socket_pairs_are_free(trace):
    code = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
    result = trace(command=["python", "-c", code])
    assert (result.stdout, result.attempts) == ("b'x'\n", [])


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        pytest.param("AF_PACKET", "SOCK_DGRAM", 0, id="packet"),
        pytest.param("AF_VSOCK", "SOCK_STREAM", 0, id="vsock"),
        pytest.param("AF_ALG", "SOCK_SEQPACKET", 0, id="crypto"),
        pytest.param("AF_INET", "SOCK_RAW", 1, id="raw-icmp"),
        pytest.param("AF_INET", "SOCK_SEQPACKET", 132, id="sctp"),
    ],
)
def test_other_families_are_refused_and_said(trace, family, kind, protocol):
    if not hasattr(socket, family):
        pytest.skip(f"this Python has no {family}")
    code = f"""
import socket, sys
try:
    socket.socket(socket.{family}, socket.{kind}, {protocol})
except OSError as error:
    sys.exit(error.errno)
"""
    result = trace("--allow", "any", command=["python", "-c", code])
    assert result.exit_code in (errno.EAFNOSUPPORT, errno.EPERM)
    (event,) = result.attempts
    assert (event.verdict, event.operation) == ("deny", "socket")


# -- In namespaces, where the test may configure the network ------------------


PING = """
ip link set lo up
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize(
    ("options", "seen"),
    [
        pytest.param((), errno.ECONNREFUSED, id="denied"),
        pytest.param(("--allow", "icmp://{address}"), 0, id="allowed-by-icmp"),
        pytest.param(("--allow", "any"), 0, id="allowed-by-any"),
        pytest.param(("--allow", "udp://{address}"), errno.ECONNREFUSED, id="not-by-udp"),
    ],
)
def test_ping_sockets_are_icmp(runner, program, address, options, seen):
    options = [word.replace("{address}", address) for word in options]
    words = [*runner.inner(*options), program("send_inet"), "ping", f"icmp://{address}"]
    # One user is mapped: the range of groups that may ping must be mapped as well.
    script = PING.replace("2147483647", "0")
    result = inside(runner, "-rn", script, *words)
    assert (result.exit_code, result.stdout) == (seen, "-1\n" if seen else "8\n"), result.stderr


HOSTS = """
printf '127.0.0.1 localhost\\n127.0.0.1 service.test\\n' >hosts
mount --bind hosts /etc/hosts
"""


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        pytest.param("service.test:{port}", "allow", id="the-name-of-the-address"),
        pytest.param("service.test:1", "deny", id="another-port"),
        pytest.param("tcp://service.test", "allow", id="any-port"),
    ],
)
def test_a_hostname_is_looked_up(runner, program, server, workdir, rule, verdict):
    events = workdir / "events.jsonl"
    options = ("--allow", rule.format(port=server.port))
    inner = [*runner.inner("--events", str(events), *options), program("connect_inet")]
    result = inside(runner, "-rm", HOSTS, *inner, server.target)
    assert result.exit_code == (0 if verdict == "allow" else errno.ECONNREFUSED), result.stderr
    assert server.accepted == (verdict == "allow")
    (event,) = [event for event in read_events(events) if event["type"] == "attempt"]
    assert event["verdict"] == verdict
    assert event["dest"].get("name", "") == ("service.test" if verdict == "allow" else "")


def test_a_name_that_does_not_resolve_is_a_warning(runner, program):
    options = ("--allow", "nowhere.invalid:80")
    target = "tcp://192.0.2.1:80"
    words = [*runner.inner(*options), program("connect_inet"), target]
    result = inside(runner, "-rn", "ip link set lo up", *words)
    assert result.exit_code == errno.ECONNREFUSED
    assert "nowhere.invalid" in result.stderr


# A name server that takes its time, and somebody at 127.0.0.1 who counts visitors.
SLOW_NAMES = """
import signal, socket, threading, time, dns.message, dns.rrset

signal.alarm(20)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
server = socket.create_server(("127.0.0.1", 7001))
open("ready", "w").close()

def serve():
    while True:
        server.accept()
        open("reached", "w").close()

threading.Thread(target=serve, daemon=True).start()
while True:
    raw, peer = names.recvfrom(4096)
    time.sleep(0.5)
    answer = dns.message.make_response(dns.message.from_wire(raw))
    name = answer.question[0].name
    if answer.question[0].rdtype == 1:
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "127.0.0.2"))
    names.sendto(answer.to_wire(), peer)
"""

PLACE = """
ip link set lo up
echo nameserver 127.0.0.1 >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
{python} names.py >/dev/null 2>&1 &
until [ -e ready ]; do sleep 0.05; done
"""


def test_a_verdict_that_was_waited_for_is_not_another_calls(runner, program, workdir):
    (workdir / "names.py").write_text(SLOW_NAMES)
    inner = [*runner.inner("--allow", "myhost:7001"), program("replaced")]
    words = [*inner, "tcp://127.0.0.2:7001", "tcp://127.0.0.1:7001"]
    script = PLACE.replace("{python}", runner.python)
    result = inside(runner, "-rmn", script, *words)
    assert result.exit_code == errno.ECONNREFUSED, result.stderr
    assert not (workdir / "reached").exists()


def test_who_is_stopped_is_not_taken_for_gone():
    """What fails as if the caller were gone must not leave it stopped for ever."""
    from netjail.kernel._core import lib
    from ptrace.debugger.child import createChild

    pid = createChild(["/bin/true"], no_stdout=True)
    os.waitpid(pid, 0)
    assert lib.nj_is_stopped(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not lib.nj_is_stopped(pid)
    assert not lib.nj_is_stopped(os.getpid())
