"""The words of the table of trapped syscalls: a row, its clauses, their conditions."""

from __future__ import annotations

import enum

import msgspec

from netjail.stops import Arch

LOW = 0xFFFFFFFF  # an int argument: the kernel ignores the register's upper half
ALL = 0xFFFFFFFFFFFFFFFF


class Shape(enum.IntEnum):
    """How a trapped call is read and answered; shared with the C core by value."""

    CONNECT = 1
    SENDTO = 2
    SENDMSG = 3
    SENDMMSG = 4
    LISTEN = 5
    BIND = 6
    SOCKET = 7
    MAP = 8  # mmap and shmat near the vault: refused or moved away
    SHUT = 9  # refused with the row's error whatever the rules say, noted once
    CLONE = 10  # CLONE_UNTRACED is cleared; a shared descriptor table is remembered
    DUMPABLE = 11  # answered, not done: who is not dumpable cannot be read
    PRLIMIT = 12  # let through for processes of the jail: *name_arg* has the pid
    FILTER = 13  # the vault is set up first: a new filter, or a limit, may forbid it then
    FOLDED = 14  # its arguments are in memory: runs as the call of row.runs instead
    SIGNAL = 15  # as PRLIMIT, and signals to groups, which *flags_arg* has, reach the jail alone


class Compare(enum.Enum):
    """What a condition asks of an argument, after its mask."""

    IN = enum.auto()  # equals one of the values
    ANY = enum.auto()  # is not 0
    BELOW = enum.auto()  # unsigned, is less than the one value


class Condition(msgspec.Struct, frozen=True):
    """A test on one argument, by the width that the kernel reads it in."""

    arg: int
    compare: Compare
    mask: int = LOW
    values: tuple[int, ...] = ()


class Kind(enum.Enum):
    """What seccomp does, see seccomp(2)."""

    ALLOW = enum.auto()
    TRACE = enum.auto()  # a stop, with the row's index
    ERRNO = enum.auto()  # answered without a stop


class Action(msgspec.Struct, frozen=True):
    """What the filter answers."""

    kind: Kind
    error: int = 0


ALLOW = Action(Kind.ALLOW)
TRACE = Action(Kind.TRACE)


class Clause(msgspec.Struct, frozen=True):
    """If all conditions hold, the action; the first clause that holds decides."""

    conditions: tuple[Condition, ...]
    action: Action = TRACE


class Row(msgspec.Struct, frozen=True):
    """One trapped syscall, or one use of it."""

    name: str
    number: int
    """x86-64's, -1: it has none. The arguments are the same for i386."""
    i386: int
    """i386's, -1: it has none."""
    shape: Shape
    clauses: tuple[Clause, ...] = ()
    otherwise: Action = ALLOW
    descriptor_arg: int = -1
    """Which argument it is; -1: there is none. So for the next three."""
    name_arg: int = -1
    length_arg: int = -1
    flags_arg: int = -1
    error: int = 0
    """What a shut call is answered."""
    hint: str = ""
    """For the summary: who wants this call, and how to do without."""
    weak: bool = False
    """Only in the filter for a host whose Landlock cannot hold it."""
    runs: int = -1
    """What a folded call runs as, by *words* words from where *name_arg* points."""
    words: int = 0

    def number_on(self, arch: Arch) -> int:
        """The number under an ABI, -1: it has none."""
        return self.i386 if arch is Arch.I386 else self.number
