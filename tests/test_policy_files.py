"""Policy files: what they say, where a mistake stands, which are found and trusted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, attempt

from netjail.errors import RuleError
from netjail.model import Decision, Protocol
from netjail.policy import Policy, Rules, files, sheets
from netjail.policy.places import Page
from netjail.policy.terms import Terms, Who

WHOLE = """\
# "example.org" in a comment is no entry
default = "deny"
errno = "EPERM"
allow = [
    "192.0.2.1:443",  # the "first"
    'udp://any:53', "10.0.0.0/8",
    \"\"\"[2001:db8::1]\"\"\",
]
"deny" = ["10.1.0.0/16"]
bind = [":8080"]
"""


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "SYSTEM", str(tmp_path / "etc" / "netjail.toml"))


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "netjail.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    return write


def load(*paths: Path, **rules) -> Policy:
    return Policy.load(Rules(files=tuple(map(str, paths)), **rules))


def test_a_whole_file(write):
    path = write(WHOLE)
    policy = load(path)
    verdict = policy.decide(attempt("192.0.2.1:443"), World())
    assert (verdict.decision, verdict.layer) == (Decision.ALLOW, f"{path}:5")
    assert policy.decide(attempt("192.0.2.2:53", Protocol.UDP), World()).layer == f"{path}:6"
    assert policy.decide(attempt("[2001:db8::1]:1"), World()).layer == f"{path}:7"
    verdict = policy.decide(attempt("10.1.2.3:1"), World())
    assert (verdict.error, verdict.layer) == (errno.EPERM, f"{path}:9")
    assert verdict.fix == f"{path}:9: deny '10.1.0.0/16 !10.1.2.3'"
    assert policy.listen(attempt("0.0.0.0:8080").endpoint, Protocol.TCP)
    assert policy.files == (str(path),)


TABLES = """\
[[rule]]
name = "index"
deny = ["192.0.2.1", "192.0.2.2:80"]
exe = "/usr/bin/pip"
argv = ["install", "*.py"]
parent = ["**/make"]
reason = "not from here"
errno = "EACCES"
until = 2030-12-31

[[rule]]
allow = "192.0.2.3"
redirect = "127.0.0.1:8080"
until = "2030-12-31"

