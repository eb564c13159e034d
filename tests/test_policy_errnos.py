"""Errnos by name."""

from __future__ import annotations

import errno

import pytest

from netjail.errors import Place, RuleError
from netjail.policy.errnos import ERRNOS, error_named


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
