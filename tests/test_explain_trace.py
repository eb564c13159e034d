"""What explain says to add lets a program through that a jail had held, and nothing less does."""

from __future__ import annotations

import json
import shlex
from ipaddress import ip_address

import pytest
from nameserver import NameServer
from test_names_trace import ALIAS, HOST, make, scene, web  # noqa: F401

from netjail.names.configuration import File
from netjail.names.machine import Machine
from netjail.names.truth import Names


def explained(runner, dest, *options, prefix=()):
    """What ``netjail explain --json`` says, run as the test's user."""
    words = [*prefix, *runner.user.prefix, runner.python, "-m", "netjail", "explain"]
    result = runner.run([*words, "--no-config", "--json", *options, dest])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def fixed(options, fixes):
    """The options as a person changes them who reads *fixes*."""
    options = list(options)
    for fix in fixes:
        words = shlex.split(fix["option"])
        if words[0] == "--allow":
            options += words
        elif words[0] == "remove":
            at = options.index(words[2])
            del options[at - 1 : at + 1]
        else:
            (old,) = {o for o in options if words[1].startswith(f"{o} !")}
            options[options.index(old)] = words[1]
    return options


FIXTURES = {
    "tcp": {"fixture": "connect_inet"},
    "udp": {"fixture": "send_inet", "args": ["sendto"]},
    "unix": {"fixture": "connect_unix"},
}


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        pytest.param("tcp", [], "foreign", id="somebody-else-s-server"),
        pytest.param("udp", [], "foreign", id="over-udp"),
        pytest.param("unix", [], "foreign", id="a-socket"),
        pytest.param("tcp", ["-a", "any", "-d", "{dest}"], "rule", id="an-exact-denial"),
        pytest.param("tcp", ["-a", "any", "-d", "127.0.0.0/8"], "rule", id="a-wide-denial"),
        pytest.param("tcp", ["-d", "127.0.0.0/8", "-d", ":{port}"], "rule", id="two-denials"),
        pytest.param("unix", ["-a", "unix:*", "-d", "unix:/tmp/*"], "rule", id="a-denied-path"),
        pytest.param("tcp", ["-a", "udp://loopback"], "foreign", id="another-protocol"),
    ],
)
def test_the_fix_lets_it_through(runner, serve, workdir, kind, options, reason):
    address = str(workdir / "socket") if kind == "unix" else "127.0.0.1"
    server = serve(kind, address)
    dest = f"unix:{address}" if kind == "unix" else f"127.0.0.1:{server.port}"
    scheme = "udp://" if kind == "udp" else ""
    options = [option.format(dest=dest, port=server.port) for option in options]
    words = {"to": server, **FIXTURES[kind]}

    found = explained(runner, scheme + dest, *options)
    assert (found["verdict"], found["decisive"]["reason"]) == ("deny", reason)
    result = runner.trace(*options, **words)
    assert server.accepted == 0
    (attempt,) = result.attempts
    assert (attempt.verdict, attempt.reason, attempt.rule) == (
        "deny",
        reason,
        found["decisive"]["rule"],
    )
    repaired = fixed(options, found["fixes"])
    assert explained(runner, scheme + dest, *repaired)["verdict"] == "allow"
    assert runner.trace(*repaired, **words).exit_code == 0
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("options", "resolve"),
    [
        pytest.param([], [], id="supposed"),
        pytest.param([], ["--resolve"], id="looked-up"),
        pytest.param(["-a", f"{HOST}:81"], [], id="another-port"),
        pytest.param(["-a", "any", "-d", HOST], [], id="denied"),
    ],
)
def test_of_a_name(scene, web, options, resolve):  # noqa: F811
    command = ["curl", "-sS", "-m", "20", f"http://{HOST}/file"]
    prefix, runner = scene.network.prefix, scene.runner
    found = explained(runner, f"http://{HOST}/file", *options, *resolve, prefix=prefix)
    assert found["verdict"] == "deny"
    assert bool(scene.server.received) == bool(resolve)
    assert scene.trace(*options, command=command).status != 0 and not web.seen
    assert scene.trace(*fixed(options, found["fixes"]), command=command).stdout == "hello\n"


def test_a_name_that_turns_inwards(scene, web):  # noqa: F811
    scene.network.address("10.1.2.3")
    scene.network.zone.add(ALIAS, "A", "10.1.2.3")
    scene.network.zone.add(ALIAS, "AAAA")
    options = ["-a", HOST]
    found = explained(
        scene.runner, f"{HOST}:80", *options, "--resolve", prefix=scene.network.prefix
    )
    assert (found["verdict"], found["decisive"]["reason"]) == ("deny", "rebinding")
    command = ["curl", "-sS", "-m", "20", f"http://{HOST}/file"]
    assert scene.trace(*options, command=command).status == 7 and not web.seen
    assert scene.trace(*fixed(options, found["fixes"]), command=command).stdout == "hello\n"


def test_names_are_looked_up_as_by_the_supervisor():
    server = NameServer()
    try:
        server.zone.add("x.corp.example", "A", "192.0.2.7")
        conf = File("", "nameserver 127.0.0.1\nsearch corp.example\n")
        names = Names(conf, File("", "10.0.0.1 local\n"), port=server.port, timeout=20.0)
        machine = Machine(names, File("", "10.0.0.1 local\n"))
        local = machine.local()
        assert local.resolvers == {ip_address("127.0.0.1")}
        assert (local.search, local.hosts) == (
            ("corp.example",),
            {"local": frozenset({ip_address("10.0.0.1")})},
        )
        assert not server.received
        assert machine.ask("x") == {ip_address("192.0.2.7")}
        assert machine.ask("gone.example") == frozenset()
    finally:
        server.close()
