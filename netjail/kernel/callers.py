"""Who a task of the jail is, and who stands above it, out of the core."""

from __future__ import annotations

import os
from typing import Any

from netjail.kernel._core import ffi, lib
from netjail.model import Process
from netjail.policy.facts import UNKNOWN, Caller


def ancestor(jail: Any, tid: int, depth: int) -> Process | None:
    """The process *depth* steps above the task *tid*, 0 for its own; as it is shown."""
    found = ffi.new("struct nj_ancestor *")
    if lib.nj_ancestor(jail, tid, depth, found) < 0:
        return None
    return Process(found.id, 0, found.pid, _program(found), _words(found))


def caller(jail: Any, tid: int, process: int) -> Caller:
    """What is proven of *process*, of which *tid* is a task; nothing, if it is no more."""
    found = ffi.new("struct nj_caller *")
    if lib.nj_caller(jail, tid, process, 0, found) <= 0:
        return UNKNOWN
    exe, argv, whole = _program(found), _words(found), bool(found.whole)
    ancestors = [exe] if found.forked else []
    step = 1
    while (result := lib.nj_caller(jail, tid, process, step, found)) > 0:
        ancestors.append(_program(found))
        step += 1
    return Caller(exe, argv, whole, tuple(ancestors), rooted=not result)


def _program(found: Any) -> str:
    return os.fsdecode(ffi.string(found.exe))


def _words(found: Any) -> tuple[str, ...]:
    words = ffi.buffer(found.argv, found.argv_size)[:]
    return tuple(map(os.fsdecode, words.removesuffix(b"\0").split(b"\0"))) if words else ()
