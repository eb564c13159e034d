"""
``netjail learn``, the whole way: under what was learned, the same command does the same.

Judged by what the program printed and the servers saw, natively, while learning and after.
"""

from __future__ import annotations

import os
import socket
import tomllib

import pytest
from jail import needs
from outdoors import HOST, INSIDE, OTHER, WEB4, Outdoors, denied
from servers import closed_port

# ---- programs ----


def curl(scene: Outdoors) -> list[str]:
    needs("curl")
    return ["curl", "-sS", f"http://{HOST}/file"]


def urllib(scene: Outdoors) -> list[str]:
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read())"
    return ["python", "-c", code, f"http://{HOST}/file"]


def git(scene: Outdoors) -> list[str]:
    script = 'rm -rf copy && git clone -q "$0" copy && git -C copy log --format=%s'
    return ["sh", "-c", script, f"http://{HOST}/demo.git"]


def pip(scene: Outdoors) -> list[str]:
    install = "python -m pip install -q --no-cache-dir --disable-pip-version-check --retries 0"
    trust = f"--trusted-host {HOST} --index-url http://{HOST}/simple/"
    run = "PYTHONPATH=out python -c 'import demo; print(demo.WORD)'"
    return ["sh", "-c", f"rm -rf out && {install} {trust} --target out demo && {run}"]


def node(scene: Outdoors) -> list[str]:
    needs("node")
    code = "require('http').get(process.argv[1], r => r.pipe(process.stdout))"
    return ["node", "-e", code, f"http://{HOST}/file"]


_NODE_OWN = """
const http = require('http')
const server = http.createServer((q, s) => s.end('own\\n')).listen(0, () =>
    http.get({port: server.address().port}, r => r.on('end', () => server.close())
        .pipe(process.stdout)))
"""


def node_server(scene: Outdoors) -> list[str]:
    """It talks to itself, on a port of the moment."""
    needs("node")
    return ["node", "-e", _NODE_OWN]


def redis(scene: Outdoors) -> list[str]:
    """A client whose server is somebody else's."""
    needs("redis-cli")
    server = scene.serve("tcp", answer=b"+PONG\r\n")
    return ["redis-cli", "-h", "127.0.0.1", "-p", str(server.port), "ping"]


def redis_server(scene: Outdoors) -> list[str]:
    """Server and client in the jail; the client polls until the server is there."""
    needs("redis-server", "redis-cli")
    script = (
        "redis-server --port $0 --save '' --daemonize no >/dev/null & "
        "until redis-cli -p $0 ping >/dev/null 2>&1; do :; done; "
        "redis-cli -p $0 set k v; redis-cli -p $0 shutdown nosave; wait"
    )
    return ["sh", "-c", script, str(scene.network.inside(closed_port))]


def unix(scene: Outdoors) -> list[str]:
    server = scene.serve("unix", str(scene.workdir / "outside.sock"), answer=b"hi\n")
    code = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(s.recv(9))"
    return ["python", "-c", code, server.address]


def abstract(scene: Outdoors) -> list[str]:
    scene.serve("unix", "@nj-test", answer=b"hi\n")
    code = "import socket; s = socket.socket(1); s.connect('\\0nj-test'); print(s.recv(9))"
    return ["python", "-c", code]


def two_names_of_one_address(scene: Outdoors) -> list[str]:
    needs("curl")
    return ["curl", "-sS", f"http://{HOST}/file", "--next", "-sS", f"http://{OTHER}/file"]


def inwards(scene: Outdoors) -> list[str]:
    """A name from outside that leads to a private address."""
    needs("curl")
    return ["curl", "-sS", f"http://{INSIDE}/file"]


def address(scene: Outdoors) -> list[str]:
    needs("curl")
    return ["curl", "-sS", f"http://{WEB4}/file"]


def look_up(scene: Outdoors) -> list[str]:
    return ["getent", "ahosts", HOST]


def datagram(scene: Outdoors) -> list[str]:
    server = scene.serve("udp", answer=b"back")
    code = "import socket, sys; s = socket.socket(2, 2); s.sendto(b'x', ('127.0.0.1', "
    return ["python", "-c", code + f"{server.port})); print(s.recv(9))"]


PROGRAMS = [
    pytest.param(curl, [f"{HOST}:80"], id="curl"),
    pytest.param(urllib, [f"{HOST}:80"], id="urllib"),
    pytest.param(git, [f"{HOST}:80"], id="git"),
    pytest.param(pip, [f"{HOST}:80"], id="pip"),
    pytest.param(node, [f"{HOST}:80"], id="node"),
    pytest.param(node_server, [], id="node-server"),
    pytest.param(redis, ["127.0.0.1:{}"], id="redis"),
    pytest.param(redis_server, [], id="redis-server"),
    pytest.param(unix, ["unix:{}"], id="unix"),
    pytest.param(abstract, ["unix:@nj-test"], id="abstract"),
    pytest.param(two_names_of_one_address, [f"{OTHER}:80", f"{HOST}:80"], id="two-names"),
    pytest.param(inwards, [f"{INSIDE}:80", "10.1.2.3:80"], id="inwards"),
    pytest.param(address, [f"{WEB4}:80"], id="address"),
    pytest.param(look_up, [f"icmp://{HOST}"], id="look-up"),
    pytest.param(datagram, ["udp://127.0.0.1:{}"], id="datagram"),
]


