"""The grammar of rules: what parses, into what, and how a mistake is told."""

from __future__ import annotations

import ipaddress
import os
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netjail.endpoints import Unix, canonical
from netjail.errors import Place, RuleError
from netjail.model import Protocol
from netjail.policy import rules
from netjail.policy.addresses import EVERYTHING, NOTHING, AddressSet
from netjail.policy.words import WORDS, Live, addresses, inner

PLACE = Place("netjail.toml", 3, 10)
T, U, I = Protocol.TCP, Protocol.UDP, Protocol.ICMP  # noqa: E741


def parse(text):
    return rules.parse(text, PLACE, "netjail.toml:3")


@pytest.mark.parametrize(
    ("text", "protocols", "ports", "inside", "outside"),
    [
        pytest.param("192.0.2.1", {T, U}, (), "192.0.2.1", "192.0.2.2", id="an-address"),
        pytest.param(
            "192.0.2.1:443", {T, U}, ((443, 443),), "192.0.2.1", "192.0.2.2", id="with-a-port"
        ),
        pytest.param("10.0.0.0/8:80", {T, U}, ((80, 80),), "10.9.9.9", "11.0.0.0", id="a-network"),
        pytest.param(
            "[2001:db8::1]:443", {T, U}, ((443, 443),), "2001:db8::1", "2001:db8::2", id="brackets"
        ),
        pytest.param(
            "[2001:db8::]/32:1,5-9",
            {T, U},
            ((1, 1), (5, 9)),
            "2001:db8:1::",
            "2001:db9::",
            id="a-bracketed-network-with-ports",
        ),
        pytest.param(
            "[2001:db8::/32]", {T, U}, (), "2001:db8:1::", "2001:db9::", id="brackets-around-a-net"
        ),
        pytest.param("2001:db8::1", {T, U}, (), "2001:db8::1", "::1", id="bare-ipv6"),
        pytest.param("2001:db8::/32", {T, U}, (), "2001:db8::1", "::1", id="a-bare-ipv6-network"),
        pytest.param("::1", {T, U}, (), "::1", "::2", id="a-short-ipv6"),
        pytest.param("::ffff:1.2.3.4", {T, U}, (), "1.2.3.4", "::1", id="mapped-means-ipv4"),
        pytest.param(
            "::ffff:10.0.0.0/104", {T, U}, (), "10.1.2.3", "::1", id="a-mapped-network-means-ipv4"
        ),
        pytest.param("0.0.0.0:80", {T, U}, ((80, 80),), "127.0.0.1", "1.1.1.1", id="zero-is-local"),
        pytest.param("0.0.0.0/0", {T, U}, (), "1.1.1.1", "::1", id="all-of-ipv4"),
        pytest.param("*", {T, U, I}, (), "::1", None, id="a-star-is-every-ip"),
        pytest.param("any", {T, U, I}, (), "1.1.1.1", None, id="any-is-every-ip"),
        pytest.param("any:53", {T, U}, ((53, 53),), "1.1.1.1", None, id="any-with-a-port"),
        pytest.param(":443", {T, U}, ((443, 443),), "1.1.1.1", None, id="any-host-on-a-port"),
        pytest.param("tcp://:443", {T}, ((443, 443),), "::1", None, id="any-host-over-tcp"),
        pytest.param("udp://10.0.0.1:*", {U}, (), "10.0.0.1", "10.0.0.2", id="every-port"),
        pytest.param("icmp://10.0.0.1", {I}, (), "10.0.0.1", "10.0.0.2", id="icmp"),
        pytest.param("TCP://Private:1-65535", {T}, ((1, 65535),), "10.0.0.1", "1.1.1.1", id="case"),
        pytest.param(
            "private !10.1.2.3 !172.16.0.0/12",
            {T, U},
            (),
            "10.1.2.4",
            "10.1.2.3",
            id="an-exception-is-left-out",
        ),
        pytest.param("  loopback ", {T, U}, (), "127.9.9.9", "126.0.0.1", id="blanks-around"),
    ],
)
def test_addresses(text, protocols, ports, inside, outside):
    rule = parse(text)
    assert (rule.protocols, rule.ports, rule.fixed) == (protocols, ports, True)
    assert rule.matches(ip_address(inside))
    assert outside is None or not rule.matches(ip_address(outside))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("example.org", "example.org", id="plain"),
        pytest.param("Example.org.:443", "example.org", id="case-and-the-last-dot-do-not-matter"),
        pytest.param("münchen.example", "xn--mnchen-3ya.example", id="an-idn-becomes-punycode"),
        pytest.param("db", "db", id="without-a-dot"),
        pytest.param("privte.", "privte", id="a-dot-says-that-it-is-a-host"),
        pytest.param("_sip.example.org", "_sip.example.org", id="underscores-exist"),
        pytest.param("1.2.3.example", "1.2.3.example", id="digits-in-front"),
    ],
)
def test_names(text, name):
    rule = parse(text)
    assert rule.target.hosts.single == name
    assert not rule.fixed


