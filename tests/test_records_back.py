"""A record read back is the attempt and the verdict that were written, and judged the same."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import CHAIN, CURL, attempt, denied, inet
from world import World

from netjail import records
from netjail.endpoints import Netlink, Question, Unix, Unknown, Unspecified
from netjail.model import Decision, Operation, Owner, Process, Protocol, Reason, Verdict
from netjail.policy import Policy, Rules
from netjail.policy.facts import UNKNOWN, Caller, Known, Seen
from netjail.records import back
from netjail.stops import Descriptor


def there_and_back(of, verdict=None, seen=None, known=None):
    """The record of an attempt, written as a line and read again."""
    record = records.attempt_record(
        of,
        verdict or denied(),
        records.proc(CURL, of.tid, CHAIN, False),
        id=1,
        audit=False,
        assurance="denied",
        known=known,
        seen=seen,
    )
    found = records.decode(records.encode(record))
    assert isinstance(found, records.AttemptRecord)
    return found


@pytest.mark.parametrize(
    ("endpoint", "operation", "protocols"),
    [
        pytest.param(inet("192.0.2.1", 443), "connect", {Protocol.TCP}, id="ipv4"),
        pytest.param(inet("fe80::1%3", 0), "send", {Protocol.UDP, Protocol.ICMP}, id="scoped"),
        pytest.param(Unix(b"/run/x"), "connect", {Protocol.UNIX}, id="a-path"),
        pytest.param(Unix(b"x\0y", True), "connect", {Protocol.UNIX}, id="an-abstract-name"),
        pytest.param(Unix(b"@x"), "connect", {Protocol.UNIX}, id="a-path-that-looks-abstract"),
        pytest.param(Unix(b"./@x"), "connect", {Protocol.UNIX}, id="and-one-that-looks-like-that"),
        pytest.param(Unix(b"/\xff"), "connect", {Protocol.UNIX}, id="a-path-not-in-utf-8"),
        pytest.param(Unix(rb"/\xff"), "connect", {Protocol.UNIX}, id="and-one-that-says-so"),
        pytest.param(Unix(b""), "connect", {Protocol.UNIX}, id="no-name"),
        pytest.param(
            Question("a.b", "TXT", inet("::1", 53)), "resolve", {Protocol.UDP}, id="a-look-up"
        ),
        pytest.param(
            Question("", "", inet("::1", 53)), "resolve", {Protocol.TCP}, id="no-question"
        ),
        pytest.param(Netlink(7, 0), "connect", {Protocol.NETLINK}, id="netlink"),
        pytest.param(Netlink(7, 255), "send", {Protocol.NETLINK}, id="netlink-groups"),
        pytest.param(Unspecified(), "forbidden", set(), id="nobody"),
        pytest.param(Unknown(999, 0), "connect", {Protocol.OTHER}, id="a-family-without-name"),
        pytest.param(Unknown(40, 0), "connect", {Protocol.OTHER}, id="a-family-with-one"),
    ],
)
def test_an_attempt(endpoint, operation, protocols):
    of = attempt(endpoint, *protocols, operation=Operation(operation))
    of = of.__class__(7, 9, "sendto", of.operation, frozenset(protocols), endpoint, Descriptor(0))
    verdict = denied(name=getattr(endpoint, "name", ""))
    assert back.attempt_of(there_and_back(of, verdict, Seen())) == of


@given(st.binary(max_size=108), st.booleans())
def test_any_unix_address(path, abstract):
    of = attempt(Unix(path, abstract), Protocol.UNIX)
    found = there_and_back(of, seen=Seen(path=path))
    assert back.attempt_of(found).endpoint == of.endpoint
    assert back.Replayed(found).resolved(of) == path


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(Verdict(Decision.ALLOW, Reason.SELF, "self"), id="allowed"),
        pytest.param(
            Verdict(Decision.DENY, Reason.RULE, "r", "l", "w", "f", errno.EACCES, name="n"),
            id="all",
        ),
        pytest.param(
            Verdict(Decision.ALLOW, Reason.RULE, "r", redirect=inet("127.0.0.1", 80)), id="led"
        ),
        pytest.param(
            Verdict(Decision.ALLOW, Reason.RULE, "r", redirect=inet("::1", 80)), id="led-by-ipv6"
        ),
        pytest.param(Verdict(Decision.DENY, Reason.DEFAULT, error=9999), id="a-nameless-errno"),
    ],
)
def test_a_verdict(verdict):
    assert back.verdict_of(there_and_back(attempt(), verdict)) == verdict


def test_who_asked():
    found = there_and_back(attempt())
    assert back.chain_of(found) == CHAIN
    hidden = Process(7, 0, 4242, "/usr/bin/curl", ("curl", "…", "…"), 1000, "/home/me")
    assert back.process_of(found.proc) == hidden
    line = records.decode(records.encode(records.process_record(CURL, True)))
    assert back.process_of(line) == CURL


def test_a_word_of_a_later_version_is_an_error():
    found = there_and_back(attempt())
    with pytest.raises(ValueError, match="'moon'"):
        back.verdict_of(records.AttemptRecord(**{**fields(found), "reason": "moon"}))


def fields(record):
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_a_journal_without_facts_still_reads():
    line = records.encode(there_and_back(attempt())).replace(b',"seen":{}', b"")
    found = records.decode(line)
    assert found.seen == records.Seen()
    assert back.Replayed(found).owner(attempt(), Protocol.TCP) is Owner.UNKNOWN


SITE = inet("10.1.2.3", 443)
NAMED = Known(("db.corp.example",), (), "asked")


@pytest.mark.parametrize(
    ("rules", "of", "seen", "known"),
    [
        pytest.param({}, attempt(SITE), Seen({Protocol.TCP: Owner.REMOTE}), None, id="nothing"),
        pytest.param({}, attempt(SITE), Seen({Protocol.TCP: Owner.JAIL}), None, id="its-own"),
        pytest.param({}, attempt(SITE), Seen({Protocol.TCP: Owner.NOBODY}), None, id="nobody"),
        pytest.param(
            {"allow": (".corp.example",)},
            attempt(SITE),
            Seen({Protocol.TCP: Owner.REMOTE}, NAMED.names),
            NAMED,
            id="a-name-that-gives-a-private-address",
        ),
        pytest.param(
            {"allow": (".corp.example",)},
            attempt(SITE),
            Seen({Protocol.TCP: Owner.REMOTE}, NAMED.names, NAMED.names),
            NAMED,
            id="a-trusted-name",
        ),
        pytest.param(
            {"allow": ("unix:/run/true",)},
            attempt(Unix(b"/run/link"), Protocol.UNIX),
            Seen({Protocol.UNIX: Owner.OUTSIDE}, path=b"/run/true"),
            None,
            id="a-path-behind-a-link",
        ),
        pytest.param(
            {},
            attempt(Unix(b"/run/gone"), Protocol.UNIX),
            Seen({Protocol.UNIX: Owner.NOBODY}, missing=errno.ENOENT),
            None,
            id="a-path-that-is-not-there",
        ),
        pytest.param(
            {},
            attempt(inet("10.0.0.53", 53), Protocol.UDP),
            Seen({Protocol.UDP: Owner.REMOTE}, resolver=True),
            None,
            id="a-name-server",
        ),
    ],
)
def test_it_is_judged_again_as_it_was(rules, of, seen, known):
    policy = Policy.load(Rules(**rules))
    truth = World(
        next(iter(seen.owners.values())),
        {name: ["10.1.2.3"] for name in seen.names},
        frozenset(seen.trusted),
        seen.missing,
        seen.path,
        asked_names=frozenset(seen.names),
    )
    if seen.resolver:
        truth.resolvers = lambda: frozenset({of.endpoint.address})
    verdict = policy.decide(of, truth)
    again = policy.decide(of, back.Replayed(there_and_back(of, verdict, seen, known)))
    assert again == verdict


def caller_of(seen):
    return back.Replayed(there_and_back(attempt(), seen=seen)).caller(attempt())


def test_who_asked_comes_back():
    found = caller_of(Seen(caller=Caller("/usr/bin/curl", (), True, ("/bin/sh", ""), True)))
    assert (found.exe, found.ancestors, found.rooted) == ("/usr/bin/curl", ("/bin/sh", ""), True)
    assert not found.whole  # its words are hidden
    assert caller_of(Seen(caller=UNKNOWN)).exe == ""
    # No rule asked: what the kernel called it has to do.
    guessed = caller_of(Seen())
    assert (guessed.exe, guessed.ancestors, guessed.rooted) == (CURL.exe, (), False)
