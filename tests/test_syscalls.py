"""The table against the kernel's and strace-like lists; stops into attempts."""

from __future__ import annotations

import ctypes
import errno
import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail.endpoints import Inet, Netlink, Unix, Unknown, Unspecified
from netjail.model import Attempt, Decision, Operation, Owner, Pending, Protocol, Reason, Verdict
from netjail.policy import Policy, Rules
from netjail.policy.facts import Known
from netjail.stops import Arch, Descriptor, Stop
from netjail.syscalls import (
    NOTIFY_NUMBERS,
    ROWS,
    VAULT_BASE,
    VAULT_END,
    Kind,
    Row,
    Shape,
    decode,
    unread,
)

HEADERS = [Path("/usr/include/x86_64-linux-gnu/asm"), Path("/usr/include/asm")]
FILES = {Arch.X86_64: "unistd_64.h", Arch.I386: "unistd_32.h"}
# mmap2 takes its offset in pages, which no condition looks at.
OTHERWISE = {(Arch.I386, "mmap"): "mmap2", (Arch.I386, "old_mmap"): "mmap"}


def header(arch: Arch) -> dict[str, int]:
    paths = [place / FILES[arch] for place in HEADERS]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        pytest.skip("no kernel headers: install linux-libc-dev")
    found = re.findall(r"#define __NR_(\w+) (\d+)", path.read_text())
    return {name: int(number) for name, number in found}


@pytest.mark.parametrize("arch", Arch)
def test_numbers_are_the_headers(arch: Arch) -> None:
    numbers = header(arch)
    newest = max(numbers.values())
    for row in ROWS:
        number = row.number_on(arch)
        if 0 <= number <= newest:
            assert (row.name, numbers[OTHERWISE.get((arch, row.name), row.name)]) == (
                row.name,
                number,
            )


@pytest.mark.parametrize("arch", Arch)
def test_a_row_with_one_number_has_no_other_in_the_headers(arch: Arch) -> None:
    """What one ABI has a row for, the other has too, unless it lacks the call."""
    numbers = header(arch)
    for row in ROWS:
        if row.number_on(arch) < 0:
            assert row.name not in numbers or (arch, row.name) in OTHERWISE


def test_numbers_are_python_ptraces() -> None:
    from ptrace.syscall.linux.i386 import SYSCALL_NAMES as I386
    from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES

    for row in ROWS:
        if row.number in SYSCALL_NAMES:
            assert SYSCALL_NAMES[row.number] == row.name
        if row.i386 in I386:  # which ends at 319
            assert I386[row.i386] in (row.name, OTHERWISE.get((Arch.I386, row.name)))


# SYS_* of linux/net.h: what each socketcall is called when it is called directly, and how
# many arguments it has.
SOCKETCALLS = {
    1: ("socket", 3),
    2: ("bind", 3),
    3: ("connect", 3),
    4: ("listen", 2),
    8: ("socketpair", 4),
    11: ("sendto", 6),
    14: ("setsockopt", 5),
    15: ("getsockopt", 5),
    16: ("sendmsg", 3),
    20: ("sendmmsg", 4),
}


def test_a_folded_call_runs_as_its_direct_one() -> None:
    names = {number: name for name, number in header(Arch.I386).items()}
    folded = {}
    for row in ROWS:
        if row.shape is Shape.FOLDED and row.name == "socketcall":
            (number,) = row.clauses[0].conditions[0].values
            folded[number] = (names[row.runs], row.words)
    assert folded == SOCKETCALLS
    trapped = {row.i386 for row in ROWS if row.shape is not Shape.FOLDED}
    assert {row.runs for row in ROWS if row.shape is Shape.FOLDED} <= trapped


