"""From words to a plan, and from failures to exit statuses; the runs are in test_trace.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from scene import busy

import netjail.supervisor
from netjail import __version__
from netjail.cli import main, terminal
from netjail.cli.group import COMMANDS, group
from netjail.cli.jail import FAILED
from netjail.cli.options import OPTIONS, OWN, Options, options_of, read
from netjail.errors import HostError, UsageError
from netjail.formats.compose import compose
from netjail.model import Decision
from netjail.report import Report

ROOT = Path(__file__).parent.parent
JAILS = ("trace", "audit", "lock")


@pytest.fixture
def plans(monkeypatch, tmp_path):
    """The plans that the command line makes, none of them carried out."""
    made = []

    def run(plan):
        made.append(plan)
        return netjail.supervisor.Outcome(7, 0)

    monkeypatch.setattr(netjail.supervisor, "run", run)
    monkeypatch.setattr(netjail.supervisor, "leave", lambda outcome: sys.exit(outcome.code))
    monkeypatch.chdir(tmp_path)
    return made


def netjail_with(*words, capsys):
    """Exit status and stderr of ``netjail WORDS``; stdout has to stay empty."""
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    out, err = capsys.readouterr()
    assert out == ""
    return caught.value.code, err


# -- Reading ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("curl -q", {"command": ("curl", "-q")}, id="the-first-word-ends-options"),
        pytest.param("-- -x", {"command": ("-x",)}, id="two-dashes-do-as-well"),
        pytest.param("curl -- x", {"command": ("curl", "--", "x")}, id="later-dashes-are-its-own"),
        pytest.param("-q -- -- x", {"quiet": True, "command": ("--", "x")}, id="once-only"),
        pytest.param("- x", {"command": ("-", "x")}, id="a-dash-is-a-word"),
        pytest.param("-a x -a y z", {"allow": ("x", "y"), "command": ("z",)}, id="repeatable"),
        pytest.param("-ax:1 z", {"allow": ("x:1",), "command": ("z",)}, id="value-glued"),
        pytest.param("--allow=x=y z", {"allow": ("x=y",), "command": ("z",)}, id="value-after-="),
        pytest.param("--allow= z", {"allow": ("",), "command": ("z",)}, id="an-empty-value"),
        pytest.param("--events=-x z", {"events": "-x", "command": ("z",)}, id="a-dashed-value"),
        pytest.param("-qv z", {"quiet": True, "verbose": True, "command": ("z",)}, id="a-cluster"),
        pytest.param(
            "-qa x z", {"quiet": True, "allow": ("x",), "command": ("z",)}, id="a-cluster-and-value"
        ),
        pytest.param("--errno A --errno B z", {"errno": "B", "command": ("z",)}, id="last-wins"),
        pytest.param(
            "--keep-fd 3 --keep-fd 04 z", {"keep_fd": (3, 4), "command": ("z",)}, id="numbers"
        ),
        pytest.param("--no-config z", {"no_config": True, "command": ("z",)}, id="a-flag"),
        pytest.param("-h", {"help": True}, id="help"),
        pytest.param("curl -h", {"command": ("curl", "-h")}, id="help-of-the-command"),
        pytest.param("", {}, id="nothing"),
    ],
)
def test_reading(words, expected):
    assert read(words.split()) == Options(**expected)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param("--alow x curl", "no such option: --alow", "--allow?", id="mistyped"),
        pytest.param("--allw=x curl", "no such option: --allw", "--allow?", id="mistyped-with-="),
        pytest.param("--qqqqqq x", "no such option: --qqqqqq", "--help", id="no-guess"),
        pytest.param("--al x y", "no such option: --al", "--allow?", id="no-abbreviations"),
        pytest.param("-x curl", "no such option: -x", "", id="a-letter"),
        pytest.param("-qx curl", "no such option: -x", "", id="a-letter-in-a-cluster"),
        pytest.param("-audit curl", "no such option: -audit", "--audit?", id="one-dash-too-few"),
        pytest.param("-allow=x curl", "no such option: -allow", "--allow?", id="the-same-with-="),
        pytest.param("-a", "-a needs a value", "-a RULE", id="no-value"),
        pytest.param("-a -- curl", "-a needs a value", "-a RULE", id="dashes-are-no-value"),
        pytest.param("-a -d x", "-a needs a value", "--allow=-d", id="an-option-is-no-value"),
        pytest.param("--audit=yes x", "--audit takes no value", "alone", id="a-value-too-many"),
        pytest.param("--default maybe x", "'maybe' is unknown", "allow, deny", id="a-choice"),
        pytest.param("--orphans= x", "'' is unknown", "wait, kill", id="an-empty-choice"),
        pytest.param("--exit-code 0 x", "no number from 1 to 255", "", id="zero-is-success"),
        pytest.param("--exit-code 256 x", "no number from 1 to 255", "", id="too-great"),
        pytest.param("--exit-code 1_0 x", "no number", "", id="underscores"),
        pytest.param("--exit-code ٣ x", "no number", "", id="other-digits"),
        pytest.param(f"--keep-fd {'9' * 5000} x", "no number", "", id="very-long"),
    ],
)
def test_what_cannot_be_read(words, message, hint):
    with pytest.raises(UsageError) as caught:
        read(words.split())
    assert message in str(caught.value)
    assert hint in caught.value.hint


@given(st.lists(st.sampled_from([*(f for o in OPTIONS for f in o.flags), "--", "x", "-", "9"])))
@example(["-a", "x", "--", "-a"])
def test_reading_gives_options_or_a_usage_error(words):
    try:
        options = read(words)
    except UsageError:
        return
    count = len(options.command)
    assert list(options.command) == words[len(words) - count :]


def test_every_option_has_its_field():
    own = {option.field for options in OWN.values() for option in options}
    assert {option.field for option in OPTIONS} | own == set(Options._fields) - {"command"}


@pytest.mark.parametrize(
    ("jail", "flag"), [("learn", "--default"), ("lock", "--fail-on"), ("trace", "--check")]
)
def test_a_jail_has_not_what_means_nothing_to_it(jail, flag):
    assert flag not in {one for option in options_of(jail) for one in option.flags}
    with pytest.raises(UsageError, match=f"no such option: {flag}"):
        read([flag, "x"], jail)


# -- Planning -----------------------------------------------------------------


def test_the_plan_says_what_the_words_say(plans, capsys):
    words = "trace -a 192.0.2.1 --fail-on denied --exit-code 9 --orphans kill --keep-fd 2"
    code, err = netjail_with(
        *words.split(), "--strict", "--show-args", "-v", "-q", "--", "x", "-y", capsys=capsys
    )
    (plan,) = plans
    assert (code, err) == (7, "")
    assert plan.command == ("x", "-y")
    assert (plan.fail_on, plan.exit_code, plan.orphans, plan.keep_fds) == (
        "denied",
        9,
        "kill",
        (2,),
    )
    assert plan.strict and plan.show_args and plan.verbose and plan.quiet
    assert not plan.audit and not plan.journal.enabled


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["audit"], id="the-command"),
        pytest.param(["trace", "--audit"], id="the-option"),
        pytest.param(["audit", "--audit"], id="both"),
    ],
)
def test_audit(plans, capsys, words):
    netjail_with(*words, "--no-config", "--", "x", capsys=capsys)
    assert plans[0].audit and plans[0].policy.audit


def test_a_found_file_opens_the_summary_and_a_named_one_does_not(plans, capsys, tmp_path):
    (tmp_path / "netjail.toml").write_text('allow = ["192.0.2.1"]\n')
    (tmp_path / ".git").mkdir()
    (tmp_path / "other.toml").write_text("")
    for words, named in (([], True), (["--no-config"], False), (["-p", "other.toml"], False)):
        netjail_with("trace", *words, "x", capsys=capsys)
        plans[-1].finish(Report())
        first = capsys.readouterr().err.splitlines()[0]
        assert (first == f"netjail: policy {tmp_path}/netjail.toml") == named


def test_the_policys_warnings_are_in_the_summary(plans, capsys):
    netjail_with("trace", "--no-config", "-d", "private", "x", capsys=capsys)
    plans[0].finish(Report())
    assert "--default allow" in capsys.readouterr().err


def test_the_journal_is_opened_before_the_command_starts(plans, capsys, tmp_path):
    old = tmp_path / "events.jsonl"
    old.write_text("kept\n")
    words = ("--no-config", "--events", str(old))
    code, _ = netjail_with("trace", *words, "-a", ":x", "--", "x", capsys=capsys)
    assert (code, plans, old.read_text()) == (125, [], "kept\n")
    netjail_with("trace", *words, "--append", "--", "x", capsys=capsys)
    plans[0].journal.close()
    assert old.read_text() == "kept\n"
    netjail_with("trace", *words, "--", "x", capsys=capsys)
    assert old.read_text() == ""


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_quiet_prints_neither_summary_nor_remarks(plans, capsys, quiet):
    netjail_with("trace", "--no-config", *quiet, "x", capsys=capsys)
    plans[0].finish(busy())
    plans[0].say("waiting for \x1b[31mevil")
    err = capsys.readouterr().err
    assert (err == "") == bool(quiet)
    assert "\x1b" not in err


# -- Failing ------------------------------------------------------------------


@pytest.mark.parametrize("jail", JAILS)
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param([], "no command given", "[OPTIONS] -- COMMAND", id="no-command"),
        pytest.param(["--"], "no command given", "", id="no-command-after-dashes"),
        pytest.param(["--alow", "x"], "no such option: --alow", "--allow", id="a-mistyped-option"),
        pytest.param(["--append", "x"], "--append needs a file", "--events", id="append-to-what"),
        pytest.param(["--keep-fd", "999", "x"], "999 is not open", "open when", id="a-closed-fd"),
        pytest.param(["-a", "x:99999", "y"], "99999", "65535", id="a-rule-that-does-not-parse"),
        pytest.param(["-p", "/nowhere", "y"], "/nowhere", "", id="a-file-that-is-not-there"),
        pytest.param(["--errno", "EFOO", "y"], "EFOO", "EPERM", id="an-unknown-errno"),
        pytest.param(["--events", "/nowhere/x", "y"], "/nowhere/x", "directory", id="no-journal"),
        pytest.param(["-q", "--events", "/", "y"], "Is a directory", "--events", id="though-quiet"),
        pytest.param(["-a", "a\x1b[31mb c", "y"], r"\x1b", "", id="hostile-text-is-escaped"),
    ],
)
def test_failures_leave_with_125_a_cause_and_a_hint(plans, capsys, jail, words, message, hint):
    code, err = netjail_with(jail, *words, capsys=capsys)
    assert (code, plans) == (125, [])
    lines = err.splitlines()
    assert lines[0].startswith("netjail: ") and message in lines[0]
    assert hint in "".join(lines[1:])
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param([], "no command given", "trace", id="nothing"),
        pytest.param(
            ["trcae", "x"], "no such command: trcae", "did you mean trace?", id="mistyped"
        ),
        pytest.param(["curl", "x"], "no such command: curl", "trace -- curl x", id="forgotten"),
        pytest.param(["help"], "no such command: help", "hint: netjail --help", id="help"),
        pytest.param(["help", "lock"], "help", "hint: netjail lock --help", id="help-with-one"),
        pytest.param(["-q", "trace", "x"], "no such option: -q", "trace [OPTIONS]", id="too-early"),
    ],
)
def test_the_top_fails_with_125_too(capsys, words, message, hint):
    code, err = netjail_with(*words, capsys=capsys)
    assert code == 125
    assert message in err and hint in err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param(
            ["completion"],
            "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish",
            "netjail completion --help shows what there is",
            id="a-list-of-choices",
        ),
        pytest.param(
            ["presets", "show"],
            "Missing argument 'NAME'.",
            "netjail presets show --help shows what there is",
            id="a-command-below-another",
        ),
        pytest.param(
            ["explain", "a", "b"],
            "Got unexpected extra argument (b)",
            "netjail explain --help shows what there is",
            id="a-word-too-many",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_names_the_help(capsys, words, message, hint):
    code, err = netjail_with(*words, capsys=capsys)
    assert (code, err) == (2, f"netjail: {message}\n  hint: {hint}\n")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(
            HostError("too old", "a newer kernel"), "too old\n  hint: a newer kernel", id="a-cause"
        ),
        pytest.param(RuntimeError("oops"), "RuntimeError: oops", id="a-bug-of-ours"),
    ],
)
def test_a_run_that_fails_leaves_with_125(plans, monkeypatch, capsys, error, shown):
    def fail(plan):
        raise error

    monkeypatch.setattr(netjail.supervisor, "run", fail)
    code, err = netjail_with("trace", "--no-config", "x", capsys=capsys)
    assert code == 125 and shown in err


def test_an_interrupt_before_the_start_ends_by_the_signal():
    code = """
