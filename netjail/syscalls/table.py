"""
The table of trapped syscalls.

A row has a number for each ABI; a number may have several rows, whose clauses are tried
in order. A call without a row never stops, and costs nothing (seccomp remembers it in a
bitmap since Linux 5.11).

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

i386's numbers: ``syscall_32.tbl`` up to 471 as well. Of those that it alone has, most are
x86-64's calls with older or wider arguments (stat64, chown32, clock_gettime64) or have
ended (ENOSYS: vm86, create_module). The rest need no row either: modify_ldt and
set_thread_area (segments: the kernel reads a call's pointers without them), sigreturn
(registers alone; the next call is judged by what they are then), sgetmask and ssetmask,
iopl and ioperm (for who holds capabilities), restart_syscall (number 0; what it goes on
with names nobody), setrlimit, readdir, olduname. ``ipc`` has one use that maps;
``socketcall`` passes where its first argument, a register, says that it reaches nobody.
"""

from __future__ import annotations

from errno import EBUSY, ENODEV, ENOKEY, ENOSYS, EOPNOTSUPP, EPERM
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

from netjail.stops import Arch
from netjail.syscalls.outside import OUTSIDE, REACH
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

# Above mmap_min_addr, below where programs are linked: valgrind puts its own at 0x108000.
VAULT_BASE = 0x20000
VAULT_SIZE = 0xE0000
VAULT_END = VAULT_BASE + VAULT_SIZE

# What the supervisor sets at a stop to get a user notification, see DESIGN "The vault":
# for that the filter wants a secret as arguments, else the call passes. epoll_ctl_old, which
# no x86-64 kernel ever answered (ENOSYS), and restart_syscall, which takes no arguments.
# Containers' filters let both through; a number that they do not know they refuse, and
# ERRNO outranks USER_NOTIF.
NOTIFY_NUMBERS = {Arch.X86_64: 214, Arch.I386: 0}


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


def _shut(
    name: str, number: int, i386: int, hint: str, *when: Condition, error: int = EPERM
) -> Row:
    if when:
        return Row(name, number, i386, Shape.SHUT, _when(*when), error=error, hint=hint)
    return Row(name, number, i386, Shape.SHUT, otherwise=TRACE, error=error, hint=hint)


def _guard(name: str, number: int, i386: int, *when: Condition, error: int = EPERM) -> Row:
    # Nobody has business there, or a fallback exists: no stop and no note.
    if when:
        return Row(name, number, i386, Shape.SHUT, _when(*when, action=_fail(error)))
    return Row(name, number, i386, Shape.SHUT, otherwise=_fail(error))


def _map(name: str, number: int, i386: int, where: tuple[int, int, int], *when: Condition) -> Row:
    # where: the arguments that are address, length (-1: there is none) and flags.
    found = _when(*when)
    return Row(name, number, i386, Shape.MAP, found, ALLOW, -1, *where, error=EPERM, hint=_LOW_MAP)


def _socketcall(call: int, runs: int, words: int) -> Row:
    # SYS_* of linux/net.h, and net/socket.c's table of how many arguments each has.
    when = _when(_is(0, call))
    return Row("socketcall", -1, 102, Shape.FOLDED, when, name_arg=1, runs=runs, words=words)


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
_FAULTS = "userfaultfd could hold the supervisor for ever; garbage collectors fall back"
_FRAMES = "packets made by hand leave unjudged: no tunnels, no vhost"
_BPF = "its programs change where judged packets go, and reach into every process"
_LOW_MAP = "the judged copy goes to 0x20000-0x100000: Wine and DOSEMU do not work"
_TTY = "it types into the terminal, which reads it after the jail's end"