def test_nothing_answers_the_notify_number() -> None:
    """Not even with the secret that the filter asks for, where there is no filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(NOTIFY_NUMBERS[Arch.X86_64], 1, 2, 3, 4, 5) == -1
    assert ctypes.get_errno() == errno.ENOSYS


def stopping(row: Row) -> bool:
    return Kind.TRACE in {row.otherwise.kind, *(clause.action.kind for clause in row.clauses)}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.name}-{i}") for i, row in enumerate(ROWS)]
)
def test_rows_are_whole(row: Row) -> None:
    if row.shape is Shape.SHUT and stopping(row):
        assert row.error
        assert row.hint
    for argument in (row.descriptor_arg, row.name_arg, row.length_arg, row.flags_arg):
        assert -1 <= argument < 6
    if row.shape in (Shape.CONNECT, Shape.SENDTO, Shape.BIND):
        assert min(row.descriptor_arg, row.name_arg, row.length_arg) >= 0
    for clause in row.clauses:
        assert clause.conditions
        assert all(0 <= condition.arg < 6 for condition in clause.conditions)


def test_shapes_are_the_cores() -> None:
    """kernel/core.h and api.h write the same numbers down."""
    kernel = Path(__file__).parent.parent / "netjail/kernel"
    text = "".join(path.read_text() for path in sorted(kernel.glob("*.h")))
    for shape in Shape:
        written = re.search(rf"NJ_{shape.name} = (\d+)", text)
        assert written is None or int(written[1]) == shape


def test_the_vault_is_where_the_design_wants_it() -> None:
    assert 0x10000 < VAULT_BASE < VAULT_END <= 0x400000


def index(shape: Shape, name: str = "") -> int:
    return next(i for i, row in enumerate(ROWS) if row.shape is shape and name in row.name)


SURE = {"shared": False}
UDP = Descriptor(0, socket.AF_INET, socket.SOCK_DGRAM, 17, **SURE)
UDP6 = Descriptor(0, socket.AF_INET6, socket.SOCK_DGRAM, 17, **SURE)
TCP = Descriptor(0, socket.AF_INET, socket.SOCK_STREAM, 6, **SURE)
TCP6 = Descriptor(0, socket.AF_INET6, socket.SOCK_STREAM, 262, **SURE)
LOCAL = Descriptor(0, socket.AF_UNIX, socket.SOCK_DGRAM, 0, **SURE)
STREAM = Descriptor(0, socket.AF_UNIX, socket.SOCK_STREAM, 0, **SURE)
KERNEL = Descriptor(0, socket.AF_NETLINK, socket.SOCK_RAW, 0, **SURE)
SHARED = Descriptor(0, socket.AF_INET, socket.SOCK_STREAM, 6, shared=True)
NONE = Descriptor(errno.EBADF)
FILE = Descriptor(errno.ENOTSOCK)
HIDDEN = Descriptor(errno.EPERM)

FAST_OPEN = 0x20000000


def stop(
    shape: Shape,
    name: bytes | None = None,
    descriptor: Descriptor = UDP,
    flags: int = 0,
    fault: int = 0,
    args: tuple[int, ...] = (),
) -> Stop:
    row = ROWS[index(shape)]
    given = [*args, *[0] * (6 - len(args))]
    if row.flags_arg >= 0:
        given[row.flags_arg] |= flags
    a, b, c, d, e, f = given
    number = index(shape)
    return Stop(7, 3, Arch.X86_64, row.number, (a, b, c, d, e, f), number, name, fault, descriptor)


def inet(host: str = "192.0.2.1", port: int = 53, family: int = socket.AF_INET) -> bytes:
    return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def inet6(host: str = "2001:db8::1", port: int = 53) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + packed + bytes(4)


V4 = Inet(ip_address("192.0.2.1"), 53)
V6 = Inet(ip_address("2001:db8::1"), 53)
UNSPEC = inet(family=socket.AF_UNSPEC)


@pytest.mark.parametrize(
    ("seen", "endpoint", "carry"),
    [
        pytest.param(stop(Shape.CONNECT, inet(), TCP), V4, "tcp", id="tcp"),
        pytest.param(stop(Shape.CONNECT, inet6(), TCP6), V6, "tcp", id="mptcp6"),
        pytest.param(stop(Shape.CONNECT, inet6()[:24], TCP6), V6, "tcp", id="no-scope-id"),
        pytest.param(stop(Shape.CONNECT, inet(), UDP6), V4, "udp", id="ipv4-on-an-ipv6-socket"),
        pytest.param(stop(Shape.SENDTO, inet(), UDP6), V4, "udp", id="and-in-a-send"),
        pytest.param(stop(Shape.CONNECT, inet(), SHARED), V4, "tcp udp", id="shared"),
        pytest.param(stop(Shape.CONNECT, inet6(), HIDDEN), V6, "tcp udp", id="hidden"),
        pytest.param(stop(Shape.SENDTO, inet(), SHARED), V4, "udp", id="shared-send"),
        pytest.param(
            stop(Shape.SENDMSG, inet(), SHARED, FAST_OPEN), V4, "tcp udp", id="shared-fast-open"
        ),
        pytest.param(stop(Shape.SENDTO, inet(), TCP, FAST_OPEN), V4, "tcp", id="fast-open"),
        pytest.param(stop(Shape.SENDMMSG, inet(), UDP, FAST_OPEN), V4, "udp", id="udp-ignores-it"),
        pytest.param(stop(Shape.CONNECT, UNSPEC, UDP), Unspecified(), "udp", id="disconnect"),
        pytest.param(stop(Shape.SENDTO, UNSPEC, UDP), V4, "udp", id="unspec-is-inet"),
        pytest.param(stop(Shape.SENDMSG, UNSPEC, SHARED), V4, "udp", id="unspec-shared"),
        pytest.param(stop(Shape.SENDMSG, UNSPEC, UDP6), V4, "udp", id="unspec-could-become-inet"),
        pytest.param(
            stop(Shape.SENDMSG, inet() + bytes(200), UDP), V4, "udp", id="sendmsg-clamps"
        ),
        pytest.param(
            stop(Shape.CONNECT, b"\1\0/run/x\0", STREAM), Unix(b"/run/x"), "unix", id="path"
        ),
        pytest.param(
            stop(Shape.SENDTO, b"\1\0\0x", LOCAL), Unix(b"x", abstract=True), "unix", id="abstract"
        ),
        pytest.param(
            stop(Shape.SENDTO, b"\x10\0" + bytes(10), KERNEL), Netlink(0, 0), "netlink", id="kernel"
        ),
        pytest.param(stop(Shape.CONNECT, b"\x28\0" + bytes(14), SHARED), Unknown(40, 16), "other",
                     id="vsock"),
        pytest.param(stop(Shape.LISTEN, inet("0.0.0.0", 80), SHARED),
                     Inet(ip_address("0.0.0.0"), 80), "tcp", id="listen-on-the-duplicate"),
        pytest.param(stop(Shape.LISTEN, None, TCP), Unspecified(), "tcp", id="listen-unbound"),
        pytest.param(stop(Shape.SOCKET, args=(2, 2 | 0o4000, 1), descriptor=FILE),
                     Unknown(2, 0), "icmp", id="ping-socket"),
        pytest.param(stop(Shape.SOCKET, args=(17 | 1 << 40, 3, 0), descriptor=FILE),
                     Unknown(17, 0), "raw", id="packet-socket"),
        pytest.param(stop(Shape.SHUT, descriptor=FILE), Unspecified(), "other", id="shut"),
    ],
)  # fmt: skip
def test_decode(seen: Stop, endpoint: object, carry: str) -> None:
    attempt = decode(seen)
    assert isinstance(attempt, Attempt)
    assert attempt.endpoint == endpoint
    assert {protocol.value for protocol in attempt.protocols} == set(carry.split())
    assert (attempt.process, attempt.tid) == (seen.process, seen.tid)
    assert attempt.syscall == ROWS[seen.row].name


MALFORMED = [
    pytest.param(stop(Shape.CONNECT, inet(), NONE), errno.EBADF, id="no-descriptor"),
    pytest.param(stop(Shape.CONNECT, inet(), FILE), errno.ENOTSOCK, id="no-socket"),
    pytest.param(
        stop(Shape.CONNECT, None, NONE, fault=errno.EFAULT), errno.EBADF, id="descriptor-first"
    ),
    pytest.param(
        stop(Shape.CONNECT, None, FILE, fault=errno.EFAULT), errno.EFAULT, id="then-the-name"
    ),
    pytest.param(
        stop(Shape.SENDMSG, None, FILE, fault=errno.EFAULT), errno.ENOTSOCK, id="sendmsg-order"
    ),
    pytest.param(stop(Shape.LISTEN, None, FILE), errno.ENOTSOCK, id="listen-on-a-file"),
    pytest.param(stop(Shape.CONNECT, inet() + bytes(200), TCP), errno.EINVAL, id="too-long"),
    pytest.param(stop(Shape.CONNECT, b"", TCP), errno.EINVAL, id="empty"),
    pytest.param(stop(Shape.CONNECT, b"\2", SHARED), errno.EINVAL, id="half-a-family"),
    pytest.param(stop(Shape.CONNECT, inet()[:15], TCP), errno.EINVAL, id="short"),
    pytest.param(stop(Shape.CONNECT, inet()[:15], SHARED), errno.EINVAL, id="short-and-shared"),
    pytest.param(stop(Shape.CONNECT, inet6(), TCP), errno.EAFNOSUPPORT, id="ipv6-on-ipv4"),
    pytest.param(stop(Shape.CONNECT, inet() + bytes(8), TCP6), errno.EAFNOSUPPORT, id="4-on-6"),
    pytest.param(stop(Shape.SENDMSG, b"\1\0x", UDP6), errno.EINVAL, id="unix-on-udp6"),
    pytest.param(stop(Shape.CONNECT, inet(), STREAM), errno.EINVAL, id="ip-on-unix"),
    pytest.param(stop(Shape.SENDTO, inet(), KERNEL), errno.EINVAL, id="ip-on-netlink"),
    pytest.param(
        stop(Shape.SENDTO, UNSPEC, TCP, FAST_OPEN), errno.EOPNOTSUPP, id="unspec-fast-open"
    ),
    pytest.param(stop(Shape.SENDTO, UNSPEC[:8], SHARED), errno.EINVAL, id="short-unspec"),
    pytest.param(
        stop(Shape.FOLDED, descriptor=FILE, fault=errno.EFAULT), errno.EFAULT, id="folded"
    ),
]


@pytest.mark.parametrize(("seen", "error"), MALFORMED)
def test_what_the_kernel_would_refuse(seen: Stop, error: int) -> None:
    verdict = decode(seen)
    assert isinstance(verdict, Verdict)
    assert (verdict.decision, verdict.reason) == (Decision.DENY, Reason.MALFORMED)
    assert verdict.error == error
    assert verdict.why
    folded = ROWS[seen.row].shape is Shape.FOLDED
    assert (unread(seen).operation is Operation.FORBIDDEN) == folded


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(errno.EPERM, Reason.STRUCTURE, id="control-messages-that-route"),
        pytest.param(errno.ENOBUFS, Reason.INTERNAL, id="more-than-a-slot-holds"),
        pytest.param(errno.EIO, Reason.MALFORMED, id="anything-else"),
    ],
)
def test_other_faults(fault: int, reason: Reason) -> None:
    verdict = decode(stop(Shape.SENDMSG, inet(), UDP, fault=fault))
    assert isinstance(verdict, Verdict)
    assert (verdict.decision, verdict.reason) == (Decision.DENY, reason)
    assert verdict.error == fault


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(stop(Shape.SENDTO, inet(), TCP), id="tcp-ignores-it"),
        pytest.param(stop(Shape.SENDMSG, b"\1\0x", STREAM), id="unix-streams-too"),
        pytest.param(stop(Shape.SENDTO, b"", LOCAL), id="an-empty-name"),
        pytest.param(stop(Shape.SENDMSG, None, SHARED), id="no-name"),
        pytest.param(stop(Shape.SENDMSG, UNSPEC[:8], UDP6), id="short-unspec-on-ipv6"),
    ],
)
def test_a_send_that_names_nobody_is_let_go(seen: Stop) -> None:
    verdict = decode(seen)
    assert isinstance(verdict, Verdict)
    assert verdict.decision is Decision.ALLOW


def test_rare_protocols_are_handed_on() -> None:
    attempt = decode(stop(Shape.CONNECT, inet(), SHARED), frozenset({Protocol.ICMP}))
    assert isinstance(attempt, Attempt)
    assert attempt.protocols == {Protocol.TCP, Protocol.UDP, Protocol.ICMP}


class Nothing:
    """Facts of a world where nobody listens and no name resolves."""

    def owner(self, attempt: Attempt, protocol: Protocol) -> Owner:
        return Owner.UNKNOWN

    def missing(self, attempt: Attempt) -> int:
        return 0

    def resolved(self, attempt: Attempt) -> bytes:
        return attempt.endpoint.path if isinstance(attempt.endpoint, Unix) else b""

    def addresses(self, name: str) -> frozenset[object]:
        return frozenset()

    resolvers = addresses

    def known(self, address: object) -> Known:
        return Known()

    def search(self) -> tuple[str, ...]:
        return ()

    def trusted(self, name: str) -> bool:
        return False


OPEN = Policy.load(Rules(allow=("any", "unix:*", "unix:@*"), default=Decision.ALLOW))


def descriptors() -> Iterator[Descriptor]:
    yield from (NONE, FILE, HIDDEN)
    for domain in (0, 1, 2, 10, 16, 17, 40):
        for type in (1, 2, 3, 5, 10):
            for protocol in (0, 1, 6, 17, 58, 132, 262):
                for shared in (True, False):
                    yield Descriptor(0, domain, type, protocol, shared=shared)


FAMILIES = st.sampled_from([0, 1, 2, 10, 16, 17, 31, 40, 43, 0x0200, 0xFFFF])
NAMES = st.one_of(
    st.none(),
    st.binary(max_size=4096),
    st.builds(
        lambda family, rest: struct.pack("=H", family) + rest, FAMILIES, st.binary(max_size=130)
    ),
)
STOPS = st.builds(
    stop,
    st.sampled_from([Shape.CONNECT, Shape.SENDTO, Shape.SENDMSG, Shape.SENDMMSG]),
    NAMES,
    st.sampled_from(list(descriptors())),
    st.sampled_from([0, FAST_OPEN, 0x4040]),
    st.sampled_from([0, 0, 0, errno.EFAULT, errno.EINVAL]),
)


@settings(max_examples=3000, deadline=None)
@given(seen=STOPS)
def test_rubbish_is_never_an_exception_and_never_an_unknown_let_through(seen: Stop) -> None:
    unread(seen)
    attempt = decode(seen)
    if isinstance(attempt, Verdict):
        if attempt.decision is Decision.ALLOW:
            assert harmless(seen)
        return
    assert attempt.protocols
    verdict = OPEN.decide(attempt, Nothing())
    assert not isinstance(verdict, Pending)
    if isinstance(attempt.endpoint, Unspecified):
        assert attempt.operation is Operation.CONNECT  # it disconnects, whatever the socket
    elif isinstance(attempt.endpoint, Unknown) or Protocol.OTHER in attempt.protocols:
        assert verdict.decision is Decision.DENY
    elif verdict.decision is Decision.ALLOW:
        assert not seen.fault
        assert not seen.descriptor.error or seen.descriptor.error == errno.EPERM
        assert len(seen.name or b"") >= 3


def harmless(seen: Stop) -> bool:
    """Whether no socket that this could be sends to the name; written down again."""
    known = seen.descriptor
    if not seen.name:
        return ROWS[seen.row].shape is not Shape.CONNECT
    if known.shared or known.error or ROWS[seen.row].shape is Shape.CONNECT:
        return False
    fast_open = seen.args[ROWS[seen.row].flags_arg] & FAST_OPEN
    return (
        (known.domain == 1 and known.type in (1, 5))
        or (known.domain in (2, 10) and known.type == 1 and not fast_open)
        or (known.domain == 10 and seen.name[:2] == b"\0\0" and len(seen.name) < 16)
    )


@settings(max_examples=300, deadline=None)
@given(
    name=st.binary(max_size=130), args=st.tuples(*[st.integers(0, 2**64 - 1)] * 6), row=st.data()
)
def test_every_row_decodes(name: bytes, args: tuple[int, ...], row: st.DataObject) -> None:
    number = row.draw(st.integers(0, len(ROWS) - 1))
    a, b, c, d, e, f = args
    seen = Stop(7, 3, Arch.X86_64, 0, (a, b, c, d, e, f), number, name, 0, SHARED)
    decode(seen)
    assert unread(seen).syscall == ROWS[number].name
