"""
Where traffic goes: bytes of a ``struct sockaddr`` in, an endpoint out.

To add an address family, write its class and its reader and add its row to
``FAMILIES``, all in this file. Policies, reports and the journal use nothing of
an endpoint but its fields and its ``str()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Inet:
    """An IPv4 or IPv6 peer, see ip(7) and ipv6(7)."""

    address: IPv4Address | IPv6Address
    port: int
    """In host byte order, 0 to 65535."""


@dataclass(frozen=True, slots=True)
class Unix:
    """A local peer, see unix(7); both fields empty: the unnamed address."""

    path: bytes
    abstract: bool = False


@dataclass(frozen=True, slots=True)
class Netlink:
    """A netlink peer, see netlink(7); pid 0 is the kernel."""

    pid: int
    groups: int


@dataclass(frozen=True, slots=True)
class Unspecified:
    """AF_UNSPEC: in connect(2) "dissolve the association", elsewhere see ``syscalls``."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A family with no row in ``FAMILIES``."""

    family: int
    size: int


Endpoint = Inet | Unix | Netlink | Unspecified | Unknown