@pytest.mark.parametrize("word", [word for word, row in WORDS.items() if row.live])
def test_live_words(word):
    assert parse(word).target.live is Live(word)
    assert not parse(word).fixed


def test_the_resolver_is_its_port():
    assert parse("resolver").ports == ((53, 53),)
    assert parse("resolver:5353").ports == ((5353, 5353),)


@pytest.mark.parametrize(
    ("text", "message", "hint", "column"),
    [
        pytest.param("", "an empty rule", "example.org:443", 10, id="nothing"),
        pytest.param("tcp://", "names no host and no port", "*", 10, id="a-scheme-alone"),
        pytest.param("privte", "unknown word 'privte'", "'private'", 10, id="a-mistyped-word"),
        pytest.param("htp://x", "unknown scheme 'htp'", "tcp", 10, id="an-unknown-scheme"),
        pytest.param("tls://x", "scheme 'tls'", "allowed: icmp, tcp, udp, unix", 10, id="no-guess"),
        pytest.param(
            "https://example.org/simple", "a rule is no URL", "example.org:443", 10, id="a-url"
        ),
        pytest.param("http://a.b:81/", "a rule is no URL", "a.b:81", 10, id="a-url-with-a-port"),
        pytest.param("raw://any", "cannot be enforced", "raw and packet", 10, id="raw"),
        pytest.param("*.", "is not a host name", "", 10, id="sub-domains-of-nothing"),
        pytest.param("*x.org", "is not a host name", "", 10, id="a-star-inside-a-label"),
        pytest.param("*.192.0.2.1", "is not an IP address", "", 10, id="below-an-address"),
        pytest.param(
            "@nosuch.txt", "cannot be read: No such", "", 10, id="a-list-that-is-not-there"
        ),
        pytest.param("straße.example", "two spellings", "xn--", 10, id="an-idn-spelled-twice"),
        pytest.param("any:99999", "port 99999 is out of range", "65535", 14, id="a-high-port"),
        pytest.param("any:0", "port 0 is out of range", "1 to", 14, id="port-zero"),
        pytest.param("any:9-3", "reversed", "3-9", 14, id="a-reversed-range"),
        pytest.param("any:http", "'http' is not a port", "443", 14, id="a-service-name"),
        pytest.param("any:", "'' is not a port", "443", 10, id="a-colon-and-nothing"),
        pytest.param("any:80,,81", "'' is not a port", "443", 10, id="an-empty-port-in-a-list"),
        pytest.param("any:٣", "is not a port", "443", 14, id="another-scripts-digits"),
        pytest.param("icmp://any:7", "icmp has no ports", "icmp://any", 21, id="icmp-with-ports"),
        pytest.param("10.0.0.1/8", "host bits", "10.0.0.0/8", 10, id="host-bits"),
        pytest.param("10.0.0.0/255.0.0.0", "prefix", "10.0.0.0/8", 10, id="a-netmask"),
        pytest.param("10.0.0.0/33", "is not a network", "10.0.0.0/8", 10, id="a-long-prefix"),
        pytest.param("a.b/c", "is not a network", "unix:", 10, id="a-path"),
        pytest.param("1.2.3", "is not an IP address", ":443", 10, id="three-numbers"),
        pytest.param("256.1.1.1", "is not an IP address", "", 10, id="a-number-too-high"),
        pytest.param("010.1.1.1", "is not an IP address", "", 10, id="octal"),
        pytest.param("0x7f000001", "is not an IP address", "", 10, id="hexadecimal"),
        pytest.param("8080", "is not an IP address", ":443", 10, id="a-port-without-its-colon"),
        pytest.param(
            "2001:db8::1:443", "which part is the port", "[2001:db8::1]:443", 10, id="v6-port"
        ),
        pytest.param(
            "1:2:3:4:5:6:7:8:443", "which part is the port", "[1:2:3:4:5:6:7:8]:443", 10, id="v6-9"
        ),
        pytest.param("2001:db8::1:80-90", "which part", "]:80-90", 10, id="v6-and-a-range"),
        pytest.param("1:2:3", "is not an IPv6", "[2001:db8::1]:443", 10, id="not-quite-ipv6"),
        pytest.param("[10.0.0.1]:80", "brackets", "", 10, id="brackets-around-ipv4"),
        pytest.param("[::1", "is not an IPv6 address", "brackets", 10, id="an-open-bracket"),
        pytest.param("[::1]x", "is not an IPv6 address", "brackets", 10, id="after-a-bracket"),
        pytest.param("[fe80::1%eth0]:80", "interface", "fe80::1", 11, id="a-scope"),
        pytest.param("a b", "unexpected 'b'", "one rule", 12, id="two-rules-in-one"),
        pytest.param("any !", "a target alone", "!10.1.2.3", 14, id="an-empty-exception"),
        pytest.param("any !1.1.1.1:80", "no ports", "!1.1.1.1", 14, id="an-exception-with-ports"),
        pytest.param("any !tcp://x", "a target alone", "", 14, id="an-exception-with-a-scheme"),
        pytest.param("a..b", "is not a host name", "", 10, id="an-empty-label"),
        pytest.param("-a.b", "is not a host name", "", 10, id="a-leading-hyphen"),
        pytest.param("a" * 64 + ".b", "is not a host name", "", 10, id="a-long-label"),
        pytest.param("a." * 130 + "b", "is not a host name", "", 10, id="a-long-name"),
        pytest.param("ü..b", "is not a host name", "", 10, id="an-idn-with-an-empty-label"),
        pytest.param("a\x1b[2J", "has no place in a rule", "", 11, id="control-characters"),
        pytest.param("unix:run/x", "not an absolute path", "unix:/", 10, id="a-relative-path"),
        pytest.param("unix:", "not an absolute path", "unix:@", 10, id="an-empty-path"),
    ],
)
def test_mistakes(text, message, hint, column):
    with pytest.raises(RuleError) as caught:
        parse(text)
    error = caught.value
    told = f"{error} {error.hint}"
    assert message in told
    assert hint in told
    assert (error.place.line, error.place.column) == (3, column)
    assert str(error).startswith(f"netjail.toml:3:{column}: ")


