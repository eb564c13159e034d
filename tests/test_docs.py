"""
Every example of the documentation is run: consoles show what happens, policies are policies.

The consoles run as an ordinary user, in a network of their own: names lead to one web
server, this machine has a few services, and /srv is the scene's.
"""

from __future__ import annotations

import difflib
import functools
import http.server
import socket
import ssl
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from examples import Block, Command, agrees, blocks, commands
from jail import USERS, Result, Runner, User, needs, unmet
from network import Network

from netjail.policy import Policy, Rules, document, presets
from netjail.policy.rules import SCHEMES
from netjail.policy.words import WORDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
POLICY = ROOT / "docs/policy.md"
NAMES = {
    "example.org": "192.0.2.80",
    "www.example.org": "192.0.2.81",
    "git.example.org": "192.0.2.82",
    "api.example.org": "192.0.2.83",
    "example.com": "192.0.2.90",
}


def ids(page: Path) -> str:
    return page.name


# -- The reader of the examples -----------------------------------------------


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- file: f -->\n```toml\nx = 1\n```\n\n```console\n$ a\n> b\nc\n$ d\n```\n"
    )
    toml, console = blocks(page)
    assert toml == Block("page.md:3", "toml", "x = 1\n", {"file": "f"})
    assert list(commands(console)) == [Command("a\nb", "c\n"), Command("d", "")]


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\n", False),
        ("a.c\n", "abc\n", False),
        ("after … ms\n", "after 12 ms\n", True),
        ("after … ms\n", "after 12 s\n", False),
        ("a\n…\nb\n", "a\nx\ny\nb\n", True),
        ("a\n…\nb\n", "a\nb\n", True),
        ("a\n…\nb\n", "a\nx\n", False),
        ("", "", True),
        ("", "a\n", False),
    ],
)
def test_what_agrees(shown, output, expected):
    assert agrees(shown, output) is expected


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert block.language, f"{block.place}: which language is it?"
        assert all(note in ("not run", "file") for note in block.notes), block.place
        assert all(block.notes.values()), f"{block.place}: why?"


# -- Policies -----------------------------------------------------------------


def policies(page: Path) -> Iterator[Block]:
    for block in blocks(page):
        if block.language == "toml" and "not run" not in block.notes:
            yield block


