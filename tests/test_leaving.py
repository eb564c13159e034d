"""
Packets that would leave where no rule looked: judged by who listens at the wire.

Each way is run natively first, in a network namespace with a cable, and must be heard at
its other end; then in the jail, where it must not.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from jail import BROKEN, inside

SNIFF = Path(__file__).with_name("sniff.py")

# Two ends of a cable. Neighbours and addresses are there at once: nobody has to ask.
CABLE = """
ip link set lo up
ip link add here type veth peer name there
ip link set here addrgenmode none
ip link set there addrgenmode none
ip link set here up
ip link set there up
ip address add 192.0.2.1/24 dev here
for address in 2001:db8::1/64 fe80::1/64; do ip -6 address add $address dev here nodad; done
for host in 192.0.2.5 192.0.2.9 2001:db8::5 2001:db8::9 fe80::9; do
    ip neighbour add $host lladdr 02:00:00:00:00:09 dev here
done
ip route add default via 192.0.2.9
ip -6 route add default via 2001:db8::9
"""

# Everything is allowed but the hop by which it would go.
ALLOWED = ("--allow", "any !192.0.2.9 ![2001:db8::9]")

STEERED = [
    "bind-link-local",
    "bind-multicast",
    "bind-flipped",
    "connect-link-local",
    "connect-link-local-mapped",
    "bindtodevice",
    "bindtoifindex",
    "unicast-if",
    "unicast-if6",
    "sticky-pktinfo6",
    "pktinfo",
    "pktinfo-last",
    "pktinfo6",
    "pktinfo6-old",
    "pktinfo6-mapped",
]
ROUTED = [
    "route-loose",
    "route-strict",
    "route-control",
    "route-control-last",
    "route6",
    "route6-control",
    "route6-control-old",
    "route6-label",
]
BY_HAND = [
    "packet-raw",
    "packet-dgram",
    "packet-old",
    "raw-whole",
    "raw-icmp",
    "raw-udp",
    "raw-any",
    "raw6-icmp",
    "raw6-any",
    "raw6-whole",
]
# What this kernel has not: segment routing, Mobile IPv6.
OPTIONAL = {"route6", "route6-control", "route6-control-old", "route6-label"}


def sniffed(runner, program, words, way, script=CABLE, devices=("there", "here")):
    """How it ended, and how many packets were heard."""
    listen, send = devices
    sniff = [runner.python, str(SNIFF), listen, send, "--"]
    result = inside(runner, "-rn", script, *sniff, *words, program("leave"), way, send)
    return result.exit_code, int(result.stdout.splitlines()[-1]), result


@pytest.mark.parametrize("way", STEERED + ROUTED + BY_HAND)
def test_nothing_leaves_by_it(runner, program, way):
    status, heard, plain = sniffed(runner, program, [], way)
    if way in OPTIONAL and status == errno.EINVAL:
        applicable = False
    else:
        assert (status, heard > 0) == (0, True), plain.stderr
        applicable = True
    status, heard, jailed = sniffed(runner, program, runner.inner(*ALLOWED), way)
    assert heard == 0, jailed.stderr
    assert status not in (None, 0, BROKEN, 125)
    assert applicable or status == errno.EPERM  # shut before the kernel looks at it
    # A socket that was tied after all would be refused when it sends: held, but too late.
    assert way != "bind-flipped" or status == errno.ETIMEDOUT
    assert "denied" in jailed.stderr or "always shut" in jailed.stderr


TAP = """
ip link set lo up
ip tuntap add dev wire mode tap
ip link set wire addrgenmode none
ip link set wire up
"""


def test_a_tap_device_takes_no_packets(runner, program):
    """One that an administrator made and gave to nobody is anybody's."""
    if runner.run([*runner.user.prefix, "sh", "-c", ": <>/dev/net/tun"]).exit_code:
        pytest.skip("this user may not open /dev/net/tun")
    what = {"script": TAP, "devices": ("wire", "wire")}
    status, heard, plain = sniffed(runner, program, [], "tap", **what)
    assert (status, heard) == (0, 1), plain.stderr
    status, heard, jailed = sniffed(runner, program, runner.inner(*ALLOWED), "tap", **what)
    assert (status, heard) == (errno.EPERM, 0), jailed.stderr


@pytest.mark.parametrize(
    "way", ["plain", "plain6", "plain-by-device", "label", "link-local", "multicast"]
)
def test_what_a_rule_allows_leaves(runner, program, way):
    """The control of the above: it is heard, once natively and once from the jail."""
    for words in ([], runner.inner(*ALLOWED)):
        status, heard, result = sniffed(runner, program, words, way)
        assert (status, heard) == (0, 1), result.stderr


@pytest.mark.parametrize("way", ["plain", "plain6", "label", "link-local", "multicast"])
def test_what_no_rule_allows_does_not(runner, program, way):
    status, heard, _ = sniffed(runner, program, runner.inner("--allow", "loopback"), way)
    assert (status, heard) == (errno.ECONNREFUSED, 0)
