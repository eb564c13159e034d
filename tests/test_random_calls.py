"""
A program that makes random system calls neither escapes nor hangs, and ends nobody else;
and where all is allowed, each of its network calls is answered as natively.

The seeds are fixed, but for one that a failure prints: NETJAIL_SEED repeats it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from jail import Result, Runner, read_events, unmet
from servers import Server

CALLS = 120  # of each of a worker's threads
SEEDS = [
    pytest.param("1", id="one"),
    pytest.param("2", id="another"),
    pytest.param(os.environ.get("NETJAIL_SEED", ""), id="a-random-one"),
]
MEGABYTES = 100  # of the largest process of a run: the supervisor with all that it remembers

# What it does in namespaces of its own: whatever goes astray stays there.
BOX = ["unshare", "--pid", "--mount-proc", "--ipc", "--uts", "--fork", "--kill-child"]
# Process 1 there: not the front, because an init is special. It tells the largest's size.
INIT = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print("kilobytes", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status if status >= 0 else 128 - status)
"""


@pytest.fixture
def box(runner: Runner) -> list[str]:
    """The words that put a command into namespaces, where the kernel lets us."""
    init = ["python3", "-S", "-c", INIT]
    if os.getuid():
        return init
    if runner.run([*BOX, *init, "true"]).exit_code:
        unmet("unshare is not permitted here")
    return [*BOX, *init]


@pytest.fixture
def servers(serve: Callable[..., Server], runner: Runner) -> list[Server]:
    """The allowed one, then canaries of each kind."""
    place = runner.workdir
    name = f"@{place.name}"
    inet = [serve(kind, address) for kind in ("tcp", "udp") for address in ("127.0.0.1", "::1")]
    paths = [serve("unix", f"{place}/stream"), serve("unix-dgram", f"{place}/datagram")]
    abstract = [serve("unix", f"{name}-stream"), serve("unix-dgram", f"{name}-datagram")]
    return [serve("tcp"), *inet, *paths, *abstract]


def told(seed: str) -> str:
    """*seed*, or a random one; a failure shows which."""
    seed = seed or str(random.SystemRandom().randrange(2**32))
    print(f"NETJAIL_SEED={seed}")
    return seed


def counts(result: Result) -> dict[str, str]:
    """What the program and the init print: how much of what."""
    assert result.exit_code == 0, f"{result.stdout}\n{result.stderr}"
    return dict(line.rsplit(" ", 1) for line in result.stdout.splitlines())


def reached(result: Result) -> int:
    """How often the sane client beside got through, by its own count."""
    return int(counts(result)["reached"])


def test_natively_it_reaches_every_canary(runner, box, servers):
    """Else the tests below would say nothing."""
    command = runner.command(fixture="random_calls", args=["1", str(CALLS)], to=servers)
    assert reached(runner.run([*box, *runner.user.prefix, *command])) > 0
    assert [server.kind for server in servers if not server.accepted] == []


def test_natively_every_kind_of_call_is_made(runner, box, servers):
    command = runner.command(fixture="random_calls", args=["2", str(CALLS)], to=servers)
    result = runner.run([*box, *runner.user.prefix, *command])
    assert [name for name, count in counts(result).items() if count == "0"] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_it_opens_nothing_and_ends(runner, box, servers, seed):
    seed = told(seed)
    allowed, *canaries = servers
    journal = runner.workdir / "events.jsonl"
    options = ("--allow", f"127.0.0.1:{allowed.port}")
    what = {"fixture": "random_calls", "args": [seed, str(CALLS)], "to": servers}
    words = [*box, *runner.jailed(*options, events=journal), *runner.command(**what)]
    result = runner.run(words)
    assert allowed.accepted >= reached(result) > 0
    assert [server.target for server in canaries if server.accepted] == []
    events = read_events(journal)
    assert (events[-1]["type"], events[-1]["code"]) == ("end", 0)
    assert sum(event["type"] == "attempt" for event in events) > 100
    assert int(counts(result)["kilobytes"]) < MEGABYTES << 10


ANY = ("--allow", "any", "--allow", "unix:*", "--allow", "unix:@*")
ALONE = 1500  # calls
# Of a call that is wrong in two ways either error may be told; in so many of them.
TWICE_WRONG = 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_alone_it_is_answered_as_natively(runner, servers, seed):
    """The kernel is the second reader of each address, length, message and vector."""
    args = [told(seed), str(ALONE), "alone"]
    # A queue of unix datagrams is full when its server is late.
    to = [server for server in servers if server.kind != "unix-dgram"]
    what = {"fixture": "random_calls", "args": args, "to": to}
    native, jailed = runner.native(**what), runner.trace(*ANY, **what)
    assert (native.exit_code, jailed.exit_code) == (0, 0), jailed.stderr
    pairs = list(zip(native.stdout.splitlines(), jailed.stdout.splitlines(), strict=True))
    assert len(pairs) == ALONE
    assert [pair for pair in pairs if not agree(*map(answer, pair))] == []
    assert sum(plain != held for plain, held in pairs) < TWICE_WRONG * ALONE


def answer(line: str) -> tuple[int, str]:
    """What the call returned, and the sum of the memory that all calls point to."""
    _, result, _, memory = line.rsplit(" ", 3)
    return int(result), memory


def agree(native: tuple[int, str], jailed: tuple[int, str]) -> bool:
    """The same result and the same memory, or both refused."""
    return native[1] == jailed[1] and (native[0] == jailed[0] or max(native[0], jailed[0]) < 0)