import netjail.supervisor, netjail.cli
def run(plan): raise KeyboardInterrupt
netjail.supervisor.run = run
netjail.cli.main(["trace", "--no-config", "x"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param("learn -o there x", "there is there already", "--force", id="no-overwriting"),
        pytest.param("learn -o no/x x", "no is no directory", "another", id="no-such-place"),
        pytest.param("learn -o . x", "is a directory", "a file in it", id="a-directory"),
        pytest.param("lock --file there x", "there is there already", "--update", id="a-lock"),
        pytest.param("lock --check --update x", "which of them", "", id="check-and-update"),
        pytest.param("lock --audit x", "goes with --check", "", id="audit-of-a-lock"),
        pytest.param("lock --check x", "there is no such lock", "make it", id="no-lock"),
        pytest.param("lock --check --file there x", "no lock", "first line", id="something-else"),
    ],
)
def test_what_would_lose_or_miss_a_file(plans, capsys, tmp_path, words, message, hint):
    (tmp_path / "there").write_text("kept\n")
    code, err = netjail_with(*words.split(), capsys=capsys)
    assert (code, plans) == (125, [])
    assert message in err and hint in err
    assert (tmp_path / "there").read_text() == "kept\n"


def diff_of(tmp_path, *texts):
    paths = []
    for at, text in enumerate(texts):
        path = tmp_path / str(at)
        path.write_text(text)
        paths.append(str(path))
    return paths


