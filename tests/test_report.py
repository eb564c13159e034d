"""Grouped, counted, ordered, and bounded whatever a program does."""

from __future__ import annotations

import tracemalloc

import pytest
from scene import CHAIN, allowed, attempt, busy, denied, inet

from netjail.endpoints import Question, Unix, Unspecified
from netjail.model import Decision, Operation, Protocol, Reason
from netjail.report import GROUPS, Listener, Report, Scope, exit_status


def counters(report: Report) -> tuple[int, int, int, int]:
    return (report.attempted, report.allowed, report.denied, report.quiet)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        pytest.param(allowed(), (3, 3, 0, 0), id="allowed"),
        pytest.param(denied(), (3, 0, 3, 0), id="denied"),
        pytest.param(denied(Reason.NO_LISTENER), (3, 0, 0, 3), id="nobody-there-is-not-denied"),
        pytest.param(denied(Reason.NAME_SERVICE), (3, 0, 0, 3), id="nor-are-name-services"),
        pytest.param(denied(Reason.MALFORMED), (3, 0, 0, 3), id="nor-what-the-kernel-refuses"),
    ],
)
def test_counters(verdict, expected):
    report = Report()
    report.add(attempt(), verdict, CHAIN, 3)
    assert counters(report) == expected


def test_a_shut_door_is_no_network_call():
    report = Report()
    for _ in range(3):
        door = attempt(Unspecified(), operation=Operation.FORBIDDEN, syscall="ptrace")
        report.add(door, denied(Reason.STRUCTURE), CHAIN)
    assert counters(report) == (0, 0, 0, 0)
    assert [(group.syscall, group.count) for group in report.doors.values()] == [("ptrace", 3)]


ONE = (attempt(), denied())


@pytest.mark.parametrize(
    ("other", "groups"),
    [
        pytest.param(ONE, 1, id="the-same-is-counted"),
        pytest.param((attempt(syscall="sendto"), denied()), 1, id="whatever-the-syscall"),
        pytest.param((attempt(inet("192.0.2.2", 443)), denied()), 2, id="another-address"),
        pytest.param((attempt(inet("192.0.2.1", 80)), denied()), 2, id="another-port"),
        pytest.param((attempt(None, Protocol.UDP), denied()), 2, id="another-protocol"),
        pytest.param((attempt(), allowed()), 2, id="another-verdict"),
        pytest.param((attempt(), denied(Reason.RULE, rule="any")), 2, id="another-rule"),
    ],
)
def test_what_is_shown_as_one(other, groups):
    report = Report()
    report.add(*ONE, CHAIN)
    report.add(*other, CHAIN)
    assert len(report.groups) == groups
    assert sum(group.count for group in report.groups.values()) == 2


def test_a_look_up_is_its_name_whatever_type_and_server():
    report = Report()
    for kind, server in (("A", "192.0.2.53"), ("AAAA", "192.0.2.53"), ("A", "192.0.2.54")):
        question = Question("a.b", kind, inet(server, 53))
        of = attempt(question, Protocol.UDP, operation=Operation.RESOLVE)
        report.add(of, denied(name="a.b"), CHAIN)
    other = Question("c.d", "A", inet("192.0.2.53", 53))
    report.add(attempt(other, Protocol.UDP, operation=Operation.RESOLVE), denied(), CHAIN)
    assert [group.count for group in report.groups.values()] == [3, 1]


def test_a_name_is_one_place_with_many_addresses():
    report = Report()
    for last in range(20):
        report.add(attempt(inet(f"192.0.2.{last}", 443)), denied(name="example.org"), CHAIN)
    report.add(attempt(inet("192.0.2.1", 80)), denied(name="example.org"), CHAIN)
    first, second = report.select(Decision.DENY)
    assert (first.count, second.count) == (20, 1)
    assert len(first.places) == 8


def test_who_asked_is_counted():
    report = Report()
    for chain in (("a",), ("b",), ("a",)):
        report.add(attempt(), denied(), chain)
    (group,) = report.select(Decision.DENY)
    assert {chain: asker.count for chain, asker in group.askers.items()} == {("a",): 2, ("b",): 1}


def test_the_most_frequent_comes_first():
    report = busy()
    counts = [group.count for group in report.select(Decision.DENY)]
    assert counts == sorted(counts, reverse=True)
    assert [group.count for group in report.select(Decision.DENY, {Reason.FOREIGN})] == [1]


def test_rules_are_counted():
    used = {place: use.count for place, use in busy().rules.items()}
    ruled = {("netjail.toml:3:9", "private"): 2, ("--allow", "2001:db8::/32"): 1}
    assert used == {**ruled, ("", "self"): 230}


def test_listeners_and_warnings_are_said_once():
    report = Report()
    for _ in range(3):
        report.listen(Listener(inet("::", 80), Protocol.TCP, Scope.MACHINE, CHAIN))
        report.warn("w")
    assert list(report.listeners.values()) == [3]
    assert report.warnings == {"w": 3}


def hostile(report: Report, number: int) -> None:
    """A different everything each time."""
    chain = (f"name{number}",)
    address = inet(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 80)
    report.add(attempt(address), denied(), chain)
    report.add(attempt(inet("192.0.2.1", 443)), denied(), chain)
    report.add(attempt(Unix(str(number).encode())), denied(Reason.NAME_SERVICE), chain)
    report.listen(Listener(address, Protocol.TCP, Scope.MACHINE, chain))
    report.warn(str(number))


def test_memory_is_flat_and_nothing_goes_uncounted():
    report = Report()
    for number in range(3 * GROUPS):
        hostile(report, number)
    tracemalloc.start()
    for number in range(3 * GROUPS, 6 * GROUPS):
        hostile(report, number)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 50_000
    assert len(report.groups) == GROUPS
    assert report.attempted == 18 * GROUPS
    shown = sum(group.count for group in report.groups.values())
    assert shown + report.crowded[Decision.DENY] == 18 * GROUPS
    assert report.lost == {"listeners": 6 * GROUPS - 100, "warnings": 6 * GROUPS - 50}


NOTHING, REFUSED, FINE, NOBODY = Report(), Report(), Report(), Report()
REFUSED.add(attempt(), denied(), CHAIN)
FINE.add(attempt(), allowed(), CHAIN)
NOBODY.add(attempt(), denied(Reason.NO_LISTENER), CHAIN)


@pytest.mark.parametrize(
    ("code", "fail_on", "report", "expected"),
    [
        pytest.param(0, "never", REFUSED, 0, id="the-command's-own-status"),
        pytest.param(0, "denied", REFUSED, 121, id="denied-and-asked-about"),
        pytest.param(3, "denied", REFUSED, 3, id="the-command's-failure-wins"),
        pytest.param(0, "denied", FINE, 0, id="allowed-is-not-denied"),
        pytest.param(0, "denied", NOBODY, 0, id="nobody-there-is-not-denied"),
        pytest.param(0, "attempt", NOBODY, 121, id="but-an-attempt"),
        pytest.param(0, "attempt", FINE, 121, id="an-allowed-attempt"),
        pytest.param(0, "attempt", NOTHING, 0, id="no-attempt"),
    ],
)
def test_exit_status(code, fail_on, report, expected):
    assert exit_status(code, fail_on, report, 121) == expected
    assert exit_status(code, fail_on, report, 7) == (7 if expected == 121 else expected)
