"""A stop at a trapped call in, an attempt out, or the answer that the kernel would give."""

from __future__ import annotations

import os
import struct
import sys
from errno import EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK, EPERM
from socket import AF_INET, AF_INET6, AF_UNSPEC

import msgspec

from netjail import sockets
from netjail.endpoints import Endpoint, Unknown, Unspecified, read
from netjail.errors import DecodeError
from netjail.model import Attempt, Decision, Operation, Protocol, Reason, Verdict
from netjail.stops import Descriptor, Stop
from netjail.syscalls.rows import LOW, Row, Shape
from netjail.syscalls.table import ROWS, SOCK_TYPE_MASK

_MSG_FASTOPEN = 0x20000000  # include/linux/socket.h
_LONGEST = 128  # sizeof(struct sockaddr_storage)
_FAMILY_SIZE = 2

_OPERATIONS: dict[Shape, Operation] = {
    Shape.CONNECT: Operation.CONNECT,
    Shape.SENDTO: Operation.SEND,
    Shape.SENDMSG: Operation.SEND,
    Shape.SENDMMSG: Operation.SEND,
    Shape.LISTEN: Operation.LISTEN,
    Shape.BIND: Operation.LISTEN,  # what it will hear: nobody is reached
    Shape.SOCKET: Operation.SOCKET,
}

# What the core puts in Stop.fault: (why the call is refused, in whose words).
_FAULTS: dict[int, tuple[Reason, str]] = {
    EFAULT: (Reason.MALFORMED, "the memory that it names cannot be read"),
    EINVAL: (Reason.MALFORMED, "its lengths are wrong"),
    EPERM: (Reason.STRUCTURE, "it would leave by another device or route than judged"),
    ENOBUFS: (Reason.INTERNAL, "its control messages are longer than netjail can hold"),
}

# Its name is none, or its socket has no use for one: it goes, if anywhere, where an
# earlier call was allowed to connect it; the kernel answers the rest.
_REACHES_NOBODY = Verdict(Decision.ALLOW, Reason.DEFAULT, why="it names nobody")


def decode(stop: Stop, rare: frozenset[Protocol] = frozenset()) -> Attempt | Verdict:
    """
    Read what a stopped call asks for.

    :param rare: see :func:`netjail.sockets.protocols`.
    :returns: a verdict where there is nothing to judge: the call is malformed and gets
        the kernel's errno, or its socket ignores the name and nobody new is reached.
        The attempt to record with that verdict is :func:`unread`'s.
    """
    row = ROWS[stop.row]
    operation = _OPERATIONS.get(row.shape, Operation.FORBIDDEN)
    if operation is Operation.SOCKET:
        return _socket(stop, row)
    if row.shape is Shape.FOLDED:
        return _refused(stop.fault)
    if operation is Operation.FORBIDDEN:
        return unread(stop)
    broken = _broken(stop, row)
    if broken:
        return broken
    if operation is Operation.LISTEN:
        return _listen(stop, row)
    return _addressed(stop, row, rare)


def unread(stop: Stop) -> Attempt:
    """The attempt as far as it can be told without believing the call's memory."""
    row = ROWS[stop.row]
    operation = _OPERATIONS.get(row.shape, Operation.FORBIDDEN)
    name = stop.name or b""
    endpoint = Unknown(_family(name), len(name)) if name else Unspecified()
    kinds = frozenset({Protocol.OTHER})
    if sockets.certain(stop.descriptor) and operation is not Operation.FORBIDDEN:
        kinds = sockets.protocols(stop.descriptor, AF_UNSPEC, connects=True)
    return _attempt(stop, row, operation, kinds, endpoint)


def _attempt(
    stop: Stop, row: Row, operation: Operation, kinds: frozenset[Protocol], endpoint: Endpoint
) -> Attempt:
    return Attempt(stop.process, stop.tid, row.name, operation, kinds, endpoint, stop.descriptor)


