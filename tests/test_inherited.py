"""What the command gets from whoever started netjail, and what over a unix socket."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import threading
from errno import EBADF, ECONNREFUSED, EPERM
from pathlib import Path

import pytest
from jail import unmet

SEND = "import os, sys; os.write(int(sys.argv[1]), b'out')"


def run(runner, fds, *words, options=None, **keywords):
    """Run *words* with *fds* open, jailed if there are *options*."""
    journal = runner.workdir / "passed.jsonl"
    jail = [] if options is None else runner.jailed(*options, events=journal)
    prefix = jail or runner.user.prefix
    return runner.run([*prefix, *map(str, words)], pass_fds=fds, **keywords), journal


def started(journal: Path):
    return json.loads(journal.read_text().splitlines()[0])


def connected(kind, server):
    """A socket of the test's own that reaches *server* without anybody's judgement."""
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    one = socket.socket(family, kind)
    one.connect((server.address, server.port))
    return one


# -- At the start -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "type"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)]
)
def test_an_inherited_socket_is_closed_unless_kept(runner, serve, kind, type):
    server = serve(kind)
    with connected(type, server) as one:
        fd = one.fileno()
        words = ("python", "-c", SEND, fd)
        native, _ = run(runner, [fd], *words)
        assert (native.exit_code, server.received) == (0, [b"out"])
        jailed, journal = run(runner, [fd], *words, options=())
        assert jailed.exit_code == 1
        assert os.strerror(EBADF) in jailed.stderr
        assert server.received == [b"out"]
        assert started(journal)["passed"] == {}
        kept, journal = run(runner, [fd], *words, options=("--keep-fd", str(fd)))
        assert (kept.exit_code, server.received) == (0, [b"out", b"out"])
        text = f"{kind} socket connected to 127.0.0.1:{server.port}"
        assert started(journal)["passed"] == {str(fd): text}


def test_pipes_files_and_pairs_of_descriptors_stay(runner):
    """make's jobserver and the shell's ``<(...)`` need them; an epoll set cannot send."""
    reader, writer = os.pipe()
    with select.epoll() as ready, open("/dev/null") as file:
        ready.register(reader)
        fds = [reader, writer, ready.fileno(), file.fileno()]
        code = "import os, sys; [os.fstat(int(n)) for n in sys.argv[1:]]; print('all')"
        result, _ = run(runner, fds, "python", "-c", code, *fds, options=())
        assert result.stdout == "all\n", result.stderr
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("options", [(), ("--default", "allow")], ids=["deny", "allow"])
def test_an_inherited_ring_is_closed(runner, program, server, options):
    """The kernel thread of its owner would connect for the jail, unseen."""
    ring = program("ring")
    make = [*runner.user.prefix, ring, "make", server.target]
    native = runner.run([*make, ring, "use"])
    if native.exit_code == 200:
        unmet("io_uring is switched off here")
    assert (native.exit_code, server.accepted) == (0, 1)
    jailed = runner.run([*make, *runner.inner(*options), ring, "use"])
    assert (jailed.exit_code, server.accepted) == (EBADF, 1)


def test_a_ring_cannot_be_kept(runner, program, server):
    ring = program("ring")
    make = [*runner.user.prefix, ring, "make", server.target]
    result = runner.run([*make, *runner.inner("--keep-fd", "3"), ring, "use"])
    assert result.exit_code == 125
    assert "descriptor 3 is an io_uring ring" in result.stderr
    assert server.accepted == 0


def test_keeping_what_is_not_open_says_so(runner):
    result, _ = run(runner, [], "true", options=("--keep-fd", "77"))
    assert result.exit_code == 125
    assert "--keep-fd: descriptor 77 is not open" in result.stderr


HANDLES = [
    pytest.param(
        lambda pid: os.pidfd_open(pid),
        f"signal.pidfd_send_signal(fd, {signal.SIGURG:d})",
        EPERM,
        id="a-pidfd-to-signal-by",
    ),
    pytest.param(
        lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDWR),
        "os.pread(fd, 1, int(sys.argv[2]))",
        EBADF,
        id="another-process-s-memory",
    ),
    pytest.param(
        lambda pid: os.open(f"/proc/{pid}/ns/user", os.O_RDONLY),
        "ctypes.CDLL(None, use_errno=True).setns(fd, 0) and fail()",
        EPERM,
        id="a-user-namespace",
    ),
]
USE = """
import ctypes, os, signal, sys
fd = int(sys.argv[1])
def fail():
    number = ctypes.get_errno()
    # EINVAL: it is the namespace that we are in; the kernel looked.
    if number != 22:
        raise OSError(number, "")
try:
    {use}
except OSError as error:
    sys.exit(error.errno)
