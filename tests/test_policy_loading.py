"""How options, files, presets and what they extend come together; what holds until when."""

from __future__ import annotations

import datetime
import errno
import os
from pathlib import Path

import pytest
from drafts import documents, toml
from hypothesis import HealthCheck, given, settings
from world import World, attempt

from netjail.errors import RuleError, RuleErrors
from netjail.model import Decision, Protocol
from netjail.policy import Policy, Rules, files
from netjail.policy.sheets import Refusal

TODAY = datetime.date(2026, 6, 15)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "SYSTEM", str(tmp_path / "etc" / "netjail.toml"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "netjail.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return name

    return write


def load(*paths: str, **rules) -> Policy:
    return Policy.load(Rules(files=paths, today=TODAY, **rules))


def mistakes(*paths: str, **rules) -> list[str]:
    with pytest.raises(RuleError) as caught:
        load(*paths, **rules)
    return [str(error) for error in caught.value.errors]


def verdict(policy: Policy, to: str = "192.0.2.1:1"):
    return policy.decide(attempt(to), World())


def allowed(policy: Policy, *last: int) -> list[int]:
    """The last numbers of 192.0.2.x that are allowed."""
    return [n for n in last if verdict(policy, f"192.0.2.{n}:1").decision is Decision.ALLOW]


# Lists add up, of other words one counts.


def test_lists_of_options_files_and_presets_add_up(write):
    one = write('allow = ["192.0.2.1"]\nbind = [":1"]', "one.toml")
    two = write('allow = ["192.0.2.2"]\ndeny = ["192.0.2.4"]\nbind = [":2"]', "two.toml")
    policy = load(one, two, allow=("192.0.2.3", "192.0.2.4"), presets=("loopback",), bind=(":3",))
    assert allowed(policy, 1, 2, 3, 4, 5) == [1, 2, 3]
    assert verdict(policy, "127.0.0.1:1").layer == "preset loopback"
    listening = [policy.listen(attempt(f"0.0.0.0:{n}").endpoint, Protocol.TCP) for n in range(1, 5)]
    assert listening == [True, True, True, False]


def test_a_preset_adds_to_the_file_that_is_found(write):
    write('allow = ["192.0.2.1"]')
    policy = load(presets=("loopback",), search=True)
    assert allowed(policy, 1) == [1]
    assert verdict(policy, "127.0.0.1:1").layer == "preset loopback"


WORDS = 'default = "{}"\nerrno = "{}"\ndns-refusal = "{}"\nmode = "{}"\n'


def words(policy: Policy) -> tuple[object, ...]:
    engine = policy.engines[0]
    return (
        engine.book.default.value,
        errno.errorcode[engine.book.error],
        policy.refusal.value,
        policy.audit,
    )


def test_an_option_goes_before_a_file(write):
    write(WORDS.format("allow", "EPERM", "refused", "audit"))
    assert words(load("netjail.toml")) == ("allow", "EPERM", "refused", True)
    given = load("netjail.toml", default=Decision.DENY, errno="EACCES")
    assert words(given) == ("deny", "EACCES", "refused", True)


def test_a_file_goes_before_what_it_extends(write):
    write(WORDS.format("deny", "EPERM", "nxdomain", "enforce"), "base.toml")
    write('extends = ["./base.toml"]\n' + WORDS.format("allow", "EACCES", "refused", "audit"))
    assert words(load("netjail.toml")) == ("allow", "EACCES", "refused", True)
    write('extends = ["./base.toml"]\n')
    assert words(load("netjail.toml")) == ("deny", "EPERM", "nxdomain", False)


def test_of_several_files_the_stricter_or_the_last_counts(write):
    write(WORDS.format("allow", "EPERM", "refused", "audit"), "one.toml")
    write(WORDS.format("deny", "EACCES", "nxdomain", "enforce"), "two.toml")
    assert words(load("one.toml", "two.toml")) == ("deny", "EACCES", "nxdomain", False)
    assert words(load("two.toml", "one.toml")) == ("deny", "EPERM", "refused", False)


# Extending.


def test_files_are_beside_the_one_that_extends_them(write):
    write('extends = ["sub/one.toml"]')
    write('extends = ["../two.toml", "./three.toml"]\nallow = ["192.0.2.1"]', "sub/one.toml")
    write('allow = ["192.0.2.2"]', "two.toml")
    write('allow = ["192.0.2.3"]\n[[test]]\ndest = "x:1"\nexpect = "deny"', "sub/three.toml")
    policy = load("netjail.toml")
    assert allowed(policy, 1, 2, 3, 4) == [1, 2, 3]
    assert verdict(policy, "192.0.2.3:1").layer == "sub/three.toml:1"
    assert [test.layer for test in policy.tests] == ["sub/three.toml:3"]


def test_a_pyproject_can_be_extended(write):
    write('extends = ["pyproject.toml"]')
    write('[tool.netjail]\nallow = ["192.0.2.1"]', "pyproject.toml")
    assert allowed(load("netjail.toml"), 1, 2) == [1]


def test_a_pyproject_that_is_named_has_to_have_the_table(write):
    write('[project]\nname = "netjail"\n', "pyproject.toml")
    assert mistakes("pyproject.toml") == ["pyproject.toml: has no table [tool.netjail]"]
    write("[tool.netjail]\n", "pyproject.toml")
    assert load("pyproject.toml").files == ("pyproject.toml",)


def test_what_is_extended_twice_counts_once(write):
    write('extends = ["a.toml", "b.toml", "pypi"]')
    write('extends = ["c.toml", "pypi"]', "a.toml")
    write('extends = ["./c.toml"]', "b.toml")
    write('deny = ["192.0.2.1"]', "c.toml")
    (engine,) = load("netjail.toml").engines
    assert [rule.text for rule in engine.deny[Protocol.TCP].fixed] == ["192.0.2.1"]
    assert len(engine.allow[Protocol.TCP].live) == 2


@pytest.mark.parametrize("prefix", ["", "./", "../here/"])
def test_a_circle_is_named(write, tmp_path, prefix):
    (tmp_path.parent / "here").unlink(missing_ok=True)
    (tmp_path.parent / "here").symlink_to(tmp_path)
    write(f'extends = ["{prefix}b.toml"]', "a.toml")
    write('\nextends = ["pypi", "c.toml"]', "b.toml")
    write(f'extends = ["{prefix}b.toml"]', "c.toml")
    (mistake,) = mistakes("a.toml")
    assert mistake.endswith("c.toml:1:13: a circle: b.toml extends c.toml extends b.toml")


def test_a_file_that_extends_itself(write):
    write('extends = ["netjail.toml"]')
    assert mistakes("netjail.toml") == [
        "netjail.toml:1:13: a circle: netjail.toml extends netjail.toml"
    ]


def test_a_chain_ends(write):
    for number in range(files.DEPTH + 1):
        write(f'extends = ["{number + 1}.toml"]', f"{number}.toml")
    write("", f"{files.DEPTH}.toml")
    (mistake,) = mistakes("0.toml")
    assert mistake == f"{files.DEPTH - 1}.toml:1:13: more than 8 files extend each other"
    load("1.toml")


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        pytest.param("none.toml", "none.toml cannot be read: No such file", id="missing"),
        pytest.param("./sub", "sub cannot be read: Is a directory", id="a-folder"),
        pytest.param("pipi", "no preset is called 'pipi'", id="no-preset"),
        pytest.param("\\u0000/x", "'\\x00/x' is no file", id="a-null"),
    ],
)
def test_what_cannot_be_extended(write, tmp_path, extends, message):
    (tmp_path / "sub").mkdir()
    write(f'extends = ["{extends}"]')
    (mistake,) = mistakes("netjail.toml")
    assert mistake.startswith(f"netjail.toml:1:13: {message}")


