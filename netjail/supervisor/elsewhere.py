"""A judged call, to another destination than it names."""

from __future__ import annotations

import errno
import struct
from socket import AF_INET, AF_INET6

from netjail.endpoints import Inet
from netjail.errors import KernelError, TraceeGone
from netjail.kernel.tracee import Jail
from netjail.model import Decision, Reason, Verdict
from netjail.stops import Stop


def redirect(jail: Jail, stop: Stop, place: Inet) -> Verdict | None:
    """Have the call go to *place*; or why it cannot."""
    name = stop.name or b""
    if _family(name) != AF_INET6 and place.address.version == 6:
        return _refused(place, "the socket is for IPv4")
    try:
        jail.rename(stop.tid, sockaddr(place, name))
    except TraceeGone:
        raise
    except KernelError as error:
        return _refused(place, str(error))
    return None


def sockaddr(place: Inet, instead_of: bytes) -> bytes:
    """*place* in the family of the address that it replaces."""
    packed = place.address.packed
    if _family(instead_of) != AF_INET6:
        return struct.pack("=H", AF_INET) + struct.pack("!H", place.port) + packed + bytes(8)
    mapped = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
    return struct.pack("=H", AF_INET6) + struct.pack("!HI", place.port, 0) + mapped + bytes(4)


def _family(name: bytes) -> int:
    return int(struct.unpack_from("=H", name)[0])


def _refused(place: Inet, why: str) -> Verdict:
    text = f"it cannot be led to {place}: {why}"
    return Verdict(Decision.DENY, Reason.INTERNAL, why=text, error=errno.ECONNREFUSED)
