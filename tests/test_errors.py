"""What stops netjail: one line each, and where to look."""

from __future__ import annotations

import errno

import pytest

from netjail.errors import KernelError, NetjailError, Place, RuleError, TraceeGone


@pytest.mark.parametrize(
    ("place", "text"),
    [
        pytest.param(Place("--allow"), "--allow", id="an-option"),
        pytest.param(Place("netjail.toml", 3), "netjail.toml:3", id="a-line"),
        pytest.param(Place("netjail.toml", 3, 9), "netjail.toml:3:9", id="a-column"),
    ],
)
def test_place(place, text):
    assert str(place) == text


def test_a_rule_error_opens_with_its_place():
    error = RuleError("no such word: lan", "private is meant", Place("netjail.toml", 3, 9))
    assert str(error) == "netjail.toml:3:9: no such word: lan"
    assert error.hint == "private is meant"
    assert error.place == Place("netjail.toml", 3, 9)


def test_a_rule_error_without_a_place():
    assert str(RuleError("no such word: lan")) == "no such word: lan"


def test_a_kernel_error_names_the_call():
    error = KernelError("seizing 7", errno.EPERM)
    assert str(error) == "seizing 7: Operation not permitted"
    assert (error.operation, error.error) == ("seizing 7", errno.EPERM)


def test_a_tracee_that_is_gone_is_a_kernel_error():
    with pytest.raises(KernelError):
        raise TraceeGone("reading 7", errno.ESRCH)


def test_every_error_is_caught_as_netjails_own():
    assert issubclass(KernelError, NetjailError) and issubclass(RuleError, NetjailError)
