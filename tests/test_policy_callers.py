"""Whose calls a rule speaks of: globs, what is not known, and each kind of rule."""

from __future__ import annotations

import errno
import os
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, attempt

from netjail.endpoints import Inet, Question, Unix
from netjail.errors import Place
from netjail.model import Attempt, Decision, Operation, Owner, Protocol, Reason
from netjail.policy import Policy, rules
from netjail.policy.callers import Condition, path_pattern
from netjail.policy.engine import Engine
from netjail.policy.facts import UNKNOWN, Caller
from netjail.policy.query import Query
from netjail.policy.sheets import Refusal
from netjail.policy.terms import Terms, Who
from netjail.stops import Descriptor

ALLOW, DENY = Decision.ALLOW, Decision.DENY
CURL = Caller("/usr/bin/curl", ("curl", "-s", ""), True, ("/usr/bin/make", "/usr/bin/bash"), True)


def rule(text: str, **terms: object):
    who = {key: terms.pop(key) for key in ("exe", "argv", "parent") if key in terms}
    return rules.parse(text, Place("t.toml", 1), "t.toml:1", Terms(who=Who(**who), **terms))


def engine(allow=(), deny=(), default=DENY):
    return Engine.of(allow, deny, default, errno.ECONNREFUSED)


def judge(judging: Engine, what, asker: Caller):
    world = World(asker=asker)
    what = what if isinstance(what, Attempt) else attempt(what)
    if isinstance(what.endpoint, Unix):
        return judging.decide_unix(what, what.endpoint, world)
    if isinstance(what.endpoint, Question):
        return judging.decide_name(what, what.endpoint, world)
    (protocol,) = what.protocols
    return judging.decide_inet(Query(what, protocol, what.endpoint, world))


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        pytest.param("/opt/a", ["/opt/a"], ["/opt/ab", "/opt/a/b", "/x/opt/a"], id="a-path"),
        pytest.param("/opt/*", ["/opt/a", "/opt/"], ["/opt/a/b", "/opt"], id="a-star-stops"),
        pytest.param("/opt/**", ["/opt/a", "/opt/a/b"], ["/opt", "/optx/a"], id="two-do-not"),
        pytest.param("/opt/**/x", ["/opt/x", "/opt/a/b/x"], ["/opt/ax"], id="any-directories"),
        pytest.param("**/x", ["/x", "/a/b/x"], ["/a/bx", "/x/y"], id="anywhere"),
        pytest.param("/opt/?", ["/opt/a"], ["/opt/ab", "/opt//"], id="one-byte"),
        pytest.param("/opt[/x]a", ["/optxa"], ["/opt/a"], id="no-class-means-the-slash"),
        pytest.param("/opt/[!a-c]", ["/opt/d"], ["/opt/a", "/opt/"], id="all-but-a-class"),
        pytest.param("/opt/[]]", ["/opt/]"], ["/opt/a"], id="a-bracket-in-a-class"),
        pytest.param("/opt/[a", ["/opt/[a"], ["/opt/a"], id="a-bracket-alone"),
        pytest.param("/opt/a.b+(c)", ["/opt/a.b+(c)"], ["/opt/axb+(c)"], id="nothing-else-is-wild"),
        pytest.param("**", ["/a/b", "/\n"], [""], id="every-path-that-is-known"),
    ],
)
def test_a_glob_means_paths(glob: str, matching: list[str], others: list[str]) -> None:
    pattern = path_pattern(glob)
    assert all(pattern.match(path) for path in matching)
    assert not any(pattern.match(path) for path in others)


def test_links_in_the_fixed_part_are_followed_at_load(tmp_path) -> None:
    (tmp_path / "true").mkdir()
    (tmp_path / "true" / "tool-1.2").touch()
    (tmp_path / "true" / "tool").symlink_to("tool-1.2")
    (tmp_path / "bin").symlink_to("true")
    true = os.path.realpath(tmp_path)
    assert path_pattern(f"{tmp_path}/bin/tool").match(f"{true}/true/tool-1.2")
    globbed = path_pattern(f"{tmp_path}/bin/to*")
    assert globbed.match(f"{true}/true/tool-1.2")
    assert not globbed.match(f"{true}/bin/tool-1.2")
    (tmp_path / "bin").unlink()
    (tmp_path / "bin").symlink_to("/")
    assert globbed.match(f"{true}/true/tool")


