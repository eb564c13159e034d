"""What ties the front, the supervisor and their children together."""

from __future__ import annotations

from typing import Any

import msgspec

from netjail.errors import KernelError, TraceeGone
from netjail.kernel._core import ffi, lib


def check(result: int, operation: str) -> int:
    """A result of the core, or its error as an exception."""
    if result >= 0:
        return result
    # ESRCH: the task was killed while it was stopped; its end will be reported.
    raise (TraceeGone if result == -3 else KernelError)(operation, -result)


class Shared:
    """The page that the front and the supervisor share; see ``api.h``."""

    def __init__(self) -> None:
        ret = ffi.new("struct nj_shared **")
        check(lib.nj_shared_new(ret), "mmap")
        self.page: Any = ret[0]

    @property
    def give_up(self) -> bool:
        """The user wants what is left ended."""
        return bool(self.page.give_up)

    def end(self, code: int, signal: int) -> None:
        """Tell the front how to leave."""
        self.page.exit_code = code
        self.page.exit_signal = signal
        self.page.ended = 1


class Links(msgspec.Struct, frozen=True):
    """What ties the supervisor to the front and its children."""

    shared: Shared
    front: int
    channel: int
    """Where the child reports itself."""
    holder: int
    """Where the holder takes files from."""
    attached: int
    """To write to when front and child are held."""
