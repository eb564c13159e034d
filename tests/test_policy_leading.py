"""Rules that lead a call elsewhere: which calls, against which other rules, and names."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest
from world import World, attempt

from netjail.endpoints import Inet, Question
from netjail.errors import Place
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
from netjail.policy import Policy, rules
from netjail.policy.engine import Engine
from netjail.policy.facts import Caller, Known
from netjail.policy.sheets import Refusal
from netjail.policy.terms import Terms, Who
from netjail.stops import Descriptor

ALLOW, DENY = Decision.ALLOW, Decision.DENY
TCP, UDP, ICMP = Protocol.TCP, Protocol.UDP, Protocol.ICMP
MOCK = Inet(ip_address("127.0.0.1"), 8443)
OTHER = Inet(ip_address("127.0.0.1"), 9)
PLACE = Place("t.toml", 1)


def rule(text: str, redirect: Inet | None = MOCK, who: Who | None = None):
    return rules.parse(text, PLACE, "t.toml:1", Terms(redirect=redirect, who=who))


def plain(*texts: str):
    return [rule(text, None) for text in texts]


def engine(allow=(), deny=(), default=DENY):
    return Engine.of(allow, deny, default, errno.ECONNREFUSED)


def policy(*engines: Engine) -> Policy:
    return Policy(engines, ((),), (), Refusal.NXDOMAIN, ())


def decide(what, *engines: Engine, facts: World | None = None):
    what = what if isinstance(what, Attempt) else attempt(what)
    return policy(*engines).decide(what, facts or World())


class Mocked(World):
    """A world where 198.18.0.1 stands in for api.example.org."""

    def known(self, address):
        if str(address) == "198.18.0.1":
            return Known(("api.example.org",), (), "stand-in")
        return super().known(address)


STAND_IN = "198.18.0.1:443"


def look_up(name: str) -> Attempt:
    question = Question(name, "A", Inet(ip_address("127.0.0.53"), 53))
    udp = frozenset({UDP})
    return Attempt(1, 1, "sendto", Operation.RESOLVE, udp, question, Descriptor(0))


@pytest.mark.parametrize(
    ("allow", "deny", "what", "redirect"),
    [
        pytest.param([rule("192.0.2.1:443")], [], "192.0.2.1:443", MOCK, id="led"),
        pytest.param([rule("192.0.2.1:443")], [], "192.0.2.1:80", None, id="not-another-port"),
        pytest.param(
            [*plain("any"), rule("192.0.2.1")], [], "192.0.2.1:1", MOCK, id="before-an-allow"
        ),
        pytest.param(
            [rule("192.0.2.1")], plain("192.0.2.0/24"), "192.0.2.1:1", None, id="not-before-a-deny"
        ),
        pytest.param(
            [rule("192.0.2.1")], [], "[::ffff:192.0.2.1]:1", MOCK, id="mapped-is-the-same"
        ),
        pytest.param(
            [rule("10.0.0.0/8")], [], "[64:ff9b::10.1.1.1]:1", MOCK, id="any-form-will-do"
        ),
        pytest.param([rule("tcp://any")], [], attempt("192.0.2.1:1", UDP), None, id="one-protocol"),
        pytest.param([rule("any")], [], attempt("192.0.2.1:0", ICMP), None, id="no-ping"),
        pytest.param([rule("any")], [], "127.0.0.1:80", MOCK, id="loopback-too"),
        pytest.param([rule("any")], [], "127.0.0.53:53", None, id="no-look-ups"),
        pytest.param(
            [rule("127.0.0.53:53")], [], "127.0.0.53:53", MOCK, id="unless-they-are-named"
        ),
        pytest.param(
            [rule("192.0.2.1"), rule("192.0.2.1", OTHER)], [], "192.0.2.1:1", MOCK, id="the-first"
        ),
    ],
)
def test_a_rule_leads_elsewhere(allow, deny, what, redirect) -> None:
    verdict = decide(what, engine(allow, deny))
    assert verdict.redirect == redirect
    if redirect:
        assert verdict.decision is ALLOW
        assert not verdict.cacheable
        assert "127.0.0.1:8443" in verdict.why


def test_only_for_whom_it_means() -> None:
    led = engine([rule("192.0.2.1", who=Who(exe=("/a",))), *plain("192.0.2.1")])
    assert decide("192.0.2.1:1", led, facts=World(asker=Caller("/a"))).redirect == MOCK
    verdict = decide("192.0.2.1:1", led, facts=World(asker=Caller("/b")))
    assert (verdict.decision, verdict.redirect) == (ALLOW, None)


def test_a_socket_that_could_be_either_is_not_torn_apart() -> None:
    both = attempt("192.0.2.1:443", TCP, UDP)
    assert decide(both, engine([rule("192.0.2.1")])).redirect == MOCK
    torn = decide(both, engine([rule("tcp://192.0.2.1"), *plain("192.0.2.1")]))
    assert (torn.decision, torn.reason) == (DENY, Reason.AMBIGUOUS)
    half = decide(both, engine([rule("tcp://192.0.2.1")]))
    assert (half.decision, half.reason) == (DENY, Reason.AMBIGUOUS)
    # Nobody listens at the address over UDP; what the rule names may.
    loopback = attempt("127.0.0.1:443", TCP, UDP)
    half = decide(loopback, engine([rule("tcp://127.0.0.1")]), facts=World(Owner.NOBODY))
    assert half.decision is DENY


@pytest.mark.parametrize(
    ("system", "decision", "redirect"),
    [
        pytest.param(engine(plain("any")), ALLOW, MOCK, id="both-are-allowed"),
        pytest.param(engine(plain("192.0.2.1")), DENY, None, id="not-where-it-is-led"),
        pytest.param(engine(plain("127.0.0.1:8443")), DENY, None, id="not-where-it-wanted"),
        pytest.param(engine([], plain("loopback"), ALLOW), DENY, None, id="that-is-denied"),
        pytest.param(engine([rule("192.0.2.1")]), ALLOW, MOCK, id="both-lead-there"),
        pytest.param(engine([rule("192.0.2.1", OTHER)]), DENY, None, id="they-disagree"),
        pytest.param(
            engine([*plain("192.0.2.1"), rule("127.0.0.1", OTHER)]), DENY, None, id="or-lead-on"
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_another_policy_allows_where_it_goes_as_well(system, decision, redirect, first) -> None:
    ours = engine([rule("192.0.2.1")])
    engines = (ours, system) if first else (system, ours)
    verdict = decide("192.0.2.1:1", *engines, facts=World(Owner.OUTSIDE))
    assert (verdict.decision, verdict.redirect) == (decision, redirect)


@pytest.mark.parametrize(
    ("allow", "deny", "default", "decision", "redirect"),
    [
        pytest.param([rule("api.example.org:443")], [], DENY, ALLOW, MOCK, id="its-name"),
        pytest.param([rule("*.example.org")], [], DENY, ALLOW, MOCK, id="a-domain"),
        pytest.param([rule("any")], [], DENY, ALLOW, MOCK, id="every-host"),
        pytest.param([rule("api.example.org:80")], [], DENY, DENY, None, id="another-port"),
        pytest.param([rule("b.example.org")], [], DENY, DENY, None, id="another-name"),
        pytest.param(
            [rule("api.example.org")], plain("*.example.org"), DENY, DENY, None, id="a-denial"
        ),
        pytest.param(
            [rule("api.example.org")], plain("198.18.0.0/15"), DENY, ALLOW, MOCK, id="of-its-name"
        ),
        pytest.param([rule("198.18.0.0/15")], [], DENY, DENY, None, id="it-has-no-address"),
        pytest.param(plain("198.18.0.0/15"), [], DENY, DENY, None, id="none-to-allow"),
        pytest.param(plain("api.example.org"), [], DENY, DENY, None, id="none-to-reach"),
        pytest.param([], [], ALLOW, DENY, None, id="not-by-default"),
    ],
)
def test_what_stands_in_for_a_name_is_that_name(allow, deny, default, decision, redirect) -> None:
    verdict = decide(STAND_IN, engine(allow, deny, default), facts=Mocked())
    assert (verdict.decision, verdict.redirect) == (decision, redirect)
    assert verdict.name == "api.example.org"


def test_an_address_of_the_range_that_stands_for_nothing_is_itself() -> None:
    verdict = decide("198.18.0.2:443", engine(plain("198.18.0.0/15")), facts=Mocked())
    assert (verdict.decision, verdict.reason) == (ALLOW, Reason.RULE)


@pytest.mark.parametrize(
    ("allow", "deny", "default", "decision", "led"),
    [
        pytest.param([rule("api.example.org")], [], DENY, ALLOW, True, id="led"),
        pytest.param(
            [rule("api.example.org"), *plain("api.example.org:80")],
            [],
            DENY,
            ALLOW,
            False,
            id="real",
        ),
        pytest.param([rule("api.example.org")], [], ALLOW, ALLOW, False, id="real-by-default"),
        pytest.param(
            [rule("api.example.org")], plain("api.example.org"), DENY, DENY, False, id="denied"
        ),
        pytest.param([rule("b.example.org")], [], DENY, DENY, False, id="another"),
        pytest.param([rule("192.0.2.1")], [], DENY, DENY, False, id="an-address-names-nobody"),
    ],
)
def test_a_name_is_looked_up_for_real_or_not(allow, deny, default, decision, led) -> None:
    verdict = decide(look_up("api.example.org"), engine(allow, deny, default))
    assert (verdict.decision, verdict.redirect is not None) == (decision, led)


def test_a_name_that_resolves_is_led_by_what_was_asked_for() -> None:
    """No look-up is made for the rule: its name need not exist."""
    world = World(names={"api.example.org": ["192.0.2.9"]})
    led = engine([rule("api.example.org")])
    verdict = decide("192.0.2.9:443", led, facts=world)
    assert verdict.decision is DENY
    assert "api.example.org" not in world.asked
    world.asked_names = frozenset({"api.example.org"})
    verdict = decide("192.0.2.9:443", led, facts=world)
    assert (verdict.redirect, verdict.name) == (MOCK, "api.example.org")
    world.asked_names, world.stale = frozenset(), ("api.example.org",)
    assert isinstance(decide("192.0.2.9:443", led, facts=world), Pending)


def test_what_may_yet_be_led_elsewhere_is_not_remembered() -> None:
    allowed = decide("192.0.2.9:443", engine([rule("api.example.org"), *plain("any")]))
    assert isinstance(allowed, Verdict)
    assert (allowed.decision, allowed.cacheable) == (ALLOW, False)
    elsewhere = decide("192.0.2.9:80", engine([rule("api.example.org:443"), *plain("any")]))
    assert elsewhere.cacheable
