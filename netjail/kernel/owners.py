"""
Whose socket would receive what a tracee is about to send on this machine.

The jail's own sockets are told apart by their cookies: whoever sees the jail make
one adds it (:meth:`Owners.add`, :meth:`Owners.listener`). Every answer is asked of
the kernel at that moment; nothing here is cached.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

import msgspec

from netjail.endpoints import Address, Endpoint, Inet, Unix
from netjail.errors import KernelError, TraceeGone
from netjail.kernel import paths
from netjail.kernel._core import ffi, lib
from netjail.model import Owner, Protocol
from netjail.stops import Descriptor

_OWNERS = {
    lib.NJ_OWNER_JAIL: Owner.JAIL,
    lib.NJ_OWNER_OUTSIDE: Owner.OUTSIDE,
    lib.NJ_OWNER_NOBODY: Owner.NOBODY,
    lib.NJ_OWNER_REMOTE: Owner.REMOTE,
    lib.NJ_OWNER_UNKNOWN: Owner.UNKNOWN,
}

# What carries the bytes, as sock_diag(7) numbers it; the others have no listeners
# that could be told apart.
_NUMBERS = {Protocol.TCP: socket.IPPROTO_TCP, Protocol.UDP: socket.IPPROTO_UDP}

# What looking up a path gives the tracee itself; another errno is our own trouble.
_MISSING = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)

_REFUSED = errno.ECONNREFUSED


class Resolved(msgspec.Struct, frozen=True):
    """Who is at a unix address, and how to reach exactly that one."""

    owner: Owner
    error: int = 0
    """What the kernel would answer where nobody would receive; else 0."""
    fd: int | None = None
    """O_PATH, the file found: the caller closes it. None: abstract, or not found."""
    path: bytes = b""
    """That file's path as we see it, without links; empty if there is none."""


