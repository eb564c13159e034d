"""What a descriptor is and takes, against the kernel's own answers on loopback."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable

import pytest

from netjail.model import Protocol
from netjail.sockets import certain, ignores_names, is_bad, is_unknown, kind, mismatch, protocols
from netjail.stops import Descriptor

MPTCP = 262


def descriptor(domain: int, type: int, protocol: int = 0, shared: bool = False) -> Descriptor:
    return Descriptor(0, domain, type, protocol, shared=shared)


UNSURE = [
    pytest.param(descriptor(socket.AF_INET, socket.SOCK_DGRAM, shared=True), id="shared"),
    pytest.param(Descriptor(errno.EPERM, shared=False), id="the-host-forbids-looking"),
]


@pytest.mark.parametrize(
    ("domain", "type", "protocol", "carries"),
    [
        pytest.param(socket.AF_INET, socket.SOCK_STREAM, 6, Protocol.TCP, id="tcp"),
        pytest.param(socket.AF_INET6, socket.SOCK_STREAM, MPTCP, Protocol.TCP, id="mptcp"),
        pytest.param(socket.AF_INET6, socket.SOCK_DGRAM, 17, Protocol.UDP, id="udp"),
        pytest.param(socket.AF_INET, socket.SOCK_DGRAM, 1, Protocol.ICMP, id="ping"),
        pytest.param(socket.AF_INET6, socket.SOCK_DGRAM, 58, Protocol.ICMP, id="ping6"),
        pytest.param(socket.AF_INET, socket.SOCK_DGRAM, 136, Protocol.OTHER, id="udplite"),
        pytest.param(socket.AF_INET, socket.SOCK_STREAM, 132, Protocol.OTHER, id="sctp"),
        pytest.param(socket.AF_INET, socket.SOCK_SEQPACKET, 132, Protocol.OTHER, id="sctp-seq"),
        pytest.param(socket.AF_INET, socket.SOCK_RAW, 1, Protocol.RAW, id="raw"),
        pytest.param(socket.AF_INET, 10, 0, Protocol.RAW, id="sock-packet"),
        pytest.param(socket.AF_PACKET, socket.SOCK_DGRAM, 0, Protocol.RAW, id="packet"),
        pytest.param(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, Protocol.UNIX, id="unix"),
        pytest.param(socket.AF_NETLINK, socket.SOCK_RAW, 0, Protocol.NETLINK, id="netlink"),
        pytest.param(40, socket.SOCK_STREAM, 0, Protocol.OTHER, id="vsock"),
    ],
)
def test_kind(domain: int, type: int, protocol: int, carries: Protocol) -> None:
    assert kind(domain, type, protocol) is carries
    known = descriptor(domain, type, protocol)
    for connects in (True, False):
        assert protocols(known, socket.AF_INET, connects=connects) == {carries}


@pytest.mark.parametrize("known", UNSURE)
@pytest.mark.parametrize(
    ("family", "connects", "fast_open", "carry"),
    [
        pytest.param(socket.AF_INET, True, False, {"tcp", "udp"}, id="connect"),
        pytest.param(socket.AF_INET6, True, False, {"tcp", "udp"}, id="connect6"),
        pytest.param(socket.AF_INET, False, False, {"udp"}, id="a-send-is-not-tcp"),
        pytest.param(socket.AF_INET, False, True, {"tcp", "udp"}, id="but-with-fast-open"),
        pytest.param(socket.AF_UNSPEC, False, False, {"udp"}, id="read-as-inet"),
        pytest.param(socket.AF_UNIX, True, False, {"unix"}, id="unix"),
        pytest.param(socket.AF_NETLINK, False, False, {"netlink"}, id="netlink"),
        pytest.param(40, True, False, {"other"}, id="what-is-not-known"),
    ],
)
def test_an_unsure_descriptor_is_all_it_could_be(
    known: Descriptor, family: int, connects: bool, fast_open: bool, carry: set[str]
) -> None:
    assert not certain(known)
    found = protocols(known, family, connects=connects, fast_open=fast_open)
    assert {protocol.value for protocol in found} == carry
    assert mismatch(known, family, 2, connects=connects) == 0
    assert not ignores_names(known, False)


def test_rare_protocols_count_once_they_exist() -> None:
    rare = frozenset({Protocol.ICMP})
    known = descriptor(socket.AF_INET, socket.SOCK_DGRAM, shared=True)
    assert Protocol.ICMP in protocols(known, socket.AF_INET, connects=True, rare=rare)
    assert Protocol.ICMP not in protocols(known, socket.AF_UNIX, connects=True, rare=rare)


@pytest.mark.parametrize(
    ("error", "bad"), [(errno.EBADF, True), (errno.ENOTSOCK, True), (errno.EPERM, False)]
)
def test_is_bad(error: int, bad: bool) -> None:
    assert is_bad(Descriptor(error)) == bad


@pytest.mark.parametrize(
    ("error", "unknown"),
    [(0, False), (errno.EBADF, False), (errno.ESRCH, False), (errno.EPERM, True)],
)
def test_is_unknown(error: int, unknown: bool) -> None:
    assert is_unknown(Descriptor(error)) == unknown


SOCKETS = [
    pytest.param(domain, type, protocol, id=name)
    for name, domain, type, protocol in (
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, 6),
        ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, 6),
        ("mptcp", socket.AF_INET, socket.SOCK_STREAM, MPTCP),
        ("mptcp6", socket.AF_INET6, socket.SOCK_STREAM, MPTCP),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, 17),
        ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, 17),
        ("ping", socket.AF_INET, socket.SOCK_DGRAM, 1),
        ("ping6", socket.AF_INET6, socket.SOCK_DGRAM, 58),
        ("unix-stream", socket.AF_UNIX, socket.SOCK_STREAM, 0),
        ("unix-dgram", socket.AF_UNIX, socket.SOCK_DGRAM, 0),
        ("unix-seqpacket", socket.AF_UNIX, socket.SOCK_SEQPACKET, 0),
        ("netlink", socket.AF_NETLINK, socket.SOCK_RAW, 0),
    )
]
SIZES = [2, 3, 8, 12, 15, 16, 23, 24, 27, 28, 32, 110]
NAMES: dict[int, bytes] = {
    0: struct.pack("=HH", 0, 0x0100) + bytes([127, 0, 0, 1]),
    1: struct.pack("=H", 1) + b"/nowhere/at/all",
    2: struct.pack("=HH", 2, 0x0100) + bytes([127, 0, 0, 1]),
    10: struct.pack("=HHI", 10, 0x0100, 0) + bytes(15) + b"\1",
    16: struct.pack("=H", 16),
    17: struct.pack("=H", 17),
    99: struct.pack("=H", 99),
}
_libc = ctypes.CDLL(None, use_errno=True)


def connect(one: socket.socket, name: bytes) -> int:
    ctypes.set_errno(0)
    return ctypes.get_errno() if _libc.connect(one.fileno(), name, len(name)) < 0 else 0


def send(flags: int) -> Callable[[socket.socket, bytes], int]:
    # A ping socket takes nothing but an echo request with its header of 8 bytes.
    def sendto(one: socket.socket, name: bytes) -> int:
        ctypes.set_errno(0)
        payload = bytes([128 if one.family == socket.AF_INET6 else 8, *bytes(7)])
        sent = _libc.sendto(one.fileno(), payload, len(payload), flags, name, len(name))
        return ctypes.get_errno() if sent < 0 else 0

    return sendto


CALLS = [
    pytest.param(True, False, connect, id="connect"),
    pytest.param(False, False, send(0x4000), id="sendto"),  # MSG_NOSIGNAL
    pytest.param(False, True, send(0x20004000), id="fast-open"),
]


def fresh(domain: int, type: int, protocol: int) -> socket.socket:
    try:
        return socket.socket(domain, type, protocol)
    except PermissionError:
        pytest.skip("ping sockets: net.ipv4.ping_group_range leaves this group out")
    except OSError as failure:
        pytest.skip(f"this kernel has no such socket: {failure}")


@pytest.mark.parametrize(("domain", "type", "protocol"), SOCKETS)
@pytest.mark.parametrize(("connects", "fast_open", "call"), CALLS)
def test_the_kernel_answers_the_same(
    domain: int,
    type: int,
    protocol: int,
    connects: bool,
    fast_open: bool,
    call: Callable[[socket.socket, bytes], int],
) -> None:
    known = descriptor(domain, type, protocol)
    if not connects and ignores_names(known, fast_open):
        return  # its names are left to the kernel
    for family, name in NAMES.items():
        for size in SIZES:
            with fresh(domain, type, protocol) as one:
                one.setblocking(False)
                seen = call(one, name[:size].ljust(size, b"\0"))
            said = mismatch(known, family, size, connects=connects)
            where = f"family {family}, {size} bytes: {os.strerror(seen)}"
            if said:
                assert seen == said, where
            else:
                assert seen not in (errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP), where


@pytest.mark.parametrize("protocol", [6, MPTCP])
def test_tcp_ignores_the_name_of_a_send(protocol: int) -> None:
    """What ``ignores_names`` rests on: the bytes go to the peer, not to the name."""
    assert ignores_names(descriptor(socket.AF_INET, socket.SOCK_STREAM, protocol), False)
    assert not ignores_names(descriptor(socket.AF_INET, socket.SOCK_STREAM, protocol), True)
    other = socket.create_server(("127.0.0.1", 0))
    other.setblocking(False)
    server = socket.create_server(("127.0.0.1", 0))
    with other, server, fresh(socket.AF_INET, socket.SOCK_STREAM, protocol) as one:
        one.connect(server.getsockname())
        one.sendto(b"x", other.getsockname())
        peer, _ = server.accept()
        with peer:
            assert peer.recv(1) == b"x"
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize("type", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_connected_unix_sockets_never_send_to_a_name(type: socket.SocketKind) -> None:
    assert ignores_names(descriptor(socket.AF_UNIX, type), False)
    assert not ignores_names(descriptor(socket.AF_UNIX, socket.SOCK_DGRAM), False)
    address = f"\0netjail-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, type) as server:
        server.bind(address)
        server.listen()
        server.setblocking(False)
        one, other = socket.socketpair(socket.AF_UNIX, type)
        with one, other:
            seen = send(0x4000)(one, struct.pack("=H", 1) + address.encode())
            assert seen == (errno.EISCONN if type == socket.SOCK_STREAM else 0)
        with pytest.raises(BlockingIOError):
            server.accept()
