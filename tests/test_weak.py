"""
The jail on a host without Landlock's scopes: what the filter can see is held all the same,
what it cannot see is said, and programs that signal their own still work.
"""

from __future__ import annotations

import pytest
from confine import NO_LANDLOCK, Host
from jail import every_abi, inside, needs
from test_outside import changes, rows, state, victim  # noqa: F401

WEAK = Host(NO_LANDLOCK, None)

# What no register tells, see docs/threat-model.md.
UNSEEN = ["mem", "open-file", "root", "directory", "memory-map", "environment", "namespace"]
UNSEEN += ["comparison", "counter"]
SIGNALS = ["kill", "kill-group", "tgkill", "tkill", "queue", "queue-thread", "pidfd"]
SIGNALS += [row for row in rows() if row.startswith("owner")]


@pytest.mark.parametrize("way", [row for row in rows() if row not in UNSEEN])
def test_what_the_filter_sees_is_held(trace_in, victim, way):  # noqa: F811
    before = state(victim)
    result = trace_in(WEAK, fixture="outside", args=[way, str(victim)])
    assert result.exit_code not in (None, 0, 200), result.stderr
    assert state(victim) == before


@every_abi
@pytest.mark.parametrize("way", SIGNALS)
def test_a_signal_by_any_abi_is_held(runner, trace_in, victim, way):  # noqa: F811
    """And kills where there is no jail."""
    before = state(victim)
    result = trace_in(WEAK, fixture="outside", args=[way, str(victim)])
    assert result.exit_code not in (None, 0, 200), result.stderr
    assert state(victim) == before
    assert runner.native(fixture="outside", args=[way, str(victim)]).exit_code == 0
    assert changes(victim, before)


SHARED = """
sleep 1000 </dev/null >/dev/null 2>&1 & other=$!
"$@"
echo $?
kill -0 $other && echo lives
kill -9 $other
"""


@pytest.mark.parametrize("signal", ["TERM", "KILL", "USR1"])
def test_a_group_shared_with_others_is_hit_in_the_jail_only(runner, signal):
    """As behind a pipe, or in a script: natively all of the group are hit."""
    kill = ["sh", "-c", f"kill -{signal} 0; echo no"]
    plain = runner.run([*runner.user.prefix, "sh", "-c", SHARED, "sh", *kill])
    assert (plain.status < 0, plain.stdout) == (True, "")
    jailed = runner.run([*runner.user.prefix, "sh", "-c", SHARED, "sh", *around(runner), *kill])
    number = {"TERM": 15, "KILL": 9, "USR1": 10}[signal]
    assert jailed.stdout.split() == [str(128 + number), "lives"], jailed.stderr


def around(runner):
    """The words that jail what follows, for who is its user already."""
    return [*WEAK.around(runner)[len(runner.user.prefix) :], *runner.inner("-q")]


EVERYBODY = """
sleep 1000 & other=$!
"$@"
kill -TERM $other; wait $other; test $? = 143 && echo lives
"""


def test_a_signal_to_everybody_is_for_the_jail(runner):
    """In a pid namespace of the test's own: natively it is for whoever is there."""
    code = "sleep 1000 & kill -9 -1; wait $!; echo $?"
    words = ["sh", "-c", EVERYBODY, "sh"]
    plain = inside(runner, "-rpfm", "mount -t proc proc /proc", *words, "sh", "-c", code)
    assert plain.stdout.split() == ["137"]
    jailed = inside(
        runner, "-rpfm", "mount -t proc proc /proc", *words, *around(runner), "sh", "-c", code
    )
    assert jailed.stdout.split() == ["137", "lives"], jailed.stderr


JOBS = """
set -m
sleep 100 &
kill %1; wait %1; echo $?
(trap 'echo asked' USR1; kill -USR1 0; echo on; sleep 0)
sleep 100 & sleep 100 | sleep 100 &
kill -STOP %2; kill -CONT %2; kill -9 %1 %2; wait; echo ended
kill -0 $$; echo $?
kill -0 999999999; echo $?
"""