"""


def outside(**who) -> subprocess.Popen[bytes]:
    """A process that is there as a whole: after exec its memory is yet to be mapped."""
    made = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **who
    )
    made.stdin.write(b"x")
    assert made.stdout.read(1) == b"x"
    return made


@pytest.mark.parametrize(("open_it", "use", "held"), HANDLES)
def test_a_handle_on_a_process_outside_is_of_no_use(runner, open_it, use, held):
    with outside() as outsider:
        fd = open_it(outsider.pid)
        first = Path(f"/proc/{outsider.pid}/maps").read_text().split("-")[0]
        if runner.user.change and "signal" in use:  # of the same user, then
            outsider.kill()
            become = {"user": runner.user.uid, "group": runner.user.uid}
            outsider = outside(**become)
            os.close(fd)
            fd = open_it(outsider.pid)
        words = ("python", "-c", USE.format(use=use), fd, int(first, 16))
        native, _ = run(runner, [fd], *words)
        jailed, _ = run(runner, [fd], *words, options=())
        outsider.kill()
        outsider.wait()
    os.close(fd)
    assert native.exit_code == 0, native.stderr
    assert jailed.exit_code == held, jailed.stderr


# -- Standard input, output and error -----------------------------------------


def test_a_network_socket_as_standard_output_is_reported(runner, server):
    with connected(socket.SOCK_STREAM, server) as one:
        result, journal = run(runner, [], "echo", "out", options=(), stdout=one, stdin=one)
    assert server.received == [b"out\n"]
    where = f"tcp socket connected to 127.0.0.1:{server.port}"
    assert started(journal)["passed"] == {"0": where, "1": where}
    (warning,) = [text for text in started(journal)["warnings"] if "standard" in text]
    assert warning == (
        f"standard input, standard output: a {where}; what is sent there is not judged"
    )
    assert "what is sent there is not judged" in " ".join(result.stderr.split())


def test_a_pair_as_standard_input_is_only_recorded(runner):
    """Node and others use pairs as pipes."""
    one, other = socket.socketpair()
    with one, other:
        other.close()
        result, journal = run(runner, [], "cat", options=(), stdin=one)
    assert started(journal)["passed"] == {"0": "unix socket connected to a nameless peer"}
    assert not [text for text in started(journal)["warnings"] if "standard" in text]
    assert "standard input" not in result.stderr


# -- Raw sockets, which no jail makes -----------------------------------------

# By udp to a port that the rules allow, until the verdict is known to hold; then the same
# bytes as the address of a raw socket, whose packet names another port.
RAW = """
import array, os, socket, struct, sys
allowed, denied = int(sys.argv[1]), int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual:
    for _ in range(3):
        usual.sendto(b"in", ("127.0.0.1", allowed))
{get}
packet = struct.pack("!HHHH", 4000, denied, 8 + 3, 0) + b"raw"
try:
    raw.sendto(packet, ("127.0.0.1", allowed))
except OSError as error:
    sys.exit(error.errno)
"""
KEPT = "raw = socket.socket(fileno=int(sys.argv[3]))"
SENT = """
with socket.socket(socket.AF_UNIX) as giver:
    giver.connect(sys.argv[3])
    _, [(_, _, fds)], _, _ = giver.recvmsg(1, socket.CMSG_SPACE(4))
    raw = socket.socket(fileno=array.array("i", fds)[0])
"""


@pytest.fixture
def raw():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as one:
            yield one
    except PermissionError:
        unmet("raw sockets need root")


@pytest.fixture
def give(workdir):
    """A unix server outside that hands the given socket to whoever connects."""
    path = str(workdir / "giver")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen()
        server.settimeout(60)

        def start(one):
            def serve():
                for _ in range(2):
                    try:
                        client, _ = server.accept()
                    except OSError:
                        return
                    fds = array.array("i", [one.fileno()])
                    with client:
                        client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

            threading.Thread(target=serve, daemon=True).start()
            return path

        yield start


@pytest.mark.parametrize("how", ["kept", "sent"])
def test_a_raw_socket_from_outside_does_not_pass_for_udp(runner, serve, raw, give, how):
    allowed, denied = serve("udp"), serve("udp")
    fd = raw.fileno()
    argument = fd if how == "kept" else give(raw)
    code = RAW.format(get=KEPT if how == "kept" else SENT)
    words = ("python", "-c", code, allowed.port, denied.port, argument)
    native, _ = run(runner, [fd], *words)
    assert (native.exit_code, denied.received) == (0, [b"raw"]), native.stderr
    rules = ["--allow", f"127.0.0.1:{allowed.port}"]
    rules += ["--keep-fd", str(fd)] if how == "kept" else ["--allow", f"unix:{argument}"]
    jailed, _ = run(runner, [fd], *words, options=rules)
    assert (jailed.exit_code, denied.received) == (EPERM, [b"raw"]), jailed.stderr
    assert len(allowed.received) == 6


# -- Over a unix socket -------------------------------------------------------

TAKE = """
import array, os, socket, sys
with socket.socket(socket.AF_UNIX) as giver:
    giver.connect(sys.argv[1])
    _, [(_, _, fds)], _, _ = giver.recvmsg(1, socket.CMSG_SPACE(4))
    one = socket.socket(fileno=array.array("i", fds)[0])
sys.exit(one.connect_ex(("127.0.0.1", int(sys.argv[2]))))
"""


def test_a_socket_from_outside_is_judged_when_it_connects(runner, server, give):
    with socket.socket() as one:
        path = give(one)
        words = ("python", "-c", TAKE, path, server.port)
        jailed, _ = run(runner, [], *words, options=["--allow", f"unix:{path}"])
        assert (jailed.exit_code, server.accepted) == (ECONNREFUSED, 0)
        native, _ = run(runner, [], *words)
        assert (native.exit_code, server.accepted) == (0, 1)
