"""
What the doctor tries: a row for each probe.

To add one, write it in ``netjail/kernel/door_*.c`` and add its row here. A probe says nothing
that is believed: a canary outside the jail must have heard it, see ``outside``.
"""

from __future__ import annotations

from typing import NamedTuple


class Door(NamedTuple):
    """A probe, and what it stands for."""

    name: str
    """Of the C function's row."""
    title: str
    needs: tuple[str, ...] = ()
    """Parts of ``outside`` that it cannot do without."""
    without: str = ""
    """What it means that the probe gets nowhere unguarded."""
    races: bool = False
    """It lasts a while, and allowed calls must arrive meanwhile."""
    lasts: bool = False
    """It lasts a while."""
    ends: bool = False
    """The jail may end by it: then nothing got out either."""


CONTROL = "tcp-connect"
_I386 = "this kernel or CPU has no such 32-bit call"
_X32 = "this kernel has no x32 calls"
_INET6 = ("tcp6",)
_ROOT = "only root can"
_MIP6 = "this kernel takes none there"
_RING = "no io_uring here"
_MARK = ("victim",)

GROUPS: dict[str, tuple[Door, ...]] = {
    "ways to send": (
        Door(CONTROL, "connect, TCP"),
        Door("udp-sendto", "sendto"),
        Door("udp-connect", "connect and send, UDP"),
        Door("udp-sendmsg", "sendmsg"),
        Door("udp-sendmmsg", "the second message of sendmmsg"),
        Door("connected-sendmsg", "sendmsg past the connected peer"),
        Door("tcp6-connect", "connect, IPv6", _INET6),
        Door("udp6-sendto", "sendto, IPv6", ("udp6",)),
        Door("mapped-connect", "connect to an IPv4-mapped address", _INET6),
        Door("mapped-sendto", "sendto an IPv4-mapped address", _INET6),
        Door("inet-on-inet6", "an IPv4 address on an IPv6 socket", _INET6),
        Door("unspec-sendto", "AF_UNSPEC in sendto"),
        Door("no-address", "connect to 0.0.0.0"),
        Door("no-address6", "connect to ::", _INET6),
        Door("long-address", "an address longer than its family's"),
        Door("dirty-registers", "rubbish in the upper halves of registers"),
        Door("reconnect", "AF_UNSPEC to leave an allowed peer"),
        Door("fastopen-sendto", "MSG_FASTOPEN in sendto"),
        Door("fastopen-sendmsg", "MSG_FASTOPEN in sendmsg"),
        Door("fastopen-connect", "TCP_FASTOPEN_CONNECT"),
        Door("mptcp-connect", "MPTCP", (), "no MPTCP here"),
    ),
    "io_uring": (
        Door("ring-inherited", "a ring that was open before the jail", ("ring",), _RING),
        Door("ring-connect", "IORING_OP_CONNECT", (), _RING),
        Door("ring-send", "IORING_OP_SENDMSG", (), _RING),
    ),
    "other calling conventions": (
        Door("i386-connect", "int 0x80: connect", (), _I386),
        Door("i386-socketcall", "int 0x80: socketcall", (), _I386),
        Door("i386-sendto", "int 0x80: sendto", (), _I386),
        Door("i386-sendmsg", "int 0x80: sendmsg", (), _I386),
        Door("i386-sendmmsg", "int 0x80: sendmmsg", (), _I386),
        Door("i386-sysenter", "sysenter in a 32-bit segment", (), _I386),
        Door("i386-syscall", "syscall in a 32-bit segment", (), _I386),
        Door("x32-connect", "x32: connect", (), _X32),
        Door("x32-sendto", "x32: sendto", (), _X32),
    ),
    "other protocols": (
        Door("udplite", "UDP-Lite", ("udplite",)),
        Door("sctp-connect", "SCTP", ("sctp",)),
        Door("sctp-connectx", "SCTP: connectx", ("sctp",)),
        Door("dccp-connect", "DCCP", ("dccp",)),
        Door("vsock-connect", "vsock", ("vsock",), "this kernel's vsock has no loopback"),
        Door("raw-socket", "a raw socket", (), _ROOT),
        Door("packet-socket", "a packet socket", ("sniffer",)),
    ),
    "source routes": (
        Door("route-option", "IP_OPTIONS", ("sniffer",)),
        Door("route-control", "IP_RETOPTS in sendmsg", ("sniffer",)),
        Door("route-option6", "IPV6_RTHDR", ("sniffer", "tcp6")),
        Door("route-control6", "IPV6_RTHDR in sendmsg", ("sniffer", "tcp6"), _MIP6),
    ),
    "processes": (
        Door("clone-untraced", "a child made with CLONE_UNTRACED"),
        Door("clone-silent", "a child without an exit signal"),
        Door("clone3-untraced", "the same by clone3", (), "no clone3 here"),
        Door("nested-ptrace", "a parent that traces its child", (), "no ptrace here"),
        Door("nested-untraced", "the same, and CLONE_UNTRACED", (), "no ptrace here"),
        Door("own-listener", "a seccomp listener of its own", (), "no second listener here"),
        Door("own-filter", "a seccomp filter of its own"),
        Door("undumpable", "PR_SET_DUMPABLE 0"),
        Door("exec", "a new program"),
        Door("exec-from-thread", "exec from a thread that is not the leader"),
        Door("execute-only", "a program that nobody may read"),
    ),
    "helpers outside": (
        Door("unix-path", "a broker's unix socket", ("path",)),
        Door("unix-datagram", "the same for datagrams", ("datagrams",)),
        Door("unix-abstract", "an abstract unix socket", ("abstract",)),
        Door("unix-detour", "a unix socket by way of /proc/self/root", ("path",)),
        Door("shared-port", "a port shared by SO_REUSEPORT", ("shared",)),
        Door("inherited-socket", "a socket that was open before the jail"),
    ),
    "processes outside": (
        Door("victim-ptrace", "ptrace", _MARK),
        Door("victim-mem", "/proc/PID/mem", _MARK),
        Door("victim-writev", "process_vm_writev", _MARK),
        Door("victim-descriptor", "pidfd_getfd of a connected socket", _MARK),
        Door("victim-kill", "kill", _MARK),
        Door("victim-tkill", "tkill", _MARK),
        Door("victim-sigqueue", "sigqueue", _MARK),
        Door("victim-pidfd-signal", "pidfd_send_signal", _MARK),
        Door("victim-sigio", "F_SETOWN", _MARK),
        Door("victim-prlimit", "prlimit", _MARK),
        Door("setns", "setns", ("stranger",)),
        Door("terminal", "TIOCSTI", ("terminal",), "this kernel lets only root type"),
    ),
    "races": (
        Door("race-address", "the address, by a thread", races=True),
        Door("race-address-process", "the address, by a process", races=True),
        Door("race-length", "the address's length", races=True),
        Door("race-name", "msg_name", races=True),
        Door("race-vector", "a sendmmsg vector, by a thread", races=True),
        Door("race-vector-process", "a sendmmsg vector, by a process", races=True),
        Door("race-connect", "the address of connect", races=True),
        Door("race-fault", "a page that userfaultfd fills", (), "userfaultfd is kept for root"),
    ),
    "the judged copy": (
        Door("vault-protect", "mprotect", lasts=True),
        Door("vault-mem", "/proc/self/mem", lasts=True),
        Door("vault-writev", "process_vm_writev", lasts=True),
        Door("vault-unmap", "munmap", lasts=True),
        Door("vault-map", "mmap over it", lasts=True),
        Door("vault-move-over", "mremap over it", lasts=True),
        Door("vault-move-away", "mremap of it", lasts=True),
        Door("vault-shared-memory", "shmat over it", lasts=True),
        Door("vault-break", "PR_SET_MM and brk", lasts=True),
        Door("vault-heirs", "MADV_DONTFORK, in a child", lasts=True),
        Door("vault-early", "a page there before it", lasts=True),
        Door("vault-alarms", "a signal while it is put in place", lasts=True),
    ),
    "the supervisor": (Door("supervisor", "signals and limits for it", ends=True),),
}

WORKS = (
    Door("works-connect", "connect to what is allowed"),
    Door("works-sendto", "sendto what is allowed"),
    Door("works-sendmmsg", "sendmmsg to what is allowed"),
    Door("works-connected", "send without an address"),
    Door("works-pair", "a socketpair"),
    Door("works-server", "its own TCP server"),
    Door("works-own-datagram", "its own UDP socket"),
    Door("works-unix-server", "its own unix server"),
)
