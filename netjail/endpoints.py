"""
Where traffic goes: bytes of a ``struct sockaddr`` in, an endpoint out.

To add an address family, write its class and its reader and add its row to
``FAMILIES``, all in this file. Policies, reports and the journal use nothing of
an endpoint but its fields and its ``str()``.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import msgspec

from netjail.errors import DecodeError

Address = IPv4Address | IPv6Address


class Inet(msgspec.Struct, frozen=True):
    """An IPv4 or IPv6 peer, see ip(7) and ipv6(7)."""

    address: Address
    port: int
    """In host byte order, 0 to 65535."""

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Unix(msgspec.Struct, frozen=True):
    """A local peer, see unix(7); both fields empty: the unnamed address."""

    path: bytes
    abstract: bool = False

    def __str__(self) -> str:
        # A path is the tracee's own bytes: what a terminal would obey is shown, not sent.
        text = self.path.decode(errors="backslashreplace")
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        return "unix:" + ("@" if self.abstract else "") + shown


class Netlink(msgspec.Struct, frozen=True):
    """A netlink peer, see netlink(7); pid 0 is the kernel."""

    pid: int
    groups: int

    def __str__(self) -> str:
        return f"netlink:{self.pid}" + (f" groups {self.groups:#x}" if self.groups else "")


class Unspecified(msgspec.Struct, frozen=True):
    """AF_UNSPEC: in connect(2) "dissolve the association", elsewhere see ``syscalls``."""

    def __str__(self) -> str:
        return "nobody (AF_UNSPEC)"


class Unknown(msgspec.Struct, frozen=True):
    """A family with no row in ``FAMILIES``."""

    family: int
    size: int

    def __str__(self) -> str:
        try:
            return f"an {socket.AddressFamily(self.family).name} address"
        except ValueError:
            return f"an address of family {self.family}"


class Question(msgspec.Struct, frozen=True):
    """A name that is looked up, see ``names``: no call's address, but what goes to one."""

    name: str
    """In lower case, without a dot at the end; odd bytes are ``\\DDD``, as RFC 1035 has it."""
    kind: str
    """The type that is asked for: ``A``, ``AAAA``, ``TXT``; "": it is no question at all."""
    server: Inet
    """The name server that the program meant."""

    def __str__(self) -> str:
        return f"look-up of {self.name or '.'}" if self.kind else f"message to {self.server}"


Endpoint = Inet | Unix | Netlink | Unspecified | Unknown | Question


_FAMILY_SIZE = 2
_LONGEST = 128  # sizeof(struct sockaddr_storage): move_addr_to_kernel() in net/socket.c
_UNIX_LONGEST = 110  # sizeof(struct sockaddr_un): unix_validate_addr() in net/unix/af_unix.c


def _unix(raw: bytes) -> Endpoint:
    if len(raw) > _UNIX_LONGEST:
        raise DecodeError(f"a unix address of {len(raw)} bytes", errno.EINVAL)
    name = raw[_FAMILY_SIZE:]
    if name[:1] == b"\0":
        return Unix(name[1:], abstract=True)
    return Unix(name.partition(b"\0")[0])


def _inet(raw: bytes) -> Endpoint:
    (port,) = struct.unpack_from("!H", raw, 2)
    return Inet(IPv4Address(raw[4:8]), port)


def _inet6(raw: bytes) -> Endpoint:
    (port,) = struct.unpack_from("!H", raw, 2)
    address = IPv6Address(raw[8:24])
    (scope,) = struct.unpack_from("=I", raw, 24) if len(raw) >= 28 else (0,)
    return Inet(IPv6Address(f"{address}%{scope}") if scope else address, port)


def _netlink(raw: bytes) -> Endpoint:
    return Netlink(*struct.unpack_from("=II", raw, 4))


def _unspecified(raw: bytes) -> Endpoint:
    return Unspecified()


# family: (the fewest bytes that the kernel takes, reader)
FAMILIES: dict[int, tuple[int, Callable[[bytes], Endpoint]]] = {
    socket.AF_UNSPEC: (_FAMILY_SIZE, _unspecified),
    socket.AF_UNIX: (_FAMILY_SIZE, _unix),
    socket.AF_INET: (16, _inet),
    socket.AF_INET6: (24, _inet6),  # SIN6_LEN_RFC2133: the scope id may be missing
    socket.AF_NETLINK: (12, _netlink),
}


