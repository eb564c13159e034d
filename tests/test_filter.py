"""The filter says what the table says, in the interpreter and in the kernel."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
from collections.abc import Callable
from errno import EBUSY, ENODEV, ENOSYS, EPERM

import bpf
import int80
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jail import unmet

from netjail.filter import ALLOW, ERRNO, KILL_PROCESS, TRACE, USER_NOTIF, program
from netjail.stops import Arch
from netjail.syscalls import (
    NOTIFY_NUMBERS,
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
NUMBERS = {arch: {row.number_on(arch) for row in ROWS} - {-1} for arch in Arch}
NOTIFY, NOTIFY_I386 = NOTIFY_NUMBERS[Arch.X86_64], NOTIFY_NUMBERS[Arch.I386]
HALVES = (KEY & 0xFFFFFFFF, KEY >> 32)


def expected(
    number: int, args: tuple[int, ...], rows: tuple[Row, ...], weak: bool, arch: Arch
) -> int:
    """The table, read row by row: slow, plain, and without the assembler."""
    if arch is Arch.I386:
        args = tuple(arg & 0xFFFFFFFF for arg in args)
    elif number >= 0x40000000:
        return ERRNO | ENOSYS
    if number == NOTIFY_NUMBERS[arch]:
        asked = (args[0] & 0xFFFFFFFF, args[1] & 0xFFFFFFFF) == HALVES
        return USER_NOTIF if asked else ALLOW
    answer = ALLOW
    for index, row in enumerate(rows):
        if row.number_on(arch) != number or (row.weak and not weak):
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
    known = {0, 1, 0x400, 0x10000, 0x10F00, VAULT_BASE, VAULT_END, *HALVES}
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
    *(st.sampled_from(sorted(numbers)) for numbers in NUMBERS.values()),
    st.sampled_from([*NOTIFY_NUMBERS.values(), 0x3FFFFFFF, 0x40000000, 0x4000002A, 0xFFFFFFFF]),
    st.integers(0, 600),
    st.integers(0, 2**32 - 1),
)
ARGS = st.tuples(*[interesting()] * 6)


@settings(max_examples=5000, deadline=None)
@given(number=CALLS, args=ARGS, weak=st.booleans(), arch=st.sampled_from(Arch))
@example(number=NOTIFY, args=(*HALVES, 0, 0, 0, 0), weak=False, arch=Arch.X86_64)
@example(number=NOTIFY, args=(KEY, 0, 0, 0, 0, 0), weak=False, arch=Arch.X86_64)
@example(number=NOTIFY_I386, args=(*HALVES, 0, 0, 0, 0), weak=False, arch=Arch.I386)
@example(number=NOTIFY_I386, args=(HALVES[0], 0, 0, 0, 0, 0), weak=False, arch=Arch.I386)
def test_it_says_what_the_table_says(
    number: int, args: tuple[int, ...], weak: bool, arch: Arch
) -> None:
    seen = bpf.run(WEAK if weak else STRONG, bpf.data(number, arch, args))
    assert seen == expected(number, args, ROWS, weak, arch)


@pytest.mark.parametrize("arch", [0, 0xC00000B7, 0xC0000003, 0x4000003E])
def test_an_unknown_architecture_is_killed(arch: int) -> None:
    assert bpf.run(STRONG, bpf.data(39, arch, (0,) * 6)) == KILL_PROCESS


def test_a_call_without_a_row_is_decided_by_its_number_alone_and_soon() -> None:
    for arch in Arch:
        for number in set(range(600)) - NUMBERS[arch] - {NOTIFY_NUMBERS[arch]}:
            answer, steps, read = bpf.trace(STRONG, bpf.data(number, arch, (0,) * 6))
            assert answer == ALLOW
            assert read <= {0, 4}
            assert steps <= (14 if arch is Arch.X86_64 else 17)


ANYTHING = "anything"  # an argument that must not matter
_MMAP = 9


def call(number: int, *args: int, arch: Arch = Arch.X86_64) -> int:
    return bpf.run(STRONG, bpf.data(number, arch, (*args, *[0] * (6 - len(args)))))


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
    check_stop(Arch.X86_64, number, args, shape)


def check_stop(arch: Arch, number: int, args: tuple[int, ...], shape: Shape | None) -> None:
    seen = call(number, *args, arch=arch)
    if shape is None:
        assert seen == ALLOW
    else:
        assert seen & 0xFFFF0000 == TRACE
        row = ROWS[seen & 0xFFFF]
        assert (row.number_on(arch), row.shape) == (number, shape)


HIGH = 1 << 32  # what i386 does not see
REACHING = {1, 2, 3, 4, 8, 11, 14, 15, 16, 20}


@pytest.mark.parametrize(
    ("number", "args", "shape"),
    [
        pytest.param(42, (), None, id="connect-of-x86-64-is-pipe"),
        pytest.param(362, (), Shape.CONNECT, id="connect"),
        pytest.param(369, (0, 0, 0, 0, HIGH), None, id="sendto-without-a-name"),
        pytest.param(369, (0, 0, 0, 0, 1), Shape.SENDTO, id="sendto"),
        pytest.param(359, (2 | HIGH, 1, 6), None, id="tcp"),
        pytest.param(359, (17, 3, 0), Shape.SOCKET, id="packet"),
        pytest.param(360, (30, 4, 0), Shape.SHUT, id="tipc-pair"),
        pytest.param(366, (3, 0, 4), Shape.SHUT, id="ip-options"),
        pytest.param(357, (), Shape.SHUT, id="bpf"),
        pytest.param(192, (HIGH, 1, 1, 0x22), None, id="mmap-anywhere"),
        pytest.param(192, (VAULT_BASE | HIGH, 1, 1, 0x32), Shape.MAP, id="mmap-fixed"),
        pytest.param(192, (HIGH, 1, 1, 0x32), Shape.MAP, id="mmap-fixed-at-0"),
        pytest.param(192, (VAULT_END, 1, 1, 0x32), None, id="mmap-above"),
        pytest.param(90, (), Shape.FOLDED, id="old-mmap"),
        pytest.param(397, (0, 1, 0o20000), Shape.MAP, id="shmat-rounded-down-to-0"),
        pytest.param(117, (21, 0, 0, 0, 0), None, id="ipc-shmat-anywhere"),
        pytest.param(117, (21, 0, 0, 0, VAULT_BASE), Shape.MAP, id="ipc-shmat"),
        pytest.param(117, (21 | 1 << 16, 0, 0, 0, 1), Shape.MAP, id="ipc-shmat-of-a-version"),
        pytest.param(117, (21 | HIGH, 0, 0, 0, 1 | HIGH), Shape.MAP, id="ipc-shmat-dirty"),
        pytest.param(117, (1, 0, 0, 0, VAULT_BASE), None, id="ipc-semop"),
        pytest.param(120, (0xBD0F00,), Shape.CLONE, id="an-untraced-thread"),
        pytest.param(26, (), Shape.SHUT, id="ptrace"),
        pytest.param(172, (4 | HIGH,), Shape.DUMPABLE, id="set-dumpable"),
        pytest.param(425, (), Shape.SHUT, id="io-uring"),
        pytest.param(0, (), None, id="restart-syscall"),
        pytest.param(-1, (), None, id="minus-one"),
        *(
            pytest.param(
                102, (n | HIGH,), Shape.FOLDED if n in REACHING else None, id=f"socketcall-{n}"
            )
            for n in range(23)
        ),
    ],
)
def test_what_stops_on_i386(number: int, args: tuple[int, ...], shape: Shape | None) -> None:
    check_stop(Arch.I386, number, args, shape)


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
    pytest.param(NOTIFY, HALVES, ENOSYS, id="the-notify-number"),
    pytest.param(NOTIFY, (KEY, 0), ENOSYS, id="the-notify-number-without-its-key"),
]


END = VAULT_END
REFUSED_I386 = [
    pytest.param(435, (0, 0), ENOSYS, id="clone3"),
    pytest.param(86, (0,), ENOSYS, id="uselib"),
    pytest.param(354, (1, 8, 0), EBUSY, id="notify-listener"),
    pytest.param(172, (35, 1, 0, 0, 0), EPERM, id="set-mm"),
    pytest.param(91, (0, 4096), EPERM, id="munmap-at-0"),
    pytest.param(91, (END - 4096, 4096), EPERM, id="munmap-last-page"),
    pytest.param(219, (VAULT_BASE, 4096, 10), EPERM, id="madvise"),
    pytest.param(257, (VAULT_BASE, 4096, 0, 0, 0), EPERM, id="remap-file-pages"),
    pytest.param(163, (VAULT_BASE, 4096, 8192, 1, 0), EPERM, id="mremap-old"),
    pytest.param(163, (1 << 30, 4096, 4096, 3, VAULT_BASE), EPERM, id="mremap-new"),
    pytest.param(440, (0, 0, 0, 10, 0), EPERM, id="process-madvise"),
    pytest.param(453, (VAULT_BASE, 4096, 0), EPERM, id="shadow-stack"),
    pytest.param(384, (0x4002, 6), ENODEV, id="tagged-addresses"),
]

PASSED_I386 = [
    pytest.param(20, (), None, id="getpid"),
    pytest.param(163, (1 << 30, 4096, 4096, 1, VAULT_BASE), errno.EFAULT, id="mremap-rubbish"),
    pytest.param(91, (END, 4096), None, id="munmap-above"),
    pytest.param(369, (-1, 0, 0, 0, 0, 0), errno.EBADF, id="sendto-without-a-name"),
    pytest.param(102, (9, 0), errno.EFAULT, id="socketcall-send"),
    pytest.param(102, (0, 0), errno.EINVAL, id="socketcall-0"),
    pytest.param(102, (21, 0), errno.EINVAL, id="socketcall-21"),
    pytest.param(359, (2, 2, 0), None, id="udp"),
    pytest.param(362, (-1, 0, 0), ENOSYS, id="connect-stops"),
    pytest.param(102, (3, 0), ENOSYS, id="socketcall-connect-stops"),
    pytest.param(90, (0,), ENOSYS, id="old-mmap-stops"),
    pytest.param(NOTIFY_I386, HALVES, ENOSYS, id="the-notify-number"),
    pytest.param(NOTIFY_I386, (HALVES[0], 0), errno.EINTR, id="restart-syscall"),
    pytest.param(-1, (), ENOSYS, id="minus-one"),
    pytest.param(42 | 0x40000000, (), ENOSYS, id="a-number-of-x32"),
]


@pytest.mark.parametrize(("number", "args", "error"), REFUSED)
def test_what_is_refused_without_a_stop(number: int, args: tuple[int, ...], error: int) -> None:
    assert call(number, *args) == ERRNO | error


@pytest.mark.parametrize(("number", "args", "error"), REFUSED_I386)
def test_what_is_refused_on_i386(number: int, args: tuple[int, ...], error: int) -> None:
    assert call(number, *(arg | HIGH for arg in args), arch=Arch.I386) == ERRNO | error


@pytest.mark.parametrize(("number", "args", "error"), REFUSED + PASSED)
def test_the_kernel_agrees(number: int, args: tuple[int, ...], error: int | None) -> None:
    assert in_kernel(STRONG, number, args, libc_call) == (error or 0)


@pytest.mark.parametrize(("number", "args", "error"), REFUSED_I386 + PASSED_I386)
def test_the_kernel_agrees_on_i386(number: int, args: tuple[int, ...], error: int | None) -> None:
    if not int80.works():
        unmet("this kernel runs no i386 calls")
    assert in_kernel(STRONG, number, args, int80.call) == (error or 0)


Caller = Callable[..., int]


def libc_call(number: int, *args: int) -> int:
    """Make a call as x86-64 does; the result, or -errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.argtypes = [ctypes.c_long] * 7
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(arg).value for arg in args))
    return -ctypes.get_errno() if result == -1 else int(result)


