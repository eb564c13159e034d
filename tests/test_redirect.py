"""Rules that lead a call elsewhere: what was wanted hears nothing, the mock hears it all."""

from __future__ import annotations

import errno
import functools
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from jail import Result, every_abi, needs, read_events
from network import Network

REFUSED = errno.ECONNREFUSED


@pytest.fixture
def leading(runner):
    """Write a policy of rules that lead; gives the option that reads it."""

    def written(*pairs: tuple[str, str], text: str = "") -> tuple[str, str]:
        path = runner.workdir / "policy.toml"
        rules = [f'[[rule]]\nallow = "{of}"\nredirect = "{to}"\n' for of, to in pairs]
        path.write_text(text + "".join(rules))
        return ("--policy", str(path))

    return written


def at(server) -> str:
    return f"{server.host}:{server.port}"


WAYS = [
    pytest.param("udp", "sendto", id="sendto"),
    pytest.param("udp", "sendmsg", id="sendmsg"),
    pytest.param("udp", "sendmmsg", id="sendmmsg"),
    pytest.param("udp", "nameless", id="connect-and-sendmsg"),
    pytest.param("udp", "connected", id="connect-and-send"),
    pytest.param("tcp", "fastopen", id="fastopen"),
    pytest.param("tcp", "fastopen-message", id="fastopen-by-sendmsg"),
    pytest.param("tcp", "fastopen-connect", id="fastopen-by-connect"),
]


@every_abi
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("kind", "how"), WAYS)
def test_every_way_to_send(trace, native, serve, leading, kind, how, address):
    wanted, mock = serve(kind, address), serve(kind, address)
    what = {"fixture": "send_inet", "args": [how], "to": wanted}
    plain = native(**what)
    assert plain.exit_code == 0
    before = wanted.accepted
    assert before
    result = trace(*leading((at(wanted), at(mock))), **what)
    assert (result.exit_code, result.stdout) == (0, plain.stdout), result.stderr
    assert wanted.accepted == before
    assert mock.accepted == before
    assert mock.received == wanted.received[: len(mock.received)] != []
    assert {a.redirect for a in result.attempts if a.reason == "rule"} == {at(mock)}


@pytest.mark.parametrize("build", [[], ["musl"], ["-m32"]], ids=["glibc", "static-musl", "i386"])
def test_a_connection(trace, native, serve, leading, build, request):
    if "-m32" in build:
        request.getfixturevalue("i386")
    wanted, mock = serve(), serve()
    what = {"fixture": "connect_inet", "build": build, "to": wanted}
    assert native(**what).exit_code == 0
    before = wanted.accepted
    for options in ([], ["-n"]):
        result = trace(*leading((at(wanted), at(mock))), **what, args=options)
        assert result.exit_code == 0, result.stderr
    assert (wanted.accepted, mock.accepted) == (before, 2)


