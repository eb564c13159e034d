"""An interpreter of the classic BPF that seccomp takes, for the opcodes that we use."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_U32 = 0xFFFFFFFF


def data(number: int, arch: int, args: Sequence[int], pointer: int = 0) -> bytes:
    """A ``struct seccomp_data``."""
    return struct.pack("<IIQ6Q", number & _U32, arch, pointer, *args)


def run(program: bytes, data: bytes) -> int:
    """What *program* returns for *data*; fails on what the kernel's checker refuses."""
    return trace(program, data)[0]


def trace(program: bytes, data: bytes) -> tuple[int, int, set[int]]:
    """The value returned, the number of instructions run, and the offsets read."""
    code = list(struct.iter_unpack("<HBBI", program))
    at, accumulator, steps, read = 0, 0, 0, set()
    while True:
        opcode, yes, no, k = code[at]
        at += 1
        steps += 1
        match opcode:
            case 0x20:  # LD | W | ABS
                assert k % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, k)
                read.add(k)
            case 0x54:  # ALU | AND | K
                accumulator &= k
            case 0x06:  # RET | K
                return k, steps, read
            case 0x05:  # JMP | JA
                at += k
            case 0x15 | 0x25 | 0x35 | 0x45:  # JMP | JEQ, JGT, JGE, JSET | K
                at += yes if _holds(opcode, accumulator, k) else no
            case _:
                raise AssertionError(f"opcode {opcode:#x}")


def _holds(opcode: int, accumulator: int, k: int) -> bool:
    match opcode:
        case 0x15:
            return accumulator == k
        case 0x25:
            return accumulator > k
        case 0x35:
            return accumulator >= k
    return bool(accumulator & k)