# All mistakes at once, in order.


def test_mistakes_of_all_files_and_options_come_at_once(write):
    write('extends = ["base.toml", "pipi"]\nallow = ["privte"]\ndefault = "x"')
    write('deny = ["htp://x"]\nno = 1\n[[rule]]\nallow = "any:0"\nexe = "sh"', "base.toml")
    write("allow = [", "etc/netjail.toml")
    told = mistakes("netjail.toml", "none.toml", allow=("any:0",), errno="X", presets=("nope",))
    places = [": ".join(line.split(": ")[:1]) for line in told]
    assert [place.rpartition("/")[2] for place in places] == [
        "--allow any:0",
        "--errno X",
        "netjail.toml:1:26",
        "netjail.toml:2:11",
        "netjail.toml:3:12",
        "base.toml:1:10",
        "base.toml:2:1",
        "base.toml:4:14",
        "base.toml:5:8",
        "none.toml",
        "--preset nope",
        "netjail.toml:1:10",
    ]


# Until.

UNTIL = '[[rule]]\nallow = "192.0.2.1"\nuntil = {}\n[[rule]]\ndeny = "192.0.2.2"\nuntil = "{}"\n'


def until(write, day: datetime.date, **rules) -> Policy:
    write('default = "allow"\n' + UNTIL.format(day, day))
    return load("netjail.toml", **rules)


