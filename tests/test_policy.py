"""Verdicts: rows of rules and facts in, decision, reason and fix out."""

from __future__ import annotations

import errno
import shlex
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from world import World, attempt

from netjail.endpoints import Inet, Netlink, Unix, Unknown, Unspecified
from netjail.errors import RuleError
from netjail.model import (
    Attempt,
    Decision,
    Operation,
    Owner,
    Pending,
    Protocol,
    Reason,
    Verdict,
)
from netjail.policy import Policy, Rules
from netjail.policy.words import WORDS
from netjail.stops import Descriptor

ALLOW, DENY = Decision.ALLOW, Decision.DENY
TCP, UDP, ICMP, UNIX = Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.UNIX


def decide(allow, deny, what, facts=None, **rules):
    policy = Policy.load(Rules(allow=tuple(allow), deny=tuple(deny), **rules))
    what = what if isinstance(what, Attempt) else attempt(what)
    return policy.decide(what, facts or World())


@pytest.mark.parametrize(
    ("allow", "deny", "to", "decision", "reason"),
    [
        pytest.param([], [], "192.0.2.1:443", DENY, "default", id="nothing-is-allowed-by-default"),
        pytest.param(["192.0.2.1"], [], "192.0.2.1:443", ALLOW, "rule", id="a-rule-lets-it-pass"),
        pytest.param(["192.0.2.1:80"], [], "192.0.2.1:443", DENY, "default", id="another-port"),
        pytest.param(["udp://any"], [], "192.0.2.1:443", DENY, "default", id="another-protocol"),
        pytest.param(["any"], ["192.0.2.0/24"], "192.0.2.1:1", DENY, "rule", id="deny-beats-allow"),
        pytest.param(
            ["any"],
            ["192.0.2.0/24 !192.0.2.1"],
            "192.0.2.1:1",
            ALLOW,
            "rule",
            id="an-exception-to-a-denial",
        ),
        pytest.param([":443"], [], "[2001:db8::1]:443", ALLOW, "rule", id="any-host-on-a-port"),
        pytest.param(["127.0.0.1"], [], "0.0.0.0:80", ALLOW, "rule", id="zero-is-the-loopback"),
        pytest.param(
            ["192.0.2.1"], [], "[::ffff:192.0.2.1]:1", ALLOW, "rule", id="mapped-is-the-same"
        ),
        pytest.param(
            ["any"], ["10.0.0.0/8"], "[::ffff:10.0.0.1]:1", DENY, "rule", id="mapped-is-denied-too"
        ),
        pytest.param(
            ["any"], ["private"], "[64:ff9b::10.0.0.1]:1", DENY, "rule", id="nat64-hides-nothing"
        ),
        pytest.param(["any"], ["private"], "[2002:a00:1::]:1", DENY, "rule", id="nor-does-6to4"),
        pytest.param(
            ["any"],
            ["192.0.2.45"],
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]:1",
            DENY,
            "rule",
            id="nor-does-teredo",
        ),
        pytest.param(
            ["public"],
            [],
            "[64:ff9b::a9fe:a9fe]:80",
            DENY,
            "default",
            id="public-does-not-open-metadata-behind-nat64",
        ),
        pytest.param(["public"], [], "[64:ff9b::101:101]:80", ALLOW, "rule", id="nat64-to-public"),
        pytest.param(
            ["1.1.1.1"],
            [],
            "[64:ff9b::101:101]:80",
            DENY,
            "default",
            id="an-address-does-not-open-its-translation",
        ),
        pytest.param(
            ["1.1.1.1", "64:ff9b::/96"], [], "[64:ff9b::101:101]:80", ALLOW, "rule", id="both-forms"
        ),
        pytest.param(
            ["public"], [], "[fe80::1%2]:80", DENY, "default", id="a-scope-id-changes-nothing"
        ),
        pytest.param(["link-local"], [], "[fe80::1%2]:80", ALLOW, "rule", id="scoped-matches"),
    ],
)
def test_addresses(allow, deny, to, decision, reason):
    verdict = decide(allow, deny, to)
    assert (verdict.decision, verdict.reason) == (decision, Reason(reason))
    assert verdict.error == (errno.ECONNREFUSED if decision is DENY else 0)
    assert verdict.cacheable
    assert bool(verdict.fix) == (decision is DENY)


