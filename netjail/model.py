"""
The words everything else speaks: who attempts what, and what was decided.

Plain frozen values; no I/O. Names of syscalls, families and errnos are the kernel's.
"""

from __future__ import annotations

import enum

import msgspec

from netjail.endpoints import Endpoint, Inet
from netjail.stops import Descriptor


class Protocol(enum.Enum):
    """What carries the bytes; the value is what rules and reports print."""

    TCP = "tcp"  # MPTCP too: it is TCP to its peer
    UDP = "udp"
    ICMP = "icmp"  # ping sockets, icmp(7)
    RAW = "raw"
    UNIX = "unix"
    NETLINK = "netlink"
    OTHER = "other"


class Operation(enum.Enum):
    """What a call asks for."""

    CONNECT = "connect"
    SEND = "send"
    RESOLVE = "resolve"  # a look-up of a name, through the stub
    LISTEN = "listen"
    SOCKET = "socket"
    FORBIDDEN = "forbidden"  # a door that is shut whatever the rules say


class Decision(enum.Enum):
    """What the policy says of an attempt."""

    ALLOW = "allow"
    DENY = "deny"


class Reason(enum.Enum):
    """Why a verdict came out as it did; stable words, in the journal as *reason*."""

    RULE = "rule"  # a rule says so
    DEFAULT = "default"  # no rule matched
    SELF = "self"  # the jail's own listener
    FOREIGN = "foreign"  # a listener of a program outside the jail, on this machine
    NO_LISTENER = "no-listener"  # nobody is there; answered as the kernel would
    NAME_SERVICE = "name-service"  # nscd, io.systemd.*, /dev/log: refused, not counted
    STUB = "stub"  # it goes to the supervisor's name server, which judges each question
    REBINDING = "rebinding"  # a public name that gave a private address
    AMBIGUOUS = "ambiguous"  # allowed for one protocol the descriptor may be, not for all
    MALFORMED = "malformed"  # the kernel would refuse it as well
    STRUCTURE = "structure"  # no rule can open this: ptrace, io_uring, other families
    INTERNAL = "internal"  # netjail could not do it safely on this host or at this moment


# Verdicts with these reasons are attempts, but not what --fail-on denied asks about.
QUIET = frozenset({Reason.NO_LISTENER, Reason.NAME_SERVICE, Reason.MALFORMED})


class Owner(enum.Enum):
    """Whose socket would receive, on this machine."""

    JAIL = "jail"  # every socket that could receive is the jail's own
    OUTSIDE = "outside"
    NOBODY = "nobody"
    REMOTE = "remote"  # not an address of this machine
    UNKNOWN = "unknown"  # another network namespace, or the kernel did not say


class Process(msgspec.Struct, frozen=True):
    """One program image: a process between two execs."""

    id: int
    """Stable and never reused, unlike *pid*."""
    parent: int
    """The *id* of the parent, 0 for the command itself."""
    pid: int
    exe: str
    """Absolute path, or "" where the kernel would not say."""
    argv: tuple[str, ...]
    uid: int = -1
    cwd: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """One network call, as judged."""

    process: int
    tid: int
    syscall: str
    operation: Operation
    protocols: frozenset[Protocol]
    """Every protocol the descriptor could be; one, if it is certain."""
    endpoint: Endpoint
    descriptor: Descriptor


class Verdict(msgspec.Struct, frozen=True):
    """What to do about an attempt, and why; a value, never an exception."""

    decision: Decision
    reason: Reason
    rule: str = ""
    """The deciding rule as the user wrote it, "" if none."""
    layer: str = ""
    """Where that rule was written: ``--allow``, ``netjail.toml:3``."""
    why: str = ""
    """One line for a person."""
    fix: str = ""
    """What to add to let it through: ``--allow example.org:443``; "" where nothing would."""
    error: int = 0
    """The errno that a denied call gets."""
    cacheable: bool = False
    """True if the same bytes from the same image get the same verdict until the end."""
    name: str = ""
    """The host name whose rule decided, or one that is known to lead there."""
    redirect: Inet | None = None
    """Where an allowed call goes instead. Of a look-up: its rule leads what will be reached."""

    @property
    def denied(self) -> bool:
        """Whether ``--fail-on denied`` counts it."""
        return self.decision is Decision.DENY and self.reason not in QUIET


class Pending(msgspec.Struct, frozen=True):
    """No verdict yet: these names have to be looked up first."""

    names: frozenset[str]
