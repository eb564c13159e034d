"""Limits of the caller: netjail does with what they leave, the command gets them as they were."""

from __future__ import annotations

import os
import resource
from errno import ECONNREFUSED

import pytest
from jail import USERS, unmet

LIMITS = ["sh", "-c", "ulimit -S -f; ulimit -H -f"]
_EVER = resource.RLIM_INFINITY


def under(runner, soft, hard, words):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return runner.run(words, preexec_fn=limit)


@pytest.mark.parametrize(
    ("soft", "hard"),
    [
        pytest.param(100 << 10, _EVER, id="a-soft-one"),
        pytest.param(0, _EVER, id="none-until-it-is-raised"),
        pytest.param(100 << 10, 100 << 10, id="a-hard-one"),
        pytest.param(4096, 4096, id="a-page"),
    ],
)
def test_a_limit_on_files_smaller_than_the_vault(runner, program, serve, soft, hard):
    allowed, denied = serve(), serve()
    fixture = program("connect_inet")
    jail = runner.jailed("-q", "--allow", f"127.0.0.1:{allowed.port}")
    for server, seen in ((allowed, 0), (denied, ECONNREFUSED)):
        assert under(runner, soft, hard, [*jail, fixture, server.target]).exit_code == seen
        assert server.accepted == (seen == 0)
    native = under(runner, soft, hard, [*runner.user.prefix, *LIMITS])
    assert under(runner, soft, hard, [*jail, *LIMITS]).stdout == native.stdout != ""


def test_a_limit_that_leaves_nothing_says_so(runner):
    result = under(runner, 0, 0, [*runner.jailed(), "true"])
    assert result.exit_code == 125
    assert "ulimit -f" in result.stderr


@pytest.mark.parametrize("number", [*range(6, 13), 16, 64])
def test_few_open_files(runner, serve, number):
    """It holds, or says at once which limit leaves too little; an interpreter needs five."""
    allowed, denied = serve(), serve()
    options = ["--allow", f"127.0.0.1:{allowed.port}"]
    code = """
import socket, sys
for port in sys.argv[1:]:
    print(socket.socket().connect_ex(("127.0.0.1", int(port))))
"""
    command = [runner.python, "-c", code, str(allowed.port), str(denied.port)]
    limit = ["prlimit", f"--nofile={number}:{number}"]
    result = runner.run([*runner.user.prefix, *limit, *runner.inner(*options), *command])
    assert denied.accepted == 0
    if result.exit_code == 125 and number < 16:
        assert (allowed.accepted, "ulimit -n" in result.stderr) == (0, True), result.stderr
        assert "Traceback" not in result.stderr
    else:
        assert (result.exit_code, allowed.accepted) == (0, 1), result.stderr
        assert result.stdout.split() == ["0", str(ECONNREFUSED)], result.stderr


@pytest.mark.parametrize("user", USERS[:1], indirect=True)
@pytest.mark.parametrize("number", range(1, 9))
def test_few_processes(runner, number):
    """As a user of its own: the limit counts all of one's processes, other tests' too."""
    if os.getuid():
        unmet("only root can become somebody new")
    who = str(700000 + os.getpid() * 10 + number)
    ids = ["setpriv", f"--reuid={who}", f"--regid={who}", "--clear-groups", "--"]
    limit = ["prlimit", f"--nproc={number}:{number}"]
    result = runner.run([*ids, *limit, *runner.inner(), "true"])
    if result.exit_code:
        assert (result.exit_code, result.stderr.count("netjail: ")) == (125, 1), result.stderr
        assert "ulimit -u" in result.stderr
    else:
        assert number > 3
    assert "Traceback" not in result.stderr
