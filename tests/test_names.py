"""Look-ups against a small name server on the loopback, and the files of resolver(5)."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from netjail.names import Names, read_configuration, read_hosts


class Server:
    """A name server: *records* maps (name, type) to rows; a missing name is NXDOMAIN."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl = 60
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self.raw: bytes | None = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        """Free the port: a receive that waits would keep the socket open after close()."""
        with contextlib.suppress(OSError):  # ENOTCONN, but it wakes the receiver
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            raw, peer = self.socket.recvfrom(4096)
            if not raw:
                return
            query = dns.message.from_wire(raw)
            question = query.question[0]
            name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
            self.asked.append((name, kind))
            if not self.silent:
                self.socket.sendto(self.raw or self.answer(query, name, kind).to_wire(), peer)

    def answer(self, query, name, kind):
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        found = "CNAME" if (name, "CNAME") in self.records else kind
        for row in self.records.get((name, found), []):
            answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", found, row))
        return answer


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def names(server, tmp_path):
    def make(hosts: str = "", resolv: str = "", **options) -> Names:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(f"nameserver 127.0.0.1\n{resolv}")
        return Names(
            tmp_path / "resolv.conf", tmp_path / "hosts", port=server.port, timeout=1.0, **options
        )

    return make


def settle(names, name):
    """What *names* says at last."""
    end = time.monotonic() + 10
    while (found := names.addresses(name)) is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    return {str(address) for address in found}


def done(names):
    end = time.monotonic() + 10
    while not names.poll():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_name_is_pending_and_then_known(server, names):
    server.records = {("a.b.", "A"): ["192.0.2.1"], ("a.b.", "AAAA"): ["2001:db8::1"]}
    names = names()
    assert not names.outstanding
    assert names.addresses("a.b") is None
    assert names.outstanding
    done(names)
    assert not names.outstanding
    assert not names.poll()
    assert settle(names, "A.B.") == {"192.0.2.1", "2001:db8::1"}
    assert sorted(server.asked) == [("a.b.", "A"), ("a.b.", "AAAA")]
    assert names.warnings == ()


@pytest.mark.parametrize(
    ("records", "found"),
    [
        pytest.param({("a.b.", "A"): ["192.0.2.1"]}, {"192.0.2.1"}, id="one-family"),
        pytest.param(
            {("a.b.", "A"): ["192.0.2.1", "192.0.2.2"]}, {"192.0.2.1", "192.0.2.2"}, id="several"
        ),
        pytest.param(
            {("a.b.", "CNAME"): ["c.d."], ("c.d.", "A"): ["192.0.2.3"]},
            {"192.0.2.3"},
            id="an-alias-that-the-server-leaves-to-us",
        ),
        pytest.param(
            {("a.b.", "CNAME"): ["c.d."], ("c.d.", "CNAME"): ["a.b."]},
            set(),
            id="aliases-in-a-ring",
        ),
        pytest.param({("a.b.", "A"): []}, set(), id="a-name-without-addresses"),
        pytest.param({}, set(), id="no-such-name"),
    ],
)
def test_what_a_server_says(server, names, records, found):
    server.records = records
    names = names()
    assert settle(names, "a.b") == found
    assert [line.partition(": ")[0] for line in names.warnings] == ([] if found else ["a.b"])


@pytest.mark.parametrize(
    ("silent", "raw"),
    [
        pytest.param(True, None, id="a-server-that-does-not-answer"),
        pytest.param(False, b"\0" * 40, id="a-server-that-talks-rubbish"),
    ],
)
def test_a_look_up_is_bounded(server, names, silent, raw):
    server.silent, server.raw = silent, raw
    names = names()
    start = time.monotonic()
    assert settle(names, "a.b") == set()
    assert time.monotonic() - start < 5
    assert "a.b: does not resolve" in names.warnings[0]


def test_the_search_list_is_the_systems(server, names):
    server.records = {("db.corp.example.", "A"): ["192.0.2.1"]}
    assert settle(names(resolv="search corp.example"), "db") == {"192.0.2.1"}


def test_names_with_dots_are_tried_as_they_are_first(server, names):
    server.records = {("a.b.", "A"): ["192.0.2.1"], ("a.b.corp.example.", "A"): ["192.0.2.2"]}
    assert settle(names(resolv="search corp.example"), "a.b") == {"192.0.2.1"}
    assert settle(names(resolv="search corp.example\noptions ndots:2"), "a.b") == {"192.0.2.2"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("localhost", {"127.0.0.1", "::1"}, id="localhost"),
        pytest.param("app.localhost", {"127.0.0.1", "::1"}, id="below-localhost"),
        pytest.param("192.0.2.9", {"192.0.2.9"}, id="an-ipv4-literal"),
        pytest.param("2001:db8::9", {"2001:db8::9"}, id="an-ipv6-literal"),
        pytest.param("db.intern", {"10.0.0.5", "fd00::5"}, id="the-hosts-file"),
    ],
)
def test_what_needs_no_server(server, names, name, found):
    names = names(hosts="10.0.0.5 db db.intern\nfd00::5 DB.intern. # x\n6.6.6.6 localhost\n")
    assert settle(names, name) == found
    assert server.asked == []
    assert not names.outstanding