@pytest.mark.parametrize(
    ("days", "holds", "warned"),
    [
        pytest.param(400, True, 0, id="long-before"),
        pytest.param(15, True, 0, id="fifteen-days-before"),
        pytest.param(14, True, 2, id="its-last-two-weeks"),
        pytest.param(0, True, 2, id="its-last-day"),
        pytest.param(-1, False, 2, id="the-day-after"),
        pytest.param(-400, False, 2, id="long-after"),
    ],
)
def test_a_rule_holds_until_its_day_is_over(write, days, holds, warned):
    day = TODAY + datetime.timedelta(days)
    policy = until(write, day)
    assert verdict(policy).layer == ("netjail.toml:3" if holds else "")
    assert verdict(policy, "192.0.2.2:1").layer == ("netjail.toml:6" if holds else "")
    assert len(policy.warnings) == warned
    assert all(str(day) in warning for warning in policy.warnings)


def test_an_expired_rule_is_an_error_where_that_is_asked_for(write):
    day = TODAY - datetime.timedelta(1)
    with pytest.raises(RuleErrors) as caught:
        until(write, day, expired_fails=True)
    first, second = caught.value.errors
    assert str(first) == (f"netjail.toml:4:9: allow '192.0.2.1' held until {day}, and is not used")
    assert (second.place.line, second.place.column) == (7, 10)
    until(write, TODAY, expired_fails=True)


def test_mistakes_in_expired_rules_are_mistakes(write):
    write('[[rule]]\ndeny = "privte"\nuntil = 2020-01-01')
    assert len(mistakes("netjail.toml")) == 1


def test_without_a_clock_it_is_the_day_in_utc(write, monkeypatch):
    now = datetime.datetime.now(datetime.UTC).date()
    write(UNTIL.format(now, now - datetime.timedelta(1)))
    policy = Policy.load(Rules(files=("netjail.toml",)))
    # At midnight the first may just have ended as well.
    assert "and is not used" in policy.warnings[-1]


# Terms.


