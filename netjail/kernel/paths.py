"""
A path as a tracee gave it, to the file that its own call would reach.

The tracee's root, directory and mounts count, not ours. The kernel walks
wherever it can do so for somebody else (openat2(2) scopes a walk to a root); the
rest (``/proc/self``, a relative path that leaves its directory) is walked here
link by link, as path_resolution(7) says. Nothing is opened for use: O_PATH.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

import msgspec

from netjail.errors import KernelError, TraceeGone
from netjail.kernel._core import lib

# include/uapi/linux/openat2.h
_NO_MAGICLINKS = 0x02
_BENEATH = 0x08
_IN_ROOT = 0x10

_PROC = 0x9FA0  # PROC_SUPER_MAGIC, include/uapi/linux/magic.h
_PROC_ROOT = 1  # PROC_ROOT_INO, include/linux/proc_fs.h
_LINKS = 40  # MAXSYMLINKS, include/linux/namei.h


class Credentials(msgspec.Struct, frozen=True):
    """As whom a thread looks up files, see credentials(7)."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Viewer(msgspec.Struct, frozen=True):
    """Through whose eyes a path is resolved."""

    tid: int
    process: int
    credentials: Credentials

    @classmethod
    def of(cls, tid: int) -> Viewer:
        """:raises TraceeGone: if the thread is no more."""
        try:
            status = _read(f"/proc/{tid}/status")
        except OSError as error:
            raise TraceeGone("read /proc/<tid>/status", errno.ESRCH) from error
        (process,), uids, gids, groups = (_numbers(status, name) for name in _FIELDS)
        # Real, effective, saved, file system.
        return cls(tid, process, Credentials(uids[3], gids[3], groups))


_FIELDS = (b"\nTgid:", b"\nUid:", b"\nGid:", b"\nGroups:")  # proc_pid_status(5)


def _numbers(status: bytes, name: bytes) -> tuple[int, ...]:
    start = status.index(name) + len(name)
    return tuple(map(int, status[start : status.index(b"\n", start)].split()))


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


@contextlib.contextmanager
def acting_as(who: Credentials) -> Iterator[None]:
    """
    Look up files with the tracee's rights: a supervisor that may more would
    carry it past a directory that is closed to it.

    Only root's can differ: without it, and with no_new_privs, nobody changes ids.

    :raises KernelError: where we may not take its identity.
    """
    own = Credentials(os.geteuid(), os.getegid(), tuple(sorted(os.getgroups())))
    if own.uid != 0 or who == own:
        yield
        return
    _take(who)
    try:
        yield
    finally:
        _take(own)


def _take(who: Credentials) -> None:
    from netjail.kernel._core import ffi

    groups = ffi.new("uint32_t[]", list(who.groups))
    error = lib.nj_fs_credentials(who.uid, who.gid, groups, len(who.groups))
    if error < 0:
        raise KernelError("setfsuid", -error)


def open_path(viewer: Viewer, path: bytes) -> int:
    """
    An O_PATH descriptor of the file that connect(2) by *viewer* would reach.

    A final link is followed. A directory on a file system that does not answer
    (FUSE, NFS) holds us as long as it would hold the tracee.

    :raises OSError: with the errno that the tracee would get.
    :raises TraceeGone: if the thread is no more.
    """
    with contextlib.ExitStack() as stack:
        root = _anchor(stack, f"/proc/{viewer.tid}/root")
        absolute = path.startswith(b"/")
        start = root if absolute else _anchor(stack, f"/proc/{viewer.tid}/cwd")
        scope = _IN_ROOT if absolute else _BENEATH
        fd: int = lib.nj_openat2(start, path, os.O_PATH, scope | _NO_MAGICLINKS)
        # Of a failure we cannot tell whether the tracee's own walk would fail: it
        # may leave the scope, meet a magic link, or have gone through /proc/self,
        # which was ours.
        return fd if fd >= 0 else _Walk(viewer, root).to(start, path)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _anchor(stack: contextlib.ExitStack, path: str) -> int:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise TraceeGone(f"open {path}", error.errno or errno.ESRCH) from error
    stack.callback(os.close, fd)
    return fd


def _filesystem(fd: int) -> int:
    from netjail.kernel._core import ffi

    value = ffi.new("int64_t *")
    _checked(lib.nj_filesystem(fd, value))
    return int(value[0])