LOCK = '# netjail.lock 1\nallow = [\n    "tcp://{}:443",  # {}\n]\n'


@pytest.mark.parametrize(
    ("texts", "code", "out"),
    [
        pytest.param((LOCK.format("a", "x"),) * 2, 0, "", id="the-same"),
        pytest.param(
            (LOCK.format("a", "x"), LOCK.format("b", "y")),
            1,
            "- tcp://a:443  x\n+ tcp://b:443  y\n",
            id="another-host",
        ),
        pytest.param(
            (LOCK.format("a", "x"), LOCK.format("a", "y")),
            1,
            "~ tcp://a:443  program x -> y\n",
            id="another-program",
        ),
        pytest.param((LOCK.format("a", "x"), "{}\n"), 2, "", id="what-is-neither"),
        pytest.param((LOCK.format("a", "x"), "# no\n"), 2, "", id="nor-that"),
    ],
)
def test_diff(tmp_path, texts, code, out):
    paths = diff_of(tmp_path, *texts)
    result = CliRunner().invoke(group, ["diff", *paths])
    assert (result.exit_code, result.stdout) == (code, out)
    if code < 2:
        found = json.loads(CliRunner().invoke(group, ["diff", "--json", *paths]).stdout)
        assert (found["before"], found["after"]) == tuple(paths)
        assert bool(found["added"] or found["changed"]) == bool(code)


