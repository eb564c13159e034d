"""What passes between the stub, which is asked, and the loop, which judges."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from netjail.endpoints import Inet
from netjail.model import Attempt, Protocol
from netjail.policy.facts import UNKNOWN, Caller


class Asker(msgspec.Struct, frozen=True):
    """Whose question it is: the call that led a socket here."""

    process: int
    tid: int
    syscall: str
    who: object
    """For the judge, who knows what it is."""
    caller: Caller = UNKNOWN


class Ruling(msgspec.Struct, frozen=True):
    """What became of a question."""

    code: int | None
    """The RCODE of a refusal; None: it is answered."""
    why: str = ""
    token: int = 0
    """Of the attempt, 0 if nobody asked for its result."""
    stand_in: bool = False
    """It is answered with what stands in for the name."""


class Request:
    """A question that the stub's thread waits with, for the judge's."""

    def __init__(self, attempt: Attempt, asker: Asker) -> None:
        self.attempt = attempt
        self.asker = asker
        self.ruling: Ruling | None = None
        self.ruled = threading.Event()


Judge = Callable[[Asker, Protocol, Inet, str, str], Ruling]
"""
Asker, what carried it, the name server that was meant, name, type; no type: the message
was no question that could be asked.
"""

Done = Callable[[int, str, str], None]
"""A token, its result as the journal has it, and why it brought nothing."""
