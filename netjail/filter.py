"""
The seccomp program, computed from the table in ``syscalls``.

It is classic BPF of the few opcodes below, which the C core's interpreter knows too.
A call that has no row is decided by architecture and number alone, so that the kernel
keeps it in its bitmap of allowed calls (kernel/seccomp.c, seccomp_cache_prepare,
Linux 5.11) and does not run the program at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from errno import ENOSYS

import msgspec

from netjail.stops import Arch
from netjail.syscalls import NOTIFY_NUMBERS, Action, Clause, Compare, Condition, Kind, Row

# Opcodes, include/uapi/linux/bpf_common.h.
LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, EQUAL, AT_LEAST, ANY_BIT = 0x05, 0x15, 0x35, 0x45

# Return values, include/uapi/linux/seccomp.h.
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
USER_NOTIF = 0x7FC00000
TRACE = 0x7FF00000
ALLOW = 0x7FFF0000

# Offsets into struct seccomp_data; an argument's low half comes first.
_NUMBER, _ARCH, _ARGS = 0, 4, 16
_X32_BIT = 0x40000000
_LOW = 0xFFFFFFFF
_LONGEST = 4096  # BPF_MAXINSNS
_REACH = 255  # the farthest that a conditional jump goes

# A clause with what its action returns.
_Branch = tuple[tuple[Condition, ...], int]


def program(rows: Sequence[Row], key: int, weak: bool = False) -> bytes:
    """
    The filter as an array of ``struct sock_filter``.

    :param key: 64 random bits: with its halves as first arguments the call
        of ``NOTIFY_NUMBERS`` gives a user notification, so that the supervisor alone
        can make one.
    :param weak: with the rows for a host whose Landlock holds less.
    """
    code = _Assembler()
    # x86-64's part comes last, that is first in the program: its way is the shorter one.
    _tree(code, sorted(_handlers(code, rows, key, weak, Arch.I386).items()))
    compat = code.add(LOAD, _NUMBER)
    tree = _tree(code, sorted(_handlers(code, rows, key, weak, Arch.X86_64).items()))
    code.add(AT_LEAST, _X32_BIT, code.give(ERRNO | ENOSYS), tree)
    native = code.add(LOAD, _NUMBER)
    other = code.add(EQUAL, Arch.I386, compat, code.give(KILL_PROCESS))
    code.add(EQUAL, Arch.X86_64, native, other)
    code.add(LOAD, _ARCH)
    return code.assemble()


class _Assembler:
    """
    Writes a program from its end to its start, so that every target is already there.

    A place is how many instructions follow it, which later ones do not change.
    """

    def __init__(self) -> None:
        self._reversed: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def add(self, opcode: int, k: int, yes: int | None = None, no: int | None = None) -> int:
        """An instruction before all others; without *yes* it falls through."""
        if yes is not None and no is not None:
            yes, no = self._near(yes), self._near(no)
            return self._put(opcode, self._distance(yes), self._distance(no), k)
        return self._put(opcode, 0, 0, k)

    def give(self, value: int) -> int:
        """Where *value* is returned, near enough to jump to."""
        place = self._returns.get(value)
        if place is None or self._distance(place) > _REACH - 4:
            place = self._returns[value] = self._put(RETURN, 0, 0, value)
        return place

    def follow(self, place: int) -> None:
        """Make what was added last, falling through, arrive at *place*."""
        if self._distance(place):
            self._put(JUMP, 0, 0, self._distance(place))

    def assemble(self) -> bytes:
        assert len(self._reversed) <= _LONGEST
        return b"".join(struct.pack("<HBBI", *step) for step in reversed(self._reversed))

    def _put(self, opcode: int, yes: int, no: int, k: int) -> int:
        self._reversed.append((opcode, yes, no, k))
        return len(self._reversed) - 1

    def _distance(self, place: int) -> int:
        return len(self._reversed) - 1 - place

    def _near(self, place: int) -> int:
        # One instruction may still come between: the bridge of the other target.
        if self._distance(place) < _REACH:
            return place
        return self._put(JUMP, 0, 0, self._distance(place))


def _handlers(
    code: _Assembler, rows: Sequence[Row], key: int, weak: bool, arch: Arch
) -> dict[int, int]:
    """Where each number's clauses begin."""
    halves = key & _LOW, key >> 32
    key_given = tuple(Condition(at, Compare.IN, _LOW, (half,)) for at, half in enumerate(halves))
    found = {NOTIFY_NUMBERS[arch]: _chain(code, [(key_given, USER_NOTIF)], ALLOW)}
    merged: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        number = row.number_on(arch)
        if number >= 0 and (weak or not row.weak):
            merged.setdefault(number, []).append(index)
    for number, indices in merged.items():
        branches = [_branch(clause, i, arch) for i in indices for clause in rows[i].clauses]
        *before, last = indices
        assert all(rows[i].otherwise.kind is Kind.ALLOW for i in before)
        found[number] = _chain(code, branches, _value(rows[last].otherwise, last))
    return found


