"""The words: what counts as denied."""

from __future__ import annotations

import pytest
from msgspec import structs

from netjail.model import QUIET, Decision, Reason, Verdict


@pytest.mark.parametrize("reason", [pytest.param(each, id=each.value) for each in Reason])
def test_denied_counts_what_the_rules_refuse(reason):
    verdict = Verdict(Decision.DENY, reason)
    assert verdict.denied is (reason not in QUIET)
    assert not structs.replace(verdict, decision=Decision.ALLOW).denied


def test_a_poll_of_a_closed_port_does_not_count():
    assert Reason.NO_LISTENER in QUIET
    assert Reason.FOREIGN not in QUIET


def test_reasons_are_stable_words():
    assert {reason.value for reason in Reason} >= {"rule", "default", "self", "no-listener"}
    assert all(reason.value == reason.value.lower() for reason in Reason)


def test_a_verdict_is_a_value():
    verdict = Verdict(Decision.ALLOW, Reason.SELF)
    assert verdict == Verdict(Decision.ALLOW, Reason.SELF)
    with pytest.raises(AttributeError):
        verdict.rule = "any"
