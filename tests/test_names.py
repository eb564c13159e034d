"""What names truly lead to, against a small name server; and the files of resolver(5)."""

from __future__ import annotations

import signal
import threading
import time
from ipaddress import ip_address

import pytest
from nameserver import NameServer

from netjail.names import memory
from netjail.names.configuration import File, read_configuration, read_hosts
from netjail.names.lookups import Lookup, Reply
from netjail.names.memory import Memory
from netjail.names.truth import Names


@pytest.fixture
def server():
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
def zone(server):
    return server.zone


class Clock:
    """Time by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def names(server, clock):
    def make(hosts: str = "", resolv: str = "", **options) -> Names:
        conf = File("resolv.conf", f"nameserver 127.0.0.1\n{resolv}")
        options = {"clock": clock, "timeout": 20.0, **options}
        return Names(conf, File("hosts", hosts), port=server.port, **options)

    return make


def wait(condition):
    """What *condition* gives, once that is neither None nor False."""
    end = time.monotonic() + 60
    while (found := condition()) is None or found is False:
        assert time.monotonic() < end
        time.sleep(0.002)
    return found


def settle(names, name):
    """What *names* says at last."""
    return {str(address) for address in wait(lambda: names.addresses(name))}


def idle(names):
    wait(lambda: not names.outstanding)


def ask(names, name, kind="A"):
    """What the stub would be told, as the jail asks."""
    replies: list[Reply] = []
    names.ask(name, kind, replies.append)
    wait(lambda: bool(replies))
    idle(names)
    (reply,) = replies
    return reply


def test_a_name_is_pending_and_then_known(server, zone, names):
    zone.add("a.b", "A", "192.0.2.1")
    zone.add("a.b", "AAAA", "2001:db8::1")
    names = names()
    assert not names.outstanding
    assert names.addresses("a.b") is None
    assert names.outstanding
    wait(names.poll)
    idle(names)
    names.poll()
    assert not names.poll()
    assert settle(names, "A.B.") == {"192.0.2.1", "2001:db8::1"}
    assert sorted(server.asked) == [("a.b.", "A"), ("a.b.", "AAAA")]
    assert names.warnings == ()


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        pytest.param({("a.b.", "A"): ["192.0.2.1"]}, {"192.0.2.1"}, id="one-family"),
        pytest.param(
            {("a.b.", "A"): ["192.0.2.1", "192.0.2.2"]}, {"192.0.2.1", "192.0.2.2"}, id="several"
        ),
        pytest.param(
            {("a.b.", "CNAME"): ["c.d."], ("c.d.", "A"): ["192.0.2.3"]},
            {"192.0.2.3"},
            id="an-alias",
        ),
        pytest.param(
            {("a.b.", "CNAME"): ["c.d."], ("c.d.", "CNAME"): ["a.b."]},
            set(),
            id="aliases-in-a-ring",
        ),
        pytest.param({("a.b.", "A"): []}, set(), id="a-name-without-addresses"),
        pytest.param({}, set(), id="no-such-name"),
        pytest.param(
            {("a.b.", "A"): [f"10.{i >> 8}.{i & 255}.1" for i in range(3000)]},
            {f"10.{i >> 8}.{i & 255}.1" for i in range(3000)},
            id="thousands-over-tcp",
        ),
    ],
)
def test_what_a_server_says(zone, names, rows, found):
    zone.rows = rows
    names = names()
    assert settle(names, "a.b") == found
    assert [line.partition(": ")[0] for line in names.warnings] == ([] if found else ["a.b"])


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param({"silent": True}, id="a-server-that-does-not-answer"),
        pytest.param({"raw": b"\0" * 40}, id="rubbish"),
        pytest.param({"raw": b"\x81\x80\0\1\0\1\0\0\0\0\xc0\x0c\0\1\0\1"}, id="a-compression-loop"),
        pytest.param({"raw": b"\x81\x80" + b"\xff" * 8}, id="counts-that-lie"),
        pytest.param({"code": 2}, id="a-failure"),
        pytest.param({"code": 5}, id="a-refusal"),
    ],
)
def test_a_look_up_is_bounded(server, zone, names, trouble):
    zone.add("a.b", "A", "192.0.2.1")
    for key, value in trouble.items():
        setattr(server, key, value)
    names = names(timeout=1.0)
    assert settle(names, "a.b") == set()
    assert "a.b: does not resolve" in names.warnings[0]


@pytest.mark.parametrize("how", ["wrong_id", "truncates"])
def test_a_server_that_lies_about_its_id_or_has_no_room(server, zone, names, how):
    zone.add("a.b", "A", "192.0.2.1")
    setattr(server, how, True)
    assert settle(names(), "a.b") == {"192.0.2.1"}
    assert bool(server.streamed) == (how == "truncates")


def test_a_server_that_is_down_leaves_the_others(server, zone):
    zone.add("a.b", "A", "192.0.2.1")
    # Nobody answers there: 127.0.0.2 is this machine, and the port is the other's.
    conf = File("", "nameserver 127.0.0.2\nnameserver 127.0.0.1\n")
    names = Names(conf, File("", ""), port=server.port, timeout=6.0)
    assert settle(names, "a.b") == {"192.0.2.1"}


def test_the_search_list_is_the_systems(zone, names):
    zone.add("db.corp.example", "A", "192.0.2.1")
    assert settle(names(resolv="search corp.example"), "db") == {"192.0.2.1"}


def test_names_with_dots_are_tried_as_they_are_first(zone, names):
    zone.add("a.b", "A", "192.0.2.1")
    zone.add("a.b.corp.example", "A", "192.0.2.2")
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


def test_names_of_the_hosts_file_are_known_from_the_start(names):
    names = names(hosts="10.0.0.5 db.intern db\n")
    known = names.known(ip_address("10.0.0.5"))
    assert (known.names, known.how, known.stale) == (("db.intern", "db"), "reverse", ())
    assert names.known(ip_address("10.0.0.6")).names == ()


def test_no_thread_to_be_had_is_a_name_that_does_not_resolve(names, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    names = names()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert names.addresses("a.b") == frozenset()
    assert not names.outstanding
    assert "no room" in names.warnings[0]


def test_look_ups_leave_signals_to_the_loop(names, monkeypatch):
    masks = []
    real = Lookup.ask

    def ask(self, name, kind):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return real(self, name, kind)

    monkeypatch.setattr(Lookup, "ask", ask)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    settle(names(), "a.b")
    assert len(masks) == 2
    assert all({signal.SIGCHLD, signal.SIGINT, signal.SIGALRM} <= mask for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_trust(names):
    names = names(hosts="10.0.0.5 db.intern\n")
    assert names.trusted("db.intern")
    assert names.trusted("db")
    assert names.trusted("app.localhost")
    assert not names.trusted("a.b")


# ---- time ----


def test_an_answer_is_kept_for_five_seconds_at_least(server, zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    zone.add("a.b", "AAAA", "2001:db8::1")
    zone.ttl = 0
    names = names()
    assert settle(names, "a.b") == {"192.0.2.1", "2001:db8::1"}
    clock.now += 4.9
    assert settle(names, "a.b") == {"192.0.2.1", "2001:db8::1"}
    assert len(server.asked) == 2

    clock.now += 0.2
    zone.add("a.b", "A", "192.0.2.2")
    assert settle(names, "a.b") == {"192.0.2.1", "2001:db8::1"}, "the old answer serves meanwhile"
    idle(names)
    assert len(server.asked) == 4
    assert settle(names, "a.b") == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}, (
        "and beside the next one"
    )

    clock.now += memory.GRACE + 1
    settle(names, "a.b")
    idle(names)
    assert settle(names, "a.b") == {"192.0.2.2", "2001:db8::1"}, "but not for ever"


def test_nothing_counts_that_is_old_and_not_said_again(server, zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    names = names()
    settle(names, "a.b")
    clock.now += 60 + memory.GRACE + 1
    names._timeout = 0.5
    server.silent = True
    assert names.addresses("a.b") is None, "it waits for the next answer"
    assert settle(names, "a.b") == set()


def test_a_server_that_fails_takes_back_nothing_yet(server, zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    names = names()
    settle(names, "a.b")
    clock.now += 61
    server.code = 2
    names.addresses("a.b")
    idle(names)
    assert settle(names, "a.b") == {"192.0.2.1"}


def test_a_ttl_is_respected(zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    zone.add("a.b", "AAAA", "2001:db8::1")
    zone.ttl = 30
    names = names()
    settle(names, "a.b")
    clock.now += 29
    settle(names, "a.b")
    assert not names.outstanding


def test_a_failure_is_forgotten_once_the_name_resolves(zone, names, clock):
    names = names()
    assert settle(names, "a.b") == set()
    assert names.warnings
    zone.add("a.b", "A", "192.0.2.1")
    clock.now += 6
    names.addresses("a.b")
    idle(names)
    assert settle(names, "a.b") == {"192.0.2.1"}
    assert names.warnings == ()


# ---- what the jail asked for ----


def test_what_was_asked_for_is_known_by_its_addresses(server, zone, names):
    zone.add("a.b", "CNAME", "c.d.")
    zone.add("c.d", "A", "192.0.2.1")
    zone.add("c.d", "AAAA", "2001:db8::1")
    zone.add("e.f", "A", "192.0.2.1")
    names = names()
    reply = ask(names, "a.b")
    assert [rrset.to_text() for rrset in reply.answer] == [
        "a.b. 60 IN CNAME c.d.",
        "c.d. 60 IN A 192.0.2.1",
    ]
    ask(names, "e.f")
    assert sorted(set(server.asked)) == [(n, k) for n in ("a.b.", "e.f.") for k in ("A", "AAAA")]
    known = names.known(ip_address("192.0.2.1"))
    assert (known.names, known.how) == (("a.b", "e.f"), "asked"), "every name, not the aliases"
    assert names.known(ip_address("2001:db8::1")).names == ("a.b",), "both families"
    assert names.known(ip_address("192.0.2.2")).names == ()
    # A rule's look-up is no reason to ask again.
    assert settle(names, "a.b") == {"192.0.2.1", "2001:db8::1"}
    assert len(server.asked) == 4


def test_what_a_rule_looked_up_says_so(zone, names):
    zone.add("a.b", "A", "192.0.2.1")
    names = names()
    settle(names, "a.b")
    assert names.known(ip_address("192.0.2.1")).how == "rule"
    ask(names, "a.b")
    assert names.known(ip_address("192.0.2.1")).how == "asked"


def test_an_address_that_a_name_lost_is_asked_about_first(zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    names = names()
    ask(names, "a.b")
    zone.add("a.b", "A", "192.0.2.2")
    clock.now += 60 + memory.GRACE + 1
    known = names.known(ip_address("192.0.2.1"))
    assert (known.names, known.stale) == ((), ("a.b",))
    idle(names)
    assert names.known(ip_address("192.0.2.1")).names == ()
    assert names.known(ip_address("192.0.2.1")).stale == ()
    assert names.known(ip_address("192.0.2.2")).names == ("a.b",)


def test_a_name_backwards_is_a_claim_and_no_more(zone, names):
    zone.add("1.2.0.192.in-addr.arpa", "PTR", "Pypi.org.")
    names = names()
    ask(names, "1.2.0.192.in-addr.arpa", "PTR")
    known = names.known(ip_address("192.0.2.1"))
    assert (known.names, known.claimed, known.how) == ((), ("pypi.org",), "reverse")


def test_other_types_are_asked_for_and_lead_nowhere(server, zone, names):
    zone.add("a.b", "TXT", '"hello"')
    reply = ask(names(), "a.b", "TXT")
    assert [rrset.to_text() for rrset in reply.answer] == ['a.b. 60 IN TXT "hello"']
    assert server.asked == [("a.b.", "TXT")]


def test_an_answer_about_something_else_is_left_out(server, zone, names, monkeypatch):
    zone.add("a.b", "A", "192.0.2.1")
    zone.add("pypi.org", "A", "192.0.2.66")
    honest = zone.answer

    def lie(query):
        answer = honest(query)
        answer.answer.append(zone._rrset("pypi.org.", "A"))
        return answer

    monkeypatch.setattr(zone, "answer", lie)
    names = names()
    reply = ask(names, "a.b")
    assert [rrset.to_text() for rrset in reply.answer] == ["a.b. 60 IN A 192.0.2.1"]
    assert names.known(ip_address("192.0.2.66")).names == ()


def test_the_rest_of_an_answers_time_is_told(zone, names, clock):
    zone.add("a.b", "A", "192.0.2.1")
    names = names()
    ask(names, "a.b")
    clock.now += 20
    assert ask(names, "a.b").seconds == 40


def test_askers_of_one_name_share_a_look_up(server, zone, names, monkeypatch):
    zone.add("a.b", "TXT", '"x"')
    honest, all_asked = zone.answer, threading.Event()
    monkeypatch.setattr(zone, "answer", lambda query: all_asked.wait(60) and honest(query))
    names = names()
    replies: list[Reply] = []
    for _ in range(200):
        names.ask("a.b", "TXT", replies.append)
    all_asked.set()
    wait(lambda: len(replies) == 200)
    assert server.asked == [("a.b.", "TXT")]
    assert [reply.code for reply in replies].count(0) == 64, "the rest is turned away"


def test_a_crowd_of_names_is_bounded(server, names):
    server.silent = True
    names = names(timeout=0.5)
    before = threading.active_count()
    replies: list[Reply] = []
    for number in range(2000):
        names.ask(f"x{number}.a.b", "TXT", replies.append)
    assert len(replies) >= 900, "those that find no room are told at once"
    assert threading.active_count() <= before + 16
    names._workers._queue.clear()  # the tests that follow need the processor


def test_memory_is_bounded(clock):
    import dns.rrset

    memory_ = Memory(clock)
    for number in range(memory.NAMES + 500):
        rrset = dns.rrset.from_text_list(f"x{number}.", 60, "IN", "A", [f"10.0.{number >> 8}.1"])
        memory_.keep((f"x{number}", "A"), Reply(0, (rrset,), seconds=60), "asked")
    assert memory_.get(("x499", "A")) is None
    assert memory_.get(("x500", "A")) is not None
    assert len(memory_._index) <= (memory.NAMES + 500) / 256 + 1
    assert sum(map(len, memory_._index.values())) == memory_._pairs == memory.NAMES


def test_memory_of_addresses_is_bounded(clock):
    import dns.rrset

    rows = [f"10.{i >> 8}.{i & 255}.1" for i in range(4000)]
    memory_ = Memory(clock)
    for number in range(40):
        rrset = dns.rrset.from_text_list(f"x{number}.", 60, "IN", "A", rows)
        memory_.keep((f"x{number}", "A"), Reply(0, (rrset,), seconds=60), "asked")
    assert memory_._pairs <= memory._PAIRS
    assert memory_.get(("x39", "A")) is not None


# ---- files ----


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
            "domain a\nsearch B. c .\n;search d\n",
            ("127.0.0.1",),
            ("b", "c"),
            1,
            id="the-last-search",
        ),
        pytest.param("options rotate ndots:99", ("127.0.0.1",), (), 15, id="ndots-has-a-limit"),
    ],
)
def test_resolv_conf(text, servers, search, ndots):
    read = read_configuration(text.splitlines())
    assert (read.servers, read.search, read.ndots) == (servers, search, ndots)
    names = Names(File("", text), File("", ""))
    assert names.resolvers() == {ip_address(server) for server in servers}
    assert names.search() == search


def test_files_that_are_not_there(tmp_path):
    file = File(str(tmp_path / "none"))
    assert file.changed()
    assert not file.changed()
    assert read_configuration(file.lines()).servers == ("127.0.0.1",)
    assert read_hosts(file.lines()) == {}


def test_a_changed_file_is_read_again(server, tmp_path, clock):
    path = tmp_path / "hosts"
    path.write_text("10.0.0.5 db.intern\n")
    names = Names(File("", ""), File(str(path)), clock=clock)
    assert settle(names, "db.intern") == {"10.0.0.5"}
    (tmp_path / "new").write_text("10.0.0.6 db.intern\n")
    (tmp_path / "new").rename(path)
    assert settle(names, "db.intern") == {"10.0.0.6"}
    assert names.known(ip_address("10.0.0.6")).names == ("db.intern",)


def test_a_text_is_held_against_the_file(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("10.0.0.5 db.intern\n")
    file = File(str(path), "10.0.0.1 db.intern\n")
    assert file.changed()
    assert not file.changed()
    assert file.lines() == ["10.0.0.1 db.intern"]