def _branch(clause: Clause, index: int, arch: Arch) -> _Branch:
    conditions = clause.conditions
    if arch is Arch.I386:  # its registers are the lower halves, whatever the upper ones hold
        conditions = tuple(msgspec.structs.replace(c, mask=c.mask & _LOW) for c in conditions)
    return conditions, _value(clause.action, index)


def _value(action: Action, index: int) -> int:
    match action.kind:
        case Kind.ALLOW:
            return ALLOW
        case Kind.TRACE:
            return TRACE | index
        case Kind.ERRNO:
            return ERRNO | action.error


def _chain(code: _Assembler, branches: Iterable[_Branch], otherwise: int) -> int:
    place = code.give(otherwise)
    for conditions, value in reversed(list(branches)):
        yes = code.give(value)
        for condition in reversed(conditions):
            yes = _test(code, condition, yes, place)
        place = yes
    return place


def _test(code: _Assembler, condition: Condition, yes: int, no: int) -> int:
    """The condition on the low half, then before it on the high half if it is read."""
    low, high = condition.mask & _LOW, condition.mask >> 32
    offset = _ARGS + 8 * condition.arg
    match condition.compare:
        case Compare.ANY:
            yes_low = _load(code, offset, _LOW, code.add(ANY_BIT, low, yes, no))
            if not high:
                return yes_low
            return _load(code, offset + 4, _LOW, code.add(ANY_BIT, high, yes, yes_low))
        case Compare.BELOW:
            (bound,) = condition.values
            assert 0 < bound <= _LOW
            assert low == _LOW
            under = _load(code, offset, _LOW, code.add(AT_LEAST, bound, no, yes))
            if not high:
                return under
            assert high == _LOW
            return _load(code, offset + 4, _LOW, code.add(EQUAL, 0, under, no))
        case Compare.IN:
            return _equals(code, condition, yes, no)


def _equals(code: _Assembler, condition: Condition, yes: int, no: int) -> int:
    low, high = condition.mask & _LOW, condition.mask >> 32
    offset = _ARGS + 8 * condition.arg
    place = no
    if not high:
        for value in reversed(condition.values):
            place = code.add(EQUAL, value & _LOW, yes, place)
        return _load(code, offset, low, place)
    (value,) = condition.values
    place = _load(code, offset, low, code.add(EQUAL, value & _LOW, yes, no))
    return _load(code, offset + 4, high, code.add(EQUAL, value >> 32, place, no))


def _load(code: _Assembler, offset: int, mask: int, then: int) -> int:
    code.follow(then)
    if mask != _LOW:
        code.add(AND, mask)
    return code.add(LOAD, offset)


def _tree(code: _Assembler, handlers: Sequence[tuple[int, int]]) -> int:
    """A balanced search for the number in the accumulator."""
    if len(handlers) == 1:
        ((number, handler),) = handlers
        return code.add(EQUAL, number, handler, code.give(ALLOW))
    middle = len(handlers) // 2
    above = _tree(code, handlers[middle:])
    below = _tree(code, handlers[:middle])
    return code.add(AT_LEAST, handlers[middle][0], above, below)
