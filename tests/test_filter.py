"""The filter says what the table says, in the interpreter and in the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from errno import EBUSY, ENODEV, ENOSYS, EPERM

import bpf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from netjail.filter import ALLOW, ERRNO, KILL_PROCESS, TRACE, USER_NOTIF, program
from netjail.stops import Arch
from netjail.syscalls import (
    NOTIFY_NUMBER,
    ROWS,
    VAULT_BASE,
    VAULT_END,
    Compare,
    Condition,
    Kind,
    Row,
    Shape,
)
from netjail.syscalls.rows import Action, Clause

KEY = 0xFEDCBA9876543210
STRONG = program(ROWS, KEY)
WEAK = program(ROWS, KEY, weak=True)
NUMBERS = sorted({row.number for row in ROWS if row.number >= 0})


def expected(number: int, args: tuple[int, ...], rows: tuple[Row, ...], weak: bool) -> int:
    """The table, read row by row: slow, plain, and without the assembler."""
    if number >= 0x40000000:
        return ERRNO | ENOSYS
    if number == NOTIFY_NUMBER:
        return USER_NOTIF if args[0] == KEY else ERRNO | ENOSYS
    answer = ALLOW
    for index, row in enumerate(rows):
        if row.number != number or (row.weak and not weak):
            continue
        for clause in row.clauses:
            if all(holds(condition, args) for condition in clause.conditions):
                return value(clause.action, index)
        answer = value(row.otherwise, index)
    return answer


def holds(condition: Condition, args: tuple[int, ...]) -> bool:
    seen = args[condition.arg] & condition.mask
    match condition.compare:
        case Compare.IN:
            return seen in condition.values
        case Compare.ANY:
            return seen != 0
        case Compare.BELOW:
            return seen < condition.values[0]


def value(action: Action, index: int) -> int:
    answers = {Kind.ALLOW: ALLOW, Kind.TRACE: TRACE | index, Kind.ERRNO: ERRNO | action.error}
    return answers[action.kind]


def interesting() -> st.SearchStrategy[int]:
    """Values of the table's conditions, their neighbours, with clean and dirty halves."""
    known = {0, 1, 0x400, 0x10000, 0x10F00, VAULT_BASE, VAULT_END, KEY}
    for row in ROWS:
        for clause in row.clauses:
            for condition in clause.conditions:
                known.update((condition.mask, *condition.values))
    near = {(v + d) % 2**64 for v in known for d in (-1, 0, 1)}
    low = st.sampled_from(sorted(near))
    dirty = st.builds(lambda v, high: (v & 0xFFFFFFFF) | high << 32, low, st.integers(0, 2**32 - 1))
    flags = st.builds(lambda a, b: (a | b) % 2**64, low, low)
    return st.one_of(low, dirty, flags, st.integers(0, 2**64 - 1))


CALLS = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from([NOTIFY_NUMBER, 0x3FFFFFFF, 0x40000000, 0x4000002A, 0xFFFFFFFF]),
    st.integers(0, 600),
    st.integers(0, 2**32 - 1),
)
ARGS = st.tuples(*[interesting()] * 6)


@settings(max_examples=3000, deadline=None)
@given(number=CALLS, args=ARGS, weak=st.booleans())
@example(number=NOTIFY_NUMBER, args=(KEY, 0, 0, 0, 0, 0), weak=False)
@example(number=NOTIFY_NUMBER, args=(KEY ^ (1 << 63), 0, 0, 0, 0, 0), weak=False)
@example(number=NOTIFY_NUMBER, args=(KEY ^ 1, 0, 0, 0, 0, 0), weak=False)
def test_it_says_what_the_table_says(number: int, args: tuple[int, ...], weak: bool) -> None:
    seen = bpf.run(WEAK if weak else STRONG, bpf.data(number, Arch.X86_64, args))
    assert seen == expected(number, args, ROWS, weak)


