"""Limits of the caller: netjail does with what they leave, the command gets them as they were."""

from __future__ import annotations

import resource
from errno import ECONNREFUSED

import pytest

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
