"""
Hosts that take away what netjail would like to have: containers' seccomp profiles and
single calls that are refused, as filters; see fixtures/confined.c, which installs them.

A profile is written down by what it refuses on x86-64, from the lists that the projects
publish; what is not named, it lets through.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from errno import EAFNOSUPPORT, EINVAL, ENOSYS, EPERM

from jail import Runner

_LOAD, _AND, _RETURN, _EQUAL, _AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x35
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_X86_64 = 0xC000003E
_NUMBER, _ARCH, _ARGS = 0, 4, 16

# Of other numbers than these a profile's author never heard: nothing bounds them.
_UNBOUNDED = 1 << 30


@dataclass(frozen=True)
class Only:
    """One call, for some values of an argument: refused if (not) among *values*."""

    number: int
    arg: int
    values: tuple[int, ...]
    error: int
    among: bool = True
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True)
class Profile:
    """What is refused, on the 32-bit halves that the kernel's own checks read."""

    refused: dict[int, int] = field(default_factory=dict)
    """Number to errno."""
    only: tuple[Only, ...] = ()
    newest: int = _UNBOUNDED
    """The highest number that its author knew; those above get *unknown*."""
    unknown: int = ENOSYS

    def program(self) -> bytes:
        """An array of ``struct sock_filter``."""
        code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _X86_64), (_RETURN, 0, 0, _ALLOW)]
        code.append((_LOAD, 0, 0, _NUMBER))
        for number, error in self.refused.items():
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]
        code += [(_AT_LEAST, 0, 2, self.newest + 1), (_AT_LEAST, 1, 0, _UNBOUNDED)]
        code.append((_RETURN, 0, 0, _ERRNO | self.unknown))
        for condition in self.only:
            code += _only(condition)
        code.append((_RETURN, 0, 0, _ALLOW))
        return b"".join(struct.pack("<HBBI", *step) for step in code)


# A block of its own, which leaves the number in the accumulator to the next one.
def _only(one: Only) -> list[tuple[int, int, int, int]]:
    block = [(_LOAD, 0, 0, _ARGS + 8 * one.arg), (_AND, 0, 0, one.mask)]
    for at, value in enumerate(one.values):
        left = len(one.values) - 1 - at
        block.append((_EQUAL, left + (not one.among), one.among and not left, value))
    block.append((_RETURN, 0, 0, _ERRNO | one.error))
    return [(_EQUAL, 0, len(block), one.number), *block, (_LOAD, 0, 0, _NUMBER)]


def without(*numbers: int, error: int = EPERM) -> Profile:
    """A host that refuses these calls and no others."""
    return Profile(dict.fromkeys(numbers, error))


# Docker's default capabilities, for its root; a runtime grants them by the bounding set.
_CAPS = (
    "chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,"
    "+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
)


@dataclass(frozen=True)
class Host:
    """A host: what holds netjail itself."""

    profile: Profile
    caps: str | None = _CAPS
    """What root may do there; None: all."""

    def around(self, runner: Runner) -> list[str]:
        """The words before netjail's own that take away what is not there."""
        file = runner.workdir / "profile.bpf"
        file.write_bytes(self.profile.program())
        words = [*runner.user.prefix, runner.program("confined"), str(file)]
        if runner.user.uid == 0 and self.caps is not None:
            kept = f"-all,+{self.caps}" if self.caps else "-all"
            words = ["setpriv", "--inh-caps=-all", f"--bounding-set={kept}", "--", *words]
        return words


_PTRACE, _SECCOMP, _CLONE3 = 101, 317, 435
_READV, _WRITEV, _GETFD = 310, 311, 438
_SOCKET, _CLONE, _PERSONALITY = 41, 56, 135
_AF_NETLINK, _AF_VSOCK, _NETLINK_AUDIT, _NETLINK_SOCK_DIAG = 16, 40, 9, 4
_NAMESPACES = 0x7E020000  # every CLONE_NEW* of clone(2) but NEWTIME

