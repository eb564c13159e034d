"""
What a descriptor of a tracee is, and which names it takes.

A descriptor is *certain* if it was read at this stop and nobody else can put another
one in its place; every other could be any socket that the jail may have made. A file
shared with another process stays what it is but for one thing: IPV6_ADDRFORM makes an
IPv6 socket an IPv4 one, so that nothing here is let go for being IPv6.

To teach another kind of socket, add its rows to ``TAKES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EAFNOSUPPORT, EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EPERM, ESRCH
from socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    AF_UNSPEC,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)

import msgspec

from netjail.model import Protocol
from netjail.stops import Descriptor

_IPPROTO_MPTCP = 262  # not in the socket module of Python 3.11
_SOCK_PACKET = 10  # AF_INET with it is AF_PACKET: __sock_create() in net/socket.c

# (type, protocol) of an IP socket; anything else is OTHER.
_IP: dict[tuple[int, int], Protocol] = {
    (SOCK_STREAM, 0): Protocol.TCP,
    (SOCK_STREAM, IPPROTO_TCP): Protocol.TCP,
    (SOCK_STREAM, _IPPROTO_MPTCP): Protocol.TCP,
    (SOCK_DGRAM, 0): Protocol.UDP,
    (SOCK_DGRAM, IPPROTO_UDP): Protocol.UDP,
    (SOCK_DGRAM, IPPROTO_ICMP): Protocol.ICMP,
    (SOCK_DGRAM, IPPROTO_ICMPV6): Protocol.ICMP,
}
_FAMILY_ONLY: dict[int, Protocol] = {
    AF_UNIX: Protocol.UNIX,
    AF_NETLINK: Protocol.NETLINK,
    AF_PACKET: Protocol.RAW,
}


def kind(domain: int, type: int, protocol: int) -> Protocol:
    """What a socket carries, by the arguments of socket(2)."""
    if domain not in (AF_INET, AF_INET6):
        return _FAMILY_ONLY.get(domain, Protocol.OTHER)
    if type in (SOCK_RAW, _SOCK_PACKET):
        return Protocol.RAW
    return _IP.get((type, protocol), Protocol.OTHER)


def unmade(protocols: frozenset[Protocol]) -> tuple[int, str]:
    """What making a socket fails with that nobody could judge, and why."""
    why = "sockets of this kind cannot be judged, so none is made"
    if Protocol.RAW not in protocols:
        return EAFNOSUPPORT, why
    # iputils' ping asks for one where the kernel refuses it a ping socket, see icmp(7).
    return EPERM, f"{why}; ping does without where net.ipv4.ping_group_range has its group"


def certain(descriptor: Descriptor) -> bool:
    """Whether the call is going to meet the very socket that was read."""
    return not descriptor.shared and descriptor.error == 0


def is_bad(descriptor: Descriptor) -> bool:
    """
    Whether the descriptor is none, or no socket.

    A shared one too: another thread may put a socket there, but a moment later.
    """
    return descriptor.error in (EBADF, ENOTSOCK)


def is_unknown(descriptor: Descriptor) -> bool:
    """Whether it could not be read, though its caller lives."""
    return descriptor.error not in (0, EBADF, ENOTSOCK, ESRCH)


def protocols(
    descriptor: Descriptor,
    family: int,
    *,
    connects: bool,
    fast_open: bool = False,
    rare: frozenset[Protocol] = frozenset(),
) -> frozenset[Protocol]:
    """
    Every protocol that could carry the bytes to a name of *family*.

    :param connects: the call is connect(2). A send to a name goes out of a datagram
        socket alone: TCP ignores the name, tcp_sendmsg_locked(), but for *fast_open*.
    :param fast_open: MSG_FASTOPEN is among the flags.
    :param rare: protocols beyond TCP and UDP whose sockets were let into this jail:
        ping sockets, and raw ones where a rule opens them.
    """
    if certain(descriptor):
        return frozenset({kind(descriptor.domain, descriptor.type, descriptor.protocol)})
    if family in _FAMILY_ONLY:
        return frozenset({_FAMILY_ONLY[family]})
    if family not in (AF_INET, AF_INET6, AF_UNSPEC):
        return frozenset({Protocol.OTHER})
    stream = {Protocol.TCP} if connects or fast_open else set()
    return frozenset({Protocol.UDP} | stream | rare)


def ignores_names(descriptor: Descriptor, fast_open: bool) -> bool:
    """
    Whether a send through this socket goes to its peer, whatever name it is given.

    So do TCP but for MSG_FASTOPEN, tcp_sendmsg_locked(), and unix stream and seqpacket
    sockets, which refuse or drop the name: net/unix/af_unix.c.
    """
    if not certain(descriptor):
        return False
    if descriptor.domain == AF_UNIX:
        return descriptor.type in (SOCK_STREAM, SOCK_SEQPACKET)
    carries = kind(descriptor.domain, descriptor.type, descriptor.protocol)
    return carries is Protocol.TCP and not fast_open


class Takes(msgspec.Struct, frozen=True):
    """The names that one kind of socket takes."""

    fewest: Mapping[int, int]
    """Address family: the fewest bytes of it."""
    floor: int = 2
    """A name shorter than this is EINVAL whatever its family."""
    other: int = EAFNOSUPPORT
    """What a name of another family is answered."""
    errors: Mapping[int, int] = msgspec.field(default_factory=dict)
    """Families that are answered otherwise."""


_PING = -1  # in place of a type: SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6

_INET = Takes({AF_UNSPEC: 2, AF_INET: 16}, 16)
_UNIX_NAMED = Takes({AF_UNIX: 3}, other=EINVAL)
_FAST_OPEN: dict[int, int] = {AF_UNSPEC: EOPNOTSUPP}  # tcp_sendmsg_fastopen() in net/ipv4/tcp.c

# (domain, type, whether the call connects): the names it takes. AF_UNSPEC is "disconnect"
# in connect; sent to, an IPv4 socket reads it as AF_INET, an IPv6 one as no name.
TAKES: dict[tuple[int, int, bool], Takes] = {
    (AF_INET, SOCK_STREAM, True): _INET,
    (AF_INET, SOCK_DGRAM, True): _INET,
    (AF_INET, _PING, True): _INET,
    (AF_INET, SOCK_STREAM, False): Takes({AF_INET: 16}, 16, errors=_FAST_OPEN),
    (AF_INET, SOCK_DGRAM, False): Takes({AF_UNSPEC: 16, AF_INET: 16}, 16),
    (AF_INET, _PING, False): Takes({AF_INET: 16}, 16),
    (AF_INET6, SOCK_STREAM, True): Takes({AF_UNSPEC: 2, AF_INET6: 24}, 24),
    (AF_INET6, SOCK_DGRAM, True): Takes({AF_UNSPEC: 2, AF_INET: 16, AF_INET6: 24}, 24),
    # ip6_datagram_connect_v6_only() in net/ipv6/datagram.c asks for the family first.
    (AF_INET6, _PING, True): Takes({AF_UNSPEC: 2, AF_INET6: 24}),
    (AF_INET6, SOCK_STREAM, False): Takes({AF_INET6: 24}, 24, errors=_FAST_OPEN),
    (AF_INET6, SOCK_DGRAM, False): Takes({AF_UNSPEC: 2, AF_INET: 16, AF_INET6: 24}, 2, EINVAL),
    (AF_INET6, _PING, False): Takes({AF_INET6: 28}, 28),
    (AF_UNIX, SOCK_STREAM, True): _UNIX_NAMED,
    (AF_UNIX, SOCK_SEQPACKET, True): _UNIX_NAMED,
    (AF_UNIX, SOCK_DGRAM, True): Takes({AF_UNSPEC: 2, AF_UNIX: 3}, other=EINVAL),
    (AF_UNIX, SOCK_DGRAM, False): _UNIX_NAMED,
    (AF_NETLINK, SOCK_RAW, True): Takes({AF_UNSPEC: 2, AF_NETLINK: 12}, other=EINVAL),
    (AF_NETLINK, SOCK_RAW, False): Takes({AF_NETLINK: 12}, other=EINVAL),
}
for _connects in (True, False):  # both types are the same to netlink(7)
    TAKES[AF_NETLINK, SOCK_DGRAM, _connects] = TAKES[AF_NETLINK, SOCK_RAW, _connects]


def mismatch(descriptor: Descriptor, family: int, size: int, *, connects: bool) -> int:
    """
    The errno that this socket gives a name of *family* and *size* bytes.

    :returns: 0 if it takes such a name, or if that cannot be known.
    """
    if not certain(descriptor):
        return 0
    carries = kind(descriptor.domain, descriptor.type, descriptor.protocol)
    type = _PING if carries is Protocol.ICMP else descriptor.type
    takes = TAKES.get((descriptor.domain, type, connects))
    if takes is None:
        return 0
    if family in takes.errors:
        return takes.errors[family]
    if size < takes.fewest.get(family, takes.floor):
        return EINVAL
    return 0 if family in takes.fewest else takes.other
