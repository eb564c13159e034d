"""What is done about a verdict, and errnos by name."""

from __future__ import annotations

import errno

import pytest

from netjail.actions import ACTIONS, ERRNOS, choose, error_named
from netjail.errors import Place, RuleError
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


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param("ECONNREFUSED", errno.ECONNREFUSED, id="the-default"),
        pytest.param("eperm", errno.EPERM, id="case-does-not-matter"),
        pytest.param("EWOULDBLOCK", errno.EAGAIN, id="a-second-name-of-a-number"),
    ],
)
def test_error_named(name, number):
    assert error_named(name) == number


@pytest.mark.parametrize("name", ["0", "-1", "111", "", "ECONREFUSED", "connection refused"])
def test_what_is_no_errno(name):
    with pytest.raises(RuleError) as caught:
        error_named(name, Place("netjail.toml", 4, 9))
    assert str(caught.value).startswith("netjail.toml:4:9: ")
    assert "ECONNREFUSED" in caught.value.hint


def test_no_errno_means_success():
    assert all(0 < number < 4096 for number in ERRNOS.values())
