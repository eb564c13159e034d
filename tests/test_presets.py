"""Presets: that each says what it is for, loads, and lets through what it names alone."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner
from world import World, attempt

from netjail.cli import main
from netjail.cli.group import group
from netjail.endpoints import Question, Unix
from netjail.errors import RuleError
from netjail.model import Decision, Operation, Owner, Protocol
from netjail.policy import Policy, Rules, files, presets

NAMES = (
    "apt",
    "cargo",
    "dns",
    "git-forges",
    "go",
    "lan-only",
    "loopback",
    "no-metadata",
    "npm",
    "offline",
    "pypi",
    "self-only",
)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "SYSTEM", str(tmp_path / "none"))


def load(*names: str, **rules) -> Policy:
    return Policy.load(Rules(presets=names, **rules))


def decision(policy: Policy, to: object, *protocols: Protocol, owned=Owner.REMOTE) -> str:
    world = World(
        owned=owned,
        names={"pypi.org": ["198.51.100.7"], "files.pythonhosted.org": ["198.51.100.8"]},
        asked_names=frozenset({"pypi.org"}),
    )
    verdict = policy.decide(attempt(to, *protocols), world)
    return verdict.decision.value


def test_these_and_no_others():
    assert tuple(presets.names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_for_and_loads(name):
    assert len(presets.about(presets.read(name))) > 20
    policy = load(name)
    assert policy.warnings == () or name == "no-metadata"
    layers = {
        rule.layer for rule in policy.engines[0].paths.deny + policy.engines[0].naming.allow.rules
    }
    assert layers <= {f"preset {name}"}


ALLOW, DENY = "allow", "deny"
JAIL, OUTSIDE, REMOTE = Owner.JAIL, Owner.OUTSIDE, Owner.REMOTE


@pytest.mark.parametrize(
    ("name", "to", "owner", "expected"),
    [
        pytest.param("offline", "127.0.0.1:80", JAIL, DENY, id="offline-denies-even-self"),
        pytest.param("offline", Unix(b"/tmp/x"), JAIL, DENY, id="offline-denies-own-paths"),
        pytest.param("offline", Unix(b"x", True), JAIL, DENY, id="offline-denies-own-abstract"),
        pytest.param("offline", Unix(b"/run/x"), OUTSIDE, DENY, id="offline-denies-paths"),
        pytest.param("self-only", "127.0.0.1:80", JAIL, ALLOW, id="self-only-leaves-self"),
        pytest.param("self-only", Unix(b"/tmp/x"), JAIL, ALLOW, id="self-only-leaves-paths"),
        pytest.param("self-only", "127.0.0.1:80", OUTSIDE, DENY, id="self-only-denies-others"),
        pytest.param("loopback", "127.0.0.1:80", OUTSIDE, ALLOW, id="loopback-opens-loopback"),
        pytest.param("loopback", "10.0.0.1:80", REMOTE, DENY, id="loopback-opens-no-more"),
        pytest.param("lan-only", "192.168.0.7:631", REMOTE, ALLOW, id="lan-opens-private"),
        pytest.param("lan-only", "[fe80::1]:631", REMOTE, ALLOW, id="lan-opens-link-local"),
        pytest.param("lan-only", "169.254.169.254:80", REMOTE, DENY, id="lan-without-metadata"),
        pytest.param("lan-only", "[fd00:ec2::254]:80", REMOTE, DENY, id="lan-without-it-in-v6"),
        pytest.param("lan-only", "192.0.2.1:80", REMOTE, DENY, id="lan-is-not-the-world"),
        pytest.param("lan-only", "127.0.0.1:80", OUTSIDE, DENY, id="lan-is-not-this-machine"),
        pytest.param("pypi", "198.51.100.7:443", REMOTE, ALLOW, id="pypi-opens-its-host"),
        pytest.param("pypi", "198.51.100.7:80", REMOTE, DENY, id="pypi-over-https-alone"),
        pytest.param("pypi", "198.51.100.9:443", REMOTE, DENY, id="pypi-opens-no-other-host"),
    ],
)
def test_what_they_let_through(name, to, owner, expected):
    assert decision(load(name), to, owned=owner) == expected


def test_no_metadata_takes_away_and_gives_nothing():
    assert decision(load("no-metadata"), "192.0.2.1:80") == DENY
    policy = load("no-metadata", default=Decision.ALLOW)
    assert decision(policy, "192.0.2.1:80") == ALLOW
    assert decision(policy, "169.254.169.254:80") == DENY


def test_offline_beats_what_others_allow():
    policy = load("offline", "loopback", "pypi", allow=("any", "unix:*"))
    assert decision(policy, "127.0.0.1:1", owned=OUTSIDE) == DENY
    assert decision(policy, "198.51.100.7:443") == DENY
    assert decision(policy, Unix(b"/run/x"), owned=OUTSIDE) == DENY


def looked_up(policy: Policy, name: str) -> str:
    server = attempt("127.0.0.53:53").endpoint
    question = attempt(Question(name, "A", server), Protocol.UDP, operation=Operation.RESOLVE)
    return policy.decide(question, World()).decision.value


def test_dns_opens_every_look_up_and_pypi_its_own():
    assert looked_up(load("dns"), "anything.example") == ALLOW
    assert looked_up(load("pypi"), "pypi.org") == ALLOW
    assert looked_up(load("pypi"), "anything.example") == DENY


def rules(policy: Policy) -> list[tuple[str, str]]:
    """Those that allow something, and where they are from."""
    (engine,) = policy.engines
    groups = (engine.allow[Protocol.TCP].fixed, engine.allow[Protocol.TCP].live)
    return [(rule.text, rule.layer) for group in groups for rule in group]


def test_the_option_and_extends_mean_the_same(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('extends = ["pypi", "loopback"]\n')
    by_file = Policy.load(Rules(files=(str(path),)))
    assert rules(by_file) == rules(load("pypi", "loopback"))
    assert len(rules(by_file)) == 3


def test_one_named_twice_counts_once():
    assert rules(load("pypi", "pypi")) == rules(load("pypi"))


def test_an_unknown_one_is_guessed(tmp_path):
    with pytest.raises(RuleError) as caught:
        load("pypl")
    assert str(caught.value) == "--preset pypl: no preset is called 'pypl'"
    assert caught.value.hint.startswith("did you mean 'pypi'? allowed: apt, cargo")
    path = tmp_path / "x.toml"
    path.write_text('extends = ["pypi", "base"]\n')
    with pytest.raises(RuleError) as caught:
        Policy.load(Rules(files=(str(path),)))
    assert str(caught.value) == f"{path}:1:21: no preset is called 'base'"
    assert caught.value.hint.endswith("; a file is ./base.toml")


# The command.


def run(*words):
    return CliRunner().invoke(group, ["presets", *words], catch_exceptions=False)


def test_the_list():
    result = run()
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if line[0] != " "] == [*NAMES]


def test_showing_one():
    result = run("show", "offline")
    assert (result.exit_code, result.stdout) == (0, presets.read("offline"))


@pytest.mark.parametrize("words", [("show", "ofline"), ("show",), ("shw",), ("--x",)])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["presets", *words])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("netjail: ")
    assert "ofline" not in words or "did you mean 'offline'?" in err
    assert sys.exc_info() == (None, None, None)
