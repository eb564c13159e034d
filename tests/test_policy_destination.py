"""What a person may write as a destination, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.errors import UsageError
from netjail.policy.destination import parse


@pytest.mark.parametrize(
    ("text", "protocol", "shown"),
    [
        pytest.param("example.org:443", "tcp", "example.org:443", id="a-host"),
        pytest.param("Example.ORG.:443", "tcp", "example.org:443", id="as-names-are-compared"),
        pytest.param("bücher.example", "tcp", "xn--bcher-kva.example", id="not-ascii"),
        pytest.param("example.org", "tcp", "example.org", id="every-port"),
        pytest.param("192.0.2.1:80", "tcp", "192.0.2.1:80", id="ipv4"),
        pytest.param("192.0.2.1", "tcp", "192.0.2.1", id="an-address-alone"),
        pytest.param("[2001:db8::1]:80", "tcp", "[2001:db8::1]:80", id="ipv6"),
        pytest.param("[2001:db8::1]", "tcp", "2001:db8::1", id="ipv6-in-brackets"),
        pytest.param("2001:db8::1:80", "tcp", "2001:db8::1:80", id="ipv6-without"),
        pytest.param("udp://192.0.2.1:53", "udp", "192.0.2.1:53", id="a-scheme"),
        pytest.param("icmp://192.0.2.1", "icmp", "192.0.2.1", id="a-ping"),
        pytest.param("unix:/run/x y", "unix", "unix:/run/x y", id="a-path"),
        pytest.param("unix:///run/x", "unix", "unix:/run/x", id="a-path-like-a-url"),
        pytest.param("unix:@x", "unix", "unix:@x", id="an-abstract-name"),
        pytest.param("https://me@x.example/a?b", "tcp", "x.example:443", id="a-url"),
        pytest.param("http://x.example:8080/", "tcp", "x.example:8080", id="a-url-with-a-port"),
        pytest.param("localhost:80", "tcp", "localhost:80", id="this-machine"),
        pytest.param("self:80", "tcp", "127.0.0.1:80", id="the-jail-itself"),
    ],
)
def test_what_is_understood(text, protocol, shown):
    found = parse(text)
    assert (found.protocol.value, str(found)) == (protocol, shown)
    assert found.own == text.startswith("self")


@pytest.mark.parametrize(
    ("text", "protocol", "message"),
    [
        pytest.param("", "", "names no host", id="nothing"),
        pytest.param(":443", "", "':443' names no host", id="a-port-alone"),
        pytest.param("x:0", "", "'0' is no port", id="port-0"),
        pytest.param("x:65536", "", "is no port", id="a-port-too-great"),
        pytest.param("x:" + "9" * 5000, "", "is no port", id="far-too-great"),
        pytest.param("x:80,443", "", "is no port", id="two-ports"),
        pytest.param("*.x", "", "many hosts", id="many-hosts"),
        pytest.param("10.0.0.0/8", "", "not a host name", id="a-network"),
        pytest.param("private", "", "a word of rules", id="a-word"),
        pytest.param("unix:x", "", "not an absolute path", id="a-relative-path"),
        pytest.param("gopher://x", "", "unknown scheme", id="an-unknown-scheme"),
        pytest.param("icmp://x:80", "", "no ports", id="a-ping-with-a-port"),
        pytest.param("udp://x:80", "tcp", "goes over udp", id="two-protocols"),
        pytest.param("unix:/x", "tcp", "goes over no tcp", id="a-path-over-tcp"),
        pytest.param("x:80", "unix", "no unix socket", id="a-host-over-unix"),
        pytest.param("x\x1b[31m", "", "not a host name", id="what-a-terminal-would-obey"),
    ],
)
def test_what_is_refused(text, protocol, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(text, protocol)
    assert caught.value.hint


@given(st.text() | st.text("[]:/.@unixtcp127 \x00\x1b"))
def test_anything_is_understood_or_refused(text):
    try:
        found = parse(text)
    except UsageError:
        return
    assert sum((bool(found.name), bool(found.address), bool(found.unix))) == 1