ZOMBIE = """
import asyncio, os, signal, sys
child = os.fork()
if not child:
    os._exit(3)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
os.kill(child, 0), os.kill(child, signal.SIGTERM), os.close(os.pidfd_open(child))
print(os.waitpid(child, 0)[1])
try:
    os.kill(child, 0)
except ProcessLookupError:
    print("gone")
async def run():
    process = await asyncio.create_subprocess_exec("sleep", "100")
    process.terminate()
    print(await process.wait())
asyncio.run(run())
"""

POOL = """
import multiprocessing, time
if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print(sum(pool.map(abs, range(100))))
    process = multiprocessing.Process(target=time.sleep, args=(100,))
    process.start()
    process.terminate()
    process.join()
    print(process.exitcode)
"""

OWNER = """
import fcntl, os, signal
signal.signal(signal.SIGIO, lambda *_: print("io"))
reader, writer = os.pipe()
os.setsid() if os.getpid() != os.getsid(0) and os.getpgrp() != os.getpid() else None
for owner in (os.getpid(), -os.getpgrp(), 0, os.getpid()):
    print(fcntl.fcntl(reader, fcntl.F_SETOWN, owner))
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
os.write(writer, b"x")
"""

SENDER = """
use POSIX;
sigaction(SIGUSR1, POSIX::SigAction->new(sub {
    my (undef, $info) = @_;
    print $info->{pid} == $$, " $info->{code} $info->{errno} $info->{uid}\\n";
}, POSIX::SigSet->new, POSIX::SA_SIGINFO));
kill "USR1", $$;
kill "USR1", 0;
kill "-USR1", getpgrp;
"""

MAKE = "all: a b c d; @echo done\n%: ; @sleep 0; kill -0 $$$$ && touch $@.made\n"

WORK = [
    pytest.param(["bash", "-c", JOBS], id="jobs"),
    pytest.param(["timeout", "0.2", "sleep", "100"], id="timeout"),
    pytest.param(["timeout", "-s", "KILL", "0.2", "sleep", "100"], id="timeout-kill"),
    pytest.param(["timeout", "0.2", "sh", "-c", "sleep 100 & wait"], id="timeout-group"),
    pytest.param(["sh", "-c", "trap 'echo 1' TERM; kill 0; echo 2"], id="own-group"),
    pytest.param(["sh", "-c", "sleep 100 & kill 0"], id="whole-group"),
    pytest.param(["python", "-c", ZOMBIE], id="zombie"),
    pytest.param(["python", "-c", POOL], id="multiprocessing"),
    pytest.param(["python", "-c", OWNER], id="owner"),
    pytest.param(["perl", "-e", SENDER], id="sender"),
    pytest.param(["sh", "-c", 'printf "$0" > M; exec make -sf M -j3', MAKE], id="make"),
    pytest.param(
        ["unshare", "-rpf", "--mount-proc", "sh", "-c", "sleep 9 & kill -9 $!; wait; kill -9 -1"],
        id="pid-namespace",
    ),
]


@pytest.mark.parametrize("command", WORK)
def test_who_signals_its_own_works(runner, trace_in, command):
    needs(command[0])
    plain = runner.native(command=command)
    jailed = trace_in(WEAK, command=command)
    assert (jailed.status, jailed.stdout) == (plain.status, plain.stdout), jailed.stderr


def test_a_server_is_shut_down(runner, trace_in):
    needs("redis-server", "redis-cli")
    code = """
redis-server --port 0 --unixsocket here --save '' --daemonize no >log & server=$!
until redis-cli -s here ping 2>/dev/null; do :; done
kill $server; wait $server; echo $?; grep -c 'bye bye' log
"""
    plain = runner.native(command=["sh", "-c", code])
    jailed = trace_in(WEAK, command=["sh", "-c", code])
    assert (jailed.status, jailed.stdout) == (plain.status, plain.stdout), jailed.stderr


def test_it_is_said(trace_in, serve):
    server = serve()
    rule = f"127.0.0.1:{server.port}"
    result = trace_in(WEAK, "--allow", rule, fixture="connect_inet", to=server)
    assert result.start.assurance == "vault weak"
    assert {event.assurance for event in result.attempts} == {"vault weak"}
    assert result.stderr.count("no Landlock scopes here") == 1
    assert "6.12" in " ".join(result.stderr.split())