class _Walk:
    """One path, followed component by component."""

    def __init__(self, viewer: Viewer, root: int) -> None:
        self.viewer = viewer
        self.root = root
        self.links = 0

    def to(self, start: int, path: bytes) -> int:
        """The end of *path*; the descriptors on the way are closed."""
        at = os.dup(start)
        pending = _components(path)
        try:
            while pending:
                following = self._step(at, pending)
                os.close(at)
                at = following
        except BaseException:
            os.close(at)
            raise
        return at

    # What the next component leads to; a link puts its own components in front.
    def _step(self, at: int, pending: list[bytes]) -> int:
        name = pending.pop()
        if name == b"..":
            return os.dup(at) if self._is_root(at) else os.open(name, _OPEN, dir_fd=at)
        following = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=at)
        if not stat.S_ISLNK(os.fstat(following).st_mode):
            return following
        try:
            return self._follow(at, name, following, pending)
        finally:
            os.close(following)

    def _follow(self, at: int, name: bytes, link: int, pending: list[bytes]) -> int:
        self.links += 1
        if self.links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if _filesystem(link) == _PROC and (jump := self._jump(at, name)) is not None:
            return jump
        if not pending:
            _may_follow(at, link, self.viewer.credentials.uid)
        target = os.readlink(b"", dir_fd=link)
        pending.extend(_components(target))
        return os.dup(self.root if target.startswith(b"/") else at)

    # Links of procfs that are no text, or whose text depends on the reader.
    def _jump(self, at: int, name: bytes) -> int | None:
        if os.fstat(at).st_ino == _PROC_ROOT and name in (b"self", b"thread-self"):
            process = f"/proc/{self.viewer.process}"
            own = process if name == b"self" else f"{process}/task/{self.viewer.tid}"
            return os.open(own, _OPEN)
        fd: int = lib.nj_openat2(at, name, os.O_PATH, _NO_MAGICLINKS)
        if fd == -errno.ELOOP:
            return os.open(name, _OPEN, dir_fd=at)
        if fd >= 0:
            os.close(fd)
        return None

    def _is_root(self, at: int) -> bool:
        return os.path.samestat(os.fstat(at), os.fstat(self.root)) and (
            descriptor_info(at).get("mnt_id") == descriptor_info(self.root).get("mnt_id")
        )


_OPEN = os.O_PATH | os.O_CLOEXEC


# In the order of a stack. A slash at the end asks for a directory: as "." does.
def _components(path: bytes) -> list[bytes]:
    names = [name for name in path.split(b"/") if name]
    if path.endswith(b"/"):
        names.append(b".")
    return names[::-1]


# fs.protected_symlinks, proc_sys_fs(5): the kernel holds this for walks of its
# own, for a final link: may_follow_link() in fs/namei.c.
def _may_follow(directory: int, link: int, uid: int) -> None:
    parent, own = os.fstat(directory), os.fstat(link)
    sticky = stat.S_ISVTX | stat.S_IWOTH
    if parent.st_mode & sticky != sticky or own.st_uid == parent.st_uid:
        return
    if own.st_uid != uid and _links_are_protected():
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _links_are_protected() -> bool:
    try:
        return _read("/proc/sys/fs/protected_symlinks").strip() != b"0"
    except OSError:
        return True


def descriptor_info(fd: int) -> dict[str, str]:
    """What proc_pid_fdinfo(5) tells of a descriptor of ours."""
    text = _read(f"/proc/self/fdinfo/{fd}").decode()
    fields = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in fields}


# File systems whose stat(2) tells the superblock's own device and inode: they use
# generic_fillattr() as it is. Not overlayfs, btrfs, FUSE, NFS. linux/magic.h.
_PLAIN = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x01021994,  # tmpfs
        0x58465342,  # xfs
        0xF2F52010,  # f2fs
        0x858458F6,  # ramfs
    }
)


def identity(tid: int, fd: int) -> tuple[int, int]:
    """
    The device and inode that sock_diag(7) has for a socket bound to this file:
    the kernel's own dev_t, and the inode's number cut to 32 bits.

    :raises OSError: ENODATA where the host does not tell (before Linux 5.14 on
        file systems that answer stat(2) with other numbers than their own).
    """
    if _filesystem(fd) in _PLAIN:
        status = os.fstat(fd)
        device, inode = (os.major(status.st_dev), os.minor(status.st_dev)), status.st_ino
    else:
        info = descriptor_info(fd)
        if "ino" not in info:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        device, inode = _superblock(tid, info["mnt_id"]), int(info["ino"])
    return device[0] << 20 | device[1], inode & 0xFFFFFFFF


# The device of the mount: field 3 of proc_pid_mountinfo(5), which is s_dev. The
# file may be on a mount of the tracee's, or of ours (through a descriptor).
def _superblock(tid: int, mount: str) -> tuple[int, int]:
    for who in (str(tid), "self"):
        with open(f"/proc/{who}/mountinfo", "rb") as lines:
            for line in lines:
                fields = line.split(b" ", 3)
                if fields[0].decode() == mount:
                    major, _, minor = fields[2].partition(b":")
                    return int(major), int(minor)
    raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