def write(block: Block, folder: Path) -> Path:
    """The file that a block is."""
    path = folder / block.notes.get("file", "netjail.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def prepare(page: Path, folder: Path) -> None:
    """Write what a page calls a file."""
    for block in blocks(page):
        if "file" in block.notes:
            write(block, folder)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_policy_is_one(page, tmp_path, monkeypatch):
    prepare(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in policies(page):
        path = write(block, tmp_path)
        Policy.load(Rules(files=(str(path),), expired_fails=True))


def test_every_key_has_an_example():
    seen: dict[str, set[str]] = {"": set(), "rule": set(), "test": set()}
    for block in policies(POLICY):
        data = tomllib.loads(block.text)
        data = data.get("tool", {}).get("netjail", data)
        seen[""] |= data.keys()
        for table in ("rule", "test"):
            seen[table] |= {key for each in data.get(table, []) for key in each}
    for table, model in {
        "": document.Document,
        "rule": document.RuleTable,
        "test": document.TestTable,
    }.items():
        keys = {field.encode_name for field in msgspec.structs.fields(model)}
        assert keys - seen[table] == set(), f"{table or 'top'}: without an example"


def test_the_reference_names_everything_that_a_rule_can_say():
    text = POLICY.read_text()
    wanted = [*WORDS, *presets.names(), *(f"{scheme}://" for scheme in SCHEMES)]
    assert [word for word in wanted if f"`{word}`" not in text] == []


# -- Consoles -----------------------------------------------------------------


class Page(http.server.SimpleHTTPRequestHandler):
    """Answers with a file of the site, or else with one line."""

    def __init__(self, word: str, site: Path, *rest: object) -> None:
        self._word = word
        super().__init__(*rest, directory=str(site))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if Path(self.translate_path(self.path)).is_file():
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
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        super().__init__((address, port), functools.partial(Page, word, site))
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
    """What the web servers have: a repository."""
    site, work = folder / "site", folder / "work"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q", str(work)],
        ["-C", str(work), "commit", "-q", "--allow-empty", "-m", "the first"],
        ["clone", "-q", "--bare", str(work), str(site / "project")],
        ["-C", str(site / "project"), "update-server-info"],
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return site


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


@pytest.fixture
def user() -> User:
    return USERS[-1]


@pytest.fixture
def network(workdir: Path) -> Iterator[Network]:
    needs("nsenter", "unshare", "ip", "openssl", "git")
    try:
        made = Network(["192.0.2.53"])
    except (OSError, subprocess.CalledProcessError) as error:
        unmet(f"no network namespace: {error}")
    made.address(*NAMES.values())
    for name, address in NAMES.items():
        made.zone.add(name, "A", address)
    site, certificate = make_site(workdir), make_certificate(workdir)
    here = "outside the jail"
    servers = [("127.0.0.1", 8000, here), ("127.0.0.1", 8080, here)]
    servers += [(address, port, name) for name, address in NAMES.items() for port in (80, 443)]
    for address, port, where in servers:
        tls = certificate if port == 443 else None
        made.inside(functools.partial(Site, address, port, f"hello from {where}", site, tls))
    yield made
    made.close()


@pytest.fixture
def console(network: Network, runner: Runner) -> Callable[[str], Result]:
    """Run a command as a page shows it; its output is what a terminal would show."""
    srv, tools = runner.workdir / "srv", runner.workdir / "bin"
    for folder in (tools, srv / "project"):
        folder.mkdir(parents=True)
    netjail = tools / "netjail"
    netjail.write_text(f'#!/bin/sh\nexec {runner.python} -m netjail "$@"\n')
    netjail.chmod(0o755)
    (srv / "project/Makefile").write_text("test:\n\t@curl -sS https://example.org/\n")
    UnixSite(str(srv / "app.sock"), 0, "hello from a unix socket", srv)
    (srv / "app.sock").chmod(0o777)
    subprocess.run(["chown", "-R", str(runner.user.uid), str(runner.workdir)], check=True)

    mount = 'mount --bind "$0" /srv && cd /srv/project && exec "$@"'
    around = [*network.prefix, "sh", "-c", mount, str(srv)]
    authority = str(runner.workdir / "ca.pem")
    environment = {"PATH": f"{tools}:{runner.environment['PATH']}", "HOME": "/srv"}
    environment |= {"CURL_CA_BUNDLE": authority, "GIT_SSL_CAINFO": authority}

    def run(words: str) -> Result:
        shell = ["bash", "-c", f"exec 2>&1; {words}"]
        return runner.run([*around, *runner.user.prefix, *shell], env=environment)

    return run


def consoles(page: Path, project: Path) -> Iterator[tuple[Block, Command]]:
    """The commands of a page, in their order; its files are there when their turn comes."""
    for block in blocks(page):
        if "file" in block.notes:
            write(block, project)
        if block.language == "console" and "not run" not in block.notes:
            for command in commands(block):
                yield block, command


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_console_shows_what_happens(page, console, workdir):
    """One after the other: an example may use what an earlier one made."""
    needs("curl", "git", "make")
    wrong = []
    for block, command in consoles(page, workdir / "srv/project"):
        result = console(command.words)
        # Where nothing is shown, it has to succeed.
        if agrees(command.output, result.stdout) if command.output else result.exit_code == 0:
            continue
        lines = (text.splitlines() for text in (command.output, result.stdout))
        difference = "\n".join(difflib.unified_diff(*lines, "page", "run", lineterm="", n=9))
        wrong.append(f"{block.place}: $ {command.words}\n{difference}")
    assert not wrong, "\n\n".join(wrong)
