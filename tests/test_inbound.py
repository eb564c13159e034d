"""
Who reaches the jail's listeners: this machine, and no other unless ``--bind`` opens it.

Two network namespaces stand for two machines, a veth pair between them is the wire.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from errno import ECONNREFUSED, ETIMEDOUT

import pytest
from jail import needs, unmet

THIS, OTHER = "192.0.2.1", "192.0.2.2"
PORT = 8080

# Each makes `server`, as a program would, or worse.
LISTENERS = {
    "every-address": "server = socket.create_server(('', PORT))",
    "dual-stack": """
server = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
""",
    "its-network-address": f"server = socket.create_server(({THIS!r}, PORT))",
    "no-bind": "server = socket.socket(); server.listen()",
    "twice": "server = socket.create_server(('', PORT)); server.listen(); server.listen(8)",
    "again-after-shutdown": """
server = socket.create_server(("", PORT))
server.shutdown(socket.SHUT_RD)
server.listen()
""",
    "again-after-close": """
for _ in range(2):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", PORT))
    server.listen()
    _ or server.close()
""",
    "reuseport": """
servers = [socket.create_server(("", PORT), reuse_port=True) for _ in range(3)]
server = servers[0]
""",
    "mptcp": """
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
server.bind(("", PORT))
server.listen()
""",
    "fast-open": """
server = socket.socket()
server.setsockopt(socket.IPPROTO_TCP, 23, 8)
server.bind(("", PORT))
server.listen()
""",
    "by-a-thread": """
import threading
server = socket.socket()
server.bind(("", PORT))
threading.Thread(target=server.listen).run()
stay = threading.Thread(target=lambda: sys.stdin.fileno(), daemon=True); stay.start()
""",
    "untied-afterwards": """
server = socket.create_server(("", PORT))
for level, name, value in ((1, 25, b""), (1, 25, b"\\0"), (1, 62, 0), (1, 25, b"wire")):
    try:
        server.setsockopt(level, name, value)
        refused = False
    except OSError:
        refused = True
server.listen()
""",
    "tied-to-the-wire": """
server = socket.socket()
try:
    server.setsockopt(socket.SOL_SOCKET, 25, b"wire")
except PermissionError:
    pass
server.bind(("", PORT))
server.listen()
""",
    "in-a-child": """
server = socket.socket()
server.bind(("", PORT))
if os.fork() == 0:
    server.listen()
    os._exit(0)
os.wait()
""",
}
SERVE = """
import os, socket, sys
PORT = {port}
{make}
print(server.getsockname()[0], server.getsockname()[1], flush=True)
sys.stdin.read()
"""
# On one CPU packets arrive in their order: once a closed port has answered, so would
# the listener have that was asked before. No answer counts as ETIMEDOUT.
VISIT = """
import os, select, socket, sys
from errno import ECONNREFUSED, EINPROGRESS, ETIMEDOUT
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

def visit(address):
    one, after = socket.socket(), socket.socket()
    one.setblocking(False)
    asked = one.connect_ex((address, int(sys.argv[1])))
    assert after.connect_ex((address, 9)) == ECONNREFUSED
    if asked != EINPROGRESS:
        return asked
    if not select.select([], [one], [], 0)[1]:
        return ETIMEDOUT
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

