"""
A network of a test's own with names and a web server: what learn and lock are tried on.

Commands run inside, as the test's user; the servers are outside the jail.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shlex
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from jail import Result, Runner, read_events
from network import RESOLVER, Network
from servers import Server

HOST, OTHER, INSIDE = "www.example.test", "static.example.test", "db.example.test"
NEXT, BARE = "next.example.test", "198.51.100.82"
"""A host with an address of its own, and an address that has no name."""
WEB4, WEB6, PRIVATE, NEXT4 = "198.51.100.80", "2001:db8::80", "10.1.2.3", "198.51.100.81"
QUIET = ("no-listener", "name-service", "malformed")


class Web(http.server.ThreadingHTTPServer):
    """A directory over HTTP, on port 80 of every address; *seen* is what was asked for."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                if isinstance(arguments[0], str) and " " in arguments[0]:
                    seen.append(f"{self.headers['Host']}{self.path}")

        super().__init__(("::", 80), functools.partial(Handler, directory=str(directory)))
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Outdoors:
    """A runner whose programs run in a network that has *HOST*, and a site on it."""

    def __init__(self, runner: Runner, site: Path, options: str = "") -> None:
        self.runner = runner
        self.network = Network((RESOLVER,), options)
        self.network.address(WEB4, WEB6, PRIVATE, NEXT4, BARE)
        zone = self.network.zone
        for name in (HOST, OTHER):
            zone.add(name, "A", WEB4)
            zone.add(name, "AAAA", WEB6)
        zone.add(INSIDE, "A", PRIVATE)
        zone.add(NEXT, "A", NEXT4)
        self.web: Web = self.network.inside(lambda: Web(site))
        self.servers: list[Server] = []

    def serve(self, kind: str, address: str = "127.0.0.1", answer: bytes = b"") -> Server:
        """A server in this network."""
        server: Server = self.network.inside(lambda: Server(kind, address, answer=answer))
        self.servers.append(server)
        return server

    @property
    def workdir(self) -> Path:
        return self.runner.workdir

    def run(self, words: Sequence[str], cwd: Path | None = None, **env: str) -> Result:
        """Run *words* as they are, inside."""
        prefix = [*self.network.prefix, *self.runner.user.prefix]
        result = self.runner.run([*prefix, *words], cwd=cwd or self.workdir, env=env)
        self.network.settle()
        return result

    def netjail(self, *words: str, cwd: Path | None = None, **env: str) -> Result:
        """Run ``netjail WORDS``, inside."""
        return self.run([self.runner.python, "-m", "netjail", *words], cwd, **env)

    def trace(self, *options: str, command: Sequence[str]) -> Result:
        """Run *command* under trace, and read its journal."""
        self.runner.runs += 1
        journal = self.workdir / f"events-{self.runner.runs}.jsonl"
        words = ["trace", "--events", str(journal), *options, "--", *command]
        result = self.netjail(*words)
        return Result(result.status, result.stdout, result.stderr, read_events(journal))

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.web.shutdown()
        self.web.server_close()
        self.network.close()


def denied(result: Result) -> list[tuple[str, str]]:
    """What counted as denied: where, and why."""
    return [
        (str(vars(one.dest)), one.reason)
        for one in result.attempts
        if one.verdict == "deny" and one.reason not in QUIET and one.operation != "forbidden"
    ]


def wheel(directory: Path, name: str, version: str, code: str) -> None:
    """Put a package into an index."""
    directory.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    kind = "Wheel-Version: 1.0\nGenerator: netjail\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(directory / file, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", kind)
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n")
    links = (f'<a href="{path.name}">{path.name}</a>' for path in sorted(directory.glob("*.whl")))
    (directory / "index.html").write_text("\n".join(links))


def repository(site: Path) -> None:
    """Put demo.git into a site."""
    work = site.parent / "work"
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    environment = {**os.environ, "HOME": str(site), "GIT_CONFIG_NOSYSTEM": "1"}
    for words in (
        ["init", "-q", str(work)],
        ["-C", str(work), *who, "commit", "-q", "--allow-empty", "-m", "the first"],
        ["clone", "-q", "--bare", str(work), str(site / "demo.git")],
        ["-C", str(site / "demo.git"), "update-server-info"],
    ):
        subprocess.run(["git", *words], check=True, env=environment, capture_output=True)


def fetch(*urls: str, status: int = 0) -> list[str]:
    """A command that gets *urls*, whatever comes of it, and ends with *status*."""
    calls = "".join(f"curl -sS -m 20 {shlex.quote(url)}; " for url in urls)
    return ["sh", "-c", f"{calls}exit {status}"]


def patch_of(stderr: str) -> str:
    """The patch that ``lock --check`` prints, as somebody would copy it."""
    found = re.search(r"^--- a/.*\Z", stderr, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


Program = Callable[[Outdoors], list[str]]