def test_diff_of_nothing():
    result = CliRunner().invoke(group, ["diff", "/nowhere/a", "/nowhere/b"])
    assert (result.exit_code, result.stdout) == (2, "")


# -- Speaking -----------------------------------------------------------------


def test_version():
    result = CliRunner().invoke(group, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"netjail {__version__}\n")


@pytest.mark.parametrize("words", [[], *([jail] for jail in COMMANDS)])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_and_ends_with_examples(words, flag):
    result = CliRunner().invoke(group, [*words, flag], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    *_, examples = result.stdout.partition("Examples:\n")
    assert all(line.startswith(("  netjail ", "      ")) for line in examples.splitlines())
    assert examples.count(f"  netjail {words[0] if words else ''}") >= 3


def test_help_names_every_option():
    page = CliRunner().invoke(group, ["trace", "--help"]).stdout
    assert all(flag in page for option in OPTIONS for flag in option.flags)


def test_the_real_entry_shows_the_same_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["trace", "--help"])
    assert caught.value.code == 0
    # Up to where the width of a terminal, which the two see differently, matters.
    page = CliRunner().invoke(group, ["trace", "--help"]).stdout
    assert capsys.readouterr().out.split() == page.split()


@pytest.mark.parametrize(
    ("color", "environment", "tty", "expected"),
    [
        pytest.param("auto", {"TERM": "xterm"}, True, True, id="a-terminal"),
        pytest.param("auto", {"TERM": "xterm"}, False, False, id="a-pipe"),
        pytest.param("auto", {"TERM": "dumb"}, True, False, id="a-dumb-terminal"),
        pytest.param("auto", {}, True, False, id="an-unknown-terminal"),
        pytest.param("auto", {"TERM": "xterm", "NO_COLOR": "1"}, True, False, id="NO_COLOR"),
        pytest.param("auto", {"TERM": "xterm", "NO_COLOR": ""}, True, True, id="empty-NO_COLOR"),
        pytest.param("always", {"NO_COLOR": "1"}, False, True, id="always-beats-it"),
        pytest.param("never", {"TERM": "xterm"}, True, False, id="never"),
    ],
)
def test_colours(monkeypatch, color, environment, tty, expected):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "isatty", lambda fd: tty)
    assert terminal.coloured(color) == expected


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "not-writable"])
def test_without_a_stderr_nothing_breaks(monkeypatch, closed):
    with open(os.devnull) as unwritable:
        monkeypatch.setattr(sys, "stderr", None if closed else unwritable)
        terminal.write("x")
        terminal.summarise(compose(busy()), "auto", False, (), ())