def read(raw: bytes) -> Endpoint:
    """
    Read a socket address as the kernel would.

    :param raw: the bytes at the pointer, cut to the length argument.
    :returns: an :class:`Unknown` for a family with no row in ``FAMILIES``.
    :raises DecodeError: if *raw* is longer than any address or shorter than its
        family needs; the kernel answers both with EINVAL, see connect(2).
    """
    if not _FAMILY_SIZE <= len(raw) <= _LONGEST:
        raise DecodeError(f"a socket address of {len(raw)} bytes", errno.EINVAL)
    (family,) = struct.unpack_from("=H", raw)
    if family not in FAMILIES:
        return Unknown(family, len(raw))
    fewest, reader = FAMILIES[family]
    if len(raw) < fewest:
        raise DecodeError(f"{len(raw)} bytes of an address that needs {fewest}", errno.EINVAL)
    return reader(raw)


_LOOPBACK4 = IPv4Address("127.0.0.1")
_LOOPBACK6 = IPv6Address("::1")


def on_loopback(endpoint: Endpoint) -> bool:
    """Whether what is bound there can be reached from this machine alone."""
    if not isinstance(endpoint, Inet):
        return False
    # Not canonical(): here 0.0.0.0 means every address.
    address = getattr(endpoint.address, "ipv4_mapped", None) or endpoint.address
    return bool(address.is_loopback)


def canonical(address: Address) -> tuple[Address, ...]:
    """
    Every form in which an address has to be judged, the one it is known by first.

    A v4-mapped address *is* the IPv4 address (the kernel puts it on IPv4), so it
    has that one form. A translated or tunnelled one leaves this machine as it is
    written and arrives as what it embeds, so it has both. The unspecified address
    as a destination is the loopback: ip_route_output_key_hash() in
    net/ipv4/route.c, tcp_v6_connect(). Scope ids are dropped.
    """
    if isinstance(address, IPv4Address):
        return (address if int(address) else _LOOPBACK4,)
    value = int(address)
    if value <= 1:
        return (_LOOPBACK6,)
    mapped = address.ipv4_mapped
    if mapped is not None:
        return canonical(mapped)
    literal = address if address.scope_id is None else IPv6Address(value)
    return (literal, *dict.fromkeys(_embedded(value)))


def _cut(value: int, shift: int) -> int:
    return (value >> shift) & 0xFFFFFFFF


def _last(value: int) -> list[int]:
    return [_cut(value, 0)]


def _around(value: int) -> list[int]:
    # RFC 6052, 2.2: prefixes of 48, 56, 64 and 96 bits; the octet at bit 64 is skipped.
    # Which one a network uses cannot be known from here, so all are judged.
    joined = (value >> 64 << 56) | (value & 0xFFFFFFFFFFFFFF)
    return [*(_cut(joined, shift) for shift in (40, 32, 24)), _cut(value, 0)]


def _tunnel(value: int) -> list[int]:
    return [_cut(value, 80)]


def _teredo(value: int) -> list[int]:
    return [_cut(value, 64), _cut(value, 0) ^ 0xFFFFFFFF]  # server, obfuscated client: RFC 4380, 4


# (prefix as its leading bits, how many bits those are, the IPv4 addresses embedded)
_EMBEDDINGS: tuple[tuple[int, int, Callable[[int], list[int]]], ...] = (
    (0, 96, _last),  # IPv4-compatible, RFC 4291, 2.5.5.1
    (0xFFFF0000, 96, _last),  # IPv4-translated ::ffff:0:0:0/96, RFC 2765
    (0x0064FF9B << 64, 96, _last),  # NAT64, RFC 6052
    (0x0064FF9B0001, 48, _around),  # NAT64 of a local network, RFC 8215
    (0x2002, 16, _tunnel),  # 6to4, RFC 3056
    (0x20010000, 32, _teredo),
)


def _embedded(value: int) -> list[Address]:
    for prefix, bits, extract in _EMBEDDINGS:
        if value >> (128 - bits) == prefix:
            # Nothing forwards to 0.0.0.0/8; here it means that this is not the layout used.
            return [IPv4Address(found) for found in extract(value) if found >> 24]
    return []