@pytest.mark.parametrize(
    ("to", "owner", "protocol", "decision", "reason", "why"),
    [
        pytest.param("127.0.0.1:80", "jail", TCP, ALLOW, "self", "own", id="the-jails-listener"),
        pytest.param("127.0.0.1:80", "jail", UDP, ALLOW, "self", "own", id="the-jails-udp-socket"),
        pytest.param(
            "127.0.0.1:5432",
            "outside",
            TCP,
            DENY,
            "foreign",
            "127.0.0.1:5432 belongs to a program outside this jail",
            id="another-programs-listener",
        ),
        pytest.param(
            "127.0.0.1:80", "nobody", TCP, DENY, "no-listener", "nobody listens", id="nobody-there"
        ),
        pytest.param(
            "127.0.0.1:80", "nobody", UDP, DENY, "no-listener", "nobody listens", id="nobody-bound"
        ),
        pytest.param(
            "127.0.0.1:80", "unknown", TCP, DENY, "foreign", "not known", id="it-cannot-be-told"
        ),
        pytest.param(
            "192.0.2.1:80", "unknown", TCP, DENY, "default", "no rule", id="in-another-namespace"
        ),
        pytest.param(
            "127.0.0.1:0", "nobody", ICMP, DENY, "default", "icmp to 127.0.0.1", id="icmp-to-here"
        ),
    ],
)
def test_local_listeners(to, owner, protocol, decision, reason, why):
    facts = World(Owner(owner))
    verdict = decide([], [], attempt(to, protocol), facts)
    assert (verdict.decision, verdict.reason) == (decision, Reason(reason))
    assert why in verdict.why
    assert not verdict.cacheable
    assert facts.asked == ["owner"]


def test_a_listener_is_not_asked_about_when_a_rule_decides():
    facts = World(Owner.OUTSIDE)
    assert decide(["loopback"], [], "127.0.0.1:80", facts).cacheable
    assert decide([], ["loopback"], "127.0.0.1:80", facts).cacheable
    assert decide([], [], "127.0.0.1:80", facts, default=ALLOW).cacheable
    assert facts.asked == []


def test_a_denial_covers_the_jails_own_listeners():
    for deny in ("self", "loopback", "tcp://self:80"):
        verdict = decide(["any"], [deny], "127.0.0.1:80", World(Owner.JAIL))
        assert (verdict.decision, verdict.rule) == (DENY, deny)
    assert decide(["any"], ["self"], "127.0.0.1:80", World(Owner.OUTSIDE)).decision is ALLOW
    assert not decide(["any"], ["self"], "127.0.0.1:80", World(Owner.OUTSIDE)).cacheable
    assert decide(["any"], ["self"], Unix(b"/x"), World(Owner.JAIL)).rule == "self"
    assert decide(["any"], ["tcp://self"], Unix(b"/x"), World(Owner.JAIL)).reason is Reason.SELF


@pytest.mark.parametrize(
    ("allow", "deny", "names", "expected"),
    [
        pytest.param(["a.b"], [], {"a.b": None}, Pending(frozenset({"a.b"})), id="wait-for-it"),
        pytest.param(["a.b"], [], {"a.b": ["192.0.2.1"]}, "allow rule a.b", id="the-name-has-it"),
        pytest.param(["a.b"], [], {"a.b": ["192.0.2.9"]}, "deny default ", id="it-has-another"),
        pytest.param(["a.b"], [], {}, "deny default ", id="it-does-not-resolve"),
        pytest.param(["a.b:80"], [], {"a.b": None}, "deny default ", id="other-ports-do-not-wait"),
        pytest.param(
            ["a.b", "c.d"],
            [],
            {"a.b": None, "c.d": ["192.0.2.1"]},
            "allow rule c.d",
            id="one-that-is-known-is-enough",
        ),
        pytest.param(
            ["a.b", "192.0.2.1"], [], {"a.b": None}, "allow rule 192.0.2.1", id="no-need-to-wait"
        ),
        pytest.param(
            ["any"], ["a.b"], {"a.b": None}, Pending(frozenset({"a.b"})), id="a-denial-waits-too"
        ),
        pytest.param(["any"], ["a.b"], {"a.b": ["192.0.2.1"]}, "deny rule a.b", id="denied-name"),
        pytest.param(
            ["any"],
            ["a.b", "192.0.2.1"],
            {"a.b": None},
            "deny rule 192.0.2.1",
            id="a-literal-denial-does-not-wait",
        ),
        pytest.param(
            ["any !a.b"], [], {"a.b": ["192.0.2.1"]}, "deny default ", id="a-name-as-exception"
        ),
        pytest.param(
            ["any !a.b"], [], {"a.b": None}, Pending(frozenset({"a.b"})), id="it-is-waited-for"
        ),
        pytest.param(
            ["any"], ["any !a.b"], {"a.b": ["192.0.2.1"]}, "allow rule any", id="all-but-a-name"
        ),
    ],
)
def test_names(allow, deny, names, expected):
    verdict = decide(allow, deny, "192.0.2.1:443", World(names=names))
    if isinstance(expected, Pending):
        assert verdict == expected
        return
    shown = f"{verdict.decision.value} {verdict.reason.value} {verdict.rule}"
    assert shown == expected
    assert verdict.name == (verdict.rule if verdict.rule in names else "")
    if verdict.name:
        assert not verdict.cacheable


def test_a_default_denial_is_not_cacheable_while_a_name_could_change_it():
    names = {"a.b": ["192.0.2.9"]}
    assert not decide(["a.b"], [], "192.0.2.1:443", World(names=names)).cacheable
    assert decide(["a.b:80"], [], "192.0.2.1:443", World(names=names)).cacheable
    assert not decide(["any"], ["a.b"], "192.0.2.1:443", World(names=names)).cacheable