class Owners:
    """
    The jail's own sockets in this network namespace.

    Where a host refuses sock_diag or rtnetlink, whose a socket is stays unknown.

    :raises KernelError: for want of memory.
    """

    def __init__(self) -> None:
        handle = ffi.new("struct nj_owners **")
        _check(lib.nj_owners_new(handle), "remembering sockets")
        self.handle = ffi.gc(handle[0], lib.nj_owners_free)
        """For the tracer, which adds sockets as it sees them made."""
        self.netns = _netns()

    def add(self, cookie: int) -> None:
        """Remember a socket that the jail made, by its SO_COOKIE, before it can receive."""
        _check(lib.nj_owners_add(self.handle, cookie), "remember a socket")

    def listener(self, fd: int) -> None:
        """Remember the jail's listener, a duplicate of ours, right after its listen()."""
        _check(lib.nj_owners_listener(self.handle, fd), "remember a listener")

    def owner(
        self, endpoint: Endpoint, protocol: Protocol, descriptor: Descriptor, tid: int
    ) -> Owner:
        """Whose socket would receive, if *descriptor* carried *protocol*."""
        if isinstance(endpoint, Unix):
            found = self.resolve(endpoint, tid, descriptor)
            if found.fd is not None:
                os.close(found.fd)
            return found.owner
        if not isinstance(endpoint, Inet):
            return Owner.UNKNOWN
        return self._inet(endpoint, protocol, descriptor)

    def resolve(self, endpoint: Unix, tid: int, descriptor: Descriptor) -> Resolved:
        """
        Find the socket behind a unix address.

        With NOBODY the call need not run: *error* is its answer. With JAIL and
        OUTSIDE what was judged is *fd*; the path may lead elsewhere by now.
        """
        if endpoint.abstract:
            return self._abstract(endpoint.path, descriptor)
        if not endpoint.path:
            return Resolved(Owner.NOBODY, errno.EINVAL)
        try:
            return self._path(tid, endpoint.path, descriptor.type)
        except TraceeGone:
            return Resolved(Owner.UNKNOWN, errno.ESRCH)
        except KernelError:
            return Resolved(Owner.UNKNOWN, errno.EACCES)
        except OSError as error:
            number = error.errno or errno.EIO
            return Resolved(Owner.NOBODY if number in _MISSING else Owner.UNKNOWN, number)

    def _inet(self, endpoint: Inet, protocol: Protocol, descriptor: Descriptor) -> Owner:
        if not self._is_ours(descriptor):
            return Owner.UNKNOWN
        address = endpoint.address
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        number = _NUMBERS.get(protocol, 0)
        device = _scope(address)
        if device is None:
            return Owner.UNKNOWN
        found = lib.nj_owner_inet(
            self.handle, number, family, address.packed, endpoint.port, device
        )
        return _OWNERS[found]

    # An unknown namespace may have other listeners on the same addresses.
    def _is_ours(self, descriptor: Descriptor) -> bool:
        return not descriptor.error and 0 != self.netns == descriptor.netns

    # An abstract name exists once for each type of socket: another thread that
    # swaps the descriptor would reach the name's other one.
    def _abstract(self, name: bytes, descriptor: Descriptor) -> Resolved:
        if not self._is_ours(descriptor):
            return Resolved(Owner.UNKNOWN)
        owner = self._unix(descriptor.type, name=name)
        if owner is Owner.JAIL and descriptor.shared:
            owner = self._unix(0, name=name)
        return Resolved(owner, _REFUSED if owner is Owner.NOBODY else 0)

    def _unix(self, kind: int, where: tuple[int, int] = (0, 0), name: bytes | None = None) -> Owner:
        text = ffi.NULL if name is None else ffi.from_buffer(name)
        return _OWNERS[lib.nj_owner_unix(self.handle, kind, *where, text, len(name or b""))]

    # The order of errors is unix_find_bsd()'s in net/unix/af_unix.c.
    def _path(self, tid: int, path: bytes, kind: int) -> Resolved:
        viewer = paths.Viewer.of(tid)
        with paths.acting_as(viewer.credentials):
            fd = paths.open_path(viewer, path)
            denied = lib.nj_may_write(fd) in (-errno.EACCES, -errno.EPERM)
        try:
            owner, error = self._file(tid, fd, kind)
            if denied and owner is not Owner.UNKNOWN:
                owner, error = Owner.NOBODY, errno.EACCES
            return Resolved(owner, error, fd, os.readlink(f"/proc/self/fd/{fd}".encode()))
        except BaseException:
            os.close(fd)
            raise

    def _file(self, tid: int, fd: int, kind: int) -> tuple[Owner, int]:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return Owner.NOBODY, _REFUSED
        try:
            where = paths.identity(tid, fd)
        except OSError:
            return Owner.UNKNOWN, 0
        owner = self._unix(kind, where)
        return self._nobody(where, fd, kind) if owner is Owner.NOBODY else (owner, 0)

    # Nobody of our namespace receives there. Paths are looked up across network
    # namespaces: somebody of another one may.
    def _nobody(self, where: tuple[int, int], fd: int, kind: int) -> tuple[Owner, int]:
        bound = lib.nj_unix_type(self.handle, *where)
        if bound > 0:
            return Owner.NOBODY, _REFUSED if kind in (0, bound) else errno.EPROTOTYPE
        if bound == 0 and _unbound(fd):
            return Owner.NOBODY, _REFUSED
        return Owner.UNKNOWN, 0


# Connecting a datagram socket sends nothing and its peer is not told; it fails
# with ECONNREFUSED only where no socket of any type or namespace is bound.
def _unbound(fd: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(f"/proc/self/fd/{fd}") == _REFUSED


# The device that a scope id means; a link-local address without one may be on any.
def _scope(address: Address) -> int | None:
    if address.version == 4 or not address.is_link_local:
        return 0
    scope = getattr(address, "scope_id", None)
    return int(scope) if scope and scope.isdigit() else None


def _netns() -> int:
    cookie = ffi.new("uint64_t *")
    return int(cookie[0]) if lib.nj_netns_cookie(cookie) == 0 else 0


def _check(result: int, operation: str) -> None:
    if result < 0:
        raise KernelError(operation, -result)