print(*(visit(address) for address in sys.argv[2:]))
"""
# Whether this user may give a socket a filter: not since Linux 6.18.y without CAP_NET_ADMIN.
FILTER = """
import ctypes, socket, struct
step = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFFFFFF))
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(step))
socket.socket().setsockopt(socket.SOL_SOCKET, 26, program)
"""


class Wire:
    """Two machines, by the pids of processes that keep their networks."""

    def __init__(self) -> None:
        keep = ["unshare", "-n", "sh", "-c", "echo up; exec sleep infinity"]
        self.machines = [
            subprocess.Popen(keep, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for machine in self.machines:
            assert machine.stdout
            if machine.stdout.readline() != "up\n":
                unmet("a network namespace cannot be made here")
        self.this, self.other = (str(machine.pid) for machine in self.machines)
        self.ip(self.this, "link add wire type veth peer name wire netns", self.other)
        for pid, address in ((self.this, THIS), (self.other, OTHER)):
            self.ip(pid, "link set lo up")
            self.ip(pid, "link set wire up")
            self.ip(pid, "addr add dev wire", f"{address}/24")

    @staticmethod
    def ip(pid: str, words: str, *more: str) -> None:
        subprocess.run(["nsenter", "-t", pid, "-n", "ip", *words.split(), *more], check=True)

    def visit(self, pid: str, port: int, *addresses: str) -> list[int]:
        """The errnos that connecting from the machine *pid* gets."""
        words = ["nsenter", "-t", pid, "-n", "python3", "-c", VISIT, str(port), *addresses]
        result = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        return [int(word) for word in result.stdout.split()]

    def close(self) -> None:
        for machine in self.machines:
            machine.kill()
            machine.communicate()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    needs("unshare", "nsenter", "ip")
    if os.geteuid():
        unmet("two machines need root")
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def serving(runner, wire):
    """Start a listener on this machine and give who reached it, from where."""

    def run(make, *options, jailed=True):
        journal = runner.workdir / "events.jsonl"
        there = ["nsenter", "-t", wire.this, "-n", "--"]
        jail = runner.jailed(*options, events=journal) if jailed else runner.user.prefix
        words = [*there, *jail, "python", "-c", SERVE.format(port=PORT, make=make)]
        with runner.started(words, stdin=subprocess.PIPE) as process:
            name = process.stdout.readline().split()
            assert name, process.stderr.read()
            (outside,) = wire.visit(wire.other, int(name[1]), THIS)
            inside = wire.visit(wire.this, int(name[1]), "127.0.0.1", THIS)
            _, stderr = process.communicate("")
            assert process.returncode == 0, stderr
        events = [json.loads(line) for line in journal.read_text().splitlines()] if jailed else []
        listeners = [event for event in events if event["type"] == "listen"]
        return outside, inside, name, listeners, stderr

    return run


@pytest.fixture
def filters(native):
    return native(command=["python", "-c", FILTER]).exit_code == 0


@pytest.mark.parametrize("name", LISTENERS)
def test_no_other_machine_reaches_a_listener(serving, filters, name):
    outside, _, native, _, _ = serving(LISTENERS[name], jailed=False)
    assert outside == 0
    outside, inside, jailed, listeners, stderr = serving(LISTENERS[name])
    # Tied to lo, where a filter cannot be had, it is deaf to this machine's own addresses.
    filtered = filters and name != "mptcp"
    assert outside == (ETIMEDOUT if filtered else ECONNREFUSED)
    loopback = ECONNREFUSED if name == "its-network-address" else 0
    assert inside == [loopback, 0 if filtered else ECONNREFUSED]
    assert jailed[0] == native[0]
    assert {event["scope"] for event in listeners} == {"machine"}
    if name != "no-bind":
        assert jailed == native
        assert f"{PORT}  this machine only" in stderr
        assert f"to open: --bind :{PORT}" in stderr


@pytest.mark.parametrize("name", ["every-address", "dual-stack", "again-after-shutdown", "mptcp"])
def test_bind_opens_it(serving, name):
    outside, inside, _, listeners, stderr = serving(LISTENERS[name], "--bind", f":{PORT}")
    assert {outside, *inside} == {0}
    assert {event["scope"] for event in listeners} == {"open"}
    assert "open to the network" in stderr


def test_bind_opens_no_other_port(serving):
    outside, *_ = serving(LISTENERS["every-address"], "--bind", f":{PORT + 1}")
    assert outside in (ECONNREFUSED, ETIMEDOUT)


@pytest.mark.parametrize("options", [(), ("--audit",), ("--bind", f":{PORT}")])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_what_is_bound_to_loopback_is_never_open(trace, options, address):
    family = "AF_INET6" if ":" in address else "AF_INET"
    code = (
        f"import socket; s = socket.socket(socket.{family}); "
        f"s.bind(({address!r}, {PORT})); s.listen(); "
        f"socket.create_connection(({address!r}, {PORT})); print(s.accept()[1][1] > 0)"
    )
    result = trace(*options, command=["python", "-S", "-c", code])
    assert result.stdout == "True\n", result.stderr
    (listener,) = result.of_type("listen")
    assert (listener.scope, listener.fix) == ("machine", "")
    assert f"{PORT}  this machine only" in result.stderr
    assert "to open" not in result.stderr


def test_audit_leaves_listeners_as_they_are(serving):
    outside, _, _, listeners, _ = serving(LISTENERS["every-address"], "--audit")
    assert outside == 0
    assert {event["scope"] for event in listeners} == {"open"}


# -- Listeners from before ----------------------------------------------------

# Make a listener, hand it over as descriptor 9, and become the words that follow.
HAND_OVER = """
import os, socket, sys
server = socket.create_server(("", 0))
os.dup2(server.fileno(), 9)
server.close()
os.execvp(sys.argv[1], sys.argv[1:])
"""
# Servers that are handed a socket call listen on it as a matter of course.
TAKE_OVER = """
import os, socket, sys
server = socket.socket(fileno=9)
{again}
print(server.getsockname()[1], flush=True)
server.settimeout(60)
print(server.accept()[1][0], flush=True)
"""


@pytest.mark.parametrize("again", ["", "server.listen()"], ids=["as-it-is", "listened-on-again"])
def test_a_listener_from_before_stays_as_it_is(runner, wire, again):
    start = ["nsenter", "-t", wire.this, "-n", "--", *runner.user.prefix]
    start += ["python3", "-c", HAND_OVER]
    command = ["python", "-c", TAKE_OVER.format(again=again)]
    with runner.started([*start, *runner.inner("--keep-fd", "9"), *command]) as process:
        port = int(process.stdout.readline())
        assert wire.visit(wire.other, port, THIS) == [0]
        stdout, stderr = process.communicate()
    assert stdout == f"{OTHER}\n"
    said = f"descriptor 9: a tcp socket that listens on 0.0.0.0:{port}"
    assert said in " ".join(stderr.split())
    assert ("open to the network" in stderr) == bool(again)


def test_a_listener_that_is_not_kept_is_closed(runner, wire):
    start = ["nsenter", "-t", wire.this, "-n", "--", *runner.user.prefix]
    start += ["python3", "-c", HAND_OVER]
    command = ["python", "-c", TAKE_OVER.format(again="")]
    result = runner.run([*start, *runner.inner(), *command])
    assert result.exit_code == 1
    assert "Bad file descriptor" in result.stderr
