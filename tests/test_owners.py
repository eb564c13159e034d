"""
Whose socket would receive, asked about real sockets.

"Jail" sockets are those whose cookie is added, all others are outsiders'.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import CLONE_NEWNET, CLONE_NEWNS, become_nobody, child, unshare
from netjail.kernel._core import lib
from servers import closed_port

from netjail.endpoints import Inet, Netlink, Unix
from netjail.kernel.owners import Owners, Resolved
from netjail.model import Owner, Protocol
from netjail.stops import Descriptor

SO_COOKIE = 57
TCP, UDP, MPTCP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, 262

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def cookie(sock: socket.socket) -> int:
    return int(struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


@pytest.fixture
def owners() -> Owners:
    return Owners()


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


class Place:
    """Makes sockets and asks about them."""

    def __init__(self, owners: Owners, opened: contextlib.ExitStack) -> None:
        self.owners = owners
        self.opened = opened

    def inet(
        self,
        address: str,
        port: int = 0,
        *,
        protocol: int = TCP,
        own: bool = True,
        v6only: bool = False,
        shared: bool = False,
        listen: bool = True,
    ) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_STREAM
        sock = self.opened.enter_context(socket.socket(family, kind, protocol))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM and listen:
            sock.listen()
        if own:
            self.owners.listener(sock.fileno())
        return sock

    def unix(
        self, name: bytes, kind: int = socket.SOCK_STREAM, *, own: bool = True, listen: bool = True
    ) -> socket.socket:
        sock = self.opened.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.bind(name)
        if kind != socket.SOCK_DGRAM and listen:
            sock.listen()
        if own:
            self.owners.add(cookie(sock))
        return sock

    def descriptor(self, kind: int = socket.SOCK_STREAM, shared: bool = False) -> Descriptor:
        return Descriptor(0, type=kind, netns=self.owners.netns, shared=shared)

    def ask(self, address: str, port: int, protocol: Protocol = Protocol.TCP) -> Owner:
        endpoint = Inet(ipaddress.ip_address(address), port)
        return self.owners.owner(endpoint, protocol, self.descriptor(), os.getpid())

    def find(
        self,
        name: bytes | str,
        kind: int = socket.SOCK_STREAM,
        *,
        tid: int | None = None,
        shared: bool = False,
    ) -> Resolved:
        raw = os.fsencode(name)
        endpoint = Unix(raw[1:], abstract=True) if raw[:1] == b"\0" else Unix(raw)
        descriptor = self.descriptor(kind, shared)
        found = self.owners.resolve(endpoint, tid or os.getpid(), descriptor)
        if found.fd is not None:
            self.opened.callback(os.close, found.fd)
        return found


@pytest.fixture
def place(owners: Owners, opened: contextlib.ExitStack) -> Place:
    return Place(owners, opened)


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def apart(program: str) -> str:
    """Run a program in a network namespace of its own; what it prints."""
    command = ["unshare", "-n", sys.executable, "-c", program]
    paths_ = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": paths_}
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


# -- IP: one listener ---------------------------------------------------------


@pytest.mark.parametrize("protocol", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
@pytest.mark.parametrize("own", [True, False], ids=["own", "outside"])
@pytest.mark.parametrize(
    ("bound", "v6only", "to", "found"),
    [
        pytest.param("127.0.0.1", False, "127.0.0.1", True, id="its-own-address"),
        pytest.param("127.0.0.1", False, "127.0.0.2", False, id="another-loopback-address"),
        pytest.param("127.0.0.1", False, "::ffff:127.0.0.1", True, id="its-mapped-form"),
        pytest.param("127.0.0.1", False, "::1", False, id="v4-does-not-take-v6"),
        pytest.param("127.0.0.1", False, "0.0.0.0", True, id="nowhere-means-loopback"),
        pytest.param("127.0.0.1", False, "::", True, id="v6-nowhere-on-a-mapped-socket"),
        pytest.param("0.0.0.0", False, "127.8.9.1", True, id="the-wildcard-takes-all-of-v4"),
        pytest.param("0.0.0.0", False, "::1", False, id="the-v4-wildcard-takes-no-v6"),
        pytest.param("::1", False, "::1", True, id="v6"),
        pytest.param("::1", False, "127.0.0.1", False, id="v6-does-not-take-v4"),
        pytest.param("::", False, "::1", True, id="the-v6-wildcard-takes-v6"),
        pytest.param("::", False, "127.0.0.1", True, id="dual-stack-takes-v4"),
        pytest.param("::", True, "127.0.0.1", False, id="v6only-takes-no-v4"),
        pytest.param("::", True, "::1", True, id="v6only-takes-v6"),
        pytest.param("::ffff:127.0.0.1", False, "127.0.0.1", True, id="bound-to-a-mapped-address"),
        pytest.param("::ffff:0.0.0.0", False, "127.0.0.1", True, id="bound-to-the-mapped-wildcard"),
    ],
)
def test_one_listener(
    place: Place, bound: str, v6only: bool, to: str, found: bool, own: bool, protocol: int
) -> None:
    port = closed_port()
    place.inet(bound, port, protocol=protocol, own=own, v6only=v6only)
    expected = (Owner.JAIL if own else Owner.OUTSIDE) if found else Owner.NOBODY
    carrier = Protocol.UDP if protocol == UDP else Protocol.TCP
    assert place.ask(to, port, carrier) is expected


@pytest.mark.parametrize(
    ("to", "reached"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", True), ("::1", False)],
)
def test_the_kernel_agrees(place: Place, to: str, reached: bool) -> None:
    port = port_of(place.inet("127.0.0.1"))
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family) as client:
        assert (client.connect_ex((to, port)) == 0) is reached
    assert (place.ask(to, port) is Owner.JAIL) is reached


def test_protocols_have_ports_of_their_own(place: Place) -> None:
    port = closed_port()
    place.inet("127.0.0.1", port)
    assert place.ask("127.0.0.1", port, Protocol.UDP) is Owner.NOBODY
    assert place.ask("127.0.0.1", port, Protocol.ICMP) is Owner.UNKNOWN


def test_a_bound_socket_that_does_not_listen_is_nobody(place: Place) -> None:
    port = port_of(place.inet("127.0.0.1", own=False, listen=False))
    assert place.ask("127.0.0.1", port) is Owner.NOBODY


def test_port_0_is_nobody(place: Place) -> None:
    place.inet("127.0.0.1")
    assert place.ask("127.0.0.1", 0) is Owner.NOBODY


def test_a_closed_listener_is_nobody(place: Place) -> None:
    port = closed_port()
    place.inet("127.0.0.1", port).close()
    assert place.ask("127.0.0.1", port) is Owner.NOBODY


def test_an_outsider_on_the_port_of_a_closed_listener_is_outside(place: Place) -> None:
    port = closed_port()
    place.inet("127.0.0.1", port).close()
    place.inet("127.0.0.1", port, own=False)
    assert place.ask("127.0.0.1", port) is Owner.OUTSIDE


# -- IP: several listeners on one port ----------------------------------------


@pytest.mark.parametrize("protocol", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
@pytest.mark.parametrize(
    ("jail", "outsider", "to", "owner"),
    [
        pytest.param(
            "127.0.0.1", "127.0.0.1", "127.0.0.1", Owner.OUTSIDE, id="shared-by-reuseport"
        ),
        pytest.param("127.0.0.1", "0.0.0.0", "127.0.0.1", Owner.OUTSIDE, id="under-a-wildcard"),
        pytest.param("0.0.0.0", "127.0.0.1", "127.0.0.1", Owner.OUTSIDE, id="over-an-address"),
        pytest.param("0.0.0.0", "127.0.0.1", "127.0.0.2", Owner.JAIL, id="beside-an-address"),
        pytest.param("127.0.0.1", "::", "127.0.0.1", Owner.OUTSIDE, id="under-dual-stack"),
        pytest.param("127.0.0.1", "::1", "127.0.0.1", Owner.JAIL, id="beside-v6"),
        pytest.param("127.0.0.1", "127.0.0.2", "0.0.0.0", Owner.OUTSIDE, id="nowhere-is-any"),
        pytest.param("::1", "0.0.0.0", "::1", Owner.JAIL, id="v6-beside-the-v4-wildcard"),
    ],
)
def test_an_outsider_on_the_same_port(
    place: Place, jail: str, outsider: str, to: str, owner: Owner, protocol: int
) -> None:
    port = closed_port()
    place.inet(jail, port, protocol=protocol, shared=True)
    place.inet(outsider, port, protocol=protocol, own=False, shared=True)
    assert place.ask(to, port, Protocol.UDP if protocol == UDP else Protocol.TCP) is owner


def test_v6only_outsiders_do_not_count_for_v4(place: Place) -> None:
    port = closed_port()
    place.inet("127.0.0.1", port, shared=True)
    place.inet("::", port, own=False, shared=True, v6only=True)
    assert place.ask("127.0.0.1", port) is Owner.JAIL
    assert place.ask("::1", port) is Owner.OUTSIDE


def test_one_outsider_among_many_workers(place: Place) -> None:
    port = port_of(place.inet("127.0.0.1", shared=True))
    for _ in range(400):  # more than one datagram of a dump holds
        place.inet("127.0.0.1", port, shared=True)
    assert place.ask("127.0.0.1", port) is Owner.JAIL
    place.inet("127.0.0.1", port, own=False, shared=True)
    assert place.ask("127.0.0.1", port) is Owner.OUTSIDE


def test_a_connected_udp_socket_counts(place: Place) -> None:
    server = place.inet("127.0.0.1", protocol=UDP)
    client = place.inet("127.0.0.1", protocol=UDP, own=False)
    client.connect(server.getsockname())
    assert place.ask("127.0.0.1", port_of(client), Protocol.UDP) is Owner.OUTSIDE
    place.owners.add(cookie(client))
    assert place.ask("127.0.0.1", port_of(client), Protocol.UDP) is Owner.JAIL


# -- MPTCP --------------------------------------------------------------------


def mptcp(place: Place, address: str, port: int = 0, **options: bool) -> socket.socket:
    try:
        return place.inet(address, port, protocol=MPTCP, **options)
    except OSError as error:
        pytest.skip(f"no MPTCP here: {error}")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_an_mptcp_listener(place: Place, address: str) -> None:
    port = port_of(mptcp(place, address))
    assert place.ask("::1" if address == "::1" else "127.0.0.1", port) is Owner.JAIL


def test_an_mptcp_listener_outside(place: Place) -> None:
    port = port_of(mptcp(place, "127.0.0.1", own=False))
    assert place.ask("127.0.0.1", port) is Owner.OUTSIDE


def test_an_mptcp_outsider_on_the_same_port(place: Place) -> None:
    port = port_of(mptcp(place, "127.0.0.1", shared=True))
    mptcp(place, "127.0.0.1", port, own=False, shared=True)
    assert place.ask("127.0.0.1", port) is Owner.OUTSIDE


def test_an_mptcp_socket_that_does_not_listen_is_not_remembered(place: Place) -> None:
    sock = mptcp(place, "127.0.0.1", own=False, listen=False)
    assert lib.nj_owners_listener(place.owners.handle, sock.fileno()) == -errno.ESTALE
    sock.listen()
    assert place.ask("127.0.0.1", port_of(sock)) is Owner.OUTSIDE


# -- Elsewhere ----------------------------------------------------------------


@pytest.mark.parametrize("to", ["198.51.100.7", "203.0.113.1", "2001:db8:1::7", "224.0.0.1"])
def test_what_is_not_this_machine_is_remote(place: Place, to: str) -> None:
    port = port_of(place.inet("::", own=True))
    assert place.ask(to, port) is Owner.REMOTE


def test_an_ipv6_link_local_address_needs_its_device(place: Place) -> None:
    assert place.ask("fe80::1", 80) is Owner.UNKNOWN
    assert place.ask("fe80::1%1", 80) in {Owner.REMOTE, Owner.UNKNOWN}


def test_loopback_by_another_device_is_remote(place: Place) -> None:
    listener = place.inet("127.0.0.1")
    devices = [index for index, name in socket.if_nameindex() if name not in {"lo", "tunl0"}]
    if not devices:
        pytest.skip("no other device here")

    def ask(device: int) -> int:
        to = socket.inet_aton("127.0.0.1")
        handle = place.owners.handle
        return int(lib.nj_owner_inet(handle, TCP, socket.AF_INET, to, port_of(listener), device))

    assert ask(socket.if_nametoindex("lo")) == lib.NJ_OWNER_JAIL
    assert lib.NJ_OWNER_JAIL not in {ask(device) for device in devices}


@pytest.mark.parametrize(
    "descriptor",
    [
        pytest.param(Descriptor(0, netns=12345678), id="another-namespace"),
        pytest.param(Descriptor(0), id="an-unknown-namespace"),
        pytest.param(Descriptor(errno.EPERM), id="an-unknown-descriptor"),
    ],
)
def test_another_namespace_is_unknown(place: Place, descriptor: Descriptor) -> None:
    port = port_of(place.inet("127.0.0.1"))
    place.unix(b"\0netjail-owners")
    endpoint = Inet(ipaddress.ip_address("127.0.0.1"), port)
    owners, tid = place.owners, os.getpid()
    assert owners.owner(endpoint, Protocol.TCP, descriptor, tid) is Owner.UNKNOWN
    name = Unix(b"netjail-owners", abstract=True)
    assert owners.owner(name, Protocol.UNIX, descriptor, tid) is Owner.UNKNOWN


def test_other_families_are_unknown(place: Place) -> None:
    asked = place.owners.owner(Netlink(0, 0), Protocol.NETLINK, place.descriptor(), os.getpid())
    assert asked is Owner.UNKNOWN


APART = """
import contextlib, os, socket, subprocess
from test_owners import Place, Protocol, Owner, port_of, UDP
from netjail.kernel.owners import Owners
def ip(*words): subprocess.run(["ip", *words], check=True)
with contextlib.ExitStack() as opened:
    place = Place(Owners(), opened)
