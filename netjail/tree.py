"""
Who descends from whom, and what each process is called.

The core keeps names and parents from fork and exec on; this asks it once a process
and remembers a bounded number of answers.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import msgspec

from netjail.model import Process

KNOWN = 4096
"""Processes remembered; the others are asked for again."""
_DEPTH = 16  # as much of a chain as a person reads


class Lineage(NamedTuple):
    """A process and the names of its line, its own first: ``("curl", "make", "sh")``."""

    process: Process
    chain: tuple[str, ...]
    above: tuple[Process, ...] = ()
    """Its ancestors in the jail, the parent first; of theirs no directory and owner is known."""


class Tree:
    """
    The processes of a jail, asked for by the tid of a stopped task.

    :param ancestor: gives the process *depth* steps up from a tid, None past the top.
    """

    def __init__(self, ancestor: Callable[[int, int], Process | None]) -> None:
        self._ancestor = ancestor
        self._known: OrderedDict[int, Lineage] = OrderedDict()

    def of(self, tid: int, process: int) -> Lineage:
        """The caller, which is stopped, and its line; *process* is its stable id."""
        found = self._known.get(process)
        if found:
            self._known.move_to_end(process)
            return found
        found = self._ask(tid, process)
        self._known[process] = found
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return found

    def _ask(self, tid: int, process: int) -> Lineage:
        line: list[Process] = []
        while len(line) < _DEPTH and (one := self._ancestor(tid, len(line))):
            line.append(one)
        if not line:
            return Lineage(Process(process, 0, tid, "", ()), ("?",))
        above = [
            msgspec.structs.replace(one, parent=parent.id) for one, parent in pairwise(line)
        ] + line[-1:]
        who = msgspec.structs.replace(above[0], uid=_uid(tid), cwd=_cwd(tid))
        return Lineage(who, _chain(line), tuple(above[1:]))


def _chain(line: list[Process]) -> tuple[str, ...]:
    # A fork that has not exec'ed has its parent's image: say the name once.
    names: list[str] = []
    for before, one in zip([None, *line], line, strict=False):
        if before is None or (before.exe, before.argv) != (one.exe, one.argv):
            names.append(name_of(one))
    return tuple(name for name in names if name) or ("?",)


def name_of(process: Process) -> str:
    """
    What a person calls it: the program's name.

    A program can be given any name as its first argument; that one counts only if it is
    another name of the program, as ``redis-server`` is of ``redis-check-rdb``.
    """
    exe = process.exe.removesuffix(" (deleted)")
    program = os.path.basename(exe)
    called = os.path.basename(process.argv[0]) if process.argv else ""
    if not program or called == program:
        return called
    alias = os.path.join(os.path.dirname(exe), called)
    return called if called and os.path.realpath(alias) == exe else program


def _uid(tid: int) -> int:
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return -1
    return int(line.split()[2])  # real, effective, saved, file system: proc(5)


def _cwd(tid: int) -> str:
    try:
        return os.readlink(f"/proc/{tid}/cwd")
    except OSError:
        return ""