PEER = """
import socket, sys
family, kind, host, port = sys.argv[1:]
s = socket.socket(getattr(socket, family), getattr(socket, kind))
try:
    s.connect((host, int(port)))
    print(*s.getpeername()[:2])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
@pytest.mark.parametrize(
    ("family", "wanted", "at", "peer"),
    [
        pytest.param("AF_INET", "192.0.2.1", "127.0.0.1", "127.0.0.1", id="ipv4"),
        pytest.param("AF_INET6", "2001:db8::1", "::1", "::1", id="ipv6"),
        pytest.param("AF_INET6", "2001:db8::1", "127.0.0.1", "::ffff:127.0.0.1", id="to-ipv4"),
        pytest.param("AF_INET6", "::ffff:192.0.2.1", "127.0.0.1", "::ffff:127.0.0.1", id="mapped"),
        pytest.param("AF_INET6", "::ffff:192.0.2.1", "::1", "::1", id="mapped-to-ipv6"),
        pytest.param("AF_INET", "192.0.2.1", "::1", None, id="an-ipv4-socket-to-ipv6"),
    ],
)
def test_getpeername_says_where(trace, serve, leading, kind, family, wanted, at, peer):
    mock = serve("tcp" if kind == "SOCK_STREAM" else "udp", at)
    rule = "192.0.2.1:7" if "." in wanted else f"[{wanted}]:7"
    options = leading((rule, f"{mock.host}:{mock.port}"))
    command = ["python", "-S", "-c", PEER, family, kind, wanted, "7"]
    result = trace(*options, command=command)
    expected = f"{peer} {mock.port}" if peer else str(REFUSED)
    assert result.stdout == f"{expected}\n", result.stderr
    (attempt,) = [a for a in result.attempts if a.dest.__dict__.get("port") == 7]
    if peer:
        assert (attempt.verdict, attempt.redirect) == ("allow", f"{mock.host}:{mock.port}")
    else:
        assert attempt.reason == "internal"
        assert "for IPv4" in attempt.why


def test_the_summary_and_the_reports_say_where(trace, serve, leading, runner):
    wanted, mock = serve(), serve(answer=b"HTTP/1.0 204 Nothing\r\n\r\n")
    made = runner.workdir / "report.json"
    options = (*leading((at(wanted), at(mock))), "--report", str(made))
    result = trace(*options, command=["curl", "-s", "-m", "30", f"http://{at(wanted)}/"])
    assert (wanted.accepted, mock.accepted) == (0, 1)
    assert f"; led to {at(mock)}" in " ".join(result.stderr.split())
    (one,) = [d for d in json.loads(made.read_text())["destinations"] if d["redirect"]]
    assert (one["shown"], one["redirect"]) == (at(wanted), at(mock))
    assert (one["verdict"], one["count"]) == ("allow", 1)
    words = ["report", "--format", "md", str(runner.workdir / "events-1.jsonl")]
    told = runner.run([*runner.user.prefix, runner.python, "-m", "netjail", *words])
    assert f", led to `{at(mock)}`" in told.stdout, told.stderr


def test_nobody_at_the_other_place(trace, serve, leading):
    wanted = serve()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        result = trace(*leading((at(wanted), place)), fixture="connect_inet", to=wanted)
    assert result.exit_code == REFUSED
    assert not wanted.accepted
    (attempt,) = result.attempts
    assert (attempt.verdict, attempt.result) == ("allow", "ECONNREFUSED")
    assert attempt.why.endswith("; nobody listens there")


def test_a_denial_comes_first_and_an_allow_last(trace, serve, leading):
    wanted, mock = serve(), serve()
    denied = leading((at(wanted), at(mock)), text=f'deny = ["{at(wanted)}"]\n')
    assert trace(*denied, fixture="connect_inet", to=wanted).exit_code == REFUSED
    assert (wanted.accepted, mock.accepted) == (0, 0)
    allowed = leading((at(wanted), at(mock)), text='allow = ["loopback"]\n')
    assert trace(*allowed, fixture="connect_inet", to=wanted).exit_code == 0
    assert (wanted.accepted, mock.accepted) == (0, 1)


def test_audit_leaves_a_call_where_it_wants_to_go(trace, serve, leading):
    wanted, mock = serve(), serve()
    options = leading((at(wanted), at(mock)), text='mode = "audit"\n')
    result = trace(*options, fixture="connect_inet", to=wanted)
    assert result.exit_code == 0
    assert (wanted.accepted, mock.accepted) == (1, 0)
    (attempt,) = result.attempts
    assert (attempt.verdict, attempt.reason, attempt.redirect) == ("allow", "rule", "")


def test_no_other_thread_can_lead_it_astray(trace, native, serve, leading):
    """One thread flips the address between what is led elsewhere and what is denied."""
    wanted, denied, mock = serve(), serve(), serve()
    what = {"fixture": "flip", "args": ["connect", "thread", "1"], "to": [wanted, denied]}
    native(**what)
    before = wanted.accepted, denied.accepted
    assert all(before)
    result = trace(*leading((at(wanted), at(mock))), **what)
    assert result.exit_code == 0, result.stderr
    assert (wanted.accepted, denied.accepted) == before
    assert mock.accepted >= 20


# ---- names, where nothing resolves ----


class Web(http.server.ThreadingHTTPServer):
    """A directory over HTTP; *seen* are the hosts that were asked for."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                seen.append(self.headers["Host"])

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Offline:
    """Runs programs where the name servers know no name."""

    def __init__(self, runner, network: Network) -> None:
        self.runner = runner
        self.network = network

    def native(self, *words: str) -> Result:
        return self.runner.run([*self.network.prefix, *self.runner.user.prefix, *words])

    def trace(self, *options: str, command: list[str]) -> Result:
        self.runner.runs += 1
        journal = self.runner.workdir / f"events-{self.runner.runs}.jsonl"
        words = [*self.network.prefix, *self.runner.jailed(*options, events=journal), *command]
        result = self.runner.run(words)
        return Result(result.status, result.stdout, result.stderr, read_events(journal))


