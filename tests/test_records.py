"""What a line of the journal holds, and that any JSON parser can read it back."""

from __future__ import annotations

import errno
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import CHAIN, CURL, allowed, attempt, denied, inet

from netjail import records
from netjail.endpoints import Netlink, Question, Unix
from netjail.model import Operation, Protocol, Reason
from netjail.policy.facts import Known

# What os.fsdecode and JSON may hand us: any character, lone surrogates too.
TEXT = st.text(st.characters(codec=None))


def written(record: records.Record) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(records.encode(record))
    return loaded


def record(audit=False, verdict=None, show=False, of=None, process=CURL):
    return records.attempt_record(
        of or attempt(),
        verdict or denied(),
        records.proc(process, 4243, CHAIN, show),
        id=5,
        audit=audit,
        assurance="denied",
    )


def test_an_attempt_has_the_fields_of_the_design():
    verdict = denied(
        rule="private", layer="--deny", why="a why", fix="--allow example.org", name="example.org"
    )
    line = written(record(verdict=verdict))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(line.pop("ts")))
    assert line == {
        "type": "attempt",
        "schema": "netjail/event/1",
        "id": 5,
        "verdict": "deny",
        "mode": "enforce",
        "syscall": "connect",
        "operation": "connect",
        "proto": "tcp",
        "dest": {
            "ip": "192.0.2.1",
            "port": 443,
            "name": "example.org",
            "names": [],
            "known": "",
            "type": "",
            "unix": "",
            "other": "",
        },
        "errno": "ECONNREFUSED",
        "rule": "private",
        "layer": "--deny",
        "reason": "default",
        "why": "a why",
        "fix": "--allow example.org",
        "proc": {
            "id": 7,
            "pid": 4242,
            "tid": 4243,
            "exe": "/usr/bin/curl",
            "argv": ["curl", "…", "…"],
            "chain": ["curl", "make", "sh"],
            "cwd": "/home/me",
            "uid": 1000,
        },
        "result": "refused",
        "assurance": "denied",
        "count": 1,
        "redirect": "",
        "seen": {},
    }


@pytest.mark.parametrize(
    ("audit", "verdict", "operation", "mode", "result"),
    [
        pytest.param(False, denied(), "connect", "enforce", "refused", id="denied-is-refused"),
        pytest.param(False, allowed(), "connect", "enforce", "", id="allowed-is-not-known-yet"),
        pytest.param(True, denied(), "connect", "audit", "", id="audit-lets-it-go"),
        pytest.param(
            True,
            denied(Reason.STRUCTURE),
            "forbidden",
            "audit",
            "refused",
            id="a-shut-door-is-shut-in-audit",
        ),
    ],
)
def test_mode_and_result_say_what_happened(audit, verdict, operation, mode, result):
    line = record(audit, verdict, of=attempt(operation=Operation(operation)))
    assert (line.mode, line.result) == (mode, result)


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        pytest.param(inet("::1", 80), {"ip": "::1", "port": 80}, id="an-address"),
        pytest.param(Unix(b"/run/x"), {"unix": "/run/x"}, id="a-path"),
        pytest.param(Unix(b"x\0y", True), {"unix": "@x\0y"}, id="an-abstract-name"),
        pytest.param(Unix(b"@x"), {"unix": "./@x"}, id="a-path-that-looks-abstract"),
        pytest.param(Unix(b"/\xff\xc3\xa9"), {"unix": "/\\xffé"}, id="a-path-not-in-utf-8"),
        pytest.param(
            Question("a\\046b.c", "TXT", inet("192.0.2.53", 53)),
            {"ip": "192.0.2.53", "port": 53, "name": "a\\046b.c", "type": "TXT"},
            id="a-look-up",
        ),
        pytest.param(Netlink(1, 2), {"other": str(Netlink(1, 2))}, id="another-family"),
    ],
)
def test_dest(endpoint, fields):
    empty = {"ip": "", "port": None, "unix": "", "other": ""}
    empty |= {"name": "", "names": [], "known": "", "type": ""}
    line = written(record(of=attempt(endpoint)))
    assert line["dest"] == empty | fields


@pytest.mark.parametrize(
    ("known", "names", "how"),
    [
        pytest.param(Known(("a.b", "c.d"), (), "asked"), ["a.b", "c.d"], "asked", id="asked-for"),
        pytest.param(Known((), (), "reverse", ("a.b",)), ["a.b"], "reverse", id="claimed"),
        pytest.param(Known(), [], "none", id="no-name-led-there"),
        pytest.param(None, [], "", id="nobody-looked"),
    ],
)
def test_names_that_lead_there(known, names, how):
    found = records.dest(inet("192.0.2.1", 80), "", known)
    assert (list(found.names), found.known) == (names, how)


