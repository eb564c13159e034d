"""netjail ends as its command ends; its own failures are 125 to 127 and say why."""

from __future__ import annotations

import os
import signal

import pytest
from jail import needs


@pytest.mark.parametrize("status", [0, 1, 2, 42, 120, 121, 125, 126, 127, 128, 255])
def test_the_command_s_status_is_kept(trace, status):
    assert trace(command=["sh", "-c", f"exit {status}"]).exit_code == status


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGINT,
        signal.SIGPIPE,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGXFSZ,
        signal.SIGRTMIN,
    ],
    ids=lambda number: number.name,
)
def test_a_fatal_signal_is_raised_again(trace, number):
    result = trace(command=["sh", "-c", f"ulimit -c 0; kill -{int(number)} $$"])
    assert result.signal == number


def test_a_fatal_signal_leaves_no_second_core(trace, workdir):
    trace(command=["sh", "-c", "ulimit -c unlimited; kill -SEGV $$"])
    assert len([path for path in workdir.iterdir() if "core" in path.name]) <= 1


@pytest.mark.parametrize(
    ("options", "script", "status"),
    [
        pytest.param((), "true", 0, id="a-denial-alone-does-not-matter"),
        pytest.param(("--fail-on", "denied"), "true", 121, id="denied-matches"),
        pytest.param(("--fail-on", "attempt"), "true", 121, id="attempt-matches"),
        pytest.param(("--fail-on", "never"), "true", 0, id="never"),
        pytest.param(("--fail-on", "denied", "--exit-code", "9"), "true", 9, id="another-code"),
        pytest.param(("--fail-on", "denied"), "exit 5", 5, id="the-command-s-own-wins"),
        pytest.param(("--fail-on", "denied", "-a", "loopback"), "true", 0, id="nothing-denied"),
        pytest.param(("--fail-on", "attempt", "-a", "loopback"), "true", 121, id="an-attempt"),
    ],
)
def test_fail_on(trace, program, server, options, script, status):
    command = ["sh", "-c", f'"$0" "$1"; {script}', program("connect_inet"), server.target]
    assert trace(*options, command=command).exit_code == status


def test_fail_on_does_not_hide_a_signal(trace, program, server):
    command = ["sh", "-c", '"$0" "$1"; kill -TERM $$', program("connect_inet"), server.target]
    assert trace("--fail-on", "denied", command=command).signal == signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param(["/nonexistent/program"], 127, id="a-path-that-is-not-there"),
        pytest.param(["no-such-program-anywhere"], 127, id="not-in-the-path"),
        pytest.param(["/"], 126, id="a-directory"),
        pytest.param(["/etc/passwd"], 126, id="not-executable"),
    ],
)
def test_a_command_that_cannot_run(trace, native, command, status):
    assert native(command=["env", *command]).exit_code == status
    result = trace(command=command)
    assert result.exit_code == status
    assert command[0] in result.stderr


@pytest.mark.parametrize("text", ["exit 3\n", "", "\x7fELF\0\0\0garbage"])
def test_a_file_without_a_format_is_what_env_makes_of_it(trace, native, workdir, text):
    script = workdir / "script"
    script.write_text(text)
    script.chmod(0o755)
    plain = native(command=["env", "./script"])
    assert trace(command=["./script"]).exit_code == plain.exit_code


@pytest.mark.parametrize(
    ("options", "word"),
    [
        pytest.param(("--allow", "300.1.1.1"), "300.1.1.1", id="an-address-that-is-none"),
        pytest.param(("--allow", "1.2.3.4:99999"), "99999", id="a-port-too-large"),
        pytest.param(("--allow", "1.2.3.4/33"), "33", id="a-prefix-too-long"),
        pytest.param(("--allow", "htp://1.2.3.4"), "htp", id="an-unknown-scheme"),
        pytest.param(("--allow", "[::1"), "[::1", id="a-bracket-left-open"),
        pytest.param(("--allow", "raw://any"), "raw://", id="not-enforceable-yet"),
        pytest.param(("--allow", "*x.example.org"), "*x.example.org", id="a-star-inside-a-label"),
        pytest.param(("--deny", "@nothing.txt"), "nothing.txt", id="a-list-that-is-not-there"),
        pytest.param(("--deny", "1.2.3.4:b"), "b", id="a-port-that-is-a-word"),
        pytest.param(("--default", "perhaps"), "perhaps", id="an-unknown-default"),
        pytest.param(("--errno", "ENOTHING"), "ENOTHING", id="an-unknown-errno"),
        pytest.param(("--fail-on", "monday"), "monday", id="an-unknown-condition"),
        pytest.param(("--alow", "any"), "--allow", id="a-mistyped-option-with-a-guess"),
        pytest.param(("-p", "nothing.toml"), "nothing.toml", id="a-policy-that-is-not-there"),
        pytest.param(("--events", "/no/such/dir/x"), "/no/such/dir/x", id="a-journal-nowhere"),
    ],
)
def test_bad_options_stop_before_the_command_runs(trace, workdir, options, word):
    result = trace(*options, command=["touch", "ran"])
    assert result.exit_code == 125
    assert word in result.stderr
    assert not (workdir / "ran").exists()
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        pytest.param('allow = ["1.2.3.4:b"]\n', "1:", "b", id="a-bad-rule"),
        pytest.param('default = "deny"\nalow = []\n', "2", "alow", id="an-unknown-key"),
        pytest.param('allow = "any"\n', "1", "allow", id="a-text-for-a-list"),
        pytest.param("allow = [\n", "", "policy.toml", id="not-toml"),
        pytest.param('errno = "ENO"\n', "1", "ENO", id="an-unknown-errno"),
        pytest.param('default = "maybe"\n', "1", "maybe", id="an-unknown-default"),
    ],
)
def test_a_bad_policy_says_where(trace, workdir, text, where, word):
    policy = workdir / "policy.toml"
    policy.write_text(text)
    result = trace("-p", str(policy), command=["touch", "ran"])
    assert result.exit_code == 125
    assert f"policy.toml:{where}" in result.stderr
    assert word in result.stderr
    assert not (workdir / "ran").exists()


def test_no_command_is_an_error(runner):
    result = runner.run([*runner.user.prefix, runner.python, "-m", "netjail", "trace"])
    assert result.exit_code == 125


def test_options_end_at_the_command(runner):
    words = [*runner.jailed()[:-1], "echo", "-q", "--allow", "nonsense:x"]
    assert runner.run(words).stdout == "-q --allow nonsense:x\n"


def test_a_netjail_inside_a_netjail_says_so(trace, runner):
    result = trace(command=[*runner.inner(), "true"])
    assert result.exit_code == 125
    assert "already inside a netjail" in result.stderr


def test_a_second_netjail_under_strace_like_tracers_is_refused(runner):
    """A tracee cannot be traced twice: the cause is named before the command runs."""
    needs("strace")
    words = [*runner.user.prefix, "strace", "-f", "-o", os.devnull]
    result = runner.run([*words, *runner.inner(), "true"])
    assert result.exit_code == 125
    assert "trace" in result.stderr