@pytest.mark.parametrize("number", [0, 42, 101, 425, -1, 0x40000000, NOTIFY_NUMBER])
def test_every_i386_call_stops_at_its_row(number: int) -> None:
    seen = bpf.run(STRONG, bpf.data(number, Arch.I386, (KEY, 0, 0, 0, 0, 0)))
    assert seen & 0xFFFF0000 == TRACE
    assert ROWS[seen & 0xFFFF].arch is Arch.I386


@pytest.mark.parametrize("arch", [0, 0xC00000B7, 0xC0000003, 0x4000003E])
def test_an_unknown_architecture_is_killed(arch: int) -> None:
    assert bpf.run(STRONG, bpf.data(39, arch, (0,) * 6)) == KILL_PROCESS


def test_a_call_without_a_row_is_decided_by_its_number_alone_and_soon() -> None:
    for number in set(range(600)) - set(NUMBERS) - {NOTIFY_NUMBER}:
        answer, steps, read = bpf.trace(STRONG, bpf.data(number, Arch.X86_64, (0,) * 6))
        assert answer == ALLOW
        assert read <= {0, 4}
        assert steps <= 14


ANYTHING = "anything"  # an argument that must not matter
_MMAP = 9


def call(number: int, *args: int) -> int:
    return bpf.run(STRONG, bpf.data(number, Arch.X86_64, (*args, *[0] * (6 - len(args)))))


