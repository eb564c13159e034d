"""
``--fail-on new``, the whole way: the policy judges, and the lock says what is new.
Judged by what the servers outside heard, and by the exit status.
"""

from __future__ import annotations

import re
import subprocess

import pytest
from jail import needs
from outdoors import BARE, WEB4, Outdoors, fetch, patch_of

PAGE, ELSEWHERE = f"http://{WEB4}/file", f"http://{BARE}/file"
OWN = f"tcp://{WEB4}:80"
NOWHERE = "203.0.113.9"


@pytest.fixture
def scene(outdoors) -> Outdoors:
    needs("curl")
    return outdoors()


def locked(scene: Outdoors, *rules: str) -> None:
    lines = "".join(f'    "{rule}",\n' for rule in rules)
    (scene.workdir / "netjail.lock").write_text(f"# netjail.lock 1\nallow = [\n{lines}]\n")


def trace(scene: Outdoors, *options: str, command: list[str], jail: str = "trace"):
    scene.web.seen.clear()
    words = (jail, "--no-config", "--fail-on", "new", *options, "--", *command)
    return scene.netjail(*words)


def said(stderr: str) -> list[str]:
    """The rules that are said to be new."""
    return re.findall(r"^  \+ (\S+)  ", stderr, re.MULTILINE)


@pytest.mark.parametrize("status", [0, 3])
def test_what_is_in_the_lock_passes(scene, status):
    assert scene.netjail("lock", "--no-config", "--", *fetch(PAGE)).status == 0
    result = trace(scene, "-a", "any", command=fetch(PAGE, status=status))
    assert (result.status, result.stdout) == (status, "hello\n"), result.stderr
    assert "netjail.lock: 1 destination, nothing new" in result.stderr


# what is new is let through or refused as the policy says, and fails the run all the same
@pytest.mark.parametrize(
    ("options", "reached"),
    [
        pytest.param(("-a", "any"), True, id="allowed"),
        pytest.param(("-a", OWN), False, id="denied"),
        pytest.param(("--audit",), True, id="in-audit"),
    ],
)
def test_what_is_new_fails_and_is_named(scene, options, reached):
    locked(scene, OWN)
    result = trace(scene, *options, command=fetch(PAGE, ELSEWHERE))
    assert result.status == 121, result.stderr
    assert len(scene.web.seen) == 1 + reached
    assert said(result.stderr) == [f"tcp://{BARE}:80"]
    assert re.search(r"  curl <- sh \(pid \d+, /usr/bin/curl\), \d call", result.stderr)
    patch = scene.workdir / "patch"
    patch.write_text(patch_of(result.stderr))
    subprocess.run(["git", "apply", "patch"], cwd=scene.workdir, check=True)
    again = trace(scene, *options, command=fetch(PAGE, ELSEWHERE))
    assert (again.status, len(scene.web.seen)) == (0, 1 + reached), again.stderr


def test_audit_has_it_too(scene):
    locked(scene)
    assert trace(scene, command=fetch(PAGE), jail="audit").status == 121
    assert scene.web.seen == [f"{WEB4}/file"]
    locked(scene, OWN)
    assert trace(scene, command=fetch(PAGE), jail="audit").status == 0


@pytest.mark.parametrize(
    ("options", "command", "status"),
    [
        pytest.param((), fetch(ELSEWHERE, status=3), 3, id="the-command-s-own"),
        pytest.param(("--exit-code", "9"), fetch(ELSEWHERE), 9, id="another"),
        pytest.param(("-d", BARE), fetch(ELSEWHERE), 0, id="what-a-rule-denies-is-not-new"),
        pytest.param((), ["sh", "-c", f"curl -s {ELSEWHERE}; kill $$"], -15, id="a-signal"),
        pytest.param((), ["./nothing"], 127, id="not-started"),
    ],
)
def test_the_status(scene, options, command, status):
    locked(scene, OWN)
    assert trace(scene, "-a", "any", *options, command=command).status == status


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(None, "make it: netjail lock -- COMMAND", id="none"),
        pytest.param("allow = []\n", "this is no lock", id="another-file"),
    ],
)
def test_without_a_lock_nothing_is_run(scene, text, complaint):
    if text is not None:
        (scene.workdir / "netjail.lock").write_text(text)
    result = trace(scene, "-a", "any", command=fetch(PAGE))
    assert (result.status, scene.web.seen) == (125, [])
    assert "netjail.lock" in result.stderr
    assert complaint in result.stderr


def test_quiet_says_nothing(scene):
    locked(scene)
    result = trace(scene, "-a", "any", "-q", command=["curl", "-s", ELSEWHERE])
    assert (result.status, result.stderr) == (121, "")


_KINDS = """
import socket
for kind in [socket.SOCK_STREAM] * 5 + [socket.SOCK_DGRAM] * 5:
    with socket.socket(socket.AF_INET, kind) as one: one.connect_ex(("{}", 80))
"""


# What is of this machine is judged each time; what is not, the core may repeat.
@pytest.mark.parametrize("address", [BARE, NOWHERE])
def test_another_protocol_is_new_though_the_verdict_is_known(scene, address):
    command = [scene.runner.python, "-c", _KINDS.format(address)]
    locked(scene, f"tcp://{address}:80", f"udp://{address}:80")
    assert trace(scene, "-a", "any", command=command).status == 0
    locked(scene, f"tcp://{address}:80")
    result = trace(scene, "-a", "any", command=command)
    assert (result.status, said(result.stderr)) == (121, [f"udp://{address}:80"])


_SELF = """
import socket
with socket.create_server(("127.0.0.1", 0)) as one:
    socket.create_connection(one.getsockname()).close()
"""


@pytest.mark.parametrize("options", [(), ("--default", "allow"), ("--audit",)], ids=str)
def test_the_jail_s_own_listeners_are_not_new(scene, options):
    locked(scene)
    result = trace(scene, *options, command=[scene.runner.python, "-c", _SELF])
    assert result.status == 0, result.stderr
