"""Whatever processes and threads do to each other meanwhile: what is denied is not reached."""

from __future__ import annotations

import errno

import pytest

# how, how often, whether the allowed server is reached in the jail
BESIDE = [
    pytest.param("nothing", 1, True, id="nothing"),
    pytest.param("exec-while-blocked", 20, True, id="an-exec-beside-calls-that-hold-slots"),
    pytest.param("exec-storm", 20, True, id="execs-by-threads-beside-first-calls"),
    pytest.param("exec-in-vfork", 5, True, id="the-same-in-the-child-of-a-vfork"),
    pytest.param("ends", 200, True, id="ends-and-stops-at-any-point-of-a-first-call"),
    pytest.param("dispatch", 20, True, id="system-calls-that-become-signals"),
    # An interruption, and each stop is one, sends it to the abort handler.
    pytest.param("sequence", 20, False, id="restartable-sequences"),
    pytest.param("threads", 4000, True, id="four-thousand-threads"),
    pytest.param("forks", 1000, True, id="a-thousand-forks-and-vforks"),
]


@pytest.mark.parametrize(("how", "count", "reached"), BESIDE)
def test_what_happens_beside_a_call_lets_nothing_out(trace, native, serve, how, count, reached):
    allowed, denied = serve("udp"), serve("udp")
    what = {"fixture": "beside", "args": [how, str(count)], "to": [allowed, denied]}
    assert native(**what).exit_code == 0
    assert denied.accepted
    before = allowed.accepted, denied.accepted
    rules = ("--allow", "{host}:{port}", "--allow", "tcp://127.0.0.1")
    result = trace(*rules, **what)
    assert result.exit_code == errno.ECONNREFUSED, result.stderr
    assert denied.accepted == before[1]
    assert (allowed.accepted > before[0]) == reached
    assert result.end  # the journal is whole, to its last line


GREEDY = """
import os, socket, sys
status = open(f"/proc/{sys.argv[1]}/status").read()
def resident():
    return int(open(f"/proc/{tracer}/statm").read().split()[1]) * 4
tracer = int(status.split("TracerPid:")[1].split()[0])
peer = ("127.0.0.1", int(sys.argv[2]))
def storm(count):
    for _ in range(count):
        pid = os.fork()
        if not pid:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", peer)
            os._exit(0)
        os.waitpid(pid, 0)
storm(4500)
before = resident()
storm(1500)
print(resident() - before)
"""


@pytest.mark.timeout(600)  # a busy machine takes its time
def test_a_fork_storm_costs_the_supervisor_no_memory(trace, serve):
    """Each child is a process of its own, with an attempt of its own."""
    allowed = serve("udp")
    command = ["python", "-S", "-c", GREEDY, "self", str(allowed.port)]
    result = trace("--allow", f"127.0.0.1:{allowed.port}", command=command, timeout=500)
    assert result.exit_code == 0, result.stderr
    assert allowed.accepted == 6000
    assert int(result.stdout) < 1024  # KiB