def _refused(error: int, reason: Reason = Reason.MALFORMED, why: str = "") -> Verdict:
    return Verdict(Decision.DENY, reason, why=why or os.strerror(error), error=error)


def _family(name: bytes) -> int:
    return int.from_bytes(name[:_FAMILY_SIZE], sys.byteorder)


# In the kernel's order: __sys_connect() looks for the file, then reads the name, then
# asks whether the file is a socket; the others ask that first (net/socket.c).
def _broken(stop: Stop, row: Row) -> Verdict | None:
    error = stop.descriptor.error if sockets.is_bad(stop.descriptor) else 0
    if error == EBADF or (error and row.shape is not Shape.CONNECT):
        return _refused(error)
    if stop.fault:
        reason, why = _FAULTS.get(stop.fault, (Reason.MALFORMED, ""))
        return _refused(stop.fault, reason, why)
    if row.shape in (Shape.CONNECT, Shape.SENDTO, Shape.BIND) and len(stop.name or b"") > _LONGEST:
        return _refused(EINVAL)
    return _refused(ENOTSOCK) if error else None


def _socket(stop: Stop, row: Row) -> Attempt:
    domain, type, protocol = (arg & LOW for arg in stop.args[:3])
    kinds = frozenset({sockets.kind(domain, type & SOCK_TYPE_MASK, protocol)})
    return _attempt(stop, row, Operation.SOCKET, kinds, Unknown(domain & 0xFFFF, 0))


def _listen(stop: Stop, row: Row) -> Attempt:
    name = stop.name or b""
    try:
        endpoint = read(name) if name else Unspecified()
    except DecodeError:
        endpoint = Unspecified()  # no socket is bound to that
    # The supervisor listens on the duplicate that it read: nobody can replace that.
    own = msgspec.structs.replace(stop.descriptor, shared=False)
    kinds = sockets.protocols(own, _family(name), connects=True)
    return _attempt(stop, row, Operation.LISTEN, kinds, endpoint)


def _addressed(stop: Stop, row: Row, rare: frozenset[Protocol]) -> Attempt | Verdict:
    """Read connect and the sends: a name, and who could carry the bytes there."""
    connects = row.shape is Shape.CONNECT
    fast_open = not connects and bool(stop.args[row.flags_arg] & _MSG_FASTOPEN)
    name = (stop.name or b"")[:_LONGEST]  # sendmsg clamps, ____sys_sendmsg() in net/socket.c
    if not connects and (not name or sockets.ignores_names(stop.descriptor, fast_open)):
        return _REACHES_NOBODY
    if len(name) < _FAMILY_SIZE:
        return _refused(EINVAL)
    family = _family(name)
    error = sockets.mismatch(stop.descriptor, family, len(name), connects=connects)
    if error:
        return _refused(error)
    try:
        endpoint = read(name) if connects else _destination(name)
    except DecodeError as failure:
        if _dissolves(stop.descriptor, family) and not connects:
            return _REACHES_NOBODY
        return _refused(failure.error, why=str(failure))
    kinds = sockets.protocols(
        stop.descriptor, family, connects=connects, fast_open=fast_open, rare=rare
    )
    return _attempt(stop, row, _OPERATIONS[row.shape], kinds, endpoint)


def _destination(name: bytes) -> Endpoint:
    """
    Whom a send to *name* reaches.

    AF_UNSPEC is AF_INET to an IPv4 datagram socket: udp_sendmsg() in net/ipv4/udp.c.
    To an IPv6 one it is no name at all, but another process that shares the socket can
    make it an IPv4 one meanwhile (IPV6_ADDRFORM), so that it is judged all the same.
    """
    if _family(name) != AF_UNSPEC:
        return read(name)
    return read(struct.pack("=H", AF_INET) + name[_FAMILY_SIZE:])


def _dissolves(descriptor: Descriptor, family: int) -> bool:
    # Too short to be an IPv4 address: an IPv6 socket sends to its peer, see above.
    return family == AF_UNSPEC and sockets.certain(descriptor) and descriptor.domain == AF_INET6
