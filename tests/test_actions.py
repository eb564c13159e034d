"""What is done about a verdict."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netjail.actions import ACTIONS, choose
from netjail.endpoints import Inet
from netjail.model import Decision, Reason, Verdict


@pytest.mark.parametrize(
    ("decision", "reason", "audit", "runs"),
    [
        pytest.param("allow", "rule", False, True, id="an-allow-runs"),
        pytest.param("deny", "rule", False, False, id="a-deny-does-not"),
        pytest.param("deny", "default", True, True, id="audit-lets-a-denied-call-run"),
        pytest.param("deny", "no-listener", True, True, id="audit-asks-the-kernel-who-listens"),
        pytest.param("deny", "structure", True, False, id="audit-leaves-shut-doors-shut"),
        pytest.param("deny", "malformed", True, False, id="audit-runs-nothing-malformed"),
        pytest.param("deny", "internal", True, False, id="audit-runs-nothing-uncopied"),
    ],
)
def test_choose(decision, reason, audit, runs):
    assert choose(Verdict(Decision(decision), Reason(reason)), audit).runs is runs


def test_every_decision_has_an_action():
    assert {decision for decision, _ in ACTIONS} == set(Decision)


def test_audit_leads_nothing_elsewhere():
    verdict = Verdict(Decision.ALLOW, Reason.RULE, redirect=Inet(ip_address("127.0.0.1"), 80))
    action = choose(verdict, audit=False)
    assert (action.runs, action.leads) == (True, True)
    action = choose(verdict, audit=True)
    assert (action.runs, action.leads) == (True, False)
