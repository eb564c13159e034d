"""Every kind of socket and every form of a name, by brute force: natively and in the jail."""

from __future__ import annotations

import socket

import pytest
from servers import closed_port

from netjail.endpoints import Unknown
from netjail.model import Protocol
from netjail.sockets import kind

# What may be made without a word; the rest is refused and said.
FREE = {Protocol.UNIX, Protocol.NETLINK, Protocol.TCP, Protocol.UDP, Protocol.ICMP}
TYPE_MASK = 0xF


def made(text: str) -> set[tuple[str, int, int, int]]:
    """The lines of families.c."""
    words = (line.split() for line in text.splitlines())
    return {(call, int(family), int(type), int(number)) for call, family, type, number in words}


def is_free(call: str, family: int, type: int, protocol: int) -> bool:
    if call == "socketpair":
        return family == socket.AF_UNIX
    return kind(family, type & TYPE_MASK, protocol) in FREE


@pytest.mark.parametrize("options", [("--allow", "any"), ("--audit",)], ids=["rules", "audit"])
def test_only_sockets_that_can_be_judged_are_made(trace, native, options):
    plain = made(native(fixture="families").stdout)
    result = trace(*options, fixture="families")
    assert result.exit_code == 0, result.stderr
    assert made(result.stdout) == {one for one in plain if is_free(*one)}
    refused = {one[1] for one in plain if not is_free(*one)}
    said = {event.dest.other for event in result.attempts if event.verdict == "deny"}
    assert said >= {str(Unknown(family, 0)) for family in refused}
    # SCTP, DCCP, UDP-Lite, L2TP and SMC are there in no such list, but refused and said.
    others = {event.proto for event in result.attempts if event.dest.other == "an AF_INET address"}
    assert others == {"raw", "other"}
    raw = {event.why for event in result.attempts if event.proto == "raw"}
    assert all("net.ipv4.ping_group_range" in why for why in raw)
    # Whether this kernel has a family or not: 64 of them, 2 calls, all but unix and netlink.
    assert len(said) > 60
    assert {event.syscall for event in result.attempts} == {"socket", "socketpair"}


def test_every_form_of_a_name_is_answered_as_by_the_kernel(trace, native, serve):
    """28,000 calls: each family and length on each kind of socket."""
    tcp = serve("tcp", port=closed_port())
    servers = [tcp, serve("udp", port=tcp.port), serve("tcp", "::1", port=tcp.port)]
    servers.append(serve("udp", "::1", port=tcp.port))
    what = {"fixture": "odd_names", "args": [str(tcp.port)]}
    plain = native(**what)
    arrived = [server.accepted for server in servers]
    assert all(arrived)
    allowed = trace("--allow", "any", "--allow", "unix:*", **what)
    assert allowed.stdout.splitlines() == plain.stdout.splitlines()
    assert [server.accepted for server in servers] == [2 * count for count in arrived]
    denied = trace(**what)
    assert denied.exit_code == 0
    assert [server.accepted for server in servers] == [2 * count for count in arrived]
