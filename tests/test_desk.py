"""What the desk reads off a command line, and the addresses that it puts in."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from netjail.endpoints import Inet, read
from netjail.names.ports import port_wanted
from netjail.supervisor.elsewhere import sockaddr


@pytest.mark.parametrize(
    ("argv", "port"),
    [
        pytest.param(["curl", "https://a.b/x"], 443, id="a-url"),
        pytest.param(["curl", "-L", "HTTP://A.b"], 80, id="case"),
        pytest.param(["curl", "https://a.b:8443?x"], 8443, id="a-port-in-a-url"),
        pytest.param(["git-remote-https", "origin", "https://me@a.b/x.git"], 443, id="a-user"),
        pytest.param(["git", "clone", "git://a.b./x"], 9418, id="the-last-dot"),
        pytest.param(["nc", "a.b:70"], 70, id="a-pair"),
        pytest.param(["x", "--server=a.b:70"], 70, id="a-pair-behind-an-option"),
        pytest.param(["ssh", "a.b"], 0, id="a-bare-name"),
        pytest.param(["curl", "https://x.a.b/"], 0, id="another-host"),
        pytest.param(["curl", "https://a.b.c/"], 0, id="a-longer-host"),
        pytest.param(["curl", "https://c.d/https://a.b/"], 443, id="a-url-in-a-url"),
        pytest.param(["curl", "odd://a.b/"], 0, id="an-unknown-scheme"),
        pytest.param(["nc", "a.b:99999"], 0, id="no-port"),
        pytest.param(["nc", "a.b:0"], 0, id="port-zero"),
        pytest.param(["nc", "axb:70"], 0, id="a-dot-is-a-dot"),
        pytest.param(["\udcff", "", "a.b:"], 0, id="rubbish"),
        pytest.param([], 0, id="nothing"),
    ],
)
def test_ports(argv, port):
    assert port_wanted(argv, "a.b") == port


def test_odd_names():
    assert port_wanted(["curl", "https://(/"], r"\040(") == 0


@pytest.mark.parametrize(
    ("family", "place", "seen"),
    [
        pytest.param(socket.AF_INET, "127.0.0.1", "127.0.0.1", id="ipv4"),
        pytest.param(socket.AF_INET6, "::1", "::1", id="ipv6"),
        pytest.param(socket.AF_INET6, "127.0.0.1", "::ffff:127.0.0.1", id="mapped"),
    ],
)
def test_addresses(family, place, seen):
    raw = sockaddr(Inet(ip_address(place), 5353), family.to_bytes(2, "little") + bytes(26))
    assert read(raw) == Inet(ip_address(seen), 5353)


def test_unspecified_is_ipv4_to_a_send():
    raw = sockaddr(Inet(ip_address("127.0.0.1"), 53), bytes(16))
    assert read(raw) == Inet(ip_address("127.0.0.1"), 53)
