"""Bytes of a sockaddr against Python's own socket, and every form of an address."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.endpoints import (
    FAMILIES,
    Inet,
    Netlink,
    Unix,
    Unknown,
    Unspecified,
    canonical,
    read,
)
from netjail.errors import DecodeError


def sockaddr_in(host: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host)


def sockaddr_in6(host: str, port: int, scope: int = 0) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", 10) + struct.pack("!HI", port, 7) + packed + struct.pack("=I", scope)


def sockaddr_un(path: bytes) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + path


INET = sockaddr_in("192.0.2.1", 443).ljust(16, b"\0")
INET6 = sockaddr_in6("2001:db8::1", 443)


@pytest.mark.parametrize(
    ("raw", "endpoint", "shown"),
    [
        pytest.param(INET, Inet(ip_address("192.0.2.1"), 443), "192.0.2.1:443", id="ipv4"),
        pytest.param(
            INET + b"x" * 100,
            Inet(ip_address("192.0.2.1"), 443),
            "192.0.2.1:443",
            id="what-follows-an-ipv4-address-is-ignored",
        ),
        pytest.param(INET6, Inet(ip_address("2001:db8::1"), 443), "[2001:db8::1]:443", id="ipv6"),
        pytest.param(
            INET6[:24],
            Inet(ip_address("2001:db8::1"), 443),
            "[2001:db8::1]:443",
            id="the-scope-id-may-be-missing",
        ),
        pytest.param(
            sockaddr_in6("fe80::1", 80, 3),
            Inet(ip_address("fe80::1%3"), 80),
            "[fe80::1%3]:80",
            id="a-scope-id-is-kept",
        ),
        pytest.param(
            sockaddr_un(b"/run/a.sock\0rest"),
            Unix(b"/run/a.sock"),
            "unix:/run/a.sock",
            id="a-path-ends-at-its-nul",
        ),
        pytest.param(
            sockaddr_un(b"x" * 108),
            Unix(b"x" * 108),
            "unix:" + "x" * 108,
            id="a-path-may-fill-the-field",
        ),
        pytest.param(
            sockaddr_un(b"\0a\0b\0"),
            Unix(b"a\0b\0", True),
            r"unix:@a\x00b\x00",
            id="an-abstract-name-has-its-length",
        ),
        pytest.param(
            sockaddr_un(b"\0"), Unix(b"", True), "unix:@", id="an-abstract-name-can-be-empty"
        ),
        pytest.param(sockaddr_un(b""), Unix(b""), "unix:", id="unnamed"),
        pytest.param(
            sockaddr_un(b"/a\x1b[2J\xff\n"),
            Unix(b"/a\x1b[2J\xff\n"),
            r"unix:/a\x1b[2J\xff\n",
            id="what-a-terminal-would-obey-is-shown-escaped",
        ),
        pytest.param(
            struct.pack("=HHII", socket.AF_NETLINK, 0, 5, 1),
            Netlink(5, 1),
            "netlink:5 groups 0x1",
            id="netlink",
        ),
        pytest.param(b"\0\0", Unspecified(), "nobody (AF_UNSPEC)", id="unspecified"),
        pytest.param(
            struct.pack("=H", socket.AF_VSOCK) + b"\0" * 14,
            Unknown(socket.AF_VSOCK, 16),
            "an AF_VSOCK address",
            id="a-family-without-a-row",
        ),
        pytest.param(
            b"\xff\xff", Unknown(65535, 2), "an address of family 65535", id="no-family-at-all"
        ),
    ],
)
def test_read(raw, endpoint, shown):
    assert read(raw) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02", id="half-a-family"),
        pytest.param(INET[:15], id="ipv4-one-byte-short"),
        pytest.param(INET6[:23], id="ipv6-one-byte-short"),
        pytest.param(sockaddr_un(b"x" * 109), id="a-unix-path-too-long"),
        pytest.param(struct.pack("=HHI", socket.AF_NETLINK, 0, 0), id="netlink-short"),
        pytest.param(INET + b"\0" * 113, id="longer-than-any-address"),
    ],
)
def test_what_the_kernel_refuses(raw):
    with pytest.raises(DecodeError) as caught:
        read(raw)
    assert caught.value.error == errno.EINVAL


@given(st.binary(max_size=4096))
def test_any_bytes_are_an_endpoint_or_a_decode_error(raw):
    try:
        str(read(raw))
    except DecodeError as error:
        assert error.error == errno.EINVAL


@given(st.sampled_from(sorted(FAMILIES)), st.binary(max_size=128))
def test_any_bytes_after_a_known_family(family, rest):
    try:
        endpoint = read(struct.pack("=H", family) + rest)
    except DecodeError:
        return
    assert not isinstance(endpoint, Unknown)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_ipv4_as_the_socket_module_packs_it(address, port):
    raw = sockaddr_in(str(address), port).ljust(16, b"\0")
    assert read(raw) == Inet(address, port)


def test_a_unix_path_reaches_the_same_socket_as_python_binds(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert server.getsockname().encode() == read(sockaddr_un(path.encode())).path


@pytest.mark.parametrize(
    ("address", "forms"),
    [
        pytest.param("192.0.2.1", ["192.0.2.1"], id="plain-ipv4"),
        pytest.param("2001:db8::1", ["2001:db8::1"], id="plain-ipv6"),
        pytest.param("0.0.0.0", ["127.0.0.1"], id="any-ipv4-is-the-loopback"),
        pytest.param("::", ["::1"], id="any-ipv6-is-the-loopback"),
        pytest.param("::1", ["::1"], id="the-loopback-embeds-nothing"),
        pytest.param("::ffff:192.0.2.1", ["192.0.2.1"], id="mapped-is-ipv4"),
        pytest.param("::ffff:0.0.0.0", ["127.0.0.1"], id="mapped-any-is-the-loopback"),
        pytest.param("::192.0.2.1", ["::192.0.2.1", "192.0.2.1"], id="compatible"),
        pytest.param(
            "::ffff:0:10.0.0.1", ["::ffff:0:10.0.0.1", "10.0.0.1"], id="translated-rfc-2765"
        ),
        pytest.param("64:ff9b::10.0.0.1", ["64:ff9b::10.0.0.1", "10.0.0.1"], id="nat64"),
        pytest.param(
            "64:ff9b:1:a00:0:100::",
            ["64:ff9b:1:a00:0:100::", "10.0.0.1"],
            id="local-nat64-of-48-bits",
        ),
        pytest.param("2002:a00:1::", ["2002:a00:1::", "10.0.0.1"], id="6to4"),
        pytest.param(
            # RFC 4380, 4: the client's address is inverted
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "65.54.227.120", "192.0.2.45"],
            id="teredo-server-and-client",
        ),
        pytest.param("fe80::1%3", ["fe80::1"], id="the-scope-id-is-dropped"),
        pytest.param("64:ff9b::", ["64:ff9b::"], id="nat64-of-nothing"),
    ],
)
def test_canonical(address, forms):
    assert canonical(ip_address(address)) == tuple(map(ip_address, forms))


@given(st.ip_addresses(v=4).filter(lambda a: int(a) >> 24))
def test_every_nat64_layout_of_a_local_network_is_judged(address):
    value, base = int(address), int(ip_address("64:ff9b:1::"))
    high, low = value >> 16, value & 0xFFFF
    around = ip_address(base | high << 64 | low << 40)  # RFC 6052, 2.2, prefix of 48 bits
    assert address in canonical(around)
    assert address in canonical(ip_address(base | value))


@given(st.ip_addresses())
def test_canonical_forms_are_settled(address):
    forms = canonical(address)
    assert forms
    assert all(int(form) for form in forms)
    assert canonical(forms[0]) == forms