@pytest.mark.parametrize(
    ("allow", "trusted", "gives", "to", "expected"),
    [
        pytest.param(["a.b"], (), "10.0.0.5", "10.0.0.5:80", "rebinding", id="a-private-address"),
        pytest.param(["a.b"], (), "127.0.0.1", "127.0.0.1:80", "rebinding", id="the-loopback"),
        pytest.param(["a.b"], (), "0.0.0.0", "127.0.0.1:80", "rebinding", id="zero"),
        pytest.param(["a.b"], (), "169.254.169.254", "169.254.169.254:80", "rebinding", id="cloud"),
        pytest.param(
            ["a.b"], (), "::ffff:10.0.0.5", "10.0.0.5:80", "rebinding", id="a-mapped-private-one"
        ),
        pytest.param(
            ["a.b"],
            (),
            "64:ff9b::10.0.0.5",
            "[64:ff9b::a00:5]:80",
            "rebinding",
            id="a-private-one-behind-nat64",
        ),
        pytest.param(["a.b"], ("a.b",), "10.0.0.5", "10.0.0.5:80", "rule", id="a-local-name-may"),
        pytest.param(
            ["a.b", "10.0.0.5"], (), "10.0.0.5", "10.0.0.5:80", "rule", id="another-rule-allows-it"
        ),
        pytest.param(
            ["a.b"], (), "64:ff9b::101:101", "[64:ff9b::101:101]:80", "rule", id="dns64-of-public"
        ),
    ],
)
def test_rebinding(allow, trusted, gives, to, expected):
    facts = World(names={"a.b": [gives]}, local_names=frozenset(trusted))
    verdict = decide(allow, [], to, facts)
    assert verdict.reason is Reason(expected)
    if expected == "rebinding":
        assert verdict.name == "a.b"
        assert verdict.why.startswith("a.b resolves to ")
        fixed = decide([*allow, *_added(verdict.fix)], [], to, facts)
        assert fixed.decision is ALLOW


