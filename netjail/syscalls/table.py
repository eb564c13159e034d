"""
The table of trapped syscalls.

A number may have several rows; their clauses are tried in order. A call without a row
never stops, and costs nothing (seccomp remembers it in a bitmap since Linux 5.11).

Read for this table: ``arch/x86/entry/syscalls/syscall_64.tbl`` up to 471,
rseq_slice_yield. A program sends only to an address that it gives or gave before, so
these need no row: write, sendfile, splice and io_submit (to a connected socket's peer),
accept, recvmsg, dup, mq_notify (its message stays on this machine).
Others are for who holds capabilities: mount and fsconfig (network file systems), ppp
devices, packet filters.

Calls that change mappings have a guard (``_guard``), save those that cannot touch the
vault: mprotect and pkey_mprotect (no PROT_WRITE on a sealed file, mprotect(2); without
PROT_READ the kernel's own read fails, EFAULT), mseal (it forbids change, as we do),
shmdt (only what shmat made), brk (never over a mapping; prctl below can move its
start), mlock, mbind, move_pages, msync (same bytes), arch_prctl's ARCH_MAP_VDSO (a hint).
"""

from __future__ import annotations

from errno import EBUSY, ENODEV, ENOKEY, ENOSYS, EOPNOTSUPP, EPERM
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

from netjail.stops import Arch
from netjail.syscalls.rows import (
    ALL,
    ALLOW,
    LOW,
    TRACE,
    Action,
    Clause,
    Compare,
    Condition,
    Kind,
    Row,
    Shape,
)

VAULT_BASE = 0x100000  # above mmap_min_addr, below where static programs are linked
VAULT_SIZE = 0x100000
VAULT_END = VAULT_BASE + VAULT_SIZE

# epoll_ctl_old, which no x86-64 kernel ever answered (ENOSYS): the supervisor sets it at
# a stop to get a user notification, see DESIGN "The vault". Containers' filters let it
# through; a number that they do not know they refuse, and ERRNO outranks USER_NOTIF.
NOTIFY_NUMBER = 214


def _is(arg: int, *values: int, mask: int = LOW) -> Condition:
    return Condition(arg, Compare.IN, mask, values)


def _any(arg: int, mask: int) -> Condition:
    return Condition(arg, Compare.ANY, mask)


def _given(arg: int) -> Condition:
    return Condition(arg, Compare.ANY, ALL)


def _low(arg: int) -> Condition:
    return Condition(arg, Compare.BELOW, ALL, (VAULT_END,))


def _when(*conditions: Condition, action: Action = TRACE) -> tuple[Clause, ...]:
    return (Clause(conditions, action),)


def _fail(error: int) -> Action:
    return Action(Kind.ERRNO, error)


def _shut(name: str, number: int, hint: str, *when: Condition, error: int = EPERM) -> Row:
    if when:
        return Row(name, number, Shape.SHUT, _when(*when), error=error, hint=hint)
    return Row(name, number, Shape.SHUT, otherwise=TRACE, error=error, hint=hint)


def _guard(name: str, number: int, *when: Condition, error: int = EPERM) -> Row:
    # Nobody has business there, or a fallback exists: no stop and no note.
    if when:
        return Row(name, number, Shape.SHUT, _when(*when, action=_fail(error)))
    return Row(name, number, Shape.SHUT, otherwise=_fail(error))


def _map(name: str, number: int, flags: int, *when: Condition) -> Row:
    return Row(name, number, Shape.MAP, _when(*when), flags_arg=flags, error=EPERM, hint=_LOW_MAP)


# Constants that Python has no name for, from include/uapi: linux/in.h (IPPROTO_MPTCP),
# asm-generic/mman-common.h, linux/mman.h, linux/sched.h, linux/prctl.h, linux/sctp.h.
_IP, _TCP, _UDP, _IPV6, _SCTP, _MPTCP = 0, 6, 17, 41, 132, 262
SOCK_TYPE_MASK = 0xF  # the rest is SOCK_NONBLOCK and SOCK_CLOEXEC
_MAP_FIXED, _MAP_FIXED_NOREPLACE = 0x10, 0x100000
_MREMAP_FIXED, _MREMAP_DONTUNMAP = 2, 4
_CLONE_FILES, _CLONE_THREAD, _CLONE_UNTRACED = 0x400, 0x10000, 0x800000

_RING = "io_uring is shut: libraries fall back to ordinary calls"
_ROUTE = "source routes and other ways around the judged address are shut"
_DEVICE = "bound to a device, what is sent to this machine would leave it"
_REACH = "it reaches into processes and namespaces outside the jail"
_FAULTS = "userfaultfd could hold the supervisor for ever; garbage collectors fall back"
_FRAMES = "packets made by hand leave unjudged: no tunnels, no vhost"
_BPF = "its programs change where judged packets go, and reach into every process"
_LOW_MAP = "the judged copy goes to 0x100000-0x200000: Wine and DOSEMU do not work"
_TTY = "it types into the terminal, which reads it after the jail's end"