ROWS: tuple[Row, ...] = (
    Row("connect", 42, 362, Shape.CONNECT, (), TRACE, descriptor_arg=0, name_arg=1, length_arg=2),
    # descriptor, name, length, flags
    Row("sendto", 44, 369, Shape.SENDTO, _when(_given(4)), ALLOW, 0, 4, 5, 3),
    Row("sendmsg", 46, 370, Shape.SENDMSG, (), TRACE, descriptor_arg=0, name_arg=1, flags_arg=2),
    Row("sendmmsg", 307, 345, Shape.SENDMMSG, (), TRACE, 0, 1, 2, 3),
    Row("listen", 50, 363, Shape.LISTEN, (), TRACE, descriptor_arg=0),
    Row("bind", 49, 361, Shape.BIND, (), TRACE, 0, 1, 2, error=EPERM, hint=_DEVICE),
    Row(
        "socket",
        41,
        359,
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
        360,
        Shape.SHUT,
        (Clause((_is(0, AF_UNIX),), ALLOW),),
        TRACE,
        error=EOPNOTSUPP,
        hint="only unix sockets come in pairs",
    ),
    # IP_OPTIONS, and the policies of IPsec, which tunnel. IP_RETOPTS and IPV6_2292RTHDR
    # only ask to receive, as an option; as control messages they route: see read.c.
    _shut("setsockopt", 54, 366, _ROUTE, _is(1, _IP), _is(2, 4, 16, 17)),
    # Bound to another device, a packet for 127.0.0.1 really leaves by it: BINDTODEVICE
    # and BINDTOIFINDEX of socket(7), IP_UNICAST_IF, IPV6_PKTINFO, IPV6_UNICAST_IF.
    _shut("setsockopt", 54, 366, _DEVICE, _is(1, SOL_SOCKET), _is(2, 25, 62)),
    _shut("setsockopt", 54, 366, _DEVICE, _is(1, _IP), _is(2, 50)),
    _shut("setsockopt", 54, 366, _DEVICE, _is(1, _IPV6), _is(2, 50, 76)),
    # 2292PKTOPTIONS, RTHDR, and IPsec's policies.
    _shut("setsockopt", 54, 366, _ROUTE, _is(1, _IPV6), _is(2, 6, 34, 35, 57)),
    # IPV6_FLOWLABEL_MGR: what follows struct in6_flowlabel_req (32 bytes) is control data
    # for each packet with that label, routing headers too: net/ipv6/ip6_flowlabel.c.
    Row(
        "setsockopt",
        54,
        366,
        Shape.SHUT,
        (
            Clause((_is(1, _IPV6), _is(2, 32), _is(4, 32)), ALLOW),
            Clause((_is(1, _IPV6), _is(2, 32))),
        ),
        error=EPERM,
        hint=_ROUTE,
    ),
    _shut("setsockopt", 54, 366, _ROUTE, _is(1, _SCTP), _is(2, 107, 110, 111)),  # connectx
    _shut("getsockopt", 55, 365, _ROUTE, _is(1, _SCTP), _is(2, 111)),  # connectx3 connects
    _shut("setsockopt", 54, 366, "TCP_REPAIR is shut", _is(1, _TCP), _is(2, 19)),
    _shut("io_uring_setup", 425, 425, _RING, error=ENOSYS),
    _shut("io_uring_enter", 426, 426, _RING, error=ENOSYS),
    _shut("io_uring_register", 427, 427, _RING, error=ENOSYS),
    _shut(
        "ptrace",
        101,
        26,
        "gdb, strace and LeakSanitizer cannot work in the jail: ASAN_OPTIONS=detect_leaks=0",
    ),
    Row("clone", 56, 120, Shape.CLONE, _when(_any(0, _CLONE_UNTRACED)), flags_arg=0),
    Row(
        "clone",
        56,
        120,
        Shape.CLONE,
        _when(_any(0, _CLONE_FILES), _is(0, 0, mask=_CLONE_THREAD)),
        flags_arg=0,
    ),
    # Its flags are in memory that a thread can change; libc falls back to clone.
    _guard("clone3", 435, 435, error=ENOSYS),
    # A listener of the tracee's would see its calls before us: USER_NOTIF outranks TRACE.
    _guard("seccomp", 317, 354, _is(0, 1), _any(1, 8), error=EBUSY),
    Row("seccomp", 317, 354, Shape.FILTER, _when(_is(0, 1))),
    _guard("prctl", 157, 172, _is(0, 35)),  # PR_SET_MM moves brk over the vault
    Row("prctl", 157, 172, Shape.DUMPABLE, _when(_is(0, 3, 4))),  # PR_GET_, PR_SET_DUMPABLE
    Row("prctl", 157, 172, Shape.FILTER, _when(_is(0, 22))),  # PR_SET_SECCOMP
    # MCL_FUTURE: the vault would count against the limit of locked memory, or not fit.
    Row("mlockall", 151, 152, Shape.FILTER, _when(_any(0, 2))),
    _shut("userfaultfd", 323, 374, _FAULTS),
    _shut("ioctl", 16, 54, _FAULTS, _is(1, 0xAA00)),  # USERFAULTFD_IOC_NEW
    _shut("ioctl", 16, 54, _TTY, _is(1, 0x5412, 0x541C)),  # TIOCSTI, TIOCLINUX
    # TUNSETIFF: whoever finds a tap device that has no owner, or is its owner, may write
    # packets into it. VHOST_SET_OWNER: a thread of the kernel sends in one's place.
    _shut("ioctl", 16, 54, _FRAMES, _is(1, 0x400454CA, 0xAF01)),
    # Root has CAP_SYS_ADMIN, which stands for CAP_BPF: bpf_capable().
    _shut("bpf", 321, 357, _BPF),
    _shut("setns", 308, 346, REACH),
    _shut("pidfd_getfd", 438, 438, REACH),
    # With call-out data the kernel starts /sbin/request-key outside the jail, which for
    # the type dns_resolver asks the network: request-key.conf(5). Without, it only looks.
    _shut("request_key", 249, 287, "it asks a program outside the jail", _given(2), error=ENOKEY),
    Row("prlimit64", 302, 340, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    # Nothing but the same user is asked for these: they could starve the supervisor.
    Row("sched_setaffinity", 203, 241, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setscheduler", 144, 156, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setparam", 142, 154, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("sched_setattr", 314, 351, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("migrate_pages", 256, 294, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    Row("move_pages", 279, 317, Shape.PRLIMIT, _when(_any(0, LOW)), name_arg=0),
    # PRIO_PROCESS, PRIO_PGRP, PRIO_USER; IOPRIO_WHO_* are one more. One's own group too: a
    # thread may enter any of the session meanwhile, setpgid(2).
    Row("setpriority", 141, 97, Shape.PRLIMIT, _when(_is(0, 0), _any(1, LOW)), name_arg=1),
    _shut("setpriority", 141, 97, REACH, _is(0, 1, 2)),
    Row("ioprio_set", 251, 289, Shape.PRLIMIT, _when(_is(0, 1), _any(1, LOW)), name_arg=1),
    _shut("ioprio_set", 251, 289, REACH, _is(0, 2, 3)),
    *OUTSIDE,
    # The vault's guards. A range that starts at or above its end cannot touch it; page
    # rounding goes down to the end at most. Address 0 counts as below.
    _guard("munmap", 11, 91, _low(0)),
    _guard("remap_file_pages", 216, 257, _low(0)),
    _guard("madvise", 28, 219, _low(0)),
    # MADV_DONTFORK, HWPOISON and SOFT_OFFLINE; its ranges are in memory.
    _guard("process_madvise", 440, 440, _is(3, 10, 100, 101)),
    _guard("mremap", 25, 163, _low(0)),
    _guard("mremap", 25, 163, _any(3, _MREMAP_FIXED | _MREMAP_DONTUNMAP), _low(4)),
    _guard("map_shadow_stack", 453, 453, _given(0), _low(0)),
    _guard("uselib", 134, 86, error=ENOSYS),  # maps a file where that file says
    # ARCH_ENABLE_TAGGED_ADDR: with linear address masking a tagged address passes
    # ``_low`` and the kernel takes the tag off (arch/x86/kernel/process_64.c, Linux 6.4).
    _guard("arch_prctl", 158, 384, _is(0, 0x4002), error=ENODEV),
    _map("mmap", 9, 192, (0, 1, 3), _low(0), _given(0)),
    _map("mmap", 9, 192, (0, 1, 3), _low(0), _any(3, _MAP_FIXED | _MAP_FIXED_NOREPLACE)),
    # SHM_RND can round an address down to 0 and then maps there, over anything.
    _map("shmat", 30, 397, (1, -1, 2), _low(1), _given(1)),
    # SHMAT of ipc/syscall.c; the upper half is a version.
    _map("ipc", -1, 117, (4, -1, 2), _is(0, 21, mask=0xFFFF), _low(4), _given(4)),
    # Each of these copies its arguments from memory, which another thread may change:
    # they run as the calls that have them in registers. Not here, since they reach
    # nobody: accept, getsockname, getpeername, send, recv, recvfrom, shutdown, recvmsg,
    # accept4, recvmmsg.
    _socketcall(1, runs=359, words=3),  # SYS_SOCKET
    _socketcall(2, runs=361, words=3),  # SYS_BIND
    _socketcall(3, runs=362, words=3),  # SYS_CONNECT
    _socketcall(4, runs=363, words=2),  # SYS_LISTEN
    _socketcall(8, runs=360, words=4),  # SYS_SOCKETPAIR
    _socketcall(11, runs=369, words=6),  # SYS_SENDTO
    _socketcall(14, runs=366, words=5),  # SYS_SETSOCKOPT
    _socketcall(15, runs=365, words=5),  # SYS_GETSOCKOPT
    _socketcall(16, runs=370, words=3),  # SYS_SENDMSG
    _socketcall(20, runs=345, words=4),  # SYS_SENDMMSG
    Row("old_mmap", -1, 90, Shape.FOLDED, (), TRACE, name_arg=0, runs=192, words=6),
)