"""


@needs_root
@pytest.mark.skipif(not shutil.which("ip"), reason="needs ip(8)")
def test_other_addresses_of_this_machine() -> None:
    program = """
    ip("link", "set", "lo", "up")
    ip("addr", "add", "198.51.100.7/32", "dev", "lo")
    ip("addr", "add", "2001:db8::7/128", "dev", "lo")
    port = port_of(place.inet("198.51.100.7"))
    print(place.ask("198.51.100.7", port).value, place.ask("198.51.100.8", port).value)
    port = port_of(place.inet("2001:db8::7", own=False))
    print(place.ask("2001:db8::7", port).value, place.ask("::1", port).value)
    with open("/proc/sys/net/ipv4/ip_nonlocal_bind", "w") as setting:
        setting.write("1")
    print(place.ask("203.0.113.5", port).value)
"""
    assert apart(APART + program).split() == [
        *("jail", "remote"),
        *("outside", "nobody"),
        "remote",
    ]


@needs_root
def test_a_namespace_with_nothing_up() -> None:
    program = """
    port = port_of(place.inet("127.0.0.1"))
    print(place.ask("127.0.0.1", port).value)
"""
    assert apart(APART + program).split() == ["remote"]  # ENETUNREACH, by the kernel itself


@needs_root
def test_an_ordinary_user_may_ask(place: Place) -> None:
    port = port_of(place.inet("127.0.0.1"))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        become_nobody()
        theirs = Place(Owners(), place.opened)
        theirs.owners.add(cookie(theirs.inet("127.0.0.1")))
        os.write(writer, theirs.ask("127.0.0.1", port).value.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"outside"


# -- The set ------------------------------------------------------------------


def test_a_million_sockets_need_no_memory_and_lose_no_listener(place: Place) -> None:
    port = port_of(place.inet("127.0.0.1"))
    udp = port_of(place.inet("::1", protocol=UDP))
    place.unix(b"\0netjail-million")
    handle = place.owners.handle
    for gone in range(1 << 40, (1 << 40) + 1_000_000):
        assert lib.nj_owners_add(handle, gone) == 0
    assert lib.nj_owners_count(handle) <= 65536
    assert place.ask("127.0.0.1", port) is Owner.JAIL
    assert place.ask("::1", udp, Protocol.UDP) is Owner.JAIL
    assert place.find(b"\0netjail-million").owner is Owner.JAIL


def test_a_socket_added_before_its_bind_survives_a_prune(
    place: Place, opened: contextlib.ExitStack
) -> None:
    handle = place.owners.handle
    for gone in range(1 << 40, (1 << 40) + 65535):
        lib.nj_owners_add(handle, gone)
    sock = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    place.owners.add(cookie(sock))
    place.owners.add(1 << 41)  # prunes
    assert lib.nj_owners_count(handle) < 2000
    sock.bind(("127.0.0.1", 0))
    assert place.ask("127.0.0.1", port_of(sock), Protocol.UDP) is Owner.JAIL


def test_no_cookie_is_nobodys(place: Place) -> None:
    assert lib.nj_owners_add(place.owners.handle, 0) == -errno.EINVAL


# -- AF_UNIX: names -----------------------------------------------------------

STREAM, DGRAM, PACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
KINDS = pytest.mark.parametrize("kind", [STREAM, DGRAM, PACKET], ids=["stream", "dgram", "packet"])


@KINDS
@pytest.mark.parametrize("own", [True, False], ids=["own", "outside"])
def test_an_abstract_name(place: Place, kind: int, own: bool) -> None:
    place.unix(b"\0netjail-name", kind, own=own)
    assert place.find(b"\0netjail-name", kind).owner is (Owner.JAIL if own else Owner.OUTSIDE)
    for other in (b"\0netjail-nam", b"\0netjail-name\0", b"\0"):
        assert place.find(other, kind) == Resolved(Owner.NOBODY, errno.ECONNREFUSED)


def test_an_abstract_name_is_one_for_each_type(place: Place) -> None:
    place.unix(b"\0netjail-types", DGRAM)
    assert place.find(b"\0netjail-types", DGRAM).owner is Owner.JAIL
    assert place.find(b"\0netjail-types", STREAM).owner is Owner.NOBODY
    place.unix(b"\0netjail-types", STREAM, own=False)
    assert place.find(b"\0netjail-types", DGRAM).owner is Owner.JAIL
    # Another thread may put a stream socket in the descriptor's place.
    assert place.find(b"\0netjail-types", DGRAM, shared=True).owner is Owner.OUTSIDE


def test_an_abstract_name_that_does_not_listen(place: Place) -> None:
    place.unix(b"\0netjail-idle", own=False, listen=False)
    assert place.find(b"\0netjail-idle").owner is Owner.NOBODY


# -- AF_UNIX: paths -----------------------------------------------------------


def native(path: bytes | str | Path, kind: int) -> int:
    with socket.socket(socket.AF_UNIX, kind) as client:
        return client.connect_ex(os.fsencode(path))


@KINDS
@pytest.mark.parametrize("own", [True, False], ids=["own", "outside"])
def test_a_path(place: Place, tmp_path: Path, kind: int, own: bool) -> None:
    path = tmp_path / "s"
    place.unix(os.fsencode(path), kind, own=own)
    found = place.find(str(path), kind)
    assert found.owner is (Owner.JAIL if own else Owner.OUTSIDE)
    assert (found.error, found.path) == (0, os.fsencode(path))
    assert found.fd is not None
    assert lib.nj_same_inode(found.fd, os.fsencode(path)) == 1
    assert native(f"/proc/{os.getpid()}/fd/{found.fd}", kind) == 0


def make_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


MISSING: list[tuple[str, Callable[[Path], object], str, int]] = [
    ("nothing-there", lambda at: None, "s", errno.ENOENT),
    ("no-directory", lambda at: None, "d/s", errno.ENOENT),
    ("a-file-for-a-directory", lambda at: (at / "d").touch(), "d/s", errno.ENOTDIR),
    ("a-slash-behind", lambda at: make_stale(at / "s"), "s/", errno.ENOTDIR),
    ("a-loop", lambda at: (at / "s").symlink_to("s"), "s", errno.ELOOP),
    ("a-dangling-link", lambda at: (at / "s").symlink_to("t"), "s", errno.ENOENT),
    ("a-plain-file", lambda at: (at / "s").touch(), "s", errno.ECONNREFUSED),
    ("a-directory", lambda at: (at / "s").mkdir(), "s", errno.ECONNREFUSED),
    ("a-fifo", lambda at: os.mkfifo(at / "s"), "s", errno.ECONNREFUSED),
    ("a-stale-socket", lambda at: make_stale(at / "s"), "s", errno.ECONNREFUSED),
    ("a-name-too-long", lambda at: (at / "s").symlink_to("x" * 256), "s", errno.ENAMETOOLONG),
]


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize(
    ("make", "name", "error"), [row[1:] for row in MISSING], ids=[row[0] for row in MISSING]
)
def test_nobody_there_is_answered_as_by_the_kernel(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    name: str,
    error: int,
    relative: bool,
) -> None:
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = name if relative else f"{tmp_path}/{name}"
    found = place.find(path)
    assert (found.owner, found.error) == (Owner.NOBODY, error)
    assert native(path, STREAM) == error


@pytest.mark.parametrize("listen", [True, False], ids=["listening", "bound"])
@pytest.mark.parametrize("own", [True, False], ids=["own", "outside"])
@pytest.mark.parametrize("asked", [STREAM, DGRAM, PACKET], ids=["stream", "dgram", "packet"])
@KINDS
def test_the_wrong_type(
    place: Place, tmp_path: Path, kind: int, asked: int, own: bool, listen: bool
) -> None:
    path = str(tmp_path / "s")
    place.unix(path.encode(), kind, own=own, listen=listen)
    found = place.find(path, asked)
    assert found.error == native(path, asked)
    assert (found.owner is Owner.NOBODY) is (found.error != 0)


def test_a_server_that_accepted_is_still_one(place: Place, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = place.unix(path.encode())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        server, _ = listener.accept()
        with server:
            assert place.find(path).owner is Owner.JAIL
            listener.close()
            found = place.find(path)
            assert (found.owner, found.error) == (Owner.NOBODY, errno.ECONNREFUSED)


def test_links_and_renames_lead_to_the_inode(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "s"
    place.unix(os.fsencode(path))
    (tmp_path / "link").symlink_to("s")
    (tmp_path / "far").symlink_to(tmp_path / "link")
    os.link(path, tmp_path / "hard")
    for name in ("link", "far", "hard", "./s", f"../{tmp_path.name}/s"):
        assert place.find(f"{tmp_path}/{name}").owner is Owner.JAIL, name
    assert place.find(str(tmp_path / "far")).path == os.fsencode(path)
    path.rename(tmp_path / "moved")
    assert place.find(str(tmp_path / "moved")).owner is Owner.JAIL
    assert place.find(str(tmp_path / "far")).error == errno.ENOENT


def test_what_replaces_the_path_is_somebody_else(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "s"
    place.unix(os.fsencode(path))
    before = place.find(str(path))
    path.unlink()
    place.unix(os.fsencode(path), own=False)
    assert place.find(str(path)).owner is Owner.OUTSIDE
    assert before.fd is not None
    assert lib.nj_same_inode(before.fd, os.fsencode(path)) == 0
    # What was judged is still what a call to the descriptor reaches.
    assert native(f"/proc/self/fd/{before.fd}", STREAM) == 0


def test_no_path_is_no_address(place: Place) -> None:
    assert place.find(b"") == Resolved(Owner.NOBODY, errno.EINVAL)


def test_a_dead_tracee_is_unknown(place: Place) -> None:
    with child(lambda: None) as pid:
        pass
    assert place.find(b"/x", tid=pid).owner is Owner.UNKNOWN


@needs_root
def test_a_socket_of_another_namespace_is_not_called_nobody(place: Place, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:

        def bind() -> None:
            unshare(CLONE_NEWNET)
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path)
                server.listen()
                os.dup2(server.fileno(), sock.fileno())

        with child(bind):
            assert native(path, STREAM) == 0
            assert place.find(path).owner is Owner.UNKNOWN
    found = place.find(path)
    assert (found.owner, found.error) == (Owner.NOBODY, errno.ECONNREFUSED)


# -- AF_UNIX: the tracee's view ----------------------------------------------


@needs_root
def test_an_overlay_is_known_by_its_own_numbers(place: Place, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()

    def enter() -> None:
        unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        layers = ",".join(f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work"))
        merged = str(tmp_path / "merged")
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=True)

    try:
        with child(enter) as pid:
            place.unix(f"/proc/{pid}/root{tmp_path}/merged/s".encode())
            path = str(tmp_path / "merged" / "s")
            assert place.find(path, tid=pid).owner is Owner.JAIL
            # Another inode, though the layer below is where the overlay keeps it.
            assert place.find(str(tmp_path / "upper" / "s")).error == errno.ECONNREFUSED
    except AssertionError:
        if "overlay" not in Path("/proc/filesystems").read_text():
            pytest.skip("no overlayfs here")
        raise


@needs_root
@pytest.mark.parametrize(
    ("directory", "file", "error"),
    [
        pytest.param(0o700, 0o777, errno.EACCES, id="behind-a-closed-directory"),
        pytest.param(0o755, 0o755, errno.EACCES, id="a-file-that-it-may-not-write"),
        pytest.param(0o755, 0o777, 0, id="open-to-all"),
    ],
)
def test_the_tracees_rights_count(
    place: Place, tmp_path: Path, directory: int, file: int, error: int
) -> None:
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / "s"
    place.unix(os.fsencode(path))
    path.chmod(file)
    path.parent.chmod(directory)

    with child(become_nobody) as pid:
        assert place.find(str(path), tid=pid).error == error
    assert place.find(str(path)).owner is Owner.JAIL
    assert os.open(path.parent, os.O_PATH)  # our own rights are back


# -- The crowd, and the cost --------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for more than the 1024 that a login usually gives."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_descriptors")
def test_a_crowd_of_other_sockets(place: Place, tmp_path: Path) -> None:
    for index in range(340):
        place.inet("127.0.0.1", own=False)
        place.inet("::1", protocol=UDP, own=False)
        place.unix(b"\0netjail-crowd-%d" % index, own=False)
    tcp = port_of(place.inet("127.0.0.1"))
    udp = port_of(place.inet("127.0.0.1", protocol=UDP))
    place.unix(os.fsencode(tmp_path / "s"))
    place.unix(b"\0netjail-mine")
    assert place.ask("127.0.0.1", tcp) is Owner.JAIL
    assert place.ask("127.0.0.1", udp, Protocol.UDP) is Owner.JAIL
    assert place.find(b"\0netjail-mine").owner is Owner.JAIL
    assert place.find(b"\0netjail-none").owner is Owner.NOBODY
    assert place.find(str(tmp_path / "s")).owner is Owner.JAIL


def test_answers_hold_while_others_come_and_go(place: Place) -> None:
    port = port_of(place.inet("127.0.0.1"))
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            with socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0)):
                pass

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert {place.ask("127.0.0.1", port) for _ in range(500)} == {Owner.JAIL}
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("protocol", "limit"), [(TCP, 200e-6), (UDP, 400e-6)])
def test_an_answer_is_quick(place: Place, protocol: int, limit: float) -> None:
    port = port_of(place.inet("127.0.0.1", protocol=protocol))
    handle, to = place.owners.handle, socket.inet_aton("127.0.0.1")
    took = []
    for _ in range(300):
        began = time.perf_counter()
        lib.nj_owner_inet(handle, protocol, socket.AF_INET, to, port, 0)
        took.append(time.perf_counter() - began)
    # About 25 and 45 microseconds on an idle machine; a busy one has quick moments.
    assert min(took) < limit