@pytest.mark.parametrize(
    ("table", "place", "message"),
    [
        pytest.param('name = "x"', "1:1", "no allow and no deny", id="neither"),
        pytest.param('allow = "any"\ndeny = "any"', "3:9", "both allow and deny", id="both"),
        pytest.param("allow = []", "2:9", "allow is empty", id="an-empty-list"),
        pytest.param("allow = 7", "2:9", "string or a list of strings", id="a-number"),
        pytest.param('allow = [["any"]]', "2:10", "expected a string, not a list", id="lists"),
        pytest.param('deny = "any"\nexe = "curl"', "3:8", "no absolute path", id="a-bare-exe"),
        pytest.param('deny = "any"\nexe = ["/x", "*/y"]', "3:15", "no absolute", id="a-glob"),
        pytest.param('deny = "any"\nparent = "make"', "3:11", "no absolute", id="a-bare-parent"),
        pytest.param('deny = "any"\nargv = ""', "3:9", "an empty glob", id="an-empty-argv"),
        pytest.param('deny = "any"\nexe = []', "3:7", "an empty list", id="no-exe"),
        pytest.param('deny = "any"\nexe = "/\\u0000"', "3:8", "cannot be printed", id="a-null"),
        pytest.param('allow = "any"\nerrno = "EPERM"', "3:10", "gets none", id="errno-and-allow"),
        pytest.param('deny = "any"\nerrno = "EPREM"', "3:10", "'EPREM' is not", id="an-errno"),
        pytest.param(
            'deny = "any"\nredirect = "127.0.0.1:1"', "3:13", "goes nowhere", id="redirect-and-deny"
        ),
        pytest.param('allow = "any"\nredirect = "x:1"', "3:13", "not where a call", id="a-name"),
        pytest.param('allow = "any"\nredirect = "::1:80"', "3:13", "not where", id="no-brackets"),
        pytest.param('allow = "any"\nredirect = "127.0.0.1"', "3:13", "not where", id="no-port"),
        pytest.param('allow = "any"\nredirect = "1.1.1.1:0"', "3:13", "not where", id="port-0"),
        pytest.param(
            'allow = "unix:/x"\nredirect = "127.0.0.1:1"', "3:13", "unix socket", id="a-unix-rule"
        ),
        pytest.param('allow = "raw://any"', "2:10", "cannot be enforced", id="not-enforceable"),
        pytest.param('allow = "any"\nuntil = "soon"', "3:10", "is no date", id="no-date"),
        pytest.param('allow = "any"\nuntil = 07:32:00', "3:9", "not a time", id="a-time"),
        pytest.param(
            'allow = "any"\nuntil = 2026-01-01T00:00:00',
            "3:9",
            "a date with a time",
            id="both-kinds",
        ),
        pytest.param('allow = "any"\nuntill = 1', "3:1", "unknown key 'untill'", id="a-key"),
    ],
)
def test_tables_that_are_wrong(write, table, place, message):
    write(f"[[rule]]\n{table}\n")
    (mistake,) = mistakes("netjail.toml")
    assert mistake.startswith(f"netjail.toml:{place}: ")
    assert message in mistake


def test_a_table_for_tables(write):
    write('[rule]\nallow = "any"')
    assert mistakes("netjail.toml") == [
        "netjail.toml:1:1: rule: expected a list of tables, not a table"
    ]


def test_a_unix_list_needs_no_scheme(write):
    write('unix = ["/run/*.sock", "@app", "unix:/x y"]')
    (engine,) = load("netjail.toml").engines
    assert [rule.text for rule in engine.paths.allow] == [
        "unix:/run/*.sock",
        "unix:@app",
        "unix:/x y",
    ]


# The environment.


def test_no_environment_variable_changes_a_policy(write, monkeypatch):
    write('allow = ["192.0.2.1"]\nerrno = "EPERM"')
    plain = load(search=True)

    def said(policy: Policy) -> tuple[object, ...]:
        verdicts = [verdict(policy, f"192.0.2.{n}:1") for n in range(3)]
        return verdicts, policy.files, policy.warnings, policy.audit, words(policy)

    for name in ("NETJAIL", "NETJAIL_POLICY", "NETJAIL_CONFIG", "NETJAIL_ALLOW", "NETJAIL_DEFAULT"):
        monkeypatch.setenv(name, "allow")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("XDG_CONFIG_HOME", os.getcwd())
    assert said(load(search=True)) == said(plain)


# Whatever is written.


@given(document=documents(wrong=False))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_right_is_a_policy(tmp_path, document):
    path = tmp_path / "any.toml"
    path.write_text(toml(document))
    policy = Policy.load(Rules(files=(str(path),), today=TODAY))
    assert verdict(policy).decision in Decision
    assert len(policy.tests) == len(document.get("test", ()))


@given(document=documents())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_a_policy_or_mistakes_with_places(tmp_path, document):
    path = tmp_path / "any.toml"
    path.write_text(toml(document))
    try:
        policy = Policy.load(Rules(files=(str(path),), today=TODAY))
    except RuleError as error:
        for each in error.errors:
            assert each.place and Path(each.place.source) == path and each.place.line
            assert str(each).startswith(f"{path}:{each.place.line}:")
        return
    assert verdict(policy).decision in Decision
    assert policy.refusal in Refusal