@given(st.text())
@example("unix:/\ud800")
@example("unix:/a\0b")
@example("a://[::1%]:1")
@example("[::1%1]/3")
@example("::%1/0")
def test_any_text_is_a_rule_or_a_rule_error(text):
    for read in (rules.parse, rules.parse_bind):
        try:
            read(text, PLACE, "here")
        except RuleError:
            continue


ALPHABET = st.text("0159af:.[]/!*@-%, unixtcpvre", max_size=24)


@given(ALPHABET)
def test_any_text_that_looks_like_one_is_a_rule_or_a_rule_error(text):
    test_any_text_is_a_rule_or_a_rule_error.hypothesis.inner_test(text)


@given(st.ip_addresses(), st.ip_addresses())
def test_an_address_rule_matches_that_address_alone(address, other):
    rule = parse(f"[{address}]" if address.version == 6 else str(address))
    assert rule.matches(canonical(address)[0])
    same = canonical(address)[0] == canonical(other)[0]
    assert rule.matches(canonical(other)[0]) == same


@st.composite
def networks(draw):
    address = draw(st.ip_addresses())
    size = draw(st.integers(0, address.max_prefixlen))
    return (
        ip_network((int(address), size), strict=False)
        if address.version == 4
        else (ipaddress.IPv6Network((int(address), size), strict=False))
    )


@given(st.lists(networks(), max_size=6), st.lists(networks(), max_size=6), st.ip_addresses())
def test_address_sets_are_sets(some, others, address):
    one, other = AddressSet.of(some), AddressSet.of(others)
    in_one = any(address in network for network in some)
    in_other = any(address in network for network in others)
    assert (address in one) == in_one
    assert (address in (one | other)) == (in_one or in_other)
    assert (address in (one - other)) == (in_one and not in_other)
    assert (address in (EVERYTHING - one)) != in_one
    assert not NOTHING
    assert one - one == NOTHING