@given(st.text(alphabet="ab.](){}|^$+!-\\\n", min_size=1, max_size=12))
def test_a_path_without_wild_parts_means_itself(word: str) -> None:
    path = f"/nowhere/x{word}"
    assert path_pattern(path).match(path)
    assert path_pattern(f"/nowhere/*{word}").match(path)
    assert not path_pattern(path).match(f"{path}/")


@pytest.mark.parametrize(
    ("who", "asker", "holds"),
    [
        pytest.param(Who(exe=("/usr/bin/curl",)), CURL, True, id="its-program"),
        pytest.param(Who(exe=("/usr/bin/wget",)), CURL, False, id="another"),
        pytest.param(Who(exe=("/usr/bin/wget", "**/curl")), CURL, True, id="one-of-two"),
        pytest.param(Who(exe=("**",)), UNKNOWN, None, id="no-program-is-known"),
        pytest.param(Who(argv=("-s",)), CURL, True, id="a-word"),
        pytest.param(Who(argv=("-*",)), CURL, True, id="a-glob-of-a-word"),
        pytest.param(Who(argv=("*l -*",)), CURL, False, id="not-of-two-words"),
        pytest.param(Who(argv=("-x",)), CURL, False, id="no-such-word"),
        pytest.param(Who(argv=("-x",)), Caller(argv=("a",)), None, id="nor-as-far-as-it-is-known"),
        pytest.param(Who(argv=("a",)), Caller(argv=("a",)), True, id="known-as-far-as-needed"),
        pytest.param(Who(parent=("/usr/bin/make",)), CURL, True, id="who-started-it"),
        pytest.param(Who(parent=("/usr/bin/bash",)), CURL, True, id="and-who-that"),
        pytest.param(Who(parent=("/usr/bin/curl",)), CURL, False, id="not-itself"),
        pytest.param(
            Who(parent=("/a",)), Caller(ancestors=("/b", ""), rooted=True), None, id="one-unknown"
        ),
        pytest.param(
            Who(parent=("/b",)), Caller(ancestors=("", "/b")), True, id="beyond-an-unknown-one"
        ),
        pytest.param(Who(parent=("/a",)), Caller(ancestors=("/b",)), None, id="the-rest-is-lost"),
        pytest.param(Who(parent=("/a",)), Caller(rooted=True), False, id="nobody-started-it"),
        pytest.param(Who(exe=("**/curl",), argv=("-x",)), CURL, False, id="each-has-to-match"),
        pytest.param(Who(exe=("**/x",), parent=("/a",)), CURL, False, id="neither-does"),
        pytest.param(
            Who(exe=("/a",), argv=("-s",)), Caller(argv=("-s",)), None, id="one-is-not-known"
        ),
        pytest.param(
            Who(exe=("/a",), argv=("-x",)), Caller(argv=("-s",), whole=True), False, id="one-is"
        ),
    ],
)
def test_a_condition_holds(who: Who, asker: Caller, holds: bool | None) -> None:
    assert Condition.of(who).holds(asker) is holds


NAMED = Question("a.b", "A", Inet(ip_address("127.0.0.53"), 53))
LOOKUP = Attempt(1, 1, "sendto", Operation.RESOLVE, frozenset({Protocol.UDP}), NAMED, Descriptor(0))
EACH_KIND = pytest.mark.parametrize(
    ("text", "what"),
    [
        pytest.param("192.0.2.1:443", "192.0.2.1:443", id="an-address"),
        pytest.param("unix:/x", attempt(Unix(b"/x")), id="a-path"),
        pytest.param("a.b", LOOKUP, id="a-look-up"),
    ],
)


@EACH_KIND
@pytest.mark.parametrize(
    ("asker", "allows", "denies"),
    [
        pytest.param(CURL, True, True, id="meant"),
        pytest.param(Caller("/usr/bin/wget"), False, False, id="another"),
        pytest.param(UNKNOWN, False, True, id="unknown"),
    ],
)
def test_rules_speak_of_whom_they_mean(text, what, asker, allows, denies) -> None:
    theirs = rule(text, exe=("/usr/bin/curl",))
    permitting = engine([theirs])
    verdict = judge(permitting, what, asker)
    assert (verdict.decision is ALLOW) is allows
    forbidding = engine(deny=[theirs], default=ALLOW)
    verdict = judge(forbidding, what, asker)
    assert (verdict.decision is DENY) is denies