# Of processes that may not be touched, kernels, clocks, keys, mounts and modules.
_OLD = {
    136: "ustat", 139: "sysfs", 153: "vhangup", 155: "pivot_root", 156: "_sysctl",
    163: "acct", 164: "settimeofday", 165: "mount", 166: "umount2", 167: "swapon",
    168: "swapoff", 169: "reboot", 170: "sethostname", 171: "setdomainname", 172: "iopl",
    173: "ioperm", 174: "create_module", 175: "init_module", 176: "delete_module",
    177: "get_kernel_syms", 178: "query_module", 179: "quotactl", 180: "nfsservctl",
    181: "getpmsg", 182: "putpmsg", 183: "afs_syscall", 184: "tuxcall", 185: "security",
    212: "lookup_dcookie", 227: "clock_settime", 236: "vserver", 237: "mbind",
    238: "set_mempolicy", 239: "get_mempolicy", 246: "kexec_load", 248: "add_key",
    249: "request_key", 250: "keyctl", 256: "migrate_pages", 279: "move_pages",
    298: "perf_event_open", 300: "fanotify_init", 304: "open_by_handle_at", 308: "setns",
    312: "kcmp", 313: "finit_module", 320: "kexec_file_load", 321: "bpf",
    323: "userfaultfd", 134: "uselib", 272: "unshare", 103: "syslog",
}  # fmt: skip
_NEW = {
    425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register",
    428: "open_tree", 429: "move_mount", 430: "fsopen", 431: "fsconfig", 432: "fsmount",
    433: "fspick", 438: "pidfd_getfd", 440: "process_madvise", 442: "mount_setattr",
    443: "quotactl_fd", 450: "set_mempolicy_home_node",
}  # fmt: skip

_PLAIN = Only(_PERSONALITY, 0, (0, 8, 0x20000, 0x20008, 0xFFFFFFFF), EPERM, among=False)
_NO_NAMESPACES = Only(_CLONE, 0, (0,), EPERM, among=False, mask=_NAMESPACES)
_NO_VSOCK = Only(_SOCKET, 0, (_AF_VSOCK,), EPERM)

# moby's profiles/seccomp/default.json as of Docker 25 to 28, for its default
# capabilities. What it never heard of gets ENOSYS from runc 1.0 on.
DOCKER = Profile(
    {**dict.fromkeys([*_OLD, *_NEW], EPERM), _CLONE3: ENOSYS},
    (_PLAIN, _NO_NAMESPACES, _NO_VSOCK),
    newest=456,
)
# The same before moby 42083 (March 2021; Docker 20.10): process_vm_readv is refused too.
# Its list ends with faccessat2.
DOCKER_20 = Profile(
    {**DOCKER.refused, **dict.fromkeys((_READV, _WRITEV), EPERM)},
    (_PLAIN, _NO_NAMESPACES),
    newest=439,
)
# containerd's contrib/seccomp/seccomp_default.go: 2.0 as moby's; until 1.6.2 (April 2022)
# ptrace needed its capability, and nothing above 439 was known.
CONTAINERD = DOCKER
CONTAINERD_1_6 = Profile(
    {**DOCKER_20.refused, _PTRACE: EPERM}, (_PLAIN, _NO_NAMESPACES), newest=439, unknown=EPERM
)
# containers/common, pkg/seccomp/seccomp.json since 0.48 (March 2022; Podman 4), for
# Podman's default capabilities: namespaces and pidfd_getfd are free.
_FREE = ("mount", "umount2", "pivot_root", "reboot", "unshare", "setns", "keyctl")
_FREE_NEW = ("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "pidfd_getfd")
PODMAN = Profile(
    {
        **{number: EPERM for number, name in _OLD.items() if name not in _FREE},
        **{number: ENOSYS for number, name in _NEW.items() if name not in _FREE_NEW},
        **dict.fromkeys((_READV, _WRITEV, 440, 278, 324, 333), EPERM),
    },
    (
        Only(_SOCKET, 2, (_NETLINK_AUDIT,), EINVAL),
        _PLAIN,
    ),
    newest=441,
)
# Podman before that: no ptrace without its capability.
PODMAN_3 = Profile({**PODMAN.refused, _PTRACE: EPERM}, PODMAN.only, newest=441)

# What says who listens: a service with systemd's RestrictAddressFamilies=AF_UNIX AF_INET
# AF_INET6, and a host that answers no sock_diag(7).
NO_NETLINK = Profile({}, (Only(_SOCKET, 0, (_AF_NETLINK,), EAFNOSUPPORT),))
NO_SOCK_DIAG = Profile({}, (Only(_SOCKET, 2, (_NETLINK_SOCK_DIAG,), EPERM),))

# Linux before 5.13, or one that was started without Landlock.
NO_LANDLOCK = without(444, 445, 446, error=ENOSYS)
