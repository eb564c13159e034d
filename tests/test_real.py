"""
Real programs: allowed, they do what they do without netjail; denied, they are told so.

Their servers run outside the jail, on loopback, started here.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import int80
import pytest
from conftest import FIXTURES
from jail import Runner, needs, unmet, which
from servers import closed_port

# -- Servers ------------------------------------------------------------------


class Web:
    """A directory over HTTP that counts its connections."""

    def __init__(self, directory: Path) -> None:
        self.connections = 0
        handler = functools.partial(_Quiet, directory=str(directory))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        process = self._server.process_request

        def counted(*arguments: object) -> None:
            self.connections += 1
            process(*arguments)  # type: ignore[arg-type]

        self._server.process_request = counted  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def wait_for_port(port: int) -> None:
    """Until somebody listens: what started a server cannot know when it does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
    pytest.fail(f"nobody listens on port {port}")


@pytest.fixture(scope="session")
def site(place: Path) -> Path:
    """What the web server serves: a file, a repository, a package index."""
    directory = place / "site"
    directory.mkdir()
    (directory / "file").write_text("hello\n")
    _make_index(directory / "simple" / "demo")
    _make_repository(directory)
    return directory


def _make_index(directory: Path) -> None:
    directory.mkdir(parents=True)
    name = "demo-1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
    wheel = "Wheel-Version: 1.0\nGenerator: netjail\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(directory / name, "w") as archive:
        archive.writestr("demo.py", "WORD = 'installed'\n")
        archive.writestr("demo-1.0.dist-info/METADATA", metadata)
        archive.writestr("demo-1.0.dist-info/WHEEL", wheel)
        archive.writestr("demo-1.0.dist-info/RECORD", "demo.py,,\n")
    (directory / "index.html").write_text(f'<a href="{name}">{name}</a>')


def _make_repository(directory: Path) -> None:
    if which("git") is None:
        return
    work = directory.parent / "work"
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q", str(work)],
        ["-C", str(work), *who, "commit", "-q", "--allow-empty", "-m", "the first"],
        ["clone", "-q", "--bare", str(work), str(directory / "demo.git")],
        ["-C", str(directory / "demo.git"), "update-server-info"],
    ):
        environment = {**os.environ, "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *words], check=True, env=environment, capture_output=True)


@pytest.fixture
def web(site: Path) -> Iterator[Web]:
    """The site, served by this process."""
    server = Web(site)
    yield server
    server.close()


@pytest.fixture
def git_daemon(site: Path) -> Iterator[int]:
    """The port of a git server for the site's repository."""
    needs("git")
    port = closed_port()
    words = ["git", "daemon", "--export-all", f"--base-path={site}", "--listen=127.0.0.1"]
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    safe["GIT_CONFIG_VALUE_0"] = "*"
    command = [*words, f"--port={port}", "--reuseaddr"]
    with subprocess.Popen(command, env={**os.environ, **safe}, start_new_session=True) as process:
        try:
            wait_for_port(port)
            yield port
        finally:
            os.killpg(process.pid, 15)


@pytest.fixture(scope="session")
def go_client(place: Path) -> Callable[[str], str]:
    """A program that knows no libc, for a GOARCH."""
    return functools.cache(functools.partial(build_go_client, place))


def build_go_client(place: Path, arch: str) -> str:
    needs("go")
    target = place / f"go-client-{arch}"
    build = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "off"}
    build["GOARCH"] = arch
    cache = {"GOCACHE": str(place / "go-cache"), "GOPATH": str(place / "go")}
    words = ["go", "build", "-o", str(target), str(FIXTURES / "real" / "client.go")]
    subprocess.run(words, check=True, env={**os.environ, **build, **cache}, cwd=place)
    target.chmod(0o755)
    return str(target)


# -- Clients ------------------------------------------------------------------


@dataclass
class Scene:
    """What a client's command is made of."""

    runner: Runner
    request: pytest.FixtureRequest
    web: Web

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.port}"


@pytest.fixture
def scene(runner: Runner, request: pytest.FixtureRequest, web: Web) -> Scene:
    return Scene(runner, request, web)


def curl(scene: Scene) -> list[str]:
    needs("curl")
    return ["curl", "-sS", f"{scene.url}/file"]


def curl_parallel(scene: Scene) -> list[str]:
    needs("curl")
    return ["curl", "-sS", "-Z", *[f"{scene.url}/file"] * 5]


def wget(scene: Scene) -> list[str]:
    needs("wget")
    return ["wget", "-q", "-t1", "-O-", f"{scene.url}/file"]


def clone(url: str) -> list[str]:
    needs("git")
    script = 'rm -rf copy && git clone -q "$0" copy && git -C copy log --format="%H %s"'
    return ["sh", "-c", script, url]


def git_over_http(scene: Scene) -> list[str]:
    return clone(f"{scene.url}/demo.git")


