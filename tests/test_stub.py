"""The stub as its clients see it, over UDP and TCP on loopback; its judge is the test."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from ipaddress import ip_address

import dns.message
import dns.query
import dns.rcode
import pytest
from nameserver import NameServer

from netjail.endpoints import Inet
from netjail.model import Protocol
from netjail.names import streams
from netjail.names.configuration import File
from netjail.names.rulings import Asker, Ruling
from netjail.names.stub import Stub
from netjail.names.truth import Names

MEANS = Inet(ip_address("192.0.2.53"), 53)
ASKER = Asker(7, 8, "connect", None)


class Bench:
    """A stub, the server behind it, and what its judge was asked."""

    def __init__(self):
        self.server = NameServer()
        self.server.zone.add("a.b", "A", "192.0.2.1")
        self.judged: list[tuple[Protocol, str, str]] = []
        self.done: list[tuple[int, str, str]] = []
        conf = File("", "nameserver 127.0.0.1")
        self.names = Names(conf, File("", ""), port=self.server.port, timeout=20.0)
        self.stub = Stub(self.names, self.judge, lambda *result: self.done.append(result))
        self.place = self.stub.lead(MEANS)
        assert self.stub.lead(MEANS) == self.place

    def close(self):
        """Give the ports back; in a run they are the supervisor's to its end."""
        closed = threading.Event()
        self.stub._post(self._close)
        self.stub._post(closed.set)
        assert closed.wait(60)
        self.server.close()

    def _close(self):
        for server in self.stub._servers.values():
            for one in (server.datagrams, server.listener):
                self.stub._selector.unregister(one)
                one.close()

    def judge(self, asker, protocol, means, name, kind):
        assert (asker, means) == (ASKER, MEANS)
        self.judged.append((protocol, name, kind))
        if name.endswith("denied"):
            return Ruling(dns.rcode.NXDOMAIN, "because", 0)
        return Ruling(None, "", len(self.judged))

    @property
    def target(self):
        return (str(self.place.address), self.place.port)

    def socket(self, kind=socket.SOCK_DGRAM, admitted=True) -> socket.socket:
        one = socket.socket(socket.AF_INET, kind)
        one.bind(("0.0.0.0", 0))
        if admitted:
            protocol = Protocol.UDP if kind == socket.SOCK_DGRAM else Protocol.TCP
            self.stub.admit(protocol, self.place, one.getsockname()[1], ASKER)
        one.settimeout(60)
        one.connect(self.target)
        return one


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def client(bench):
    with contextlib.ExitStack() as stack:
        yield lambda *what, **how: stack.enter_context(bench.socket(*what, **how))


def query(name="a.b", kind="A", **options):
    return dns.message.make_query(name, kind, **options)


def read(stream):
    size = int.from_bytes(stream.recv(2, socket.MSG_WAITALL))
    return dns.message.from_wire(stream.recv(size, socket.MSG_WAITALL))


def framed(message):
    raw = message if isinstance(message, bytes) else message.to_wire()
    return len(raw).to_bytes(2) + raw


def test_a_datagram(bench, client):
    one = client()
    asked = query("A.b")
    one.send(asked.to_wire())
    answer = dns.message.from_wire(one.recv(4096))
    assert asked.is_response(answer)
    assert [rrset.to_text() for rrset in answer.answer] == ["A.b. 60 IN A 192.0.2.1"]
    assert bench.judged == [(Protocol.UDP, "a.b", "A")]
    assert bench.done == [(1, "ok", "")]
    assert bench.server.names == {"a.b."}


def test_what_is_refused_goes_no_further(bench, client):
    one = client()
    one.send(query("secret.denied", use_edns=0).to_wire())
    answer = dns.message.from_wire(one.recv(4096))
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert "because" in str(answer.options[0])
    assert bench.server.received == []
    assert bench.done == []


def test_nothing_of_the_program_is_passed_on(bench, client):
    import dns.edns

    one = client()
    secret = [dns.edns.GenericOption(65001, b"secret")]
    asked = query("a.B", use_edns=0, options=secret, want_dnssec=True, payload=1234)
    asked.flags |= 0x30  # AD, CD
    one.send(asked.to_wire())
    one.recv(4096)
    (kind,) = (m.question[0].rdtype for m in _received(bench) if m.question[0].rdtype == 1)
    assert kind == 1
    for message in _received(bench):
        assert message.id != asked.id or message.question[0].rdtype != 1
        assert message.question[0].name.to_text() == "a.b."
        assert (message.options, message.payload, message.flags) == ((), 1232, 0x100)


def _received(bench):
    return [dns.message.from_wire(raw) for raw in bench.server.received]


def test_over_tcp_one_after_the_other_and_both_at_once(bench, client):
    one = client(socket.SOCK_STREAM)
    first, second, third = query(), query("x.denied"), query("nosuch.b")
    one.sendall(framed(first))
    assert first.is_response(read(one))
    one.sendall(framed(second) + framed(third))
    answers = {answer.id: answer for answer in (read(one), read(one))}
    assert set(answers) == {second.id, third.id}
    assert bench.judged[0] == (Protocol.TCP, "a.b", "A")


def test_a_message_in_pieces(client):
    one = client(socket.SOCK_STREAM)
    asked = query()
    for byte in framed(asked):
        one.sendall(bytes([byte]))
    assert asked.is_response(read(one))


def test_who_is_done_with_asking_still_hears(bench, client):
    bench.server.delay = 0.2
    one = client(socket.SOCK_STREAM)
    asked = query()
    one.sendall(framed(asked))
    one.shutdown(socket.SHUT_WR)
    assert asked.is_response(read(one))
    assert one.recv(1) == b""