@pytest.mark.parametrize(
    ("number", "args", "shape"),
    [
        pytest.param(44, (0, 0, 0, 0, 1 << 32), Shape.SENDTO, id="high-half-of-a-pointer"),
        pytest.param(44, (0, 0, 0, 0, 1), Shape.SENDTO, id="low-half-of-a-pointer"),
        pytest.param(44, (0, 0, 0, 0, 0, 16), None, id="sendto-without-a-name"),
        pytest.param(41, (2, 1 | 0o2000000 | 0o4000, 6), None, id="tcp-with-flags"),
        pytest.param(41, (10, 1, 262), None, id="mptcp"),
        pytest.param(41, (2 | 1 << 40, 2, 17), None, id="rubbish-above-the-domain"),
        pytest.param(41, (2, 2, 1), Shape.SOCKET, id="ping"),
        pytest.param(41, (2, 3, 6), Shape.SOCKET, id="raw"),
        pytest.param(41, (2, 10, 0), Shape.SOCKET, id="packet-by-its-old-name"),
        pytest.param(41, (2, 2, 136), Shape.SOCKET, id="udplite"),
        pytest.param(41, (2, 1, 132), Shape.SOCKET, id="sctp"),
        pytest.param(41, (17, 3, 0), Shape.SOCKET, id="packet"),
        pytest.param(41, (40, 1, 0), Shape.SOCKET, id="vsock"),
        pytest.param(41, (1, 5, 0), None, id="unix"),
        pytest.param(54, (3, 0, 4), Shape.SHUT, id="ip-options"),
        pytest.param(54, (3, 1, 4), None, id="so-error-is-not-ip-options"),
        pytest.param(54, (3, 0, 17), Shape.SHUT, id="ipsec-policy"),
        pytest.param(54, (3, 0, 8), None, id="asking-to-receive-packet-information"),
        pytest.param(54, (3, 41, 5), None, id="asking-to-receive-a-routing-header"),
        pytest.param(54, (3, 41, 49), None, id="asking-to-receive-ipv6-packet-information"),
        pytest.param(54, (3, 41, 50), Shape.SHUT, id="packet-information-that-sticks"),
        pytest.param(54, (3, 41, 32, 0, 32), None, id="a-flow-label"),
        pytest.param(54, (3, 41, 32, 0, 33), Shape.SHUT, id="a-flow-label-with-options"),
        pytest.param(54, (3, 41, 32, 0, 0), Shape.SHUT, id="a-flow-label-cut-short"),
        pytest.param(54, (3, 132, 110), Shape.SHUT, id="sctp-connectx"),
        pytest.param(54, (3, 132, 107), Shape.SHUT, id="sctp-connectx-by-its-old-number"),
        pytest.param(55, (3, 132, 111), Shape.SHUT, id="sctp-connectx-by-getsockopt"),
        pytest.param(55, (3, 132, 1), None, id="another-sctp-option"),
        pytest.param(53, (1, 5, 0), None, id="unix-pair"),
        pytest.param(53, (30, 4, 0), Shape.SHUT, id="tipc-pair"),
        pytest.param(16, (3, 0x400454CA), Shape.SHUT, id="tun"),
        pytest.param(16, (3, 0xAF01), Shape.SHUT, id="vhost"),
        pytest.param(16, (3, 0x5413), None, id="the-terminals-size"),
        pytest.param(56, (0x3D0F00,), None, id="a-thread"),
        pytest.param(56, (0xBD0F00,), Shape.CLONE, id="an-untraced-thread"),
        pytest.param(56, (0x4111,), None, id="vfork"),
        pytest.param(56, (0x511,), Shape.CLONE, id="a-process-that-shares-the-table"),
        pytest.param(302, (1 << 32, 7), None, id="own-limits-with-rubbish"),
        pytest.param(302, (1, 7), Shape.PRLIMIT, id="limits-of-another"),
        pytest.param(249, (1, 1, 0), None, id="request-key-that-only-looks"),
        pytest.param(249, (1, 1, 1 << 40), Shape.SHUT, id="request-key-with-call-out"),
        pytest.param(_MMAP, (0, 1, 1, 0x22), None, id="mmap-anywhere"),
        pytest.param(_MMAP, (0, 1, 1, 0x32), Shape.MAP, id="mmap-fixed-at-0"),
        pytest.param(_MMAP, (1, 1, 1, 0x22), Shape.MAP, id="mmap-hint"),
        pytest.param(_MMAP, (VAULT_END, 1, 1, 0x32), None, id="mmap-above"),
        pytest.param(_MMAP, (1 << 32, 1, 1, 0x32), None, id="mmap-high-with-a-low-half"),
        pytest.param(30, (0, 0, 0o40000), None, id="shmat-anywhere"),
        pytest.param(30, (0, 1, 0o20000), Shape.MAP, id="shmat-rounded-down-to-0"),
    ],
)
def test_what_stops(number: int, args: tuple[int, ...], shape: Shape | None) -> None:
    seen = call(number, *args)
    if shape is None:
        assert seen == ALLOW
    else:
        assert seen & 0xFFFF0000 == TRACE
        row = ROWS[seen & 0xFFFF]
        assert (row.number, row.shape) == (number, shape)


REFUSED = [
    pytest.param(435, (0, 0), ENOSYS, id="clone3"),
    pytest.param(134, (0,), ENOSYS, id="uselib"),
    pytest.param(317, (1, 8, 0), EBUSY, id="notify-listener"),
    pytest.param(317, (1 | 1 << 32, 9, 0), EBUSY, id="notify-listener-with-rubbish"),
    pytest.param(157, (35, 1, 0, 0, 0), EPERM, id="set-mm"),
    pytest.param(11, (0, 4096), EPERM, id="munmap-at-0"),
    pytest.param(11, (VAULT_END - 4096, 4096), EPERM, id="munmap-last-page"),
    pytest.param(28, (VAULT_BASE, 4096, 10), EPERM, id="madvise"),
    pytest.param(216, (VAULT_BASE, 4096, 0, 0, 0), EPERM, id="remap-file-pages"),
    pytest.param(25, (VAULT_BASE, 4096, 8192, 1, 0), EPERM, id="mremap-old"),
    pytest.param(25, (1 << 40, 4096, 4096, 3, VAULT_BASE), EPERM, id="mremap-new"),
    pytest.param(440, (0, 0, 0, 10, 0), EPERM, id="process-madvise"),
    pytest.param(453, (VAULT_BASE, 4096, 0), EPERM, id="shadow-stack"),
    pytest.param(158, (0x4002, 6), ENODEV, id="tagged-addresses"),
    pytest.param(NOTIFY_NUMBER, (KEY ^ 1,), ENOSYS, id="the-notify-number-without-its-key"),
    pytest.param(0x4000002A, (0, 0, 0), ENOSYS, id="x32"),
    pytest.param(-1, (0, 0, 0), ENOSYS, id="number-minus-one"),
]