def test_a_live_rule_heeds_its_terms() -> None:
    own = rule("self", exe=("/usr/bin/curl",))
    deny_own = engine(deny=[own], default=ALLOW)
    for what in ("127.0.0.1:80", Unix(b"/x")):
        what = attempt(what)
        for asker, denied in ((CURL, True), (Caller("/usr/bin/wget"), False), (UNKNOWN, True)):
            world = World(Owner.JAIL, asker=asker)
            if isinstance(what.endpoint, Unix):
                verdict = deny_own.decide_unix(what, what.endpoint, world)
            else:
                verdict = deny_own.decide_inet(Query(what, Protocol.TCP, what.endpoint, world))
            assert (verdict.decision is DENY) is denied


def test_nobody_is_asked_who_calls_where_no_rule_has_terms() -> None:
    world = World()
    plain = engine(
        [rules.parse("any", Place("t"), "t")], [rules.parse("10.1.1.1", Place("t"), "t")]
    )
    what = attempt("192.0.2.1:443")
    assert plain.decide_inet(Query(what, Protocol.TCP, what.endpoint, world)).cacheable
    assert "caller" not in world.asked
    theirs = engine([rule("192.0.2.2", exe=("/a",)), rules.parse("any", Place("t"), "t")])
    assert theirs.decide_inet(Query(what, Protocol.TCP, what.endpoint, world)).cacheable


def test_a_denial_has_the_errno_and_the_words_of_its_rule() -> None:
    text = Terms(name="no telemetry", reason="GDPR, ask Ann", error=errno.EHOSTUNREACH)
    theirs = rules.parse("192.0.2.1", Place("t"), "t.toml:3", text)
    verdict = judge(engine(deny=[theirs], default=ALLOW), "192.0.2.1:1", UNKNOWN)
    assert (verdict.error, verdict.reason) == (errno.EHOSTUNREACH, Reason.RULE)
    assert verdict.why == 'denied by 192.0.2.1 (t.toml:3) "no telemetry": GDPR, ask Ann'
    path = rules.parse("unix:/x", Place("t"), "t.toml:3", Terms(error=errno.EACCES))
    assert judge(engine(deny=[path]), attempt(Unix(b"/x")), UNKNOWN).error == errno.EACCES
    allowing = rules.parse("192.0.2.1", Place("t"), "t.toml:3", Terms(reason="the mirror"))
    verdict = judge(engine([allowing]), "192.0.2.1:1", UNKNOWN)
    assert verdict.why == "allowed by 192.0.2.1: the mirror"


@pytest.mark.parametrize(
    ("text", "what", "who", "said"),
    [
        pytest.param(
            "192.0.2.1:443", "192.0.2.1:443", {"exe": ("/a", "/b")}, "/a or /b", id="an-address"
        ),
        pytest.param(
            "a.b:443", "192.0.2.9:443", {"argv": ("x",)}, "programs with x", id="a-known-name"
        ),
        pytest.param(
            "192.0.2.1", "192.0.2.1:1", {"parent": ("/b",)}, "programs below /b", id="a-parent"
        ),
        pytest.param(
            "unix:/x",
            attempt(Unix(b"/x")),
            {"exe": ("/a",), "parent": ("/b",)},
            "/a below /b",
            id="a-path",
        ),
        pytest.param("a.b", LOOKUP, {"exe": ("/a",)}, "/a", id="a-look-up"),
    ],
)
def test_a_denial_says_whom_a_rule_would_let_through(text, what, who, said) -> None:
    policy = Policy((engine([rule(text, **who)]),), ((),), (), Refusal.NXDOMAIN, ())
    names = {"a.b": ["192.0.2.9"]}
    world = World(Owner.OUTSIDE, names=names, asked_names=frozenset(names), asker=CURL)
    what = what if isinstance(what, Attempt) else attempt(what)
    verdict = policy.decide(what, world)
    assert verdict.decision is DENY
    assert verdict.why.endswith(f"; t.toml:1 allows it to {said} alone")
    other = policy.decide(attempt("192.0.2.77:1"), world)
    assert "alone" not in other.why


def test_nothing_is_looked_up_to_say_so() -> None:
    policy = Policy((engine([rule("a.b", exe=("/a",))]),), ((),), (), Refusal.NXDOMAIN, ())
    world = World(Owner.REMOTE, names={"a.b": None}, asker=CURL)
    assert "alone" not in policy.decide(attempt("192.0.2.9:443"), world).why
    assert "a.b" not in world.asked
