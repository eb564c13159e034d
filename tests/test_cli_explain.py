"""The command line of explain: what it prints, where, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from netjail.cli.group import group
from netjail.cli.options import OPTIONS
from netjail.cli.rules import RULES


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def ran(*words):
        return CliRunner().invoke(group, words, prog_name="netjail")

    return ran


def test_the_first_word_is_the_verdict(run):
    result = run("explain", "-a", "x.org:443", "https://x.org/index")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "allow x.org:443 over tcp: allowed by x.org:443"
    assert lines[1].split() == ["rule", "x.org:443", "(--allow)"]
    assert "implies the resolver" in result.stdout


def test_a_denial_says_what_to_add(run, tmp_path):
    (tmp_path / "netjail.toml").write_text('allow = ["y.org"]\n')
    result = run("explain", "x.org:443")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "deny")
    file = tmp_path / "netjail.toml"
    assert "  fix        --allow x.org:443\n" in result.stdout
    added = ["[[rule]]", 'allow = ["x.org:443"]']
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[lines.index(f"or at the end of {file}:") + 1 :][:2] == added
    assert run("explain", "--no-config", "y.org").stdout.startswith("deny")
    assert run("explain", "y.org").stdout.startswith("allow")


def test_rules_that_nearly_match_are_told(run, tmp_path):
    (tmp_path / "netjail.toml").write_text(
        'allow = ["udp://x.org", "10.0.0.0/8:80"]\n'
        '[[rule]]\nallow = "x.org"\nexe = "**/curl"\nreason = "downloads"\n'
    )
    said = run("explain", "x.org:443").stdout
    assert "allow udp://x.org (netjail.toml:1): it speaks of udp alone" in said
    assert "allow x.org (netjail.toml:3): it is for other programs: exe **/curl" in said
    assert "--exe is not given" in said
    said = run("explain", "--exe", "/usr/bin/curl", "x.org:443").stdout
    assert said.startswith("allow x.org:443") and "  reason     downloads\n" in said
    assert "it speaks of other ports" in run("explain", "10.1.2.3:443").stdout


def test_json(run):
    result = run("explain", "--json", "127.0.0.1:80")
    found = json.loads(result.stdout)
    assert found["schema"] == "netjail/explain/1"
    assert (found["verdict"], found["decisive"]["reason"]) == ("deny", "foreign")
    assert found["fixes"][0] == {
        "option": "--allow 127.0.0.1:80",
        "file": "netjail.toml",
        "entry": 'allow = ["127.0.0.1:80"]',
        "table": "",
    }


def test_a_file_that_is_not_trusted_is_told(run, tmp_path):
    file = tmp_path / "netjail.toml"
    file.write_text('allow = ["x.org"]\n')
    file.chmod(0o666)
    said = f"{file} is not used: others than its owner can write it (chmod go-w)"
    result = run("explain", "x.org:443")
    assert result.stdout.startswith("deny ")
    assert f" warning {said}" in " ".join(result.stdout.split())
    assert json.loads(run("explain", "--json", "x.org").stdout)["warnings"] == [said]
    checked = run("check")
    assert checked.exit_code == 1
    assert checked.stdout == f"warning: {said}\nno policy file: 1 finding, 0 tests\n"
    file.unlink()
    assert run("check").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--exe", "sh", "x"], id="no-path"),
        pytest.param(["--parent", "make", "x"], id="no-parent"),
        pytest.param(["10.0.0.0/8"], id="no-destination"),
        pytest.param([], id="nothing"),
        pytest.param(["x", "y"], id="two"),
        pytest.param(["-a", "x:y", "x"], id="no-rule"),
        pytest.param(["--proto", "sctp", "x"], id="no-protocol"),
        pytest.param(["-p", "none.toml", "x"], id="no-file"),
        pytest.param(["--default", "maybe", "x"], id="no-default"),
    ],
)
def test_wrong_usage_is_2(run, words):
    assert run("explain", *words).exit_code == 2


@pytest.mark.parametrize("dest", ["x\x1b[31m.org", "unix:/\x1b]0;x\x07", "unix:@\u202e", "\x9b1m"])
def test_what_a_terminal_would_obey_is_not_printed(run, dest):
    result = run("explain", "--color", "never", dest)
    assert all(line.isprintable() for line in result.output.splitlines())


def test_colours(run, monkeypatch):
    assert "\x1b[" not in run("explain", "x").stdout
    assert run("explain", "--color", "always", "x").stdout.startswith("\x1b[31m\x1b[1mdeny")


def test_the_rules_are_those_of_trace():
    flags = {flag for option in RULES for flag in option.flags}
    assert flags >= {"-p", "-a", "-d", "--preset", "--default", "--bind", "--errno", "--no-config"}
    assert flags <= {flag for option in OPTIONS for flag in option.flags}
    help_page = CliRunner().invoke(group, ["explain", "--help"]).output
    assert all(f"{flag}" in help_page for flag in flags)
    assert "Examples:" in help_page