PASSED = [
    pytest.param(39, (), None, id="getpid"),
    pytest.param(25, (1 << 40, 4096, 4096, 1, VAULT_BASE), errno.EFAULT, id="mremap-rubbish"),
    pytest.param(28, (VAULT_END, 4096, 10), errno.ENOMEM, id="madvise-above"),
    pytest.param(11, (VAULT_END, 4096), None, id="munmap-above"),
    pytest.param(157, (15, 0, 0, 0, 0), errno.EFAULT, id="prctl-name"),
    pytest.param(44, (-1, 0, 0, 0, 0, 0), errno.EBADF, id="sendto-without-a-name"),
    pytest.param(41, (2, 2, 0), None, id="udp"),
    # TRACE without a tracer: seccomp(2) says ENOSYS.
    pytest.param(42, (-1, 0, 0), ENOSYS, id="connect-stops"),
    pytest.param(310, (0, 0, 0, 0, 0, 0), None, id="process-vm-readv-with-landlock"),
    # USER_NOTIF without a listener too: kernel/seccomp.c, seccomp_do_user_notification.
    pytest.param(NOTIFY_NUMBER, (KEY,), ENOSYS, id="the-notify-number"),
]


@pytest.mark.parametrize(("number", "args", "error"), REFUSED)
def test_what_is_refused_without_a_stop(number: int, args: tuple[int, ...], error: int) -> None:
    assert call(number, *args) == ERRNO | error


@pytest.mark.parametrize(("number", "args", "error"), REFUSED + PASSED)
def test_the_kernel_agrees(number: int, args: tuple[int, ...], error: int | None) -> None:
    assert in_kernel(STRONG, number, args) == (error or 0)


def in_kernel(code: bytes, number: int, args: tuple[int, ...]) -> int:
    """The errno that a child under the filter sees; 0: the call worked."""
    child = os.fork()
    if child == 0:
        _install_and_call(code, number, args)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _install_and_call(code: bytes, number: int, args: tuple[int, ...]) -> None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        steps = ctypes.create_string_buffer(code)
        prog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(steps))
        libc.syscall.argtypes = [ctypes.c_long] * 7
        full = [ctypes.c_long(arg).value for arg in (*args, *[0] * (6 - len(args)))]
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        assert libc.prctl(22, 2, prog, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        ctypes.set_errno(0)
        os._exit(ctypes.get_errno() if libc.syscall(number, *full) == -1 else 0)
    finally:
        os._exit(255)


def test_targets_out_of_a_jumps_reach_get_a_bridge() -> None:
    """A table far longer than 255 instructions, with conditions that all jump far."""
    conditions = tuple(Condition(a, Compare.IN, 0xFFFFFFFF, tuple(range(90))) for a in range(6))
    clauses = (Clause(conditions), *[Clause((c,), Action(Kind.ERRNO, c.arg)) for c in conditions])
    rows = tuple(Row(f"n{n}", n, Shape.SHUT, clauses) for n in (3, 7))
    rows += tuple(replace(row, number=-1) for row in ROWS if row.arch is Arch.I386)
    code = program(rows, KEY)
    assert len(code) // 8 > 2000
    for number in (3, 7, 8):
        for args in ((1,) * 6, (200, 1, 1, 1, 1, 1), (200,) * 6, (89, 200, 0, 0, 0, 0)):
            seen = bpf.run(code, bpf.data(number, Arch.X86_64, args))
            assert seen == expected(number, args, rows, False)