def pip_install(scene: Scene) -> list[str]:
    install = "python -m pip install -q --no-cache-dir --disable-pip-version-check --retries 0"
    script = f"""
rm -rf out && {install} --index-url "$0/simple/" --target out demo &&
PYTHONPATH=out python -c 'import demo; print(demo.WORD)'
"""
    return ["sh", "-c", script, scene.url]


NODE = """
const failed = error => { console.error(error.code); process.exitCode = 1 }
for (let i = 0; i < 4; i++)
    require("http").get(process.argv[1], r => r.pipe(process.stdout)).on("error", failed)
"""


def node(scene: Scene) -> list[str]:
    needs("node")
    return ["node", "-e", NODE, f"{scene.url}/file"]


def urllib(scene: Scene) -> list[str]:
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read())"
    return ["python", "-c", code, f"{scene.url}/file"]


ASYNCIO = """
import asyncio, sys
async def fetch():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(b"GET /file HTTP/1.0\\r\\n\\r\\n")
    return (await reader.read())[-6:]
async def main():
    print(await asyncio.gather(*[fetch() for _ in range(5)]))
asyncio.run(main())
"""


def asyncio(scene: Scene) -> list[str]:
    return ["python", "-c", ASYNCIO, str(scene.web.port)]


def musl(scene: Scene) -> list[str]:
    client = scene.runner.program("connect_inet", "musl")
    target = f"tcp://127.0.0.1:{scene.web.port}"
    script = '"$0" -w "$1" "$2" | tail -n 1'
    request = "GET /file HTTP/1.0\r\n\r\n"
    return ["bash", "-c", f"set -o pipefail; {script}", client, request, target]


def go(scene: Scene, arch: str = "amd64") -> list[str]:
    return [scene.request.getfixturevalue("go_client")(arch), f"127.0.0.1:{scene.web.port}"]


def go_386(scene: Scene) -> list[str]:
    if not int80.works():
        unmet("this kernel runs no i386 calls")
    return go(scene, "386")


def make(scene: Scene) -> list[str]:
    """A build that downloads."""
    needs("make", "curl")
    (scene.runner.workdir / "Makefile").write_text(f"all:\n\t@curl -sS {scene.url}/file\n")
    return ["make", "-s"]


CLIENTS = [
    curl,
    curl_parallel,
    wget,
    git_over_http,
    pip_install,
    node,
    urllib,
    asyncio,
    musl,
    go,
    go_386,
    make,
]
each_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)


@each_client
def test_an_allowed_client_is_as_without_netjail(
    scene: Scene, client: Callable[[Scene], list[str]]
):
    command = client(scene)
    plain = scene.runner.native(command=command)
    assert plain.exit_code == 0, plain.stderr
    connections = scene.web.connections
    result = scene.runner.trace("--allow", f"127.0.0.1:{scene.web.port}", command=command)
    assert (result.status, result.stdout) == (plain.status, plain.stdout), result.stderr
    assert scene.web.connections == 2 * connections
    assert not [event for event in result.attempts if event.reason == "default"]


@each_client
def test_a_denied_client_fails_and_says_what_to_add(
    scene: Scene, client: Callable[[Scene], list[str]]
):
    result = scene.runner.trace(command=client(scene))
    assert result.exit_code not in (0, 125, 126, 127)
    assert scene.web.connections == 0
    assert f"fix: --allow 127.0.0.1:{scene.web.port}\n" in result.stderr


def test_git_clones_over_its_own_protocol(trace, native, git_daemon):
    command = clone(f"git://127.0.0.1:{git_daemon}/demo.git")
    plain = native(command=command)
    assert plain.exit_code == 0, plain.stderr
    result = trace("--allow", f"127.0.0.1:{git_daemon}", command=command)
    assert (result.status, result.stdout) == (plain.status, plain.stdout), result.stderr


def test_git_is_refused_over_its_own_protocol(trace, git_daemon):
    result = trace(command=clone(f"git://127.0.0.1:{git_daemon}/demo.git"))
    assert result.exit_code == 128
    assert f"fix: --allow 127.0.0.1:{git_daemon}\n" in result.stderr


# -- Server and client in one jail --------------------------------------------


def redis_script(port: int) -> str:
    return f"""
redis-server --bind 127.0.0.1 --port {port} --save '' --appendonly no >redis.log &
until redis-cli -p {port} ping >/dev/null 2>&1; do :; done
redis-benchmark -p {port} -n 2000 -c 20 -t set,get,lpush -q >speed && echo measured
redis-cli -p {port} dbsize
redis-cli -p {port} shutdown nosave
wait $!
"""


def test_redis_and_its_benchmark_share_a_jail(trace, native):
    needs("redis-server", "redis-benchmark", "redis-cli")
    command = ["sh", "-c", redis_script(closed_port())]
    plain, result = native(command=command), trace("--fail-on", "denied", command=command)
    assert plain.stdout.startswith("measured\n")
    assert (result.status, result.stdout) == (plain.status, plain.stdout), result.stderr


