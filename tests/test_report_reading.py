"""A journal gives the report that the run itself gave; any number of runs, in flat memory."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from scene import CHAIN, CURL, allowed, attempt, denied, inet

from netjail import records
from netjail.endpoints import Question, Unix
from netjail.errors import JournalError
from netjail.formats.compose import compose
from netjail.journal.reading import Torn
from netjail.model import Operation, Process, Protocol, Reason
from netjail.records import RuleRecord
from netjail.report import GROUPS, Report
from netjail.report.processes import PROCESSES
from netjail.report.reading import Reader
from netjail.report.timeline import ROOM, Timeline

RULES = (
    RuleRecord("private", "netjail.toml:3", "deny", "no business there"),
    RuleRecord("a.b", "netjail.toml:2", "allow"),
)


def start(**fields):
    usual = {"audit": False, "policy": {}, "host": {}, "assurance": "vault", "show": False}
    return records.start_record(["make", "x"], rules=RULES, **{**usual, **fields})


def line(of=None, verdict=None, id=1, count=1, audit=False, process=CURL, ts=""):
    record = records.attempt_record(
        of or attempt(),
        verdict or denied(),
        records.proc(process, 4243, CHAIN, False),
        id=id,
        audit=audit,
        assurance="vault",
    )
    return msgspec.structs.replace(record, count=count, ts=ts or record.ts)


def end(code=0, signal=0, status=None):
    counts = (0, 0, 0)
    return records.end_record(
        code, signal, counts=counts, rules={}, warnings=["w"], size=0, status=status
    )


def read(*journals):
    report = Report()
    report.keep_details()
    reader = Reader(report)
    for number, journal in enumerate(journals, 1):
        # As lines and back: what a journal cannot hold is not used.
        reader.take(
            (
                one if isinstance(one, Torn) else records.decode(records.encode(one))
                for one in journal
            ),
            f"{number}.jsonl",
        )
    return report


RUN = [
    start(),
    records.process_record(Process(3, 0, 4000, "/usr/bin/make", ("make",)), False),
    records.process_record(CURL, False),
    line(id=1, ts="2024-02-29T23:59:59.999999Z"),
    line(id=1, count=9, ts="2024-03-01T00:00:00.000001Z"),
    line(
        attempt(inet("10.0.0.1", 80)),
        denied(Reason.RULE, rule="private", layer="netjail.toml:3"),
        2,
    ),
    line(attempt(inet("192.0.2.9", 443)), allowed(name="a.b", rule="a.b", layer="x"), 3),
    records.result_record(3, 110),
    line(attempt(Unix(b"/dev/log"), Protocol.UNIX), denied(Reason.NAME_SERVICE), 4),
    end(),
]


def test_a_run_is_counted():
    report = read(RUN)
    assert (report.attempted, report.allowed, report.denied, report.quiet) == (13, 1, 11, 1)
    first = next(iter(report.groups.values()))
    assert (first.count, first.askers[CHAIN].processes) == (10, [(1, CURL.id)])
    document = compose(report)
    place = next(one for one in document.destinations if one.count == 10)
    assert place.first == "2024-02-29T23:59:59.999999Z"
    assert place.last == "2024-03-01T00:00:00.000001Z"
    named = next(one for one in document.destinations if one.verdict == "allow")
    assert (named.shown, named.places, named.results) == (
        "a.b:443",
        ("192.0.2.9",),
        {"ETIMEDOUT": 1},
    )
    assert document.headline == "11 of 13 network calls denied: 192.0.2.1:443, 10.0.0.1:80"


def test_rules_are_counted_by_where_they_stand():
    uses = {(one.layer, one.rule): one for one in compose(read(RUN)).rules}
    assert uses["netjail.toml:3", "private"].count == 1
    assert uses["netjail.toml:3", "private"].reason == "no business there"
    assert uses["netjail.toml:3", "private"].first
    assert uses["x", "a.b"].count == 1
    unused = uses["netjail.toml:2", "a.b"]
    assert (unused.count, unused.first, unused.kind) == (0, "", "allow")


def test_processes_are_a_tree():
    make, curl = compose(read(RUN)).processes
    assert (make.name, make.parent, make.destinations) == ("make", 0, {})
    assert (curl.name, curl.parent, sum(curl.destinations.values())) == ("curl", make.id, 13)
    assert curl.argv == ("curl", "…", "…")


def test_a_fork_that_asks_nothing_is_left_out():
    fork = Process(4, 3, 4001, "/usr/bin/make", ("make",))
    child = Process(7, 4, 4242, "/usr/bin/curl", ("curl",))
    made = [records.process_record(one, True) for one in (fork, child)]
    found = {one.id: one.parent for one in compose(read([*RUN[:2], *made, *RUN[3:]])).processes}
    assert found == {3: 0, 7: 3}


@pytest.mark.parametrize(
    ("journal", "program", "supervisor", "text"),
    [
        pytest.param([start(), end(status=0)], "ok", "ok", "ended well", id="well"),
        pytest.param([start(), end(3)], "failed", "ok", "ended well", id="failed"),
        pytest.param([start(), end(121, status=0)], "ok", "ok", "ended well", id="fail-on"),
        pytest.param([start(), end(0, 9)], "failed", "ok", "ended well", id="killed"),
        pytest.param([start()], "unknown", "unknown", "it has no last line", id="no-end"),
        pytest.param(
            [start(), Torn(2, b"{")], "unknown", "unknown", "its line 2 is cut off", id="torn"
        ),
        pytest.param([line(), end()], "ok", "unknown", "it has no first line", id="no-start"),
    ],
)
def test_three_results_are_told_apart(journal, program, supervisor, text):
    (run,) = compose(read(journal)).runs
    assert (run.program.state, run.supervisor.state) == (program, supervisor)
    assert text in run.supervisor.text


def test_what_was_seen_before_the_cut_is_used():
    document = compose(read([*RUN[:-1], Torn(10, b"{")]))
    assert (document.totals.attempted, document.state) == (13, "denied")
    assert document.headline.endswith("the journal 1.jsonl was cut off: its line 10 is cut off")
    assert compose(read([start()])).state == "unknown"


def test_runs_are_kept_apart_and_destinations_merged():
    again = [start(), line(id=1, count=5), end(7)]
    document = compose(read([*RUN, *again], again))
    assert [run.journal for run in document.runs] == ["1.jsonl", "1.jsonl", "2.jsonl"]
    assert [run.totals.attempted for run in document.runs] == [13, 5, 5]
    assert [run.code for run in document.runs] == [0, 7, 7]
    place = document.destinations[0]
    assert (place.count, place.runs) == (20, (1, 2, 3))
    assert place.askers[0].processes == ((1, CURL.id), (2, CURL.id), (3, CURL.id))
    assert document.headline.startswith("3 runs: 21 of 23 network calls denied")


def test_a_result_is_not_mistaken_for_that_of_another_run():
    allow = line(verdict=allowed(), id=1)
    document = compose(read([start(), allow, end(), start(), records.result_record(1, 0)]))
    assert document.destinations[0].results == {}


def test_an_audit_is_not_mixed_with_what_was_enforced():
    audit = [start(audit=True), line(audit=True), end()]
    document = compose(read(audit, [start(), line(), end()]))
    assert [(one.carried, one.runs) for one in document.destinations] == [
        (False, (1,)),
        (True, (2,)),
    ]
    assert [run.mode for run in document.runs] == ["audit", "enforce"]
    assert compose(read(audit)).headline.startswith("audit, 1 of 1 network call would be denied")


def test_a_word_of_a_later_version_is_named():
    later = msgspec.structs.replace(line(), reason="moon")
    with pytest.raises(JournalError, match=r"^1.jsonl: .*moon"):
        read([start(), later])


@pytest.mark.parametrize(
    ("endpoint", "owner"),
    [
        pytest.param(inet("127.0.0.1", 1), "loopback", id="loopback"),
        pytest.param(inet("10.1.2.3", 1), "private", id="private"),
        pytest.param(inet("169.254.169.254", 80), "metadata", id="metadata-before-link-local"),
        pytest.param(inet("fe80::1", 1), "link-local", id="link-local"),
        pytest.param(inet("224.0.0.1", 1), "multicast", id="multicast"),
        pytest.param(inet("8.8.8.8", 1), "public", id="public"),
        pytest.param(inet("::ffff:10.0.0.1", 1), "private", id="in-another-form"),
        pytest.param(inet("192.0.2.1", 1), "special", id="none-of-them"),
        pytest.param(Question("a.b", "A", inet("10.0.0.1", 53)), "private", id="a-look-up"),
        pytest.param(Unix(b"/x"), "", id="no-address"),
    ],
)
def test_owners(endpoint, owner):
    operation = Operation.RESOLVE if isinstance(endpoint, Question) else Operation.CONNECT
    report = read([start(), line(attempt(endpoint, operation=operation)), end()])
    assert compose(report).destinations[0].owner == owner


def hostile(number):
    process = Process(number + 10, number + 9, number, f"/bin/p{number}", (f"p{number}",))
    address = inet(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 80)
    ts = f"2024-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    yield records.process_record(process, True)
    yield line(attempt(address), allowed(rule=f"{number}"), number + 1, process=process, ts=ts)


def test_memory_is_flat():
    report = Report()
    report.keep_details()
    reader = Reader(report)
    count = 3 * PROCESSES
    reader.take(one for number in range(count) for one in hostile(number))
    tracemalloc.start()
    more = (one for number in range(20_000, 20_000 + count) for one in hostile(number))
    reader.take(more)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 25_000_000, grown  # places that are known again: a bounded cache
    assert len(report.groups) == GROUPS
    assert len(report.processes.table) == PROCESSES
    assert report.attempted == 2 * count
    document = compose(report)
    assert document.omitted["attempts_allowed"] == 2 * count - GROUPS
    assert document.omitted["processes"] > 0
    assert len(document.timeline) <= ROOM


def test_moments_grow_coarser_and_none_is_lost():
    timeline = Timeline()
    for second in range(10 * ROOM):
        timeline.add(second * 1_000_000, second % 7 + 1, 1, 2)
    assert len(timeline.counts) <= ROOM
    assert sum(timeline.counts.values()) + timeline.lost == 20 * ROOM
    assert timeline.lost == 0


def test_more_places_than_moments_are_counted():
    timeline = Timeline()
    for group in range(2 * ROOM):
        timeline.add(1_000_000, group, 1, 1)
    assert (len(timeline.counts), timeline.lost) == (ROOM, ROOM)