[[test]]
dest = "192.0.2.1:443"
expect = "deny"
exe = "/usr/bin/pip"
proto = "udp"
name = "no index"
"""


def test_a_mark_of_its_encoding_is_no_mistake(write):
    path = write("\ufeffallow = ['192.0.2.1']\n")
    assert load(path).decide(attempt("192.0.2.1:443"), World()).layer == f"{path}:1"


def test_tables_are_rules_with_terms(write):
    policy = load(write(TABLES))
    (engine,) = policy.engines
    who = Who(("/usr/bin/pip",), ("install", "*.py"), ("**/make",))
    denied = engine.deny[Protocol.TCP].fixed
    assert [rule.text for rule in denied] == ["192.0.2.1", "192.0.2.2:80"]
    assert {rule.terms for rule in denied} == {Terms("index", "not from here", who, errno.EACCES)}
    (allowed,) = engine.leading.groups[Protocol.TCP].fixed
    assert allowed.terms == Terms(redirect=attempt("127.0.0.1:8080").endpoint)
    assert [rule.layer.rpartition(":")[2] for rule in (*denied, allowed)] == ["3", "3", "12"]


def test_tests_are_data(write):
    (test,) = load(write(TABLES)).tests
    assert (test.dest, test.expect, test.exe) == ("192.0.2.1:443", Decision.DENY, "/usr/bin/pip")
    assert (test.protocol, test.name, test.place.line) == (Protocol.UDP, "no index", 17)


def test_flags_and_files_add_up(write):
    policy = load(write('allow = ["192.0.2.1"]'), allow=("192.0.2.2",), deny=("192.0.2.1:80",))
    verdicts = [policy.decide(attempt(f"192.0.2.{to}"), World()) for to in ("1:443", "1:80", "2:1")]
    assert [verdict.decision.value for verdict in verdicts] == ["allow", "deny", "allow"]


def test_a_flag_wins_over_files_and_deny_among_them(write):
    one = write('default = "allow"\nerrno = "EPERM"', "one.toml")
    other = write('default = "deny"\nerrno = "EACCES"', "other.toml")
    what = attempt("192.0.2.1:1")
    assert load(one).decide(what, World()).decision is Decision.ALLOW
    assert load(one, other).decide(what, World()).error == errno.EACCES
    assert load(other, one).decide(what, World()).error == errno.EPERM
    assert load(one, default=Decision.DENY, errno="ENETDOWN").decide(what, World()).error == (
        errno.ENETDOWN
    )


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        pytest.param('alow = ["x"]', "1:1", "unknown key 'alow'", "'allow'", id="a-mistyped-key"),
        pytest.param("\naudit = true", "2:1", "unknown key 'audit'", "errno", id="audit-is-no-key"),
        pytest.param("[rules]\nx = 1", "1:2", "unknown key 'rules'", "allow", id="a-table"),
        pytest.param(
            'allow = "any"',
            "1:10",
            "allow: expected a list of strings",
            'allow = ["any"]',
            id="no-list",
        ),
        pytest.param(
            'deny = []\nallow = ["any", 7]', "2:17", "allow: expected a string", "", id="a-number"
        ),
        pytest.param(
            'default = "maybe"',
            "1:12",
            "default: 'maybe' is unknown",
            "allow, deny",
            id="no-default",
        ),
        pytest.param(
            "default = 1", "1:11", 'default: expected "allow" or "deny"', "", id="a-number-default"
        ),
        pytest.param("allow = [", "1:10", "invalid value", "quotes", id="not-toml"),
        pytest.param('allow = ["a"', "1:13", "unclosed array", "quotes", id="an-open-list"),
        pytest.param(
            'allow = ["a.org]\n', "1:17", "illegal character", "a string ends", id="an-open-string"
        ),
        pytest.param("errno = 'EPERM\n", "2:1", 'expected "\'"', "a string ends", id="another"),
        pytest.param('a = """\n', "2:1", "unterminated string", '"""', id="an-open-long-string"),
        pytest.param("allow: []", "1:6", "expected '='", "KEY = VALUE", id="as-yaml-has-it"),
        pytest.param("allow = [] []", "1:12", "expected newline", "KEY = VALUE", id="two-values"),
        pytest.param("[rule]\nallow = 'any'", "1:1", "a list of tables", "[[rule]]", id="one-rule"),
        pytest.param("[test]\ndest = 'x:1'", "1:1", "a list of tables", "[[test]]", id="one-test"),
        pytest.param("allow.x = 1", "1:1", "a list of strings, not a table", "", id="a-dotted-key"),
        pytest.param(
            "[tool.netjail]\nallow = []",
            "1:2",
            "unknown key 'tool'",
            "without it",
            id="pyproject's",
        ),
        pytest.param('allow = ["@"]', "1:11", "'@' names no file", "@hosts.txt", id="no-list-file"),
        pytest.param(
            'allow = [\n  "any",\n  "privte",\n]', "3:4", "unknown word", "'private'", id="a-word"
        ),
        pytest.param(
            'allow = [ # "x"\n  """any:70000""" ]', "2:10", "out of range", "65535", id="a-port"
        ),
        pytest.param("deny = ['private !1.1.1.1:3']", "1:18", "no ports", "", id="an-exception"),
        pytest.param('bind = [":0"]', "1:11", "port 0", "", id="a-bind-rule"),
        pytest.param('errno = "EPREM"', "1:10", "'EPREM' is not", "'EPERM'", id="an-errno"),
        pytest.param('errno = ""', "1:10", "'' is not", "EPERM", id="an-empty-errno"),
    ],
)
def test_mistakes_have_a_place(write, text, place, message, hint):
    path = write(text)
    with pytest.raises(RuleError) as caught:
        load(path)
    prefix = f"{path}:{place}: " if place else f"{path}: "
    assert str(caught.value).startswith(prefix + message) or message in str(caught.value)
    assert str(caught.value).startswith(prefix)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("option", "rules", "shown"),
    [
        pytest.param("--allow", {"allow": ("htp://x",)}, "--allow htp://x: ", id="allow"),
        pytest.param("--deny", {"deny": ("any !",)}, "--deny 'any !': ", id="deny"),
        pytest.param("--bind", {"bind": (":0",)}, "--bind :0: ", id="bind"),
        pytest.param("--errno", {"errno": "0"}, "--errno 0: ", id="errno"),
    ],
)
def test_mistakes_in_options_name_the_option(option, rules, shown):
    with pytest.raises(RuleError) as caught:
        Policy.load(Rules(**rules))
    assert str(caught.value).startswith(shown)


def test_a_file_that_cannot_be_read(tmp_path, write):
    with pytest.raises(RuleError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(RuleError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes(b"# \xff")
    with pytest.raises(RuleError, match="is not UTF-8"):
        load(tmp_path / "latin")


def test_a_pyproject_has_its_table(write):
    text = '[project]\nname = "x"\nallow = ["no"]\n[tool.netjail]\nallow = ["privte"]\n'
    path = write(text, "pyproject.toml")
    with pytest.raises(RuleError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:5:11: ")


TOML_STRING = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\"'\\"), max_size=20
)


@given(st.lists(TOML_STRING, max_size=5), st.sampled_from(['"', "'", '"""', "'''"]))
def test_every_entry_is_found_where_it_stands(texts, quote):
    text = (
        "# \"no\" 'no'\nallow = [\n" + "".join(f" {quote}{t}{quote}, # ' \"\n" for t in texts) + "]"
    )
    page = Page(text, "f").read()
    lines = text.splitlines()
    for index, entry in enumerate(texts):
        place = page.at("allow", index)
        assert lines[place.line - 1][place.column - 1 :].startswith(entry + quote)


@given(st.text(max_size=60))
def test_any_text_is_a_sheet_or_a_rule_error(text):
    try:
        sheets.parse(text, "f")
    except RuleError:
        return


# The search.


def found(start: Path, monkeypatch) -> Policy:
    monkeypatch.chdir(start)
    return Policy.load(Rules(search=True))