ROWS: tuple[Row, ...] = (
    Row("connect", 42, Shape.CONNECT, (), TRACE, descriptor_arg=0, name_arg=1, length_arg=2),
    Row(
        "sendto",
        44,
        Shape.SENDTO,
        _when(_given(4)),
        descriptor_arg=0,
        name_arg=4,
        length_arg=5,
        flags_arg=3,
    ),
    Row("sendmsg", 46, Shape.SENDMSG, (), TRACE, descriptor_arg=0, name_arg=1, flags_arg=2),
    Row(
        "sendmmsg",
        307,
        Shape.SENDMMSG,
        (),
        TRACE,
        descriptor_arg=0,
        name_arg=1,
        length_arg=2,
        flags_arg=3,
    ),
    Row("listen", 50, Shape.LISTEN, (), TRACE, descriptor_arg=0),
    Row(
        "bind",
        49,
        Shape.BIND,
        (),
        TRACE,
        descriptor_arg=0,
        name_arg=1,
        length_arg=2,
        error=EPERM,
        hint=_DEVICE,
    ),
    Row(
        "socket",
        41,
        Shape.SOCKET,
        (
            Clause((_is(0, AF_UNIX, AF_NETLINK),), ALLOW),
            Clause(
                (
                    _is(0, AF_INET, AF_INET6),
                    _is(1, SOCK_STREAM, mask=SOCK_TYPE_MASK),
                    _is(2, 0, _TCP, _MPTCP),
                ),
                ALLOW,
            ),
            Clause(
                (
                    _is(0, AF_INET, AF_INET6),
                    _is(1, SOCK_DGRAM, mask=SOCK_TYPE_MASK),
                    _is(2, 0, _UDP),
                ),
                ALLOW,
            ),
        ),
        TRACE,  # ping sockets are let through, but must be known: see ``sockets``
    ),
    # AF_TIPC has pairs too (tipc_socketpair, Linux 4.12), which then join groups that
    # reach other machines; what no other family has is answered as the kernel does.
    Row(
        "socketpair",
        53,
        Shape.SHUT,
        (Clause((_is(0, AF_UNIX),), ALLOW),),
        TRACE,
        error=EOPNOTSUPP,
        hint="only unix sockets come in pairs",
    ),
    # IP_OPTIONS, and the policies of IPsec, which tunnel. IP_RETOPTS and IPV6_2292RTHDR
    # only ask to receive, as an option; as control messages they route: see read.c.
    _shut("setsockopt", 54, _ROUTE, _is(1, _IP), _is(2, 4, 16, 17)),
    # Bound to another device, a packet for 127.0.0.1 really leaves by it: BINDTODEVICE
    # and BINDTOIFINDEX of socket(7), IP_UNICAST_IF, IPV6_PKTINFO, IPV6_UNICAST_IF.
    _shut("setsockopt", 54, _DEVICE, _is(1, SOL_SOCKET), _is(2, 25, 62)),
    _shut("setsockopt", 54, _DEVICE, _is(1, _IP), _is(2, 50)),
    _shut("setsockopt", 54, _DEVICE, _is(1, _IPV6), _is(2, 50, 76)),
    # 2292PKTOPTIONS, RTHDR, and IPsec's policies.
    _shut("setsockopt", 54, _ROUTE, _is(1, _IPV6), _is(2, 6, 34, 35, 57)),
    # IPV6_FLOWLABEL_MGR: what follows struct in6_flowlabel_req (32 bytes) is control data
    # for each packet with that label, routing headers too: net/ipv6/ip6_flowlabel.c.
    Row(
        "setsockopt",
        54,
        Shape.SHUT,
        (
            Clause((_is(1, _IPV6), _is(2, 32), _is(4, 32)), ALLOW),
            Clause((_is(1, _IPV6), _is(2, 32))),
        ),
        error=EPERM,
        hint=_ROUTE,
    ),
    _shut("setsockopt", 54, _ROUTE, _is(1, _SCTP), _is(2, 107, 110, 111)),  # connectx
    _shut("getsockopt", 55, _ROUTE, _is(1, _SCTP), _is(2, 111)),  # connectx3 connects
    _shut("setsockopt", 54, "TCP_REPAIR is shut", _is(1, _TCP), _is(2, 19)),
    _shut("io_uring_setup", 425, _RING, error=ENOSYS),
    _shut("io_uring_enter", 426, _RING, error=ENOSYS),
    _shut("io_uring_register", 427, _RING, error=ENOSYS),
    _shut(
        "ptrace",
        101,
        "gdb, strace and LeakSanitizer cannot work in the jail: ASAN_OPTIONS=detect_leaks=0",
    ),
    Row("clone", 56, Shape.CLONE, _when(_any(0, _CLONE_UNTRACED)), flags_arg=0),
    Row(
        "clone",
        56,
        Shape.CLONE,
        _when(_any(0, _CLONE_FILES), _is(0, 0, mask=_CLONE_THREAD)),
        flags_arg=0,
    ),
    # Its flags are in memory that a thread can change; libc falls back to clone.
    _guard("clone3", 435, error=ENOSYS),
    # A listener of the tracee's would see its calls before us: USER_NOTIF outranks TRACE.
    _guard("seccomp", 317, _is(0, 1), _any(1, 8), error=EBUSY),
    Row("seccomp", 317, Shape.FILTER, _when(_is(0, 1))),
    _guard("prctl", 157, _is(0, 35)),  # PR_SET_MM moves brk over the vault
    Row("prctl", 157, Shape.DUMPABLE, _when(_is(0, 3, 4))),  # PR_GET_, PR_SET_DUMPABLE
    Row("prctl", 157, Shape.FILTER, _when(_is(0, 22))),  # PR_SET_SECCOMP
    # MCL_FUTURE: the vault would count against the limit of locked memory, or not fit.
    Row("mlockall", 151, Shape.FILTER, _when(_any(0, 2))),
    _shut("userfaultfd", 323, _FAULTS),
    _shut("ioctl", 16, _FAULTS, _is(1, 0xAA00)),  # USERFAULTFD_IOC_NEW
    _shut("ioctl", 16, _TTY, _is(1, 0x5412, 0x541C)),  # TIOCSTI, TIOCLINUX
    # TUNSETIFF: whoever finds a tap device that has no owner, or is its owner, may write
    # packets into it. VHOST_SET_OWNER: a thread of the kernel sends in one's place.
    _shut("ioctl", 16, _FRAMES, _is(1, 0x400454CA, 0xAF01)),
    # Root has CAP_SYS_ADMIN, which stands for CAP_BPF: bpf_capable().
    _shut("bpf", 321, _BPF),
    _shut("setns", 308, _REACH),
    _shut("pidfd_getfd", 438, _REACH),
    # With call-out data the kernel starts /sbin/request-key outside the jail, which for
    # the type dns_resolver asks the network: request-key.conf(5). Without, it only looks.
    _shut("request_key", 249, "it asks a program outside the jail", _given(2), error=ENOKEY),
    Row("prlimit64", 302, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    # Nothing but the same user is asked for these: they could starve the supervisor.
    Row("sched_setaffinity", 203, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setscheduler", 144, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setparam", 142, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setattr", 314, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("migrate_pages", 256, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("move_pages", 279, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    # PRIO_PROCESS, PRIO_PGRP, PRIO_USER; IOPRIO_WHO_* are one more.
    Row("setpriority", 141, Shape.PRLIMIT, _when(_is(0, 0), _any(1, LOW)), name_arg=1),
    _shut("setpriority", 141, _REACH, _is(0, 1), _any(1, LOW)),
    _shut("setpriority", 141, _REACH, _is(0, 2)),
    Row("ioprio_set", 251, Shape.PRLIMIT, _when(_is(0, 1), _any(1, LOW)), name_arg=1),
    _shut("ioprio_set", 251, _REACH, _is(0, 2), _any(1, LOW)),
    _shut("ioprio_set", 251, _REACH, _is(0, 3)),
    Row("process_vm_readv", 310, Shape.SHUT, (), TRACE, error=EPERM, hint=_REACH, weak=True),
    Row("process_vm_writev", 311, Shape.SHUT, (), TRACE, error=EPERM, hint=_REACH, weak=True),
    # The vault's guards. A range that starts at or above its end cannot touch it; page
    # rounding goes down to the end at most. Address 0 counts as below.
    _guard("munmap", 11, _low(0)),
    _guard("remap_file_pages", 216, _low(0)),
    _guard("madvise", 28, _low(0)),
    # MADV_DONTFORK, HWPOISON and SOFT_OFFLINE; its ranges are in memory.
    _guard("process_madvise", 440, _is(3, 10, 100, 101)),
    _guard("mremap", 25, _low(0)),
    _guard("mremap", 25, _any(3, _MREMAP_FIXED | _MREMAP_DONTUNMAP), _low(4)),
    _guard("map_shadow_stack", 453, _given(0), _low(0)),
    _guard("uselib", 134, error=ENOSYS),  # maps a file where that file says
    # ARCH_ENABLE_TAGGED_ADDR: with linear address masking a tagged address passes
    # ``_low`` and the kernel takes the tag off (arch/x86/kernel/process_64.c, Linux 6.4).
    _guard("arch_prctl", 158, _is(0, 0x4002), error=ENODEV),
    _map("mmap", 9, 3, _low(0), _given(0)),
    _map("mmap", 9, 3, _low(0), _any(3, _MAP_FIXED | _MAP_FIXED_NOREPLACE)),
    # SHM_RND can round an address down to 0 and then maps there, over anything.
    _map("shmat", 30, 2, _low(1), _given(1)),
    Row(
        "i386 call",
        -1,
        Shape.SHUT,
        otherwise=TRACE,
        error=ENOSYS,
        hint="32-bit programs do not run in the jail",
        arch=Arch.I386,
    ),
)