def test_a_redis_outside_is_refused(trace, workdir):
    needs("redis-server", "redis-cli")
    port = closed_port()
    words = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with subprocess.Popen(words, cwd=workdir, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for_port(port)
            result = trace(command=["redis-cli", "-p", str(port), "ping"])
        finally:
            server.terminate()
    assert "PONG" not in result.stdout
    assert f"fix: --allow 127.0.0.1:{port}\n" in result.stderr


NGINX = """
daemon off; pid nginx.pid; error_log stderr crit; worker_processes 2;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }}
}}
"""


def test_nginx_and_its_clients_share_a_jail(trace, workdir):
    needs("nginx", "curl")
    port = closed_port()
    (workdir / "nginx.conf").write_text(NGINX.format(port=port))
    script = f"""
nginx -p "$PWD" -c nginx.conf -e stderr &
until curl -sS http://127.0.0.1:{port}/ 2>/dev/null; do :; done
curl -sS -Z --parallel-max 20 "http://127.0.0.1:{port}/[1-300]"
kill -QUIT $(cat nginx.pid)
wait $!
"""
    result = trace("--fail-on", "denied", command=["sh", "-c", script])
    assert (result.exit_code, result.stdout) == (0, "hello\n" * 301), result.stderr


PROJECT = """
import http.server
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest


@pytest.fixture
def server():
    handler = http.server.SimpleHTTPRequestHandler
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found.server_address[1]
    found.shutdown()


def test_a_server_in_a_thread(server):
    assert urllib.request.urlopen(f"http://127.0.0.1:{server}/").status == 200
    assert urllib.request.urlopen(f"http://localhost:{server}/").status == 200


def test_a_server_in_another_process():
    code = "import socket; s = socket.create_server(('', 0)); "
    code += "print(s.getsockname()[1], flush=True); s.accept()[0].sendall(b'hi')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(2) == b"hi"


def test_datagrams():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.sendto(b"x", one.getsockname())
    data, sender = one.recvfrom(1)
    one.sendto(data, sender)
    assert other.recv(1) == b"x"


def test_a_unix_socket(tmp_path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    server.listen()
    socket.socket(socket.AF_UNIX).connect(str(tmp_path / "socket"))
"""


def test_a_project_whose_tests_start_servers(trace, native, workdir):
    (workdir / "test_project.py").write_text(PROJECT)
    words = ["-p", "no:cacheprovider", "-q", "--basetemp", "tmp", "test_project.py"]
    command = ["python", "-m", "pytest", *words]
    plain, result = native(command=command), trace("--fail-on", "denied", command=command)
    assert plain.exit_code == 0, plain.stdout
    assert result.exit_code == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[0] == plain.stdout.splitlines()[0]


def test_a_test_that_wants_out_fails(trace, server, workdir):
    call = f"socket.create_connection({(server.address, server.port)})"
    code = f"import socket\ndef test_out():\n    {call}\n"
    (workdir / "test_out.py").write_text(code)
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_out.py"]
    result = trace(command=command)
    assert result.exit_code == 1
    assert "ConnectionRefusedError" in result.stdout
    assert server.accepted == 0


def test_a_parallel_build(trace, native, workdir):
    needs("make", "gcc")
    names = [f"part{number}" for number in range(8)]
    for number, name in enumerate(names):
        (workdir / f"{name}.c").write_text(f"int {name}(void) {{ return {number}; }}\n")
    declarations = "".join(f"int {name}(void);\n" for name in names)
    total = "() + ".join(names) + "()"
    main = f'#include <stdio.h>\n{declarations}int main(void) {{ printf("%d\\n", {total}); }}\n'
    (workdir / "main.c").write_text(main)
    objects = " ".join(f"{name}.o" for name in ["main", *names])
    rules = f"program: {objects}\n\tgcc -o $@ $^\nclean:\n\trm -f *.o program\n"
    (workdir / "Makefile").write_text(rules)
    command = ["sh", "-c", "make -s clean && make -s -j2 && ./program"]
    plain, result = native(command=command), trace("--fail-on", "attempt", command=command)
    assert (plain.exit_code, plain.stdout) == (0, "28\n")
    assert (result.status, result.stdout) == (plain.status, plain.stdout), result.stderr


def test_a_shell_pipeline(trace, native):
    script = "seq 1000 | sort -rn | head -n 3; cat <(echo a) <(echo b); ls / | wc -l"
    command = ["bash", "-c", script]
    assert trace(command=command).stdout == native(command=command).stdout


def test_programs_that_use_other_doors_fall_back(trace, native):
    """pidfds, epoll, threads and memfds work; what is shut has another way."""
    code = """
import os, select, signal, subprocess, threading
fd = os.pidfd_open(os.getpid())
signal.pidfd_send_signal(fd, 0)
poll = select.epoll()
poll.register(fd)
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
print(subprocess.run(["true"]).returncode, os.memfd_create("x") > 0)
"""
    command = ["python", "-c", code]
    assert trace(command=command).stdout == native(command=command).stdout == "0 True\n"
