"""Traffic that means well is left alone, next to every door that is shut."""

from __future__ import annotations

import pytest
from jail import inside


@pytest.mark.parametrize("rule", ["udp://224.0.0.251", "any"], ids=["self", "by-a-rule"])
def test_a_program_s_own_datagrams_arrive_as_they_would(runner, program, rule):
    """GSO, ECN, TTL, a source of one's own, time stamps, corks, passed descriptors, mDNS."""
    rules = ("--fail-on", "denied", "--allow", rule)
    words = [program("well_meant")]
    up = "ip link set lo up"
    plain = inside(runner, "-rn", up, *words)
    assert (plain.exit_code, len(plain.stdout.splitlines()) > 100) == (0, True), plain.stderr
    jailed = inside(runner, "-rn", up, *runner.inner(*rules), *words)
    assert jailed.stdout.splitlines() == plain.stdout.splitlines()
    assert jailed.exit_code == 0, jailed.stderr


LOOPS = """
import asyncio, os, socket, sys, threading

async def echo(reader, writer):
    writer.write(await reader.read(100))
    writer.close()

async def main():
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set,)).start()
    await woken.wait()
    print(await asyncio.to_thread(lambda: "from a thread"))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(input())",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print((await child.communicate(b"from a child"))[0])
    reader, writer = os.pipe()
    done = asyncio.Event()
    loop.add_reader(reader, done.set)
    os.write(writer, b"x")
    await done.wait()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    there, back = await asyncio.open_connection(*server.sockets[0].getsockname())
    back.write(b"echo")
    print(await there.read(100))
    back.close()
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    await loop.sock_sendall(one, b"pair")
    print(await loop.sock_recv(other, 100))
    wake = os.eventfd(1, os.EFD_NONBLOCK)
    print(os.eventfd_read(wake))
    print(await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    print(socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM))

asyncio.run(main())
"""


def test_an_event_loop_wakes_up_as_it_would(trace, native):
    what = {"command": ["python", "-c", LOOPS]}
    plain = native(**what)
    assert plain.exit_code == 0, plain.stderr
    jailed = trace("--fail-on", "denied", **what)
    assert (jailed.exit_code, jailed.stdout) == (0, plain.stdout), jailed.stderr
    # The name service's socket, where it is there, belongs to somebody else.
    assert {event.reason for event in jailed.attempts if event.verdict == "deny"} <= {
        "name-service",
        "no-listener",
    }
