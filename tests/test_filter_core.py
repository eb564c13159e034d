"""The C core's interpreter of the filter gives what the tests' own gives, for any program."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import bpf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jail import needs
from netjail.kernel._core import ffi

from netjail.filter import program
from netjail.stops import Arch
from netjail.syscalls import ROWS

KERNEL = Path(__file__).parent.parent / "netjail/kernel"
KEY = 0xFEDCBA9876543210
OURS = program(ROWS, KEY)
KILL = 0x80000000

Evaluate = Callable[[bytes, int, int, int, tuple[int, ...]], int]


@pytest.fixture(scope="session")
def evaluate(place: Path) -> Evaluate:
    """``nj_evaluate`` of kernel/filter.c: a program and a call in, its answer out."""
    needs("gcc")
    library = place / "filter.so"
    source = str(KERNEL / "filter.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    function = ctypes.CDLL(str(library)).nj_evaluate
    function.restype = ctypes.c_uint32
    words = ctypes.c_uint64 * 6

    def run(code: bytes, arch: int, number: int, ip: int, args: tuple[int, ...]) -> int:
        steps = ffi.from_buffer(code)
        config = ffi.new("struct nj_config *")
        config.filter, config.filter_length = steps, len(code) // 8
        at = ctypes.c_void_p(int(ffi.cast("uintptr_t", config)))
        numbers = (ctypes.c_uint32(arch), ctypes.c_uint32(number), ctypes.c_uint64(ip))
        answer: int = function(at, *numbers, words(*args))
        return answer

    return run


WORD = st.integers(0, 2**32 - 1)
NEAR = st.sampled_from([0, 1, 2, 41, 42, 0x40000000, 0xC000003E, 0x20000, 0x100000, 2**32 - 1])
VALUE = st.one_of(NEAR, WORD)
REGISTER = st.builds(lambda high, low: high << 32 | low, st.one_of(st.just(0), VALUE), VALUE)
CALL = st.tuples(VALUE, VALUE, REGISTER, st.tuples(*[REGISTER] * 6))


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """What the kernel's checker takes: jumps go forwards and stay inside, a return is last."""
    length = draw(st.integers(1, 40))
    steps = []
    for at in range(length):
        reach = st.integers(0, length - 1 - at)
        kind = draw(st.sampled_from([0x20, 0x20, 0x54, 0x06, 0x05, 0x15, 0x25, 0x35, 0x45]))
        k = draw(VALUE)
        if kind == 0x20:
            k = 4 * draw(st.integers(0, 15))
        elif kind == 0x05:
            k = draw(reach)
        jumps = (draw(reach), draw(reach)) if kind & 7 == 5 and kind != 0x05 else (0, 0)
        steps.append(struct.pack("<HBBI", kind, *jumps, k))
    return b"".join([*steps, struct.pack("<HBBI", 0x06, 0, 0, draw(VALUE))])


@settings(max_examples=300, deadline=None)
@given(code=programs(), call=CALL)
def test_any_program_gives_the_same(evaluate: Evaluate, code: bytes, call: tuple) -> None:
    arch, number, ip, args = call
    assert evaluate(code, arch, number, ip, args) == bpf.run(code, bpf.data(number, arch, args, ip))


@settings(max_examples=500, deadline=None)
@given(arch=st.sampled_from(list(Arch)), number=st.one_of(st.integers(0, 600), VALUE), call=CALL)
def test_ours_gives_the_same(evaluate: Evaluate, arch: int, number: int, call: tuple) -> None:
    _, _, ip, args = call
    assert evaluate(OURS, arch, number, ip, args) == bpf.run(OURS, bpf.data(number, arch, args, ip))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"", id="no-program"),
        pytest.param(struct.pack("<HBBI", 0x20, 0, 0, 0), id="no-return"),
        pytest.param(struct.pack("<HBBI", 0x05, 0, 0, 9), id="a-jump-out"),
        pytest.param(struct.pack("<HBBI", 0x80, 0, 0, 0), id="an-instruction-that-we-never-use"),
    ],
)
def test_what_is_no_filter_of_ours_lets_nothing_through(evaluate: Evaluate, code: bytes) -> None:
    assert evaluate(code, Arch.X86_64, 42, 0, (0,) * 6) == KILL
