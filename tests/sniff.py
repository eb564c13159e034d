"""
Listen at a device while a command runs: sniff.py LISTEN SEND -- COMMAND…

Ends as the command does; the last line on stdout is how many frames held the marker.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

MARKER = b"netjail-marker"
_EVERYTHING = 3  # ETH_P_ALL of linux/if_ether.h


def _frames(sniffer: socket.socket, sender: socket.socket | None) -> list[bytes]:
    """All that came; a packet waits in its CPU's backlog until one sent after it has come."""
    found: list[bytes] = []
    cpus = os.sched_getaffinity(0) if sender else set()
    for cpu in cpus:
        assert sender is not None
        os.sched_setaffinity(0, {cpu})
        last = b"\x02" * 12 + b"\x88\xb5" + os.urandom(46)
        sender.send(last)
        while (frame := sniffer.recv(65536)) != last:
            found.append(frame)
    sniffer.setblocking(False)
    while True:
        try:
            found.append(sniffer.recv(65536))
        except BlockingIOError:
            return found


def main(listen: str, send: str, *command: str) -> int:
    """Run *command* and count; *send* is the other end of *listen*, or the same device."""
    family = socket.AF_PACKET
    sniffer = socket.socket(family, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    sniffer.bind((listen, 0))
    sniffer.settimeout(60)
    sender = None
    if send != listen:
        sender = socket.socket(family, socket.SOCK_RAW)
        sender.bind((send, 0))
    status = subprocess.run(command, check=False).returncode
    print(sum(MARKER in frame for frame in _frames(sniffer, sender)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], *sys.argv[4:]))