def _added(fix):
    words = shlex.split(fix)
    assert words[::2] == ["--allow"] * (len(words) // 2)
    return words[1::2]


class Shared(World):
    """A port of this machine that means somebody else over each protocol."""

    owners: dict[Protocol, Owner]

    def owner(self, attempt, protocol):
        return self.owners[protocol]


@pytest.mark.parametrize(
    ("owners", "why", "fix"),
    [
        pytest.param(
            {TCP: Owner.NOBODY, UDP: Owner.OUTSIDE},
            "127.0.0.1:80 belongs to a program outside this jail",
            ["127.0.0.1:80"],
            id="that-somebody-is-there-is-said-first",
        ),
        pytest.param(
            {TCP: Owner.OUTSIDE, UDP: Owner.OUTSIDE},
            "127.0.0.1:80 belongs to a program outside this jail",
            ["127.0.0.1:80"],
            id="one-rule-is-printed-once",
        ),
        pytest.param(
            {TCP: Owner.OUTSIDE, UDP: Owner.NOBODY, ICMP: Owner.NOBODY},
            "127.0.0.1:80 belongs to a program outside this jail",
            ["127.0.0.1:80", "icmp://127.0.0.1"],
            id="each-protocol-has-its-rule",
        ),
        pytest.param(
            {TCP: Owner.JAIL, UDP: Owner.NOBODY, ICMP: Owner.NOBODY},
            "allowed for tcp, not for icmp, and the socket could be either",
            ["icmp://127.0.0.1"],
            id="but-for-what-is-allowed",
        ),
    ],
)
def test_the_fix_lets_the_call_through_whatever_its_socket_is(owners, why, fix):
    facts = Shared()
    facts.owners = owners
    what = attempt("127.0.0.1:80", *owners)
    verdict = decide([], [], what, facts)
    assert (verdict.decision, verdict.why) == (DENY, why)
    assert _added(verdict.fix) == fix
    assert decide(fix, [], what, facts).decision is ALLOW


def test_a_denying_rule_is_said_before_what_no_rule_allows():
    verdict = decide([], ["icmp://127.0.0.1"], attempt("127.0.0.1:80", TCP, ICMP), World())
    assert (verdict.reason, verdict.rule) == (Reason.RULE, "icmp://127.0.0.1")
    assert verdict.fix == "remove --deny icmp://127.0.0.1"


def test_what_a_socket_is_most_often_names_the_rule():
    rules = ["icmp://192.0.2.1", "192.0.2.1:80"]
    verdict = decide(rules, [], attempt("192.0.2.1:80", TCP, UDP, ICMP))
    assert (verdict.decision, verdict.rule) == (ALLOW, "192.0.2.1:80")


RESOLVER = "127.0.0.53:53"


@pytest.mark.parametrize(
    ("allow", "deny", "to", "protocols", "reason"),
    [
        pytest.param([], [], RESOLVER, {UDP}, "stub", id="whatever-the-rules-are"),
        pytest.param(["a.b:443"], [], RESOLVER, {UDP}, "stub", id="a-host-is-to-be-looked-up"),
        pytest.param(["resolver"], [], RESOLVER, {TCP}, "stub", id="the-resolver-by-its-word"),
        pytest.param(["any"], [], RESOLVER, {TCP, UDP}, "stub", id="among-all-others"),
        pytest.param([":53"], [], RESOLVER, {UDP}, "stub", id="every-server"),
        pytest.param(["127.0.0.53"], [], RESOLVER, {UDP}, "stub", id="an-address-and-no-port"),
        pytest.param(["127.0.0.0/8:53"], [], RESOLVER, {UDP}, "stub", id="a-network"),
        pytest.param(["127.0.0.53:53"], [], RESOLVER, {UDP}, "rule", id="itself-is-talked-to"),
        pytest.param(["udp://127.0.0.53:53"], [], RESOLVER, {UDP}, "rule", id="over-one-protocol"),
        pytest.param(["udp://127.0.0.53:53"], [], RESOLVER, {TCP}, "stub", id="not-over-the-other"),
        pytest.param(
            ["udp://127.0.0.53:53"], [], RESOLVER, {TCP, UDP}, "stub", id="if-it-could-be-either"
        ),
        pytest.param([], [], RESOLVER, {TCP, UDP, ICMP}, "stub", id="the-stub-answers-no-ping"),
        pytest.param([], [], RESOLVER, {ICMP}, "foreign", id="a-ping-is-a-ping"),
        pytest.param([], [], "[::ffff:127.0.0.53]:53", {UDP}, "stub", id="a-mapped-address"),
        pytest.param([], [], "127.0.0.53:54", {UDP}, "foreign", id="another-port"),
        pytest.param([], [], "192.0.2.1:53", {UDP}, "foreign", id="another-server"),
        pytest.param(["any"], ["resolver"], RESOLVER, {UDP}, "rule", id="unless-it-is-denied"),
        pytest.param(["any"], ["loopback"], RESOLVER, {UDP}, "rule", id="by-any-rule"),
    ],
)
def test_who_talks_to_a_name_server(allow, deny, to, protocols, reason):
    verdict = decide(allow, deny, attempt(to, *protocols), World(Owner.OUTSIDE))
    assert verdict.reason is Reason(reason)
    if reason == "stub":
        assert verdict.decision is ALLOW
        assert not verdict.cacheable, "each call has to be led there"


def test_a_name_server_of_the_jails_own_is_its_own():
    assert decide([], [], attempt(RESOLVER, UDP), World(Owner.JAIL)).reason is Reason.SELF


def test_both_policies_lead_to_the_stub(monkeypatch, tmp_path):
    path = tmp_path / "system.toml"
    path.write_text('default = "allow"')
    monkeypatch.setattr("netjail.policy.files.SYSTEM", str(path))
    verdict = decide(["127.0.0.53:53"], [], attempt(RESOLVER, UDP), World(Owner.OUTSIDE))
    assert verdict.reason is Reason.STUB, "the system's does not name the server"


WILD = World(
    names={"x.a.b": ["192.0.2.1"], "a.b": ["192.0.2.2"], "inside.a.b": ["10.0.0.1"]},
    asked_names=frozenset({"x.a.b", "a.b", "inside.a.b"}),
)


@pytest.mark.parametrize(
    ("allow", "deny", "to", "reason", "name"),
    [
        pytest.param(["*.a.b"], [], "192.0.2.1:443", "rule", "x.a.b", id="a-sub-domain"),
        pytest.param(["*.a.b"], [], "192.0.2.2:443", "default", "a.b", id="not-the-apex"),
        pytest.param([".a.b"], [], "192.0.2.2:443", "rule", "a.b", id="the-apex-too"),
        pytest.param(["*.a.b:80"], [], "192.0.2.1:443", "default", "x.a.b", id="another-port"),
        pytest.param(["*.a.b"], [], "192.0.2.9:443", "default", "", id="a-bare-address"),
        pytest.param(["*.a.b"], [], "10.0.0.1:443", "rebinding", "inside.a.b", id="rebinding"),
        pytest.param(["*.a.b", "private"], [], "10.0.0.1:443", "rule", "", id="allowed-otherwise"),
        pytest.param(["any"], ["*.a.b"], "192.0.2.1:443", "rule", "x.a.b", id="a-denial"),
        pytest.param(
            ["*.a.b !x.a.b"], [], "192.0.2.1:443", "default", "x.a.b", id="an-excepted-name"
        ),
    ],
)
def test_names_that_the_jail_asked_for(allow, deny, to, reason, name):
    verdict = decide(allow, deny, to, WILD)
    assert (verdict.reason, verdict.name) == (Reason(reason), name)
    if reason == "default" and name:
        assert (verdict.fix, verdict.why) == (
            f"--allow {name}:443",
            f"no rule allows tcp to {name}",
        )


def test_a_stale_name_is_looked_up_again_first():
    facts = World(stale=("x.a.b", "other"))
    assert decide(["*.a.b"], [], "192.0.2.1:443", facts).names == {"x.a.b"}
    assert decide([".c.d"], [], "192.0.2.1:443", facts).reason is Reason.DEFAULT


@pytest.mark.parametrize(
    ("allow", "deny", "protocols", "reason", "fix"),
    [
        pytest.param(["192.0.2.1"], [], {TCP, UDP}, "rule", None, id="allowed-for-each"),
        pytest.param(
            ["tcp://192.0.2.1"],
            [],
            {TCP, UDP},
            "ambiguous",
            "--allow 192.0.2.1:443",
            id="allowed-for-one",
        ),
        pytest.param(
            ["192.0.2.1"],
            [],
            {TCP, UDP, ICMP},
            "ambiguous",
            "--allow icmp://192.0.2.1",
            id="icmp-is-another-rule",
        ),
        pytest.param([], [], {TCP, UDP}, "default", "--allow 192.0.2.1:443", id="for-none"),
        pytest.param(
            ["any"],
            ["udp://192.0.2.1"],
            {TCP, UDP},
            "ambiguous",
            "remove --deny udp://192.0.2.1",
            id="denied-for-one",
        ),
        pytest.param(["any"], [], {TCP, UNIX}, "rule", None, id="what-the-kernel-refuses-is-free"),
        pytest.param(["any"], [], {TCP, Protocol.OTHER}, "ambiguous", None, id="other-never"),
        pytest.param(["any"], [], {Protocol.RAW}, "structure", None, id="raw-never"),
        pytest.param(["any"], [], {UNIX}, "malformed", None, id="a-unix-socket-has-no-ip"),
        pytest.param(["any"], [], set(), "malformed", None, id="no-protocol-at-all"),
    ],
)
def test_what_the_descriptor_could_be(allow, deny, protocols, reason, fix):
    what = structs.replace(attempt("192.0.2.1:443"), protocols=frozenset(protocols))
    verdict = decide(allow, deny, what)
    assert verdict.reason is Reason(reason)
    assert (verdict.decision is ALLOW) == (reason == "rule")
    assert fix is None or verdict.fix == fix


@pytest.mark.parametrize(
    ("endpoint", "operation", "protocol", "reason", "error"),
    [
        pytest.param(Unspecified(), "connect", TCP, "default", 0, id="a-disconnect"),
        pytest.param(
            Unspecified(), "send", UDP, "structure", errno.EAFNOSUPPORT, id="a-send-to-nobody"
        ),
        pytest.param(
            Netlink(0, 0), "connect", Protocol.NETLINK, "default", 0, id="netlink-to-the-kernel"
        ),
        pytest.param(
            Netlink(7, 0),
            "send",
            Protocol.NETLINK,
            "structure",
            errno.ECONNREFUSED,
            id="netlink-to-a-program",
        ),
        pytest.param(
            Netlink(0, 1),
            "send",
            Protocol.NETLINK,
            "structure",
            errno.ECONNREFUSED,
            id="netlink-to-a-group",
        ),
        pytest.param(
            Netlink(0, 0), "send", TCP, "structure", errno.EAFNOSUPPORT, id="netlink-on-tcp"
        ),
        pytest.param(
            Unknown(40, 16), "connect", TCP, "structure", errno.EAFNOSUPPORT, id="unknown-family"
        ),
        pytest.param(
            Unknown(40, 0), "socket", TCP, "structure", errno.EAFNOSUPPORT, id="its-socket"
        ),
        pytest.param(Unknown(0, 0), "forbidden", TCP, "structure", errno.EPERM, id="a-shut-door"),
        pytest.param(Unix(b""), "connect", UNIX, "malformed", errno.EINVAL, id="unnamed"),
    ],
)
@pytest.mark.parametrize("default", [ALLOW, DENY])
def test_what_no_rule_is_asked_about(endpoint, operation, protocol, reason, error, default):
    what = attempt(endpoint, protocol, operation=Operation(operation))
    verdict = decide(["any", "unix:*"], [], what, default=default)
    assert (verdict.reason, verdict.error) == (Reason(reason), error)
    assert (verdict.decision is ALLOW) == (error == 0)
    assert verdict.cacheable
    assert verdict.fix == ""


@pytest.mark.parametrize(
    ("endpoint", "facts", "allow", "deny", "expected", "error"),
    [
        pytest.param(Unix(b"/x"), World(Owner.JAIL), [], [], "self", 0, id="bound-in-the-jail"),
        pytest.param(Unix(b"x", True), World(Owner.JAIL), [], [], "self", 0, id="abstract-in-it"),
        pytest.param(
            Unix(b"/run/docker.sock"),
            World(Owner.OUTSIDE),
            ["any"],
            [],
            "foreign",
            errno.ECONNREFUSED,
            id="any-is-never-unix",
        ),
        pytest.param(
            Unix(b"/x"),
            World(Owner.NOBODY, error=2),
            [],
            [],
            "no-listener",
            errno.ENOENT,
            id="none",
        ),
        pytest.param(
            Unix(b"/x"),
            World(Owner.NOBODY, error=errno.EACCES),
            ["unix:/x"],
            [],
            "no-listener",
            errno.EACCES,
            id="a-folder-that-may-not-be-searched",
        ),
        pytest.param(
            Unix(b"/x"),
            World(Owner.NOBODY),
            [],
            [],
            "no-listener",
            errno.ECONNREFUSED,
            id="a-path-that-nobody-listens-on",
        ),
        pytest.param(
            Unix(b"x", True),
            World(Owner.NOBODY, error=2),
            [],
            [],
            "no-listener",
            errno.ECONNREFUSED,
            id="an-abstract-name-of-nobody",
        ),
        pytest.param(
            Unix(b"/run/nscd/socket"),
            World(Owner.OUTSIDE),
            [],
            [],
            "name-service",
            errno.ECONNREFUSED,
            id="nscd",
        ),
        pytest.param(
            Unix(b"/dev/log"),
            World(Owner.OUTSIDE, true_path=b"/run/systemd/journal/dev-log"),
            [],
            [],
            "name-service",
            errno.ECONNREFUSED,
            id="the-log",
        ),
        pytest.param(
            Unix(b"/run/nscd/socket"),
            World(Owner.OUTSIDE),
            ["unix:/run/nscd/*"],
            [],
            "rule",
            0,
            id="nscd-by-a-rule",
        ),
        pytest.param(
            Unix(b"/tmp/link"),
            World(Owner.OUTSIDE, true_path=b"/run/docker.sock"),
            ["unix:/tmp/*"],
            [],
            "foreign",
            errno.ECONNREFUSED,
            id="a-link-does-not-borrow-a-rule",
        ),
        pytest.param(
            Unix(b"/tmp/../run/docker.sock"),
            World(Owner.OUTSIDE, true_path=b"/run/docker.sock"),
            ["unix:/tmp/*"],
            [],
            "foreign",
            errno.ECONNREFUSED,
            id="dots-do-not-borrow-a-rule",
        ),
        pytest.param(
            Unix(b"/tmp/link"),
            World(Owner.OUTSIDE, true_path=b"/run/docker.sock"),
            ["unix:*"],
            ["unix:/run/*"],
            "rule",
            errno.ECONNREFUSED,
            id="a-denial-sees-through-a-link",
        ),
        pytest.param(
            Unix(b"x", True), World(Owner.OUTSIDE), ["unix:@x"], [], "rule", 0, id="abstract-rule"
        ),
        pytest.param(
            Unix(b"x", True),
            World(Owner.OUTSIDE),
            ["unix:*"],
            [],
            "foreign",
            errno.ECONNREFUSED,
            id="paths-are-not-abstract-names",
        ),
        pytest.param(
            Unix(b"/x"), World(Owner.JAIL), [], ["unix:/x"], "rule", 111, id="deny-beats-self"
        ),
    ],
)
def test_unix(endpoint, facts, allow, deny, expected, error):
    verdict = decide(allow, deny, endpoint, replace(facts, asked=[]))
    assert (verdict.reason, verdict.error) == (Reason(expected), error)
    assert (verdict.decision is ALLOW) == (error == 0)
    assert not verdict.cacheable


@pytest.mark.parametrize(
    ("to", "protocol", "fix"),
    [
        pytest.param("192.0.2.1:443", TCP, "--allow 192.0.2.1:443", id="ipv4"),
        pytest.param("192.0.2.1:443", UDP, "--allow 192.0.2.1:443", id="udp-is-the-same"),
        pytest.param("192.0.2.1:0", UDP, "--allow 192.0.2.1", id="port-zero-has-no-rule"),
        pytest.param("[2001:db8::1]:443", TCP, "--allow '[2001:db8::1]:443'", id="ipv6-is-quoted"),
        pytest.param("192.0.2.1:0", ICMP, "--allow icmp://192.0.2.1", id="icmp"),
        pytest.param("[2001:db8::1]:0", ICMP, "--allow 'icmp://[2001:db8::1]'", id="icmp6"),
        pytest.param(
            "[2002:a00:1::]:80",
            TCP,
            "--allow '[2002:a00:1::]:80' --allow 10.0.0.1:80",
            id="both-forms",
        ),
        pytest.param(Unix(b"/run/docker.sock"), UNIX, "--allow unix:/run/docker.sock", id="a-path"),
        pytest.param(Unix(b"/a b/c"), UNIX, "--allow 'unix:/a b/c'", id="a-path-with-a-blank"),
        pytest.param(Unix(b"/a*[b"), UNIX, "--allow 'unix:/a[*][[]b'", id="a-path-like-a-glob"),
        pytest.param(
            Unix(b"/\xff\n"),
            UNIX,
            "--allow 'unix:/[!!-~][!!-~]'",
            id="a-path-not-to-be-printed",
        ),
        pytest.param(Unix(b"dbus", True), UNIX, "--allow unix:@dbus", id="an-abstract-name"),
        pytest.param(Unix(b"a'b", True), UNIX, "--allow 'unix:@a'\"'\"'b'", id="a-quote"),
    ],
)
def test_what_to_add(to, protocol, fix):
    what = attempt(to, protocol)
    facts = World(Owner.OUTSIDE)
    assert decide([], [], what, facts).fix == fix
    assert decide(_added(fix), [], what, facts).decision is ALLOW


@pytest.mark.parametrize(
    ("deny", "to", "fix"),
    [
        pytest.param("private", "10.1.2.3:1", "--deny 'private !10.1.2.3'", id="an-exception"),
        pytest.param("private !10.9.9.9", "10.1.2.3:1", None, id="one-more-exception"),
        pytest.param(":80", "10.1.2.3:80", "--deny ':80 !10.1.2.3'", id="any-host"),
        pytest.param("fc00::/7", "[fd00::1]:1", "--deny 'fc00::/7 ![fd00::1]'", id="ipv6"),
        pytest.param("10.1.2.3", "10.1.2.3:1", "remove --deny 10.1.2.3", id="the-very-address"),
        pytest.param("unix:/run/*", Unix(b"/run/x"), "--deny 'unix:/run/* !/run/x'", id="unix"),
        pytest.param("unix:/run/x", Unix(b"/run/x"), "remove --deny unix:/run/x", id="unix-itself"),
    ],
)
def test_what_to_change_in_a_denial(deny, to, fix):
    verdict = decide(["any", "unix:*"], [deny], to)
    assert (verdict.decision, verdict.rule, verdict.layer) == (DENY, deny, "--deny")
    assert verdict.why == f"denied by {deny} (--deny)"
    assert fix is None or verdict.fix == fix
    if verdict.fix.startswith("--deny"):
        changed = shlex.split(verdict.fix)[1]
        assert decide(["any", "unix:*"], [changed], to).decision is ALLOW


def test_the_default_can_be_allow():
    verdict = decide([], ["private"], "192.0.2.1:1", default=ALLOW)
    assert (verdict.decision, verdict.reason) == (ALLOW, Reason.DEFAULT)
    assert decide([], ["private"], "10.0.0.1:1", default=ALLOW).decision is DENY
    assert decide([], [], Unix(b"/x"), World(Owner.OUTSIDE), default=ALLOW).decision is ALLOW


def test_the_errno_of_a_denial():
    assert decide([], [], "192.0.2.1:1", errno="EPERM").error == errno.EPERM
    facts = World(Owner.NOBODY)
    assert decide([], [], "127.0.0.1:1", facts, errno="EPERM").error == errno.ECONNREFUSED


def test_audit_without_a_policy_says_allow():
    assert decide([], [], "192.0.2.1:1", audit=True).decision is ALLOW
    assert decide(["10.0.0.1"], [], "192.0.2.1:1", audit=True).decision is DENY


def test_only_denials_are_warned_about():
    (warning,) = Policy.load(Rules(deny=("private",))).warnings
    assert "--default allow" in warning
    assert Policy.load(Rules(deny=("private",), default=DENY)).warnings == ()
    assert Policy.load(Rules(deny=("private",), allow=("any",))).warnings == ()


@pytest.mark.parametrize(
    ("bind", "listener", "opened"),
    [
        pytest.param([], "0.0.0.0:8080", False, id="closed-by-default"),
        pytest.param([":8080"], "0.0.0.0:8080", True, id="a-port"),
        pytest.param([":8080"], "[::]:8080", True, id="a-port-of-either-family"),
        pytest.param([":8080"], "0.0.0.0:8081", False, id="another-port"),
        pytest.param(["127.0.0.1:8080"], "0.0.0.0:8080", False, id="local-does-not-open-all"),
        pytest.param(["0.0.0.0:8080"], "0.0.0.0:8080", True, id="all-by-its-address"),
        pytest.param(["0.0.0.0:8080"], "[::ffff:0.0.0.0]:8080", True, id="all-of-ipv4-mapped"),
        pytest.param(["0.0.0.0:8080"], "[::]:8080", False, id="ipv4-does-not-open-ipv6"),
        pytest.param(["private"], "10.0.0.1:1", True, id="a-word"),
        pytest.param(["private"], "0.0.0.0:1", False, id="a-word-does-not-open-all"),
        pytest.param(["udp://:8080"], "0.0.0.0:8080", False, id="another-protocol"),
        pytest.param(["any"], "[::]:1", True, id="everything"),
    ],
)
def test_listen(bind, listener, opened):
    policy = Policy.load(Rules(bind=tuple(bind)))
    endpoint = attempt(listener).endpoint
    assert policy.listen(endpoint, TCP) is opened
    assert Policy.load(Rules(audit=True)).listen(endpoint, TCP)


# Nothing that a program can say makes an exception, and nothing that is not understood
# is let through.

RULE = st.one_of(
    st.sampled_from([*WORDS, "*", ":443", "a.b", "db", "unix:*", "unix:@*", "icmp://any"]),
    st.ip_addresses(v=4).map(lambda address: f"{address}/32"),
    st.sampled_from(["10.0.0.0/8", "::/0", "0.0.0.0/0", "public !a.b", "tcp://any:1-100"]),
)
RULES = st.lists(RULE, max_size=4)
ADDRESS = st.one_of(
    st.ip_addresses(),
    st.sampled_from(["127.0.0.1", "::1", "::", "10.0.0.1", "64:ff9b::10.0.0.1"]).map(ip_address),
)
ENDPOINT = st.one_of(
    st.builds(Inet, ADDRESS, st.integers(0, 65535)),
    st.builds(Unix, st.binary(max_size=108), st.booleans()),
    st.builds(Netlink, st.integers(0, 3), st.integers(0, 3)),
    st.builds(Unspecified),
    st.builds(Unknown, st.integers(0, 65535), st.integers(2, 128)),
)
FACTS = st.builds(
    World,
    st.sampled_from(Owner),
    st.dictionaries(
        st.sampled_from(["a.b", "db"]), st.none() | st.lists(ADDRESS.map(str), max_size=2)
    ),
)
ATTEMPT = st.builds(
    Attempt,
    st.just(1),
    st.just(1),
    st.just("connect"),
    st.sampled_from(Operation),
    st.frozensets(st.sampled_from(Protocol)),
    ENDPOINT,
    st.just(Descriptor(0)),
)


@given(RULES, RULES, ATTEMPT, FACTS, st.sampled_from(Decision))
def test_any_attempt_gets_a_verdict(allow, deny, what, facts, default):
    verdict = decide(allow, deny, what, facts, default=default)
    if isinstance(verdict, Pending):
        assert verdict.names
        return
    assert isinstance(verdict, Verdict)
    assert (verdict.decision is ALLOW) == (verdict.error == 0)
    assert verdict.why
    if isinstance(what.endpoint, Unknown) or Protocol.OTHER in what.protocols:
        assert verdict.decision is DENY or isinstance(what.endpoint, Unspecified)


@given(RULES, RULES, ADDRESS, st.integers(1, 65535), FACTS)
def test_deny_beats_allow(allow, deny, address, port, facts):
    what = attempt(Inet(address, port))
    alone = decide([], deny, what, facts)
    both = decide(allow, deny, what, facts)
    if isinstance(alone, Verdict) and alone.reason is Reason.RULE:
        assert (both.decision, both.rule) == (DENY, alone.rule)
    assert decide(allow, deny, what, facts) == both


@given(RULES, RULES, ADDRESS, st.integers(1, 65535), FACTS, st.randoms())
def test_order_does_not_matter(allow, deny, address, port, facts, random):
    what = attempt(Inet(address, port))
    one = decide(allow, deny, what, facts)
    random.shuffle(allow)
    random.shuffle(deny)
    other = decide(allow, deny, what, facts)
    assert isinstance(one, Pending) == isinstance(other, Pending)
    if isinstance(one, Verdict):
        assert (one.decision, one.reason) == (other.decision, other.reason)


@given(RULES, ADDRESS, st.integers(1, 65535), FACTS)
def test_what_is_cacheable_does_not_hang_on_facts(rules, address, port, facts):
    what = attempt(Inet(address, port))
    verdict = decide(rules, [], what, facts)
    if isinstance(verdict, Verdict) and verdict.cacheable and verdict.reason is Reason.RULE:
        assert decide(rules, [], what, World(Owner.UNKNOWN)) == verdict


def test_of_very_many_names_those_count_that_were_asked_for():
    rules = [f"host{number}.example:443" for number in range(3000)]
    world = World(names={"host7.example": ["192.0.2.7"]}, asked_names=frozenset({"host7.example"}))
    assert decide(rules, [], "192.0.2.7:443", world).decision is ALLOW
    assert [name for name in world.asked if name != "owner"] == ["host7.example"]
    world.asked_names = frozenset()
    verdict = decide(rules, [], "192.0.2.7:443", world)
    assert (verdict.decision, verdict.cacheable) == (DENY, False), "it may be asked for later"


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        pytest.param([], [f"host{number}.example" for number in range(1025)], id="denials"),
        pytest.param(
            ["any " + " ".join(f"!host{number}.example" for number in range(1025))],
            [],
            id="exceptions",
        ),
    ],
)
def test_more_names_than_can_be_looked_up_are_refused(allow, deny):
    with pytest.raises(RuleError, match="1025 host names would be looked up") as caught:
        decide(allow, deny, "192.0.2.7:443")
    assert "@FILE" in caught.value.hint
    few = [rule.replace(" !host1024.example", "") for rule in allow], deny[:-1]
    assert decide(*few, "192.0.2.7:443").decision in Decision
