"""What is done about a verdict."""

from __future__ import annotations

import pytest

from netjail.actions import ACTIONS, choose
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
    assert set(ACTIONS) == set(Decision)
