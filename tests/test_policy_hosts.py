"""Sets of names: rules in, which names they mean out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.errors import Place
from netjail.policy.hosts import Hosts, parents
from netjail.policy.rules import parse


def hosts(text: str) -> Hosts:
    found = parse(text, Place("--allow"), "--allow").target.hosts
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        pytest.param("a.b", ["a.b"], ["x.a.b", "b", "xa.b", "a.b.c"], id="one-name"),
        pytest.param("*.a.b", ["x.a.b", "y.x.a.b"], ["a.b", "xa.b", "a.b.c"], id="below"),
        pytest.param(".a.b", ["a.b", "x.a.b", "y.x.a.b"], ["xa.b", "b"], id="both"),
        pytest.param("*.B.", ["a.b"], ["b"], id="case-and-the-last-dot"),
        pytest.param("*.münchen.example", ["x.xn--mnchen-3ya.example"], [], id="an-idn"),
        pytest.param("*.xn--mnchen-3ya.example", ["x.xn--mnchen-3ya.example"], [], id="punycode"),
        pytest.param("*.a.b", [r"\000.a.b"], [r"x\046a.b", r"x\.a.b.c"], id="odd-bytes"),
    ],
)
def test_rules(rule, inside, outside):
    found = hosts(rule)
    assert [name for name in inside if not found.matches(name)] == []
    assert [name for name in outside if found.matches(name)] == []


LABEL = st.text("abcxyz019-_", min_size=1, max_size=8)


@given(st.lists(LABEL, min_size=1, max_size=5), st.integers(0, 4))
def test_parents_are_what_is_behind_a_dot(labels, cut):
    name = ".".join(labels)
    assert list(parents(name)) == [".".join(labels[at:]) for at in range(1, len(labels))]
    below = Hosts(below=frozenset({".".join(labels[cut:])} - {""}))
    assert below.matches(name) == (0 < cut < len(labels))
