"""Questions of the jail, as bytes: read, refused, answered; whatever they are."""

from __future__ import annotations

from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail.names import questions
from netjail.names.lookups import Reply


def wire(name="a.b", kind="A", **options) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()


def reply_to(raw, found) -> dns.message.Message:
    assert isinstance(found, bytes)
    message = dns.message.from_wire(found)
    assert message.id == int.from_bytes(raw[:2])
    assert message.flags & dns.flags.QR
    return message


@pytest.mark.parametrize(
    ("raw", "name", "kind"),
    [
        pytest.param(wire(), "a.b", "A", id="plain"),
        pytest.param(wire("wWw.ExAmple.COM"), "www.example.com", "A", id="letters-of-either-case"),
        pytest.param(wire("a.b", "TYPE65280"), "a.b", "TYPE65280", id="an-unknown-type"),
        pytest.param(wire("a.b", "TXT", use_edns=0, want_dnssec=True), "a.b", "TXT", id="edns"),
        pytest.param(
            wire(options=[dns.edns.GenericOption(65001, b"secret")]), "a.b", "A", id="an-option"
        ),
        pytest.param(wire("."), "", "A", id="the-root"),
        pytest.param(wire(r"a\.b.c"), r"a\046b.c", "A", id="a-dot-inside-a-label"),
        pytest.param(wire(r"\000\255A.c"), r"\000\255a.c", "A", id="odd-bytes"),
        pytest.param(wire("x" * 63 + ".b"), "x" * 63 + ".b", "A", id="a-long-label"),
    ],
)
def test_questions(raw, name, kind):
    asked = questions.read(raw)
    assert (asked.name, asked.kind) == (name, kind)


def header(flags=0x0100, counts=(1, 0, 0, 0), body=b"\1a\1b\0\0\1\0\1", id=b"\x12\x34"):
    return id + flags.to_bytes(2) + b"".join(count.to_bytes(2) for count in counts) + body


UPDATE = 5 << 11


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"\0" * 11, None, id="a-short-header"),
        pytest.param(header(0x8180), None, id="an-answer"),
        pytest.param(header(UPDATE), dns.rcode.NOTIMP, id="an-update"),
        pytest.param(header(counts=(0, 0, 0, 0), body=b""), dns.rcode.FORMERR, id="no-question"),
        pytest.param(
            header(counts=(2, 0, 0, 0), body=b"\1a\1b\0\0\1\0\1\1c\1d\0\0\1\0\1"),
            dns.rcode.FORMERR,
            id="two-questions",
        ),
        pytest.param(
            header(counts=(1, 1, 0, 0), body=b"\1a\1b\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd"),
            dns.rcode.FORMERR,
            id="an-answer-in-a-question",
        ),
        pytest.param(
            header(body=b"\1a\1b\0\0\1\0\1smuggled"), dns.rcode.FORMERR, id="bytes-behind"
        ),
        pytest.param(header(body=b"\xc0\x0c\0\1\0\1"), dns.rcode.FORMERR, id="a-compression-loop"),
        pytest.param(header(body=b"\xc0\xff\0\1\0\1"), dns.rcode.FORMERR, id="a-pointer-out"),
        pytest.param(header(body=b"\1a\1b\0\0"), dns.rcode.FORMERR, id="cut-off"),
        pytest.param(header(body=b"\x41a\0\0\1\0\1"), dns.rcode.FORMERR, id="a-strange-label"),
        pytest.param(
            header(body=b"\x3f" + b"x" * 63 + b"\0" * 5000), dns.rcode.FORMERR, id="a-huge-one"
        ),
        pytest.param(header(body=b"\1a\1b\0\0\1\0\3"), dns.rcode.REFUSED, id="another-class"),
        pytest.param(header(body=b"\1a\1b\0\0\xff\0\1"), dns.rcode.REFUSED, id="any"),
        pytest.param(header(body=b"\1a\1b\0\0\xfc\0\1"), dns.rcode.REFUSED, id="a-zone-transfer"),
    ],
)
def test_what_is_no_question(raw, code):
    found = questions.read(raw)
    if code is None:
        assert found == b""
    else:
        assert reply_to(raw, found).rcode() == code


@given(st.binary(max_size=600))
def test_any_bytes(raw):
    found = questions.read(raw)
    if isinstance(found, bytes):
        assert not found or found[:2] == raw[:2]
    else:
        assert found.name == found.name.lower()


@given(
    st.binary(min_size=2, max_size=2),
    st.integers(0, 0x7FFF),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.binary(max_size=80),
)
@settings(deadline=None)
def test_anything_behind_a_header(id, flags, counts, body):
    raw = header(flags, counts, body, id)
    found = questions.read(raw)
    if isinstance(found, bytes):
        assert dns.message.from_wire(found).id == int.from_bytes(id)


def rrset(name, kind, *rows, ttl=300):
    return dns.rrset.from_text_list(name, ttl, "IN", kind, rows)


def answer(raw, reply, stream=False):
    asked = questions.read(raw)
    return dns.message.from_wire(questions.answer(asked, reply, stream))


def test_an_answer_has_the_questions_words():
    raw = wire("A.b")
    found = answer(raw, Reply(0, (rrset("a.b.", "A", "192.0.2.1"),), seconds=17.5))
    assert found.id == int.from_bytes(raw[:2])
    assert found.question[0].name.to_text() == "A.b."
    assert [one.to_text() for one in found.answer] == ["A.b. 17 IN A 192.0.2.1"]
    assert found.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert found.edns == -1, "it gets options only if it had some"


def test_no_more_is_said_than_was_asked_for_by_datagram():
    many = Reply(0, (rrset("a.b.", "A", *(f"10.0.{i >> 8}.{i & 255}" for i in range(3000))),))
    for raw, room in ((wire(), 512), (wire(use_edns=0, payload=1400), 1400)):
        asked = questions.read(raw)
        short = questions.answer(asked, many, False)
        assert len(short) <= room
        assert dns.message.from_wire(short).flags & dns.flags.TC
        assert len(answer(raw, many, stream=True).answer[0]) == 3000


def test_more_than_any_message_holds_is_cut():
    many = Reply(0, (rrset("a.b.", "A", *(f"10.{i >> 8}.{i & 255}.1" for i in range(5000))),))
    assert answer(wire(), many, stream=True).flags & dns.flags.TC


def test_a_refusal_says_why_to_whom_it_may():
    plain, edns = wire(), wire(use_edns=0)
    for raw in (plain, edns):
        found = questions.refuse(questions.read(raw).query, dns.rcode.NXDOMAIN, "no rule " * 80)
        message = reply_to(raw, found)
        assert message.rcode() == dns.rcode.NXDOMAIN
        assert [option.code for option in message.options] == (
            [dns.edns.EDECode.PROHIBITED] if raw is edns else []
        )
        assert len(found) < 512


def test_local_names():
    asked = questions.read(wire("localhost"))
    reply = questions.local(asked, [ip_address("127.0.0.1"), ip_address("::1")])
    assert [one.to_text() for one in reply.answer] == ["localhost. 5 IN A 127.0.0.1"]
    other = questions.read(wire("localhost", "MX"))
    assert questions.local(other, [ip_address("127.0.0.1")]).answer == ()