@pytest.mark.parametrize(("program", "expected"), PROGRAMS)
def test_the_same_command_is_denied_nothing(outdoors, program, expected):
    scene = outdoors()
    command = program(scene)
    native = scene.run(command)
    assert native.status == 0, native.stderr
    learning = scene.netjail("learn", "-o", "learned.toml", "--", *command)
    assert (learning.status, learning.stdout) == (0, native.stdout), learning.stderr
    text = (scene.workdir / "learned.toml").read_text()
    allow = tomllib.loads(text)["allow"]
    wanted = [rule.replace("{}", _where(scene)) for rule in expected]
    # git asks for the name of its own machine, which may be in no file.
    assert [rule for rule in allow if rule != f"icmp://{socket.gethostname()}"] == wanted, text
    if allow:  # without it the command is stopped
        stopped = scene.trace("--no-config", command=command)
        assert denied(stopped)
    scene.web.seen.clear()
    under = scene.trace("-p", "learned.toml", "--fail-on", "denied", command=command)
    assert (under.status, under.stdout) == (0, native.stdout), text + under.stderr
    assert denied(under) == []


def _where(scene: Outdoors) -> str:
    return next((str(server.port or server.address) for server in scene.servers), "")


def test_a_search_list_brings_no_lines(outdoors):
    scene = outdoors("search corp.test lab.test\noptions ndots:5\n")
    command = curl(scene)
    assert scene.netjail("learn", "-o", "x.toml", "--", *command).status == 0
    # The variants were asked for, and denied they are not.
    assert f"{HOST}.corp.test." in scene.network.server.names
    assert tomllib.loads((scene.workdir / "x.toml").read_text())["allow"] == [f"{HOST}:80"]
    under = scene.trace("-p", "x.toml", "--fail-on", "denied", command=command)
    assert (under.status, denied(under)) == (0, [])


def test_a_listener_is_open_as_in_the_audit(outdoors):
    scene = outdoors()
    port = 8999
    code = (
        "import socket, sys; s = socket.create_server(('0.0.0.0', int(sys.argv[1]))); "
        "t = socket.create_server(('', 0)); u = socket.create_server(('127.0.0.1', 8998))"
    )
    command = ["python", "-c", code, str(port)]
    assert scene.netjail("learn", "-o", "x.toml", "--", *command).status == 0
    text = (scene.workdir / "x.toml").read_text()
    assert tomllib.loads(text) == {"allow": [], "bind": [f":{port}"]}
    under = scene.trace("-p", "x.toml", command=command)
    scopes = [one.scope for one in under.of_type("listen")]
    assert scopes == ["open", "machine", "machine"]


def test_what_is_given_is_not_learned_again(outdoors):
    scene = outdoors()
    command = two_names_of_one_address(scene)
    words = ["learn", "-a", f"{OTHER}:80", "-o", "x.toml", "--", *command]
    assert scene.netjail(*words).status == 0
    assert tomllib.loads((scene.workdir / "x.toml").read_text())["allow"] == [f"{HOST}:80"]
    both = scene.trace("-p", "x.toml", "-a", f"{OTHER}:80", command=command)
    assert (both.status, denied(both)) == (0, [])
    assert denied(scene.trace("-p", "x.toml", command=command))


def test_a_policy_goes_to_stdout_behind_the_command(outdoors):
    scene = outdoors()
    result = scene.netjail("learn", "-o", "-", "--", *curl(scene))
    assert result.status == 0
    head, policy = result.stdout.split("\n", 1)
    assert head == "hello"
    assert tomllib.loads(policy) == {"allow": [f"{HOST}:80"]}


@pytest.mark.parametrize("status", [3, 126, 127])
def test_a_command_that_failed(outdoors, status):
    scene = outdoors()
    command = {
        3: ["sh", "-c", f"curl -sS http://{HOST}/file; exit 3"],
        126: ["/etc/passwd"],
        127: ["/nowhere/program"],
    }[status]
    result = scene.netjail("learn", "-o", "x.toml", "--", *command)
    assert result.status == status
    # Of one that was not run there is nothing to write.
    assert (scene.workdir / "x.toml").exists() == (status == 3)
    if status == 3:
        assert "the command failed" in result.stderr
        assert "after it failed: status 3" in (scene.workdir / "x.toml").read_text()


def test_nothing_is_lost(outdoors):
    scene = outdoors()
    path = scene.workdir / "netjail.toml"
    # It comes while the command runs.
    result = scene.netjail("learn", "--", "sh", "-c", "echo mine > netjail.toml")
    assert (result.status, path.read_text()) == (125, "mine\n")
    assert "cannot be written" in result.stderr
    refused = scene.netjail("learn", "--", "sh", "-c", "echo ran")
    assert (refused.status, refused.stdout, path.read_text()) == (125, "", "mine\n")
    forced = scene.netjail("learn", "--force", "--", *curl(scene))
    assert forced.status == 0
    assert tomllib.loads(path.read_text()) == {"allow": [f"{HOST}:80"]}
    assert path.stat().st_mode & 0o022 == 0
    assert sorted(os.listdir(scene.workdir)) == ["netjail.toml"]
    # Found, it is the policy of the next run.
    assert scene.netjail("trace", "--fail-on", "denied", "--", *curl(scene)).status == 0


def test_a_signal_is_passed_on_and_what_was_seen_is_written(outdoors):
    scene = outdoors()
    command = ["sh", "-c", f"curl -sS http://{HOST}/file; kill -TERM $$"]
    result = scene.netjail("learn", "-o", "x.toml", "--", *command)
    assert result.status == -15 or result.status == 128 + 15
    assert tomllib.loads((scene.workdir / "x.toml").read_text())["allow"] == [f"{HOST}:80"]