@pytest.mark.parametrize(
    ("word", "inside", "outside"),
    [
        pytest.param("loopback", ["127.0.0.1", "127.255.255.255", "::1"], ["10.0.0.1", "::2"]),
        pytest.param("localhost", ["127.0.0.1", "::1"], ["128.0.0.1"]),
        pytest.param(
            "private",
            ["10.0.0.1", "172.31.255.255", "192.168.0.1", "fd00::1", "fc00::1"],
            ["172.32.0.0", "192.0.2.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fe80::1"],
        ),
        pytest.param("link-local", ["169.254.0.1", "fe80::1", "febf::1"], ["fec0::1", "10.0.0.1"]),
        pytest.param(
            "metadata",
            ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"],
            ["169.254.169.253", "10.0.0.1"],
        ),
        pytest.param("multicast", ["224.0.0.251", "239.1.1.1", "ff02::1"], ["223.1.1.1", "fe80::"]),
        pytest.param(
            "public",
            ["1.1.1.1", "223.255.255.255", "2606:4700::1", "64:ff9b::1.1.1.1", "2001:4:112::1"],
            [
                "0.1.2.3",
                "10.0.0.1",
                "100.64.0.1",
                "127.0.0.1",
                "168.63.129.16",
                "169.254.1.1",
                "192.0.0.9",
                "192.0.2.1",
                "198.18.0.1",
                "224.0.0.1",
                "255.255.255.255",
                "::2",
                "2001:5::1",
                "2001:db8::1",
                "3fff::1",
                "4000::1",
                "5f00::1",
                "64:ff9b:1::1",
                "fc00::1",
                "fe80::1",
            ],
        ),
    ],
)
def test_words(word, inside, outside):
    assert [a for a in inside if ip_address(a) not in addresses(word)] == []
    assert [a for a in outside if ip_address(a) in addresses(word)] == []


@given(st.ip_addresses())
def test_public_is_none_of_the_others(address):
    others = (word for word, row in WORDS.items() if not row.live and word not in ("any", "public"))
    if address in addresses("public"):
        assert not any(address in addresses(word) for word in others)
        assert address not in inner()
        # The second source calls more public: every address of IPv6 with no row in IANA's
        # registry, and what is there for a purpose.
        assert address.is_global or address.version == 6


@given(st.ip_addresses(v=4).filter(lambda address: address.is_global))
def test_what_python_calls_global_is_public_or_known_not_to_be(address):
    known = AddressSet.of(["192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "168.63.129.16/32"])
    assert address in addresses("public") or address in known


def test_every_word_describes_itself():
    assert all(row.describe and row.describe[-1] != "." for row in WORDS.values())


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        pytest.param("unix:/run/a", [b"/run/a"], [b"/run/ab", b"/run"], id="a-path"),
        pytest.param("unix:///run/a", [b"/run/a"], [b"/run/b"], id="as-a-url"),
        pytest.param(
            "UNIX:/run/*", [b"/run/a", b"/run/a/b"], [b"/ru/n"], id="a-star-takes-slashes"
        ),
        pytest.param("unix:/run/?", [b"/run/a", b"/run/\xff"], [b"/run/ab"], id="one-byte"),
        pytest.param("unix:/run/[ab]", [b"/run/a"], [b"/run/c"], id="a-class"),
        pytest.param("unix:*", [b"/a", b"/run/a\n"], [], id="every-path"),
        pytest.param("unix:/a b/c", [b"/a b/c"], [b"/a"], id="blanks-are-the-path's"),
        pytest.param("unix:/run/* !/run/d*", [b"/run/a"], [b"/run/d.sock"], id="an-exception"),
        pytest.param("unix:/run/ü", ["/run/ü".encode()], [b"/run/u"], id="utf-8"),
    ],
)
def test_unix_paths(text, matching, other):
    rule = parse(text)
    assert all(rule.matches(Unix(path)) for path in matching)
    assert not any(rule.matches(Unix(path)) for path in other)
    assert not any(rule.matches(Unix(path, abstract=True)) for path in matching)


def test_abstract_names():
    rule = parse("unix:@dbus-* !@dbus-x")
    assert rule.matches(Unix(b"dbus-1\0", abstract=True))
    assert not rule.matches(Unix(b"dbus-x", abstract=True))
    assert not rule.matches(Unix(b"dbus-1"))


def test_links_in_the_fixed_part_of_a_path_are_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("run")
    for text in (f"unix:{tmp_path}/var/a", f"unix:{tmp_path}/var/*", f"unix:{tmp_path}/va*"):
        assert parse(text).matches(Unix(os.fsencode(tmp_path / "var/a"))), text
    assert parse(f"unix:{tmp_path}/var/a").matches(Unix(os.fsencode(tmp_path / "run/a")))
    assert parse(f"unix:{tmp_path}/var/*").matches(Unix(os.fsencode(tmp_path / "run/a")))
    assert not parse(f"unix:{tmp_path}/var/b").matches(Unix(os.fsencode(tmp_path / "run/a")))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("unix:/a", ":8080", id="unix"),
        pytest.param("example.org", ":8080", id="a-name"),
        pytest.param("self", ":8080", id="a-live-word"),
    ],
)
def test_what_cannot_be_bound(text, hint):
    with pytest.raises(RuleError) as caught:
        rules.parse_bind(text, PLACE, "--bind")
    assert hint in caught.value.hint
