"""Which names may be looked up: rules and a question in, a verdict out."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from netjail.endpoints import Inet, Question
from netjail.model import Attempt, Decision, Operation, Protocol, Reason
from netjail.policy import Policy, Rules
from netjail.policy.naming import reverse
from netjail.stops import Descriptor

SERVER = Inet(ip_address("192.0.2.53"), 53)


def decide(allow, deny, name, kind="A", facts=None, **rules):
    policy = Policy.load(Rules(allow=tuple(allow), deny=tuple(deny), **rules))
    question = Question(name, kind, SERVER)
    udp = frozenset({Protocol.UDP})
    attempt = Attempt(1, 1, "connect", Operation.RESOLVE, udp, question, Descriptor(0))
    return policy.decide(attempt, facts or World())


@pytest.mark.parametrize(
    ("allow", "deny", "name", "rule"),
    [
        pytest.param(["a.b"], [], "a.b", "a.b", id="a-host"),
        pytest.param(["tcp://a.b:443"], [], "a.b", "tcp://a.b:443", id="whatever-its-ports"),
        pytest.param(["a.b"], [], "x.a.b", None, id="not-what-is-below-it"),
        pytest.param(["a.b"], [], "b", None, id="not-what-is-above-it"),
        pytest.param(["*.a.b"], [], "x.a.b", "*.a.b", id="sub-domains"),
        pytest.param(["*.a.b"], [], r"x\046a.b", None, id="a-dot-inside-a-label-is-none"),
        pytest.param(["*.a.b !x.a.b"], [], "x.a.b", None, id="an-exception"),
        pytest.param(["192.0.2.0/24", "private"], [], "a.b", None, id="some-addresses"),
        pytest.param(["public:443"], [], "a.b", "public:443", id="the-addresses-of-any-host"),
        pytest.param(["0.0.0.0/0"], [], "a.b", "0.0.0.0/0", id="of-one-family"),
        pytest.param(["any !192.0.2.1"], [], "a.b", "any !192.0.2.1", id="but-for-some"),
        pytest.param(["* !a.b"], [], "a.b", None, id="but-for-the-name"),
        pytest.param([":443"], [], "a.b", ":443", id="any-host-on-a-port"),
        pytest.param(["resolver"], [], "a.b", "resolver", id="the-resolver-itself"),
        pytest.param(["resolver:5353"], [], "a.b", None, id="the-resolver-on-another-port"),
        pytest.param(["any"], ["a.b"], "a.b", "deny a.b", id="a-denial"),
        pytest.param(["any"], ["*.a.b"], "x.a.b", "deny *.a.b", id="a-denial-of-sub-domains"),
        pytest.param(["any"], ["a.b:25"], "a.b", "any", id="a-denial-of-one-port"),
        pytest.param(["any"], ["udp://a.b"], "a.b", "any", id="a-denial-of-one-protocol"),
        pytest.param(["any"], ["*.a.b !x.a.b"], "x.a.b", "any", id="spared-by-a-denial"),
        pytest.param(["unix:*"], [], "a.b", None, id="a-path-is-no-name"),
        pytest.param([], [], "", None, id="the-root"),
    ],
)
def test_which_names(allow, deny, name, rule):
    verdict = decide(allow, deny, name)
    if rule is None:
        assert (verdict.decision, verdict.reason) == (Decision.DENY, Reason.DEFAULT)
        assert verdict.fix == (f"--allow {name}" if name and "\\" not in name else "")
        return
    expected = Decision.DENY if rule.startswith("deny ") else Decision.ALLOW
    assert (verdict.decision, verdict.rule) == (expected, rule.removeprefix("deny "))
    assert verdict.name == name
    assert not verdict.cacheable


def test_the_fix_of_a_denial_spares_the_name():
    assert decide(["any"], ["*.a.b"], "x.a.b").fix == "--deny '*.a.b !x.a.b'"
    assert decide(["any"], ["a.b"], "a.b").fix == "remove --deny a.b"


@pytest.mark.parametrize("kind", ["A", "TXT"])
def test_defaults(kind):
    assert decide([], [], "a.b", kind, default=Decision.ALLOW).decision is Decision.ALLOW
    assert decide([], ["a.b"], "a.b", kind, default=Decision.ALLOW).decision is Decision.DENY
    assert decide([], [], "a.b", kind, audit=True).decision is Decision.ALLOW


def test_localhost_is_never_anybody_elses():
    for name in ("localhost", "x.localhost"):
        assert decide([], [], name).reason is Reason.SELF
    assert decide([], ["localhost."], "localhost").decision is Decision.DENY


@pytest.mark.parametrize(
    ("allow", "name", "asked"),
    [
        pytest.param(["db"], "db.corp.example", True, id="a-short-name"),
        pytest.param(["a.b"], "a.b.corp.example", True, id="the-variant-of-a-long-one"),
        pytest.param(["*.a.b"], "x.a.b.corp.example", False, id="not-of-what-a-star-means"),
        pytest.param(["db"], "x.db.corp.example", False, id="another-name"),
        pytest.param(["*.corp.example"], "db.corp.example", True, id="the-domain-itself"),
        pytest.param([], "db.corp.example", False, id="without-a-rule"),
    ],
)
def test_search_lists(allow, name, asked):
    verdict = decide(allow, [], name, facts=World(domains=("corp.example", "example")))
    assert (verdict.decision is Decision.ALLOW) == asked


@pytest.mark.parametrize(
    ("name", "address"),
    [
        pytest.param("1.2.0.192.in-addr.arpa", "192.0.2.1", id="ipv4"),
        pytest.param("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::1", id="ipv6"),
        pytest.param("2.0.192.in-addr.arpa", None, id="a-network"),
        pytest.param("x.2.0.192.in-addr.arpa", None, id="no-number"),
        pytest.param("300.2.0.192.in-addr.arpa", None, id="no-byte"),
        pytest.param("10." + "0." * 30 + "0.ip6.arpa", None, id="no-digit"),
        pytest.param("ip6.arpa", None, id="the-zone"),
        pytest.param("arpa", None, id="arpa"),
        pytest.param("", None, id="the-root"),
        pytest.param("a.b", None, id="a-host"),
    ],
)
def test_reverse_names(name, address):
    assert reverse(name) == (ip_address(address) if address else None)


@given(st.ip_addresses())
def test_every_address_has_a_reverse_name(address):
    assert reverse(address.reverse_pointer) == address


@given(st.text("0123456789abcdef.-_ +\\", max_size=80), st.sampled_from(["in-addr", "ip6"]))
def test_other_reverse_names_are_none(text, zone):
    found = reverse(f"{text}.{zone}.arpa")
    assert found is None or found.reverse_pointer == f"{text}.{zone}.arpa"


@pytest.mark.parametrize(
    ("allow", "asked"),
    [
        pytest.param([], False, id="a-secret-in-an-address"),
        pytest.param(["192.0.2.1:80"], True, id="an-allowed-address"),
        pytest.param(["192.0.2.0/24"], True, id="of-an-allowed-network"),
        pytest.param(["192.0.2.2"], False, id="another-address"),
        pytest.param(["a.b"], True, id="of-an-allowed-host"),
        pytest.param(["c.d"], False, id="of-another-host"),
    ],
)
def test_looking_up_backwards(allow, asked):
    facts = World(names={"a.b": ["192.0.2.1"]}, asked_names=frozenset({"a.b"}))
    verdict = decide(allow, [], "1.2.0.192.in-addr.arpa", "PTR", facts)
    assert (verdict.decision is Decision.ALLOW) == asked


@pytest.mark.parametrize("name", ["any", "public", "privat"])
def test_the_fix_for_a_host_called_like_a_word_means_the_host(name):
    from netjail.errors import Place
    from netjail.policy import rules, wording

    fix = wording.to_allow_name(name, 443)
    assert fix == f"--allow {name}.:443"
    target = rules.parse(fix.removeprefix("--allow "), Place("x"), "x").target
    assert (target.hosts.single, bool(target.addresses)) == (name, False)