def in_kernel(code: bytes, number: int, args: tuple[int, ...], caller: Caller) -> int:
    """The errno that a child under the filter sees; 0: the call worked."""
    child = os.fork()
    if child == 0:
        _install_and_call(code, number, args, caller)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _install_and_call(code: bytes, number: int, args: tuple[int, ...], caller: Caller) -> None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        steps = ctypes.create_string_buffer(code)
        prog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(steps))
        full = [*args, *[0] * (6 - len(args))]
        caller(39 if caller is libc_call else 20, *[0] * 6)  # getpid: all is set up
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        assert libc.prctl(22, 2, prog, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        result = caller(number, *full)
        os._exit(-result if -4096 < result < 0 else 0)
    finally:
        os._exit(255)


def test_targets_out_of_a_jumps_reach_get_a_bridge() -> None:
    """A table far longer than 255 instructions, with conditions that all jump far."""
    conditions = tuple(Condition(a, Compare.IN, 0xFFFFFFFF, tuple(range(80))) for a in range(6))
    clauses = (Clause(conditions), *[Clause((c,), Action(Kind.ERRNO, c.arg)) for c in conditions])
    rows = tuple(Row(f"n{n}", n, n + 1, Shape.SHUT, clauses) for n in (3, 7))
    code = program(rows, KEY)
    assert len(code) // 8 > 3500
    for number, arch in itertools.product((3, 4, 7, 8, 9), Arch):
        for args in ((1,) * 6, (200, 1, 1, 1, 1, 1), (200,) * 6, (79, 200, 0, 0, 0, 0)):
            seen = bpf.run(code, bpf.data(number, arch, args))
            assert seen == expected(number, args, rows, False, arch)
