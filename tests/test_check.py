"""What check finds in a policy, what it leaves alone, and how its command line ends."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netjail.cli.group import group
from netjail.endpoints import Unix
from netjail.errors import Place
from netjail.model import Protocol
from netjail.policy.coverage import Near, covering, covers
from netjail.policy.rules import AddressRule, parse


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)

    def ran(text=None, *words):
        if text is not None:
            (tmp_path / "p.toml").write_text(text)
            words = (*words, "p.toml")
        return CliRunner().invoke(group, ["check", *words], prog_name="netjail")

    return ran


def findings(result):
    """(line, column, kind) of each."""
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert (found["schema"], bool(found["findings"])) == ("netjail/check/1", result.exit_code == 1)
    return [(one["line"], one["column"], one["kind"]) for one in found["findings"]]


def rule(text, **table):
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return f"[[rule]]\nallow = {json.dumps(text)}\n{rows}"


FINE = 'allow = ["x.org:443", "10.0.0.0/8"]\ndeny = ["10.1.2.3"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(FINE, [], id="nothing"),
        pytest.param("", [], id="an-empty-file"),
        pytest.param('allow = ["10.1.2.3:80"]\ndeny = ["10.0.0.0/8"]', [(1, 11, "unreachable")],
                     id="all-denied"),
        pytest.param('allow = ["10.0.0.0/8"]\ndeny = ["10.0.0.0/9", "10.128.0.0/9"]',
                     [(1, 11, "unreachable")], id="by-two-together"),
        pytest.param('allow = ["10.0.0.0/8"]\ndeny = ["10.0.0.0/9", "tcp://10.128.0.0/9"]', [],
                     id="but-for-udp"),
        pytest.param('allow = ["10.0.0.1:1-9"]\ndeny = ["10.0.0.1:1-4", "10.0.0.1:6-9"]', [],
                     id="but-for-a-port"),
        pytest.param('allow = ["10.0.0.1:1-9"]\ndeny = ["10.0.0.1:1-4", "10.0.0.1:5-9"]',
                     [(1, 11, "unreachable")], id="port-by-port"),
        pytest.param('allow = ["10.0.0.0/8"]\ndeny = ["10.0.0.0/8 !10.1.1.1"]', [],
                     id="but-for-an-exception"),
        pytest.param('allow = ["x.org"]\ndeny = [".x.org"]', [(1, 11, "unreachable")],
                     id="a-denied-name"),
        pytest.param('allow = ["x.org"]\ndeny = ["*.x.org"]', [], id="the-names-below-it"),
        pytest.param('allow = ["x.org:443"]\ndeny = ["any"]', [(1, 11, "unreachable")],
                     id="everything-denied"),
        pytest.param('unix = ["/run/a/b"]\ndeny = ["unix:/run/a/*"]', [(1, 10, "unreachable")],
                     id="a-denied-path"),
        pytest.param('allow = ["loopback", "localhost"]', [(1, 23, "duplicate")], id="twice"),
        pytest.param('allow = ["x.org", "X.org."]', [(1, 20, "duplicate")], id="in-other-words"),
        pytest.param('allow = ["private", "10.1.2.3:80"]', [(1, 22, "shadowed")], id="covered"),
        pytest.param('allow = ["10.1.2.3:80", "private"]', [(1, 11, "shadowed")], id="later"),
        pytest.param('allow = ["*.x.org", "a.x.org:443"]', [(1, 22, "shadowed")], id="a-name"),
        pytest.param('allow = ["x.org:443", "x.org:80"]', [], id="another-port"),
        pytest.param('allow = ["::/0"]', [(1, 11, "broad")], id="every-ipv6-host"),
        pytest.param('allow = [":443"]', [(1, 11, "broad")], id="every-host-on-a-port"),
        pytest.param('allow = ["any !metadata"]', [(1, 11, "broad")], id="nearly-every-host"),
        pytest.param('allow = ["192.0.2.0/24", "private"]', [], id="networks"),
        pytest.param('unix = ["*"]', [(1, 10, "broad"), (1, 10, "broker")], id="every-socket"),
        pytest.param('unix = ["/run/docker.sock"]', [(1, 10, "broker")], id="a-broker"),
        pytest.param('unix = ["/run/app.sock"]', [], id="a-socket"),
        pytest.param(rule("any", reason="a crawler"), [], id="broad-with-a-reason"),
        pytest.param(rule("unix:/run/docker.sock", reason="it builds"), [], id="a-broker-too"),
        pytest.param(rule("x.org", exe="/bin/a") + rule("x.org", exe="/bin/b"), [],
                     id="of-two-programs"),
        pytest.param(rule("x.org") + rule("x.org", exe="/bin/b"), [(4, 10, "shadowed")],
                     id="of-everybody-and-one"),
        pytest.param(rule("x.org") + rule("x.org", redirect="127.0.0.1:1"), [(4, 10, "conflict")],
                     id="that-do-different-things"),
        pytest.param('deny = ["private"]\n[[rule]]\ndeny = "10.0.0.1"\nerrno = "EPERM"\n'
                     'allow = []', [(3, 9, "error")], id="an-error"),
        pytest.param('deny = ["private"]\n[[rule]]\ndeny = "10.0.0.1"\nerrno = "EPERM"\n',
                     [(3, 9, "conflict"), (0, 0, "warning")], id="an-errno-that-is-never-used"),
        pytest.param('allow = ["nonsense/8", "x.org:0"]', [(1, 11, "error"), (1, 31, "error")],
                     id="errors"),
        pytest.param('allows = ["x.org"]', [(1, 1, "error")], id="an-unknown-key"),
        pytest.param(rule("x.org") + "until = 2001-01-01\n", [(3, 9, "error")], id="expired"),
        pytest.param('extends = ["pypi"]\nallow = ["pypi.org:443"]', [(2, 11, "duplicate")],
                     id="what-a-preset-says"),
    ],
)  # fmt: skip
def test_what_is_found(run, text, expected):
    assert findings(run(text, "--json")) == expected


def test_the_presets_are_fine(run):
    from netjail.policy.presets import names

    for name in names():
        assert findings(run(None, "--json", "--no-config", "--preset", name)) in (
            [],
            [(0, 0, "warning")],
        ), name


TESTS = """\
allow = ["x.org:443", "unix:/run/app/*"]
deny = ["metadata"]
[[rule]]
allow = "y.org"
exe = "/usr/bin/true"
"""


@pytest.mark.parametrize(
    ("dest", "expect", "more", "said"),
    [
        pytest.param("x.org:443", "allow", {}, "", id="allowed"),
        pytest.param("x.org:80", "deny", {}, "", id="denied"),
        pytest.param("x.org:443", "deny", {}, "got allow: allowed by x.org:443", id="not-denied"),
        pytest.param(
            "x.org:80", "allow", {}, 'hint: a [[rule]] with allow = ["x.org:80"]', id="not-allowed"
        ),
        pytest.param("x.org", "deny", {}, "but not for port 443", id="on-every-port"),
        pytest.param("udp://x.org:443", "allow", {}, "", id="a-scheme"),
        pytest.param("x.org:443", "allow", {"proto": "udp"}, "", id="a-protocol"),
        pytest.param("169.254.169.254:80", "deny", {}, "", id="by-a-denial"),
        pytest.param("unix:/run/app/x", "allow", {}, "", id="unix"),
        pytest.param("y.org:1", "deny", {}, "", id="of-whom-nothing-is-known"),
        pytest.param("y.org:1", "allow", {"exe": "/usr/bin/true"}, "", id="of-a-program"),
        pytest.param("y.org:1", "deny", {"exe": "/usr/bin/env"}, "", id="of-another"),
        pytest.param("self:80", "allow", {}, "", id="its-own"),
        pytest.param("private", "deny", {}, "is a word of rules", id="no-destination"),
        pytest.param("x.org:0", "deny", {"name": "n"}, "test 'n': ", id="with-a-name"),
    ],
)
def test_tests(run, dest, expect, more, said):
    rows = {"dest": dest, "expect": expect, **more}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
    result = run(f"{TESTS}[[test]]\n{table}")
    assert result.exit_code == bool(said)
    assert said in result.stdout
    assert not said or "p.toml:7:9: " in result.stdout
    assert result.stdout.endswith(" 1 test\n")


def test_its_lines_are_those_of_a_linter(run):
    result = run('allow = [\n  "any",\n]\n')
    first, hint, last = result.stdout.splitlines()
    assert first == "p.toml:2:4: broad: allow any means every host"
    assert hint.startswith("  hint: name hosts") and last == "p.toml: 1 finding, 0 tests"


def test_a_mistake_keeps_it_from_what_comes_after(run):
    result = run('alow = []\n[[test]]\ndest = "x:1"\nexpect = "allow"\n')
    assert result.exit_code == 1
    assert result.stdout.endswith("p.toml: 1 finding, rules and tests not looked at\n")


def test_nothing_to_say(run):
    result = run(FINE)
    assert (result.exit_code, result.stdout) == (0, "p.toml: nothing found, 0 tests\n")


def test_the_file_that_is_found(run, tmp_path):
    assert run().exit_code == 2
    assert run(None, "none.toml").exit_code == 1
    (tmp_path / "netjail.toml").write_text('allow = ["any"]\n')
    result = run()
    assert result.exit_code == 1
    assert result.stdout.startswith("netjail.toml:1:11: broad")
    assert run(None, "--no-config", "-a", "any").stdout.startswith("--allow any: broad: ")


def test_a_file_that_was_found_is_named_though_it_is_wrong(run, tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.netjail]\nalow = []\ndeny = ["privat"]\n')
    assert run().stdout.splitlines()[-1].startswith("pyproject.toml: 2 findings, ")
    assert json.loads(run(None, "--json").stdout)["files"] == ["pyproject.toml"]


def test_wrong_usage_is_2(run):
    assert run(None, "--sloppy").exit_code == 2


def test_the_schema(run):
    schema = json.loads(run(None, "--schema").stdout)
    assert {"allow", "deny", "rule", "test"} <= set(json.dumps(schema).split('"'))


def test_hostile_text_is_harmless(run):
    result = run('allow = ["\\u001b[31mx"]\n[[test]]\ndest = "\\u001b]0;x\\u0007"\nexpect = "deny"')
    assert result.exit_code == 1
    assert all(line.isprintable() for line in result.stdout.splitlines())


# ---- coverage ----

TEXTS = ["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.2.3", "10.1.2.3:80", "10.1.2.3:79-81",
         "private", "private !10.1.2.3", "any", "any !10.0.0.0/8", ":80", "tcp://any", "udp://any",
         "icmp://any", "icmp://10.1.2.3", "tcp://10.0.0.0/9:1-100", ":1-80", ":80-65535",
         "x.org", "x.org:80", ".x.org", "*.x.org", "a.x.org", "self", "self:80", "resolver",
         "*.x.org !a.x.org", "unix:/run/*", "unix:/run/a", "unix:/run/*/b", "unix:@*", "unix:@a",
         "unix:*", "unix:* !/run/a"]  # fmt: skip
ADDRESSES = [ip_address(text) for text in ("10.1.2.3", "10.200.0.1", "10.0.0.0", "192.168.0.1",
                                           "2001:db8::1", "8.8.8.8")]  # fmt: skip
NAMES = ["x.org", "a.x.org", "b.a.x.org", "y.org"]
PATHS = [Unix(b"/run/a"), Unix(b"/run/x/b"), Unix(b"/x"), Unix(b"a", True), Unix(b"b", True)]


def matched(one):
    """Everything of a small world that a rule matches."""
    if not isinstance(one, AddressRule):
        return {path for path in PATHS if one.matches(path)}
    spared = one.exceptions
    found = {address for address in ADDRESSES if one.matches(address)}
    if one.target.hosts:
        found = {
            name
            for name in NAMES
            if one.target.hosts.matches(name)
            and not any(each.hosts and each.hosts.matches(name) for each in spared)
        }
    if one.target.addresses.covers(parse("any", Place(""), "").target.addresses) and not spared:
        found |= {*NAMES, "self", "resolver"}
    if one.target.live:
        found.add(one.target.live.value)
    ports = (1, 53, 79, 80, 81, 100, 101, 443)
    carried = [(protocol, port) for protocol in Protocol for port in ports]
    return {(what, *each) for what in found for each in carried if one.applies(*each)}


@settings(max_examples=500, deadline=None)
@example(":80", ["any !10.0.0.0/8", "10.0.0.0/8"])
@given(st.sampled_from(TEXTS), st.lists(st.sampled_from(TEXTS), max_size=4, unique=True))
def test_what_is_said_to_be_covered_is(text, others):
    one = parse(text, Place(""), "")
    over = covering(one, [parse(other, Place(""), "") for other in others])
    if over:
        assert matched(one) <= set().union(*map(matched, over))


@given(st.sampled_from(TEXTS))
def test_a_rule_covers_itself(text):
    one, other = parse(text, Place(""), ""), parse(text, Place(""), "")
    assert covers(one, other)


SOME = [
    *("any", "*", ":443", "public", "self", "resolver", "192.0.2.1", "192.0.2.0/24"),
    *("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9:80", "10.1.0.0/16 !10.1.2.3", "0.0.0.0/0"),
    *("2001:db8::/32", "::/0", "a.example", "*.example", ".example", ".a.example:443"),
    "unix:/run/*",
]


@given(st.lists(st.sampled_from(SOME), max_size=8))
def test_what_is_far_from_a_rule_has_no_part_in_covering_it(texts):
    rules = [parse(text, Place("--allow"), "--allow") for text in texts]
    near = Near(rules)
    for rule in rules:
        others = [other for _, other in near.to(rule)]
        assert others == [other for other in rules if other in others], "in their order"
        assert [o for o in rules if covers(o, rule) and o not in others] == []
        assert bool(covering(rule, others)) == bool(covering(rule, rules))


def test_many_rules_are_not_compared_each_with_each():
    rules = [
        parse(text, Place("--allow"), "--allow")
        for number in range(5000)
        for text in (f"10.{number >> 8}.{number & 255}.0/24", f"host{number}.example")
    ]
    near = Near([*rules, rules[0]])
    assert [number for number, _ in near.to(rules[0])] == [0, 10_000]
    assert sum(len(near.to(rule)) for rule in rules) == 10_001