@pytest.fixture
def offline(runner) -> Iterator[Offline]:
    needs("nsenter", "unshare", "ip")
    network = Network()
    yield Offline(runner, network)
    network.close()


@pytest.fixture
def web(offline, tmp_path) -> Iterator[Web]:
    (tmp_path / "file").write_text("hello\n")
    server = offline.network.inside(lambda: Web(tmp_path))
    yield server
    server.shutdown()
    server.server_close()


CLIENTS = [
    pytest.param(["curl", "-sS", "{}"], id="curl"),
    pytest.param(
        [
            "python",
            "-c",
            "import urllib.request as u; print(u.urlopen('{}').read().decode(), end='')",
        ],
        id="python",
    ),
    pytest.param(["wget", "-qO-", "{}"], id="wget"),
]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_name_that_does_not_resolve(offline, web, leading, client):
    needs(client[0]) if client[0] != "python" else None
    command = [word.replace("{}", "http://api.example.org/file") for word in client]
    assert offline.native(*command).exit_code != 0
    asked = len(offline.network.server.asked)
    options = leading(("api.example.org:80", f"127.0.0.1:{web.server_port}"))
    result = offline.trace(*options, command=command)
    assert (result.exit_code, result.stdout) == (0, "hello\n"), result.stderr
    assert web.seen == ["api.example.org"]
    assert len(offline.network.server.asked) == asked
    # Another port of it, and another name, lead nowhere.
    for url in ("http://api.example.org:81/file", "http://www.example.org/file"):
        command = [word.replace("{}", url) for word in client]
        assert offline.trace(*options, command=command).exit_code != 0
    assert web.seen == ["api.example.org"]


def test_what_stands_in_for_a_name_is_its_own(offline, web, leading):
    """Stable in a run, another for each name; nothing else of the range is anything."""
    place = f"127.0.0.1:{web.server_port}"
    options = leading(("a.example.org", place), ("*.example.net", place))
    script = """
import socket
for name in ("a.example.org", "b.example.net", "c.example.net", "a.example.org"):
    print(socket.gethostbyname(name))
for address in ("198.18.0.1", "198.18.0.9"):
    try:
        socket.create_connection((address, 99)).close()
        print("reached")
    except OSError as error:
        print(error.errno)
"""
    result = offline.trace(*options, command=["python", "-S", "-c", script])
    assert result.stdout.split() == [
        "198.18.0.1",
        "198.18.0.2",
        "198.18.0.3",
        "198.18.0.1",
        "reached",
        str(REFUSED),
    ], result.stderr


def test_pip_installs_from_a_mock_server(offline, leading, tmp_path, runner):
    """The index of no network, over plain HTTP."""
    simple = tmp_path / "simple" / "sample"
    simple.mkdir(parents=True)
    wheel = simple / "sample-1.0-py3-none-any.whl"
    import zipfile

    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("sample.py", "said = 'hello'\n")
        info = "sample-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (simple / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    server = offline.network.inside(lambda: Web(tmp_path))
    target = runner.workdir / "installed"
    command = ["python", "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--isolated", "--target", str(target), "--trusted-host", "pypi.example.org"]
    command += ["--index-url", "http://pypi.example.org/simple", "sample"]
    options = leading(("pypi.example.org:80", f"127.0.0.1:{server.server_port}"))
    result = offline.trace(*options, command=command)
    assert result.exit_code == 0, result.stderr
    assert (target / "sample.py").read_text() == "said = 'hello'\n"
    assert set(server.seen) == {"pypi.example.org"}
    server.shutdown()
    server.server_close()
