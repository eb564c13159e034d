"""A policy and a destination in; the verdict, its reasons, and what to add out."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from shutil import which

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail.errors import UsageError
from netjail.formats.explanation import render
from netjail.model import Decision
from netjail.policy import Policy, Rules
from netjail.policy.destination import parse
from netjail.policy.explain import Setting, explain, program
from netjail.policy.supposed import Local, unnamed_address
from netjail.policy.words import addresses

LOCAL = Local(
    frozenset({ip_address("192.0.2.53")}),
    ("corp.example",),
    {"printer": frozenset({ip_address("10.0.0.9")})},
)


def explained(dest, allow=(), deny=(), setting=None, **rules):
    policy = Policy.load(Rules(allow=tuple(allow), deny=tuple(deny), **rules))
    return explain(policy, parse(dest), setting or Setting(LOCAL))


@pytest.mark.parametrize(
    ("dest", "allow", "deny", "verdict", "reason", "rule"),
    [
        pytest.param("x.org:443", [], [], "deny", "default", "", id="a-name"),
        pytest.param("x.org:443", ["x.org:443"], [], "allow", "rule", "x.org:443", id="named"),
        pytest.param("x.org:80", ["x.org:443"], [], "deny", "default", "", id="another-port"),
        pytest.param("udp://x.org:443", ["tcp://x.org"], [], "deny", "default", "", id="over-udp"),
        pytest.param("a.x.org:443", ["*.x.org"], [], "allow", "rule", "*.x.org", id="below"),
        pytest.param("x.org:443", ["any"], ["x.org"], "deny", "rule", "x.org", id="deny-wins"),
        pytest.param("x.org:1", ["any"], [":1"], "deny", "rule", ":1", id="of-a-port"),
        pytest.param("x.org:1", ["203.0.113.0/24"], [], "deny", "default", "", id="a-network"),
        pytest.param("db:5432", ["db"], [], "allow", "rule", "db", id="a-short-name"),
        pytest.param("db:5432", ["db.corp.example"], [], "allow", "rule", "db.corp.example",
                     id="behind-the-search-list"),
        pytest.param("printer:9100", ["printer"], [], "allow", "rule", "printer", id="hosts-file"),
        pytest.param("printer:9100", ["10.0.0.9"], [], "allow", "rule", "10.0.0.9",
                     id="and-by-its-address"),
        pytest.param("127.0.0.1:80", [], [], "deny", "foreign", "", id="loopback"),
        pytest.param("[::1]:80", ["loopback"], [], "allow", "rule", "loopback", id="loopback-6"),
        pytest.param("self:80", [], [], "allow", "self", "self", id="the-jail's-own"),
        pytest.param("self:80", [], ["self"], "deny", "rule", "self", id="denied-even-that"),
        pytest.param("udp://192.0.2.53:53", [], [], "allow", "stub", "", id="a-name-server"),
        pytest.param("192.0.2.53", [], [], "deny", "default", "", id="on-other-ports"),
        pytest.param("10.0.0.1:80", ["private"], [], "allow", "rule", "private", id="a-word"),
        pytest.param("icmp://10.0.0.1", ["private"], [], "deny", "default", "", id="a-ping"),
        pytest.param("icmp://x.org", ["any"], [], "allow", "rule", "any", id="a-ping-by-name"),
        pytest.param("icmp://127.0.0.1", [], [], "deny", "foreign", "", id="a-ping-here"),
        pytest.param("unix:/run/x", ["unix:/run/*"], [], "allow", "rule", "unix:/run/*", id="unix"),
        pytest.param("unix:/run/x", [], [], "deny", "foreign", "", id="unix-without-a-rule"),
        pytest.param("unix:@x", ["unix:@*"], [], "allow", "rule", "unix:@*", id="abstract"),
        pytest.param("unix:/dev/log", [], [], "deny", "name-service", "", id="a-name-service"),
        pytest.param("64:ff9b::10.0.0.1", ["public"], [], "deny", "default", "", id="embedded"),
    ],
)  # fmt: skip
def test_verdicts(dest, allow, deny, verdict, reason, rule):
    found = explained(dest, allow, deny)
    decisive = found.decisive
    assert (found.verdict, decisive.reason, decisive.rule) == (verdict, reason, rule)
    assert render(found).startswith(f"{verdict} ")


def test_the_default_is_the_policy_s():
    assert explained("x.org:1", default=Decision.ALLOW).verdict == "allow"


def test_a_file_and_its_line_are_named(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('allow = [\n  "x.org:443",\n]\n')
    found = explained("x.org:443", files=(str(file),))
    assert (found.decisive.layer, found.files) == (f"{file}:2", (str(file),))
    denied = explained("y.org:443", files=(str(file),))
    assert [(fix.file, fix.entry) for fix in denied.fixes] == [(str(file), 'allow = ["y.org:443"]')]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("netjail.toml", 'allow = ["x"]\n[[rule]]\ndeny = "y"\n'),
        ("pyproject.toml", "[tool.netjail]\nallow = []\n[tool.other]\nx = 1\n"),
    ],
)
def test_what_is_to_be_added_can_follow_what_is_there(file, said, tmp_path):
    path = tmp_path / file
    path.write_text(said)
    (fix,) = explained("x.org:443", files=(str(path),)).fixes
    assert fix.file == str(path)
    path.write_text(f"{said}{fix.table}\n{fix.entry}\n")
    assert explained("x.org:443", files=(str(path),)).verdict == "allow"


@pytest.mark.parametrize(
    ("preset", "dest", "fix"),
    [
        pytest.param("no-metadata", "169.254.169.254:80",
                     "do without the preset no-metadata (extends or --preset), or write its rules "
                     "with deny 'metadata !169.254.169.254'", id="one-of-many"),
        pytest.param("offline", "192.0.2.1:80",
                     "do without the preset offline (extends or --preset), or write its rules "
                     "with deny 'any !192.0.2.1'", id="all"),
    ],
)  # fmt: skip
def test_what_comes_with_netjail_is_not_to_be_edited(preset, dest, fix):
    assert explained(dest, ["any"], presets=(preset,)).fixes[0].option == fix
    assert explained(dest, ["any"]).verdict == "allow"


def test_a_file_that_is_called_as_a_preset_is_the_user_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "preset x").write_text('deny = ["x.org"]\n')
    (fix,) = explained("x.org:443", ["any"], files=("preset x",)).fixes
    assert fix.option == "remove preset x:1: deny x.org"


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({"exe": "sh"}, "exe: 'sh' is no absolute path", f"did you mean {which('sh')}?"),
        ({"exe": "no-such-program"}, "exe: 'no-such-program' is no absolute path",
         "such as /usr/bin/curl"),
        ({"exe": "bin/sh"}, "exe: 'bin/sh' is no absolute path", "did you mean /bin/sh?"),
        ({"exe": ""}, "exe: '' is no absolute path", "such as /usr/bin/curl"),
        ({"parents": ["/bin/sh", "make"]}, "parent: 'make' is no absolute path", None),
    ],
)  # fmt: skip
def test_a_program_is_told_by_its_absolute_path(given, said, hint, monkeypatch):
    monkeypatch.chdir("/")
    with pytest.raises(UsageError) as caught:
        program(**given)
    assert str(caught.value) == said
    assert hint is None or caught.value.hint == hint


def test_rules_that_lost_are_named():
    found = explained("10.1.2.3:80", ["private", "any"], ["10.0.0.0/8", ":80", ":81"])
    assert [(m.kind, m.rule, m.why) for m in found.decisive.matched] == [
        ("deny", ":80", "says the same"),
        ("allow", "private", "a denial beats it"),
        ("allow", "any", "a denial beats it"),
    ]


def test_ports_that_differ_are_exceptions():
    found = explained("x.org", ["x.org:443", ":8000-8010", ":8005-8020"], [":8007"])
    assert (found.verdict, found.exceptions) == ("deny", ("port 443", "port 8000-8006, 8008-8010",
                                                          "port 8011-8020"))  # fmt: skip
    found = explained("10.0.0.1", ["private"], [":22"])
    assert (found.verdict, found.exceptions) == ("allow", ("port 22",))
    assert render(found).startswith("allow 10.0.0.1 over tcp, but for port 22: ")


def test_whose_socket_it_is_is_supposed():
    found = explained("127.0.0.1:80")
    whens = {step.when: (step.verdict, step.reason) for step in found.steps if step.when}
    assert whens == {
        "the jail itself listens there": ("allow", "self"),
        "nobody listens there": ("deny", "no-listener"),
    }
    assert "a program outside the jail listens there" in found.assumed


def test_what_is_the_same_whoever_listens_is_said_once():
    assert len(explained("127.0.0.1:80", ["loopback"]).steps) == 1


@pytest.mark.parametrize(
    ("leads", "verdict", "reason", "exceptions"),
    [
        pytest.param(["198.51.100.7"], "allow", "rule", (), id="a-public-address"),
        pytest.param(["10.0.0.5"], "deny", "rebinding", (), id="a-private-one"),
        pytest.param(["10.0.0.5", "198.51.100.7"], "allow", "rule",
                     ("tcp to x.org:443 (10.0.0.5)",), id="one-of-each"),
        pytest.param([], "allow", "rule", (), id="nowhere"),
    ],
)  # fmt: skip
def test_addresses_that_are_looked_up(leads, verdict, reason, exceptions):
    ask = {"x.org": frozenset(map(ip_address, leads))}.__getitem__
    found = explained("x.org:443", ["x.org:443"], setting=Setting(LOCAL, ask))
    assert (found.verdict, found.decisive.reason) == (verdict, reason)
    assert found.exceptions == exceptions
    assert any("does not resolve" in text for text in found.assumed) == (not leads)


def test_rules_by_name_judge_an_address_that_is_looked_up():
    ask = {"x.org": frozenset({ip_address("198.51.100.7")})}.__getitem__
    assert explained("198.51.100.7:443", ["x.org"], setting=Setting(LOCAL, ask)).verdict == "allow"
    assert explained("198.51.100.7:443", ["x.org"]).verdict == "deny"


def test_a_system_policy_wants_a_file_of_its_own(tmp_path, monkeypatch):
    system = tmp_path / "system.toml"
    system.write_text('allow = ["y.org"]\n')
    monkeypatch.setattr("netjail.policy.files.SYSTEM", str(system))
    found = explained("x.org:443", ["x.org:443"])
    assert found.verdict == "deny"
    assert [(fix.option, fix.file) for fix in found.fixes] == [("", str(system))]
    assert [fix.option for fix in explained("x.org:443").fixes] == ["--allow x.org:443", ""]
    system.write_text('allow = ["any"]\ndeny = ["x.org:443"]\n')
    (fix,) = explained("x.org:443", ["any"]).fixes
    assert fix.option == f"remove {system}:2: deny x.org:443"


ALLOWS = ["x.org", "x.org:443", "*.org", "any", ":443", "0.0.0.0/0", "10.0.0.0/8", "10.1.2.3:80",
          "private !10.1.2.3", "public", "loopback", "127.0.0.1:80", "unix:/run/*", "unix:@a",
          "tcp://x.org", "udp://:53", "icmp://any", "resolver", "any !x.org"]  # fmt: skip
DENIES = [*ALLOWS, "self", "metadata", "[::1]:80", "unix:*"]
DESTS = ["x.org:443", "x.org", "a.org:80", "10.1.2.3:80", "10.1.2.3", "127.0.0.1:80", "[::1]:80",
         "udp://x.org:53", "icmp://10.1.2.3", "icmp://x.org", "unix:/run/x", "unix:@a",
         "localhost:80", "64:ff9b::10.1.2.3",
         "169.254.169.254:80", "printer:80", "self:1"]  # fmt: skip
LISTS = st.lists(st.sampled_from(ALLOWS), max_size=3, unique=True)


def carry_out(fixes, allow, deny):
    """What a person does who pastes *fixes*."""
    allow, deny = list(allow), list(deny)
    for fix in fixes:
        words = shlex.split(fix.option)
        if words[0] == "--allow":
            allow += words[1::2]
        elif words[:2] == ["remove", "--deny"]:
            deny.remove(words[2])
        else:
            option, text = words
            assert option == "--deny"
            (old,) = {rule for rule in deny if text.startswith(f"{rule} !")}
            deny[deny.index(old)] = text
    return allow, deny


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(DESTS), LISTS, st.lists(st.sampled_from(DENIES), max_size=3, unique=True))
def test_what_is_to_be_added_lets_it_through(dest, allow, deny):
    found = explained(dest, allow, deny)
    assert bool(found.fixes) == (found.verdict == "deny")
    if found.fixes:
        assert explained(dest, *carry_out(found.fixes, allow, deny)).verdict == "allow"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DESTS), LISTS, LISTS)
def test_its_json_and_its_text_hold_whatever_it_says(dest, allow, deny):
    import msgspec

    from netjail.policy.explanation import Explanation

    found = explained(dest, allow, deny)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
    assert all(line.isprintable() for line in render(found, width=40).splitlines())


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1.0.0.0/8", "0.0.0.0/1", "any !1.0.0.1", "public", "1.0.0.1"])))
def test_an_address_that_no_rule_names_is_found(allow):
    policy = Policy.load(Rules(allow=tuple(allow)))
    address = unnamed_address(policy)
    assert address in addresses("public") and address.version == 4
    if "0.0.0.0/1" not in allow and {"1.0.0.0/8", "any !1.0.0.1", "1.0.0.1"} & set(allow):
        assert str(address) != "1.0.0.1"