def allows(policy: Policy) -> bool:
    verdict = policy.decide(attempt("192.0.2.1:1"), World())
    return verdict.decision is Decision.ALLOW


ALLOWING = 'allow = ["192.0.2.1"]\n'


def test_a_file_is_found_upwards(write, tmp_path, monkeypatch):
    path = write(ALLOWING)
    (tmp_path / "a/b").mkdir(parents=True)
    policy = found(tmp_path / "a/b", monkeypatch)
    assert policy.files == (str(path),)
    assert allows(policy)
    assert not allows(Policy.load(Rules()))


def test_a_file_beside_is_named_by_its_name(write, tmp_path, monkeypatch):
    write(ALLOWING)
    verdict = found(tmp_path, monkeypatch).decide(attempt("192.0.2.1:1"), World())
    assert verdict.layer == "netjail.toml:1"


def test_a_given_file_ends_the_search(write, tmp_path, monkeypatch):
    write(ALLOWING)
    other = write("", "other.toml")
    monkeypatch.chdir(tmp_path)
    assert Policy.load(Rules(search=True, files=(str(other),))).files == (str(other),)


def test_the_search_ends_at_the_repository(write, tmp_path, monkeypatch):
    write(ALLOWING)
    (tmp_path / "repo/.git").mkdir(parents=True)
    (tmp_path / "repo/a").mkdir()
    assert found(tmp_path / "repo/a", monkeypatch).files == ()
    path = write(ALLOWING, "repo/netjail.toml")
    assert found(tmp_path / "repo/a", monkeypatch).files == (str(path),)


def test_the_search_ends_at_an_unreadable_folder(write, tmp_path, monkeypatch):
    write(ALLOWING)
    (tmp_path / "shut/a").mkdir(parents=True)
    real = os.access
    shut = str(tmp_path / "shut")
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut and real(path, mode))
    assert found(tmp_path / "shut/a", monkeypatch).files == ()


def test_a_pyproject_counts_only_with_the_table(write, tmp_path, monkeypatch):
    upper = write(ALLOWING)
    lower = write("[tool.other]\nx = 1\nbroken", "a/pyproject.toml")
    assert found(tmp_path / "a", monkeypatch).files == (str(upper),)
    lower.write_text(f"[tool.netjail]\n{ALLOWING}")
    assert found(tmp_path / "a", monkeypatch).files == (str(lower),)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_not_used(write, tmp_path, monkeypatch, mode):
    write(ALLOWING)
    write(ALLOWING, "a/netjail.toml").chmod(mode)
    policy = found(tmp_path / "a", monkeypatch)
    assert policy.files == ()
    assert "chmod go-w" in policy.warnings[0]


def test_a_file_of_somebody_else_is_not_used(write, tmp_path, monkeypatch):
    path = write(ALLOWING)
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    policy = found(tmp_path, monkeypatch)
    assert policy.files == ()
    assert "belongs to uid" in policy.warnings[0]


def test_a_pipe_of_that_name_holds_nobody(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "netjail.toml")
    (tmp_path / ".git").mkdir()
    assert found(tmp_path, monkeypatch).files == ()


# The system's policy.


@pytest.mark.parametrize(
    ("system", "allowed"),
    [
        pytest.param('default = "allow"\ndeny = ["192.0.2.1"]', False, id="it-denies"),
        pytest.param('default = "allow"', True, id="it-allows-the-rest"),
        pytest.param('allow = ["192.0.2.0/24"]', True, id="both-allow"),
        pytest.param('allow = ["10.0.0.0/8"]', False, id="it-allows-something-else"),
        pytest.param("", False, id="empty-denies"),
    ],
)
def test_both_must_allow(write, system, allowed):
    path = write(system, "etc/netjail.toml")
    policy = Policy.load(Rules(allow=("192.0.2.1",)))
    assert policy.files == (str(path),)
    assert allows(policy) is allowed
    assert not allows(Policy.load(Rules()))


def test_the_system_may_leave_listening_to_the_caller(write):
    listener = attempt("0.0.0.0:80").endpoint
    write('default = "allow"', "etc/netjail.toml")
    assert Policy.load(Rules(bind=(":80",))).listen(listener, Protocol.TCP)
    write("bind = []", "etc/netjail.toml")
    assert not Policy.load(Rules(bind=(":80",))).listen(listener, Protocol.TCP)


def test_audit_does_not_lift_the_words_of_the_system_policy(write):
    path = write('allow = ["10.0.0.1"]', "etc/netjail.toml")
    verdict = Policy.load(Rules(audit=True)).decide(attempt("192.0.2.1:1"), World())
    assert verdict.decision is Decision.DENY
    assert Policy.load(Rules(audit=True)).files == (str(path),)


def test_a_file_as_long_as_a_disk_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "netjail.toml"
    path.touch(0o644)
    os.truncate(path, 1 << 40)
    monkeypatch.chdir(tmp_path)
    policy = Policy.load(Rules(search=True))
    assert policy.warnings == (f"{path} is not used: it has more than 4 MiB",)
    with pytest.raises(RuleError, match="more than 4 MiB"):
        Policy.load(Rules(files=(str(path),)))