def test_a_jail_starts_without_click():
    code = """
import sys, netjail.supervisor, netjail.cli
def run(plan): raise SystemExit(", ".join(late & set(sys.modules)) or 0)
late = {"click", "rich", "dns", "hashlib", "difflib", "json"}
netjail.supervisor.run = run
netjail.cli.main(["trace", "--no-config", "-a", "192.0.2.1:443", "-q", "--", "x"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False, stderr=-1, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_click_is_what_it_is_for_everything_else():
    assert isinstance(group, click.Group)
    assert group.get_command(click.Context(group), "nothing") is None
    assert Decision("allow") is Decision.ALLOW


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["presets"], 0, id="presets"),
        pytest.param(["presets", "show", "dns"], 0, id="preset"),
        pytest.param(["explain", "192.0.2.1:80", "--no-config"], 0, id="explain"),
        pytest.param(["check", "--schema"], 0, id="schema"),
        pytest.param(["completion", "bash"], 0, id="completion"),
        pytest.param(["learn", "-o", "-", "--", "true"], FAILED, id="learn"),
    ],
)
def test_stdout_that_takes_nothing(words, closed, tmp_path):
    """Full, it is an error of one line; closed, nobody wants what goes there."""
    command = [sys.executable, "-m", "netjail", *words]
    for redirect, code in (("/dev/full", FAILED), ("&-", closed)):
        script = ["sh", "-c", f'exec "$@" >{redirect}', "sh", *command]
        done = subprocess.run(script, cwd=tmp_path, timeout=60, check=False, stderr=-1, text=True)
        said = done.stderr.splitlines()
        assert (done.returncode, [line for line in said if "Traceback" in line]) == (code, [])
        assert len([line for line in said if line.startswith("netjail: ")]) == bool(code)
