"""The index of rules: it finds what asking each rule finds."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from netjail.errors import Place
from netjail.policy.hosts import Hosts
from netjail.policy.index import Index, NameIndex
from netjail.policy.rules import AddressRule, parse


def rule(text: str) -> AddressRule:
    found = parse(text, Place("--allow"), "--allow")
    assert isinstance(found, AddressRule)
    return found


# A small world, so that rules and addresses meet.
IPV4 = st.integers(0, 31).map(lambda low: IPv4Address(0xC0000200 | low))
IPV6 = st.integers(0, 31).map(lambda low: IPv6Address(0x20010DB8 << 96 | low))
RULES = st.one_of(
    IPV4.map(str),
    IPV6.map(str),
    st.sampled_from(["192.0.2.0/28", "192.0.2.16/29", "192.0.0.0/8", "2001:db8::/124", "::/0"]),
    st.sampled_from(["any", "*", "public", "private", ":443", "0.0.0.0/0", "192.0.2.0/24:80"]),
    st.sampled_from(["192.0.2.0/28 !192.0.2.1", "any !192.0.2.0/24"]),
)


@given(st.lists(RULES, max_size=20), st.lists(IPV4 | IPV6, min_size=1, max_size=3))
def test_it_finds_what_asking_each_finds(texts, addresses):
    rules = [rule(text) for text in texts]
    naive = [r for r in rules if any(address in r.target.addresses for address in addresses)]
    assert Index.of(rules).on(addresses) == naive


def test_many_rules_are_not_asked_one_by_one():
    rules = [rule(f"10.{number >> 8}.{number & 255}.0/24") for number in range(10_000)]
    index = Index.of([*rules, rule("any")])
    assert index.on([IPv4Address("10.3.7.9")]) == [rules[3 * 256 + 7], index.rules[-1]]
    assert (len(index.networks), len(index.sets)) == (1, 1), "one look for each of these"


NAME = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
NAMED = st.tuples(st.sampled_from(["", "*.", "."]), NAME).map("".join)


@given(st.lists(NAMED | st.just("any"), max_size=10), st.lists(NAME, min_size=1, max_size=3))
def test_it_finds_every_rule_on_a_name(texts, names):
    rules = [rule(f"{text}.:443" if text != "any" else text) for text in texts]
    found = NameIndex.of(rules).on(names)
    hosts = [each.target.hosts or Hosts() for each in rules]
    meant = [r for r, h in zip(rules, hosts, strict=True) if any(map(h.matches, names))]
    assert [r for r in rules if r in meant and r not in found] == []
    assert found == [r for r in rules if r in found], "in their order"


def test_many_names_are_not_asked_one_by_one(tmp_path):
    path = tmp_path / "list"
    path.write_text("a.example\nb.example\nc.example\n")
    rules = [rule(f"host{number}.example") for number in range(10_000)]
    index = NameIndex.of([*rules, rule("any"), rule(f"@{path}")])
    assert index.on(["host777.example"]) == [rules[777], *index.rules[-2:]]
    assert len(index.others) == 2