def test_no_thread_to_be_had_is_a_name_that_does_not_resolve(names, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    names = names()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert names.addresses("a.b") == frozenset()
    assert not names.outstanding
    assert "can't start new thread" in names.warnings[0]


def test_look_ups_leave_signals_to_the_loop(server, names, monkeypatch):
    masks = []
    real = Names._ask

    def ask(self, name, kind):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return real(self, name, kind)

    monkeypatch.setattr(Names, "_ask", ask)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    settle(names(), "a.b")
    assert all({signal.SIGCHLD, signal.SIGINT, signal.SIGTERM} <= mask for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_trust(names):
    names = names(hosts="10.0.0.5 db.intern\n")
    assert names.trusted("db.intern")
    assert names.trusted("db")
    assert names.trusted("app.localhost")
    assert not names.trusted("a.b")


def test_a_changed_hosts_file_is_read_again(server, names, tmp_path):
    names = names(hosts="10.0.0.5 db.intern\n")
    assert settle(names, "db.intern") == {"10.0.0.5"}
    (tmp_path / "new").write_text("10.0.0.6 db.intern\n")
    (tmp_path / "new").rename(tmp_path / "hosts")
    assert settle(names, "db.intern") == {"10.0.0.6"}


def test_an_answer_is_kept_for_five_seconds_at_least(server, names):
    now = [100.0]
    server.records, server.ttl = {("a.b.", "A"): ["192.0.2.1"]}, 0
    names = names(clock=lambda: now[0])
    assert settle(names, "a.b") == {"192.0.2.1"}
    now[0] += 4.9
    assert settle(names, "a.b") == {"192.0.2.1"}
    assert len(server.asked) == 2
    names.poll()

    now[0] += 0.2
    server.records = {("a.b.", "A"): ["192.0.2.2"]}
    assert settle(names, "a.b") == {"192.0.2.1"}, "the old answer serves meanwhile"
    done(names)
    assert len(server.asked) == 4
    assert settle(names, "a.b") == {"192.0.2.1", "192.0.2.2"}, "and beside the next one"

    now[0] += 6
    settle(names, "a.b")
    done(names)
    assert settle(names, "a.b") == {"192.0.2.2"}


def test_a_ttl_is_respected(server, names):
    now = [100.0]
    server.records, server.ttl = {("a.b.", "A"): ["192.0.2.1"]}, 30
    names = names(clock=lambda: now[0])
    settle(names, "a.b")
    now[0] += 29
    settle(names, "a.b")
    assert not names.outstanding


def test_a_failure_is_forgotten_once_the_name_resolves(server, names):
    now = [100.0]
    names = names(clock=lambda: now[0])
    assert settle(names, "a.b") == set()
    assert names.warnings
    server.records = {("a.b.", "A"): ["192.0.2.1"]}
    now[0] += 6
    names.poll()
    names.addresses("a.b")
    done(names)
    assert settle(names, "a.b") == {"192.0.2.1"}
    assert names.warnings == ()


@pytest.mark.parametrize(
    ("text", "servers", "search", "ndots"),
    [
        pytest.param("", ("127.0.0.1",), (), 1, id="empty-means-this-machine"),
        pytest.param(
            "nameserver 192.0.2.1\nnameserver 2001:db8::1 # x\n",
            ("192.0.2.1", "2001:db8::1"),
            (),
            1,
            id="both-families",
        ),
        pytest.param("nameserver fe80::1%lo", ("fe80::1%lo",), (), 1, id="a-scope-id"),
        pytest.param("nameserver\nnameserver x\n", ("127.0.0.1",), (), 1, id="rubbish"),
        pytest.param(
            "domain a\nsearch b c\n;search d\n", ("127.0.0.1",), ("b", "c"), 1, id="the-last-search"
        ),
        pytest.param("options rotate ndots:99", ("127.0.0.1",), (), 15, id="ndots-has-a-limit"),
    ],
)
def test_resolv_conf(tmp_path, text, servers, search, ndots):
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    read = read_configuration(path)
    assert (read.servers, read.search, read.ndots) == (servers, search, ndots)
    names = Names(path, tmp_path / "none")
    assert names.resolvers() == {ip_address(server) for server in servers}
    assert names._resolver().port == 53


def test_files_that_are_not_there(tmp_path):
    assert read_configuration(tmp_path / "none").servers == ("127.0.0.1",)
    assert read_hosts(tmp_path / "none") == {}