def test_how_a_look_up_was_answered():
    assert records.answer_record(7, "NXDOMAIN").result == "NXDOMAIN"


def test_several_protocols_are_named_together():
    assert record(of=attempt(None, Protocol.UDP, Protocol.TCP)).proto == "tcp+udp"


@pytest.mark.parametrize(
    ("argv", "show", "shown"),
    [
        pytest.param(["curl", "-u", "me:pw"], False, ("curl", "…", "…"), id="hidden"),
        pytest.param(["curl", "-u", "me:pw"], True, ("curl", "-u", "me:pw"), id="asked-for"),
        pytest.param([], False, (), id="no-arguments-at-all"),
        pytest.param(["x" * 9999], True, ("x" * 4096 + "…",), id="a-long-one-is-cut"),
        pytest.param(["x"] * 99, True, ("x",) * 64 + ("…",), id="many-are-cut"),
    ],
)
def test_arguments(argv, show, shown):
    assert records.arguments(argv, show) == shown


def test_secrets_are_not_in_the_line():
    assert b"secret" not in records.encode(record())
    assert b"secret" not in records.encode(records.process_record(CURL, False))
    assert b"secret" in records.encode(records.process_record(CURL, True))


@pytest.mark.parametrize(
    ("error", "result"),
    [
        pytest.param(0, "ok", id="success"),
        pytest.param(errno.EINPROGRESS, "EINPROGRESS", id="an-errno-by-its-name"),
        pytest.param(9999, "9999", id="an-errno-without-a-name"),
        pytest.param(None, "gone", id="the-caller-died"),
    ],
)
def test_results(error, result):
    assert records.result_record(5, error).result == result


def test_repeats_are_the_same_attempt_with_a_count():
    line, again = written(record()), written(records.repeat(record(), 1000))
    assert again["count"] == 1000
    assert {**line, "ts": 0, "count": 0} == {**again, "ts": 0, "count": 0}


def test_a_start_tells_the_versions_and_hides_arguments():
    start = records.start_record(
        ["make", "KEY=secret"],
        audit=True,
        policy={"allow": [":443"]},
        host={"kernel": "6.18"},
        assurance="vault",
        show=False,
        warnings=["w"],
    )
    line = written(start)
    assert (line["command"], line["mode"], line["warnings"]) == (["make", "…"], "audit", ["w"])
    assert set(start.versions) == {"netjail", "python"}


def test_a_listener_and_the_end_read_back():
    who = records.proc(CURL, 4243, CHAIN, False)
    listen = records.listen_record(inet("::", 80), Protocol.TCP, who, scope="machine")
    end = records.end_record(
        0, 9, counts=(3, 2, 1), rules={":443": 2}, warnings=["w\udcff"], size=77
    )
    assert records.decode(records.encode(listen)) == listen
    assert records.decode(records.encode(end)) == end
    assert (end.attempts, end.allowed, end.denied, end.warnings) == (3, 2, 1, ("w\\xff",))


@given(TEXT, TEXT, st.binary(max_size=108))
def test_any_text_is_one_line_that_reads_back(name, argument, path):
    process = CURL.__class__(7, 3, 1, name, (name, argument), 0, name)
    line = records.encode(
        record(of=attempt(Unix(path)), process=process, show=True, verdict=denied(why=name))
    )
    text = line.decode()
    assert text.endswith("\n") and text[:-1].isprintable()
    assert json.loads(text)
    back = records.decode(line)
    assert isinstance(back, records.AttemptRecord)
    assert back.proc.argv == records.arguments((name, argument), True)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="no-type"),
        pytest.param(b'{"type":"attempt"', id="half-a-line"),
        pytest.param(b'{"type":"what","ts":""}', id="an-unknown-type"),
        pytest.param(b'{"type":"result","ts":"","id":"x","result":""}', id="a-wrong-field"),
        pytest.param(
            b'{"schema":"netjail/event/2","type":"result","ts":"","id":1,"result":""}',
            id="another-schema",
        ),
        pytest.param(b'\xff{"type":"result"}', id="no-utf-8"),
    ],
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValueError):
        records.decode(line)


def test_fields_of_later_versions_are_ignored():
    line = b'{"schema":"netjail/event/1","type":"result","ts":"","id":1,"result":"ok","new":2}'
    assert records.decode(line) == records.ResultRecord(ts="", id=1, result="ok")
