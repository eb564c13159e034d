"""
The attacker: ``python -m netjail.doctor.attack READ WRITE``, in the jail or unguarded.

Requests come by the descriptor READ, a line of JSON each; what became of each goes to
WRITE. The probes are machine code of the compiled core, each in a child.
"""

from __future__ import annotations

import os
import sys

import msgspec

from netjail.kernel.doors import Scene, attempt


class Request(msgspec.Struct, frozen=True):
    """One probe to run."""

    name: str
    scene: Scene
    bound: int
    """In milliseconds."""


def serve(source: int, target: int) -> None:
    """Do as the requests say, until their end."""
    for fd in (source, target):
        os.set_inheritable(fd, False)
    decoder, encoder = msgspec.json.Decoder(Request), msgspec.json.Encoder()
    with open(source, "rb") as lines:
        for line in lines:
            request = decoder.decode(line)
            tried = attempt(request.name, request.scene, request.bound)
            os.write(target, encoder.encode(tried) + b"\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
