"""
32-bit programs, and i386's calls in 64-bit ones: judged and allowed like all others.

Most of it is elsewhere: a test that says ``every_abi`` runs its fixture as a 32-bit
program as well. Here is what only i386 has, and what mixes the two.
"""

from __future__ import annotations

import errno
import shlex

import pytest
from jail import every_abi, read_events
from test_follow import WAYS, reaches

DENIED = pytest.param((), errno.ECONNREFUSED, id="denied")
ALLOWED = pytest.param(("--allow", "{host}:{port}"), 0, id="allowed")
either = pytest.mark.parametrize(("options", "seen"), [DENIED, ALLOWED])

# Static, so that its code and data lie where the other mode reaches them.
MODES = ["-static", "-no-pie"]


@either
@every_abi
@pytest.mark.parametrize(
    ("how", "times"), [("far", 1), ("turns", 200), ("threads", 800)], ids=lambda each: str(each)
)
def test_a_program_in_the_processor_s_other_mode(trace, native, server, how, times, options, seen):
    what = {"fixture": "modes", "args": [how], "build": MODES, "to": server}
    assert native(**what).exit_code == 0
    assert server.accepted == times
    result = trace(*options, **what)
    assert result.exit_code == seen
    assert server.accepted == (times if seen else 2 * times)
    assert {event.verdict for event in result.attempts} == {"deny" if seen else "allow"}


@either
@pytest.mark.parametrize("build", [["-m32"], ["-m32", "-static"]], ids=["dynamic", "static"])
@pytest.mark.parametrize("way", WAYS)
def test_a_descendant_is_followed(trace, server, i386, way, build, options, seen):
    result = trace(*options, fixture="follow", args=[way], build=build, to=server)
    assert (result.exit_code, server.accepted) == (seen, 0 if seen else reaches(way))


@either
@pytest.mark.parametrize("abis", ["64 32 64", "32 64 32", "32 32", "64 32"])
def test_one_abi_starts_the_other(trace, program, server, i386, abis, options, seen):
    """Each has a vault of its own: nothing is inherited over an exec."""
    reach = [program("connect_inet", f"-m{bits}") for bits in abis.split()]
    script = "; ".join(shlex.join([path, server.target]) for path in reach)
    result = trace(*options, command=["sh", "-c", script], to=server)
    assert (result.exit_code, server.accepted) == (seen, 0 if seen else len(reach))
    assert sum(event.count for event in result.attempts) == len(reach)


def test_a_socketcall_is_told_by_its_own_name(trace, server, i386):
    result = trace(fixture="doors", args=["i386-socketcall"], to=server)
    (event,) = result.attempts
    assert (event.syscall, event.operation, event.verdict) == ("connect", "connect", "deny")


@every_abi
def test_arguments_that_cannot_be_read_are_told_of(trace, server):
    result = trace(fixture="socketcalls", args=[str(server.port)])
    found = [event for event in result.attempts if event.syscall == "socketcall"]
    assert found
    assert {(event.verdict, event.errno, event.reason) for event in found} == {
        ("deny", "EFAULT", "malformed")
    }


@pytest.mark.parametrize("storm", ["threads", "forks", "execs"])
def test_a_storm_of_32_bit_tasks_is_followed(trace, server, storm, i386):
    what = {"fixture": "storm", "args": [storm, "60"], "build": ["-m32"], "to": server}
    result = trace("--allow", "{host}:{port}", **what)
    assert (result.exit_code, result.stdout.strip()) == (0, "60")
    assert server.accepted == 60


def test_32_bit_arguments_are_shown_when_asked_for(runner, program, server, i386, workdir):
    events = workdir / "events.jsonl"
    words = [*runner.jailed("--show-args", events=events), program("connect_inet", "-m32")]
    runner.run([*words, server.target])
    (event,) = [event for event in read_events(events) if event["type"] == "attempt"]
    assert event["proc"]["argv"][1:] == [server.target]


@every_abi
def test_random_calls_reach_nobody_and_hold_nobody_up(trace, native, serve):
    udp = serve("udp")
    what = {"fixture": "random_i386", "args": ["7", "150"], "to": udp}
    assert native(**what).exit_code == 0
    assert udp.accepted > 0
    before = udp.accepted
    result = trace(**what)
    assert (result.exit_code, result.stdout) == (0, "150\n")
    assert udp.accepted == before
    allowed = trace("--allow", "{host}:{port}", **what)
    assert (allowed.exit_code, allowed.stdout) == (0, "150\n")
    assert udp.accepted > before