def test_a_stream_of_rubbish(bench, client):
    one = client(socket.SOCK_STREAM)
    one.sendall(framed(b"\0" * 65535))
    assert read(one).rcode() == dns.rcode.FORMERR
    assert bench.judged == [(Protocol.TCP, "", "")], "it is on record"
    asked = query()
    one.sendall(framed(asked))
    assert asked.is_response(read(one))


def test_what_deserves_no_answer_is_on_record_too(bench, client):
    one = client()
    one.send(b"short")
    asked = query()
    one.send(asked.to_wire())
    assert asked.is_response(dns.message.from_wire(one.recv(4096)))
    assert [name for _, name, _ in bench.judged] == ["", "a.b"]


def test_outsiders_get_nothing(bench, client):
    stranger, friend = client(admitted=False), client()
    stranger.send(query().to_wire())
    asked = query()
    friend.send(asked.to_wire())
    assert asked.is_response(dns.message.from_wire(friend.recv(4096)))
    stranger.setblocking(False)
    with pytest.raises(BlockingIOError):
        stranger.recv(1)
    assert len(bench.judged) == 1
    assert client(socket.SOCK_STREAM, admitted=False).recv(1) == b""


def test_where_ports_cannot_be_seen_anyone_gets_an_answer(bench, client):
    for protocol in (Protocol.UDP, Protocol.TCP):
        bench.stub.admit(protocol, bench.place, None, ASKER)
    one, other = client(admitted=False), client(socket.SOCK_STREAM, admitted=False)
    asked = query()
    one.send(asked.to_wire())
    other.sendall(framed(asked))
    assert asked.is_response(dns.message.from_wire(one.recv(4096)))
    assert asked.is_response(read(other))


def test_a_retry_is_answered_once(bench, client):
    bench.server.delay = 0.5
    one = client()
    asked = query("a.b", "TXT")
    for _ in range(5):
        one.send(asked.to_wire())
    one.recv(4096)
    last = query()
    one.send(last.to_wire())
    assert last.is_response(dns.message.from_wire(one.recv(4096))), "and nothing before it"
    assert bench.server.asked.count(("a.b.", "TXT")) == 1


def test_what_is_too_long_for_a_datagram_comes_over_tcp(bench, client):
    rows = [f"10.0.{i >> 8}.{i & 255}" for i in range(2000)]
    bench.server.zone.add("many.b", "A", *rows)
    one = client()
    one.send(query("many.b").to_wire())
    assert dns.message.from_wire(one.recv(4096)).flags & 0x200
    other = client(socket.SOCK_STREAM)
    other.sendall(framed(query("many.b")))
    assert len(read(other).answer[0]) == 2000


def test_a_server_that_says_nothing(bench, client):
    bench.server.silent = True
    bench.names._timeout = 1.0
    one = client()
    one.send(query().to_wire())
    assert dns.message.from_wire(one.recv(4096)).rcode() == dns.rcode.SERVFAIL
    assert bench.done == [(1, "SERVFAIL", "no answer in time from 127.0.0.1")]


def test_local_names_are_answered_here(bench, client):
    one = client()
    one.send(query("localhost").to_wire())
    answer = dns.message.from_wire(one.recv(4096))
    assert answer.answer[0][0].address == "127.0.0.1"
    assert bench.server.received == []


def test_a_crowd_of_streams_is_bounded(bench, client):
    first = client(socket.SOCK_STREAM)
    crowd = [client(socket.SOCK_STREAM) for _ in range(streams.MOST)]
    assert first.recv(1) == b"", "the one that was silent longest"
    asked = query()
    crowd[-1].sendall(framed(asked))
    assert asked.is_response(read(crowd[-1]))


def test_a_silent_stream_is_closed(client, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE", 0.2)
    assert client(socket.SOCK_STREAM).recv(1) == b""


def test_a_stream_that_reads_nothing_is_closed(bench, client):
    rows = [f"10.0.{i >> 8}.{i & 255}" for i in range(3900)]
    bench.server.zone.add("many.b", "A", *rows)
    one = client(socket.SOCK_STREAM)
    one.sendall(framed(query("many.b")))
    read(one)
    one.sendall(framed(query("many.b")) * 40)
    end = time.monotonic() + 240
    while bench.stub._streams._open:
        assert time.monotonic() < end
        time.sleep(0.01)
    two = client()
    asked = query()
    two.send(asked.to_wire())
    assert asked.is_response(dns.message.from_wire(two.recv(4096))), "others are served"


def test_a_mistake_inside_is_told_and_stops_nobody(bench, client, monkeypatch):
    real = bench.judge

    def fail(asker, protocol, means, name, kind):
        if name == "bad.b":
            raise ValueError("oops")
        return real(asker, protocol, means, name, kind)

    monkeypatch.setattr(bench.stub, "_judge", fail)
    one = client()
    one.send(query("bad.b").to_wire())
    asked = query()
    one.send(asked.to_wire())
    assert asked.is_response(dns.message.from_wire(one.recv(4096)))
    assert bench.stub.trouble == "ValueError: oops"
    assert bench.stub.alive


def test_askers_are_bounded(bench):
    for port in range(1, 6000):
        bench.stub.admit(Protocol.UDP, bench.place, port, ASKER)
    assert len(bench.stub._askers) <= 4096


def test_ipv6(bench):
    means = Inet(ip_address("2001:db8::53"), 53)
    place = bench.stub.lead(means)
    assert place.address == ip_address("::1")
    assert place != bench.place


def test_many_at_once(bench):
    failures = []

    def work(number):
        with bench.socket() as one:
            for _ in range(20):
                asked = query(f"x{number}.denied")
                one.send(asked.to_wire())
                if not asked.is_response(dns.message.from_wire(one.recv(4096))):
                    failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(bench.judged) == 160
    assert time.monotonic() - start < 60
