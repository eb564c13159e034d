"""
A small world outside the jail: names, web servers with and without TLS, a unix socket.

It is a network of its own; commands run inside, as an ordinary user, in /srv/project.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jail import Result, Runner, needs, unmet
from network import Network

NAMES = {
    "example.org": "192.0.2.80",
    "www.example.org": "192.0.2.81",
    "git.example.org": "192.0.2.82",
    "api.example.org": "192.0.2.83",
    "pypi.example.org": "192.0.2.84",
    "files.example.org": "192.0.2.85",
    "example.com": "192.0.2.90",
}


class Page(http.server.SimpleHTTPRequestHandler):
    """Answers with a file of the site, or else with one line."""

    def __init__(self, word: str, site: Path, seen: list[str], *rest: object) -> None:
        self._word = word
        self._seen = seen
        super().__init__(*rest, directory=str(site))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._seen.append(self._word)
        path = Path(self.translate_path(self.path))
        if path.is_file() or (path / "index.html").is_file():
            return super().do_GET()
        body = f"{self._word}\n".encode()
        self.send_response(404 if "/.git" in self.path or ".git/" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Site(http.server.ThreadingHTTPServer):
    """A web server, over TLS with *certificate*."""

    daemon_threads = True

    def __init__(
        self, address: str, port: int, word: str, site: Path, certificate: Path | None = None
    ) -> None:
        self.seen: list[str] = []
        """What was said, each time that somebody asked."""
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        super().__init__((address, port), functools.partial(Page, word, site, self.seen))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address) -> None:
        if self._context:
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        """A client that leaves in the middle is no news."""


class UnixSite(Site):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address[0])

    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


def make_site(folder: Path) -> Path:
    """What the web servers have: a repository, and a package in an index."""
    site, work = folder / "site", folder / "work"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q", str(work)],
        ["-C", str(work), "commit", "-q", "--allow-empty", "-m", "the first"],
        ["clone", "-q", "--bare", str(work), str(site / "project")],
        ["-C", str(site / "project"), "update-server-info"],
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)
    make_index(site)
    return site


def make_index(site: Path) -> None:
    """A package whose index and files are on two hosts, as PyPI's are."""
    name, info = "demo-1.0-py3-none-any.whl", "demo-1.0.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: netjail\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(site / name, "w") as archive:
        archive.writestr("demo.py", "print('installed')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "demo.py,,\n")
    index = site / "simple/demo/index.html"
    index.parent.mkdir(parents=True)
    index.write_text(f'<a href="https://files.example.org/{name}">{name}</a>')


def make_certificate(folder: Path) -> Path:
    """A key and a certificate, which is its own authority, in one file."""
    path = folder / "certificate.pem"
    names = ",".join(f"DNS:{name}" for name in NAMES)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=example.org", "-addext", f"subjectAltName={names}"]
    words += ["-keyout", str(path), "-out", str(folder / "ca.pem")]
    subprocess.run(words, check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "ca.pem").read_text())
    return path


@dataclass
class Town:
    """The world, with somebody at a shell in it."""

    runner: Runner
    network: Network
    sites: list[Site]

    @property
    def project(self) -> Path:
        """What the shell knows as /srv/project."""
        return self.runner.workdir / "srv/project"

    @property
    def seen(self) -> list[str]:
        """What the servers answered, in no order."""
        return [word for site in self.sites for word in site.seen]

    @property
    def words(self) -> list[str]:
        """What comes before a command that shall run there."""
        mount = 'mount --bind "$0" /srv && cd /srv/project && exec "$@"'
        around = ["sh", "-c", mount, str(self.project.parent)]
        return [*self.network.prefix, *around, *self.runner.user.prefix]

    @property
    def environment(self) -> dict[str, str]:
        """The shell's."""
        own, authority = self.runner.environment, str(self.runner.workdir / "ca.pem")
        variables = ("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT")
        index = {"PIP_INDEX_URL": "https://pypi.example.org/simple/", "PIP_RETRIES": "0"}
        path = f"{self.runner.workdir}/bin:{own['PATH']}"
        return {**own, "PATH": path, "HOME": "/srv", **index, **dict.fromkeys(variables, authority)}

    def run(self, words: str) -> Result:
        """Run a line of shell; stdout is what the terminal would show."""
        shell = [*self.words, "bash", "-c", f"exec 2>&1; {words}"]
        return self.runner.run(shell, env=self.environment)

    def tools(self) -> None:
        """Commands for netjail and pip, as installing them would make."""
        folder = self.runner.workdir / "bin"
        folder.mkdir()
        for module in ("netjail", "pip"):
            script = f'#!/bin/sh\nexec {self.runner.python} -m {module} "$@"\n'
            (folder / module).write_text(script)
            (folder / module).chmod(0o755)

    def serve(self) -> None:
        """Start the servers."""
        folder = self.runner.workdir
        site, certificate = make_site(folder), make_certificate(folder)
        places = [("127.0.0.1", port, "outside the jail") for port in (8000, 8080)]
        places += [(at, port, name) for name, at in NAMES.items() for port in (80, 443)]
        for address, port, where in places:
            tls = certificate if port == 443 else None
            made = functools.partial(Site, address, port, f"hello from {where}", site, tls)
            self.sites.append(self.network.inside(made))
        path = folder / "srv/app.sock"
        self.sites.append(UnixSite(str(path), 0, "hello from a unix socket", site))
        path.chmod(0o777)

    def close(self) -> None:
        """Stop the servers, all at once: each notices in its own time."""
        ends = [threading.Thread(target=site.shutdown) for site in self.sites]
        for end in ends:
            end.start()
        for end, site in zip(ends, self.sites, strict=True):
            end.join()
            site.server_close()


@contextlib.contextmanager
def town(runner: Runner) -> Iterator[Town]:
    """Build one, in which *runner*'s user can run what he likes."""
    needs("nsenter", "unshare", "ip", "openssl", "git")
    try:
        network = Network(["192.0.2.53"])
    except (OSError, subprocess.CalledProcessError) as error:
        unmet(f"no network namespace: {error}")
    with contextlib.closing(network):
        network.address(*NAMES.values())
        for name, address in NAMES.items():
            network.zone.add(name, "A", address)
        made = Town(runner, network, [])
        made.project.mkdir(parents=True)
        makefile = "test:\n\t@curl -sS https://example.org/\n"
        (made.project / "Makefile").write_text(makefile)
        made.tools()
        made.serve()
        subprocess.run(["chown", "-R", str(runner.user.uid), str(runner.workdir)], check=True)
        with contextlib.closing(made):
            yield made
