"""Real runs, judged again: by their own policy nothing changes, by another what it says."""

from __future__ import annotations

import json

import pytest
from test_names_trace import HOST, make, scene, web  # noqa: F401


def replayed(runner, journal, *options):
    words = [*runner.user.prefix, runner.python, "-m", "netjail", "replay", "--no-config"]
    result = runner.run([*words, "--json", *options, str(journal)])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


PROGRAM = """
import os, socket, subprocess, sys
own = socket.create_server(("127.0.0.1", 0))
socket.socket().connect_ex(own.getsockname())
for place in (("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", 1), ("192.0.2.1", 80)):
    with socket.socket() as one:
        one.settimeout(0.01)
        one.connect_ex(place)
with socket.socket(socket.AF_UNIX) as one:
    one.bind("here")
    one.listen()
    socket.socket(socket.AF_UNIX).connect_ex("here")
for path in ("here", "gone", "/dev/log"):
    socket.socket(socket.AF_UNIX).connect_ex(path)
os.unlink("here")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect_ex(("127.0.0.1", int(sys.argv[1])))
subprocess.run(["sh", "-c", f"exec {sys.executable} -c 'import socket;"
                f"socket.socket().connect_ex((chr(49)+\\"27.0.0.1\\", {sys.argv[1]}))'"])
"""

POLICIES = [
    pytest.param("", id="nothing"),
    pytest.param('allow = ["loopback", "unix:*"]\ndeny = [":1"]', id="this-machine"),
    pytest.param('allow = ["any"]\ndeny = ["self", "udp://any"]', id="not-even-its-own"),
    pytest.param('default = "allow"\ndeny = ["private"]\nerrno = "EPERM"', id="by-default"),
    pytest.param('[[rule]]\nallow = "loopback"\nparent = "**/python*"\n', id="of-children"),
    pytest.param('[[rule]]\nallow = "loopback"\nexe = "**/python*"\n', id="of-a-program"),
    pytest.param('[[rule]]\nallow = "loopback"\nargv = "-c"\n', id="by-arguments"),
    pytest.param('[[rule]]\ndeny = "any"\nparent = "**/sh"\nerrno = "EACCES"\n', id="denied-them"),
]


@pytest.mark.parametrize("text", POLICIES)
def test_the_same_policy_changes_nothing(runner, server, workdir, text):
    policy = workdir / "p.toml"
    policy.write_text(text + "\n")
    command = ["python", "-c", PROGRAM, str(server.port)]
    result = runner.trace("-p", str(policy), "--show-args", command=command)
    assert result.exit_code == 0, result.stderr
    journal = workdir / f"events-{runner.runs}.jsonl"
    found = replayed(runner, journal, "-p", str(policy))
    made = sum(one.count for one in result.attempts if one.operation != "forbidden")
    assert found["attempts"] == found["same"] == made >= 9
    assert (found["changed"], found["hidden"], found["factless"]) == ([], 0, 0)


def test_another_policy_is_judged_by_the_facts_of_the_run(runner, server, workdir):
    command = ["python", "-c", PROGRAM, str(server.port)]
    runner.trace(command=command)
    journal = workdir / f"events-{runner.runs}.jsonl"
    found = replayed(runner, journal, "-a", f"tcp://127.0.0.1:{server.port}")
    (row,) = (one for one in found["changed"] if one["program"].startswith("python"))
    assert (row["dest"], row["after"]["verdict"]) == (f"127.0.0.1:{server.port}", "allow")
    # And so it is, run in earnest.
    before = server.accepted
    runner.trace("-a", f"tcp://127.0.0.1:{server.port}", command=command)
    assert server.accepted == before + sum(one["count"] for one in found["changed"])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["curl", "-sS", "-m", "9", f"http://{HOST}/file"], id="curl"),
        pytest.param(["getent", "ahosts", HOST], id="getent"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="nothing"),
        pytest.param(["-a", f"{HOST}:80"], id="a-name"),
        pytest.param(["-a", "*.test:80"], id="many-names"),
        pytest.param(["-a", "any", "-d", HOST], id="a-denied-name"),
        pytest.param(["--default", "allow"], id="by-default"),
    ],
)
def test_names(scene, web, command, options):  # noqa: F811
    result = scene.trace(*options, command=command)
    runner = scene.runner
    journal = runner.workdir / f"events-{runner.runs}.jsonl"
    found = replayed(runner, journal, *options)
    assert found["attempts"] == found["same"] == sum(one.count for one in result.attempts) > 0
    if options[:2] == ["-a", f"{HOST}:80"]:
        denied = replayed(runner, journal)
        shown = {row["dest"] for row in denied["changed"]}
        assert any("look-up" in dest for dest in shown)
        assert (f"{HOST}:80" in shown) == (command[0] == "curl")


def test_a_local_name_of_the_hosts_file(scene, web):  # noqa: F811
    scene.network.hosts.write_text("127.0.0.1 localhost web.intern\n::1 localhost\n")
    command = ["curl", "-sS", "-m", "9", "http://web.intern/file"]
    for rule in ("web.intern", "*.intern"):
        result = scene.trace("-a", rule, command=command)
        assert result.stdout == "hello\n"
        journal = scene.runner.workdir / f"events-{scene.runner.runs}.jsonl"
        found = replayed(scene.runner, journal, "-a", rule)
        assert (found["changed"], found["same"] > 0) == ([], True)
