"""
Every way to hand bytes to the kernel: none reaches an address that no rule allows.

Each is run natively first, where it must reach the server that the jail then may not.
"""

from __future__ import annotations

import errno
import socket

import pytest
from jail import BROKEN, unmet
from servers import closed_port

# What names nobody goes where an earlier connect went, if that was allowed.
NAMELESS = [
    "write",
    "writev",
    "pwritev2",
    "send",
    "sendmsg",
    "sendmmsg",
    "zerocopy",
    "sendfile",
    "splice",
    "vmsplice",
    "aio",
]
DATAGRAMS = [
    "joined-then-sendto",
    "joined-then-joined",
    "parted-then-sendto",
    "parted-then-connect",
    "corked",
    "corked-by-option",
    "segmented",
    "long-name",
]
IPV4_DATAGRAMS = ["unspecified", "unspecified-message", "unspecified-messages", "address-form"]
STREAMS = [
    "connect-without-blocking",
    "fastopen",
    "fastopen-without-blocking",
    "fastopen-message",
    "fastopen-message-without-blocking",
    "fastopen-messages",
    "fastopen-connect",
    "parted-then-connect",
    "parted-then-fastopen",
    "accepted-then-connect",
    "listening-then-connect",
]
ZERO = ["zero", "zero-mapped"]
V4, V6 = "127.0.0.1", "::1"

# way, kind of server, where it is
WAYS = [
    *(("udp", V4, way) for way in NAMELESS + DATAGRAMS + IPV4_DATAGRAMS + ["mapped"]),
    *(("udp", V6, way) for way in NAMELESS + DATAGRAMS),
    *(("tcp", V4, way) for way in [*NAMELESS, *STREAMS, "fastopen-without-cookie", "mapped"]),
    *(("tcp", V6, way) for way in [*STREAMS, "fastopen-without-cookie"]),
    *(("mptcp", V4, way) for way in STREAMS),
    *(("mptcp", V6, way) for way in STREAMS),
]


@pytest.mark.parametrize(("kind", "host", "way"), WAYS, ids=["-".join(way) for way in WAYS])
def test_it_reaches_only_what_is_allowed(trace, native, serve, kind, host, way):
    allowed, denied = serve(kind, host), serve(kind, host)
    what = {"fixture": "around", "args": [way], "to": [allowed, denied]}
    plain = native(**what)
    assert plain.exit_code == 0
    reached = denied.accepted
    assert reached > 0
    jailed = trace("--allow", f"{allowed.host}:{allowed.port}", **what)
    assert denied.accepted == reached
    assert jailed.exit_code not in (None, 0, BROKEN, 125)
    assert {event.dest.port for event in jailed.attempts if event.verdict == "deny"} == {
        denied.port
    }
    # The control: with a rule for it, the same way is open.
    opened = trace("--allow", host if host == V4 else f"[{host}]", **what)
    assert (opened.exit_code, denied.accepted) == (0, 2 * reached), opened.stderr


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *(("tcp", way) for way in ZERO),
        *(("mptcp", way) for way in ZERO),
        *(("udp", way) for way in [*ZERO, "zero-unspecified", "zero-source"]),
    ],
)
def test_zero_is_the_loopback_whatever_a_socket_is_bound_to(trace, native, serve, kind, way):
    denied = serve(kind, "127.0.0.2", port=closed_port())
    allowed = serve(kind, "127.0.0.1", port=denied.port)
    what = {"fixture": "around", "args": [way], "to": [allowed, denied]}
    assert native(**what).exit_code == 0
    assert (allowed.accepted, denied.accepted) == (0, 1)
    jailed = trace("--allow", "127.0.0.1", "--allow", "[::1]", **what)
    assert (jailed.exit_code, allowed.accepted, denied.accepted) == (0, 1, 1)


@pytest.mark.parametrize("kind", ["tcp", "mptcp", "udp"])
def test_ipv6_zero_is_not_the_ipv4_loopback(trace, native, serve, kind):
    """To a socket that is bound to a v4-mapped address, :: is 127.0.0.1."""
    denied = serve(kind)
    what = {"fixture": "around", "args": ["zero6"], "to": [denied, denied]}
    assert (native(**what).exit_code, denied.accepted) == (0, 1)
    jailed = trace("--allow", "[::1]", **what)
    assert denied.accepted == 1
    assert jailed.exit_code not in (None, 0, BROKEN, 125)


def test_zero_is_nobody_elses_port(trace, native, serve):
    """Somebody's service at 127.0.0.2 is not ours for our having the same port of 127.0.0.1."""
    outsider = serve("tcp", "127.0.0.2", port=closed_port())
    code = f"""
import socket
own = socket.create_server(("127.0.0.1", {outsider.port}))
one = socket.socket()
one.bind(("127.0.0.2", 0))
one.connect(("0.0.0.0", {outsider.port}))
"""
    assert native(command=["python", "-c", code]).exit_code == 0
    assert outsider.accepted == 1
    trace(command=["python", "-c", code])
    assert outsider.accepted == 1


# -- io_uring: calls that are no calls ----------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("way", ["call", "poll"])
def test_a_ring_reaches_nobody(trace, native, serve, kind, way):
    server = serve(kind)
    what = {"fixture": "io_uring", "args": [way], "to": server}
    plain = native(**what)
    if plain.exit_code in (errno.ENOSYS, errno.EPERM):
        unmet("this host has no io_uring for this user")
    assert (plain.exit_code, server.accepted) == (0, 1)
    for options in ((), ("--allow", "any"), ("--audit",)):
        jailed = trace(*options, **what)
        assert (jailed.exit_code, server.accepted) == (errno.ENOSYS, 1)
        (event,) = jailed.attempts
        assert (event.syscall, event.verdict) == ("io_uring_setup", "deny")


# -- Netlink: other programs ---------------------------------------------------

USERSOCK = 2  # NETLINK_USERSOCK of linux/netlink.h: any user may send to any other


@pytest.mark.parametrize("way", ["sendto", "connect"])
def test_netlink_does_not_reach_other_programs(trace, native, way):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as outside:
        outside.bind((0, 0))
        outside.setblocking(False)
        name = (outside.getsockname()[0], 0)
        step = {"sendto": f"s.sendto(data, {name})", "connect": f"s.connect({name}); s.send(data)"}
        code = f"""
import socket, struct, sys
data = struct.pack("=IHHII", 23, 16, 0, 0, 0) + b"payload"
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {USERSOCK})
try:
    {step[way]}
except OSError as error:
    sys.exit(error.errno)
"""
        assert native(command=["python", "-c", code]).exit_code == 0
        assert outside.recv(100).endswith(b"payload")
        jailed = trace("--allow", "any", command=["python", "-c", code])
        assert jailed.exit_code == errno.ECONNREFUSED
        with pytest.raises(BlockingIOError):
            outside.recv(100)
