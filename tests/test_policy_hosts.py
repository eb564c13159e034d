"""Sets of names: rules and lists in, which names they mean out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.errors import Place, RuleError
from netjail.policy import Policy, Rules
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


LISTS = {
    "plain": "# names\na.b\n\n  *.c.d  # and below\n.E.f.\n",
    "hosts": "127.0.0.1 localhost a.b\n::1 ip6-localhost ip6-allnodes\n0.0.0.0 0.0.0.0 c.d e.f\n",
    "mixed": "0.0.0.0 a.b\nc.d\n",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            "plain", Hosts(frozenset({"a.b", "e.f"}), frozenset({"c.d", "e.f"})), id="plain"
        ),
        pytest.param("hosts", Hosts(frozenset({"a.b", "c.d", "e.f"})), id="hosts-file"),
        pytest.param("mixed", Hosts(frozenset({"a.b", "c.d"})), id="mixed"),
    ],
)
def test_lists(tmp_path, text, found):
    path = tmp_path / "names"
    path.write_text(LISTS[text])
    assert hosts(f"@{path}:443") == found


def test_a_list_lies_beside_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "names.txt").write_text("a.b\nc.d\n")
    path = tmp_path / "policy" / "netjail.toml"
    path.write_text('allow = ["@names.txt:443"]\n')
    monkeypatch.chdir(tmp_path)
    assert Policy.load(Rules(files=(str(path),))).engines[0].naming.allow
    with pytest.raises(RuleError, match=r"--allow.*'@names.txt' cannot be read"):
        Policy.load(Rules(allow=("@names.txt",)))


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        pytest.param(b"a.b\n-x.b\n", "'-x.b' is not a host name", ":2:1", id="a-mistake"),
        pytest.param(b"a.b c.d\n", "unexpected 'c.d'", ":1:1", id="two-on-a-line"),
        pytest.param(b"10.0.0.1\n", "a list holds host names", ":1:1", id="a-bare-address"),
        pytest.param(b"\n# nothing\n", "lists no name", "", id="empty"),
        pytest.param(b"\xff\n", "is not UTF-8", "", id="another-encoding"),
        pytest.param(b"a.b\n1.2.3.4.5\n", "is not an IP address", ":2:1", id="a-number"),
    ],
)
def test_mistakes_in_lists(tmp_path, text, message, place):
    path = tmp_path / "names"
    path.write_bytes(text)
    with pytest.raises(RuleError) as caught:
        hosts(f"@{path}")
    assert message in str(caught.value)
    assert f"names{place}:" in str(caught.value) or not place


def test_a_long_list_is_read_and_asked_quickly(tmp_path):
    path = tmp_path / "names"
    path.write_text("".join(f"0.0.0.0 host{number}.example\n" for number in range(50_000)))
    found = hosts(f"@{path}")
    assert len(found.exact) == 50_000
    assert found.matches("host49999.example")


LABEL = st.text("abcxyz019-_", min_size=1, max_size=8)


@given(st.lists(LABEL, min_size=1, max_size=5), st.integers(0, 4))
def test_parents_are_what_is_behind_a_dot(labels, cut):
    name = ".".join(labels)
    assert list(parents(name)) == [".".join(labels[at:]) for at in range(1, len(labels))]
    below = Hosts(below=frozenset({".".join(labels[cut:])} - {""}))
    assert below.matches(name) == (0 < cut < len(labels))
