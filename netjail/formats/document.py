"""
A report as data: what every format is made of, and what ``json`` prints.

``netjail/report/1``. Everything of a program's own choosing is as ``records`` made it:
strict UTF-8, of bounded length, but not yet fit for a terminal or a page: each format
escapes for itself. Times are RFC 3339 in UTC, as in the journal.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA = "netjail/report/1"

State = Literal["ok", "denied", "unknown"]


class Totals(msgspec.Struct, frozen=True):
    """Calls, not lines; *attempted* is the sum of the others."""

    attempted: int = 0
    allowed: int = 0
    denied: int = 0
    quiet: int = 0
    """Refused, but nobody asked about: see ``model.QUIET``."""


class Result(msgspec.Struct, frozen=True):
    """One of the three answers to "how did it end": of program, policy and supervisor."""

    state: Literal["ok", "failed", "unknown"]
    text: str
    """``exit status 0``; ``3 of 14 network calls denied``; ``the journal was cut off``."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one command."""

    id: int
    """Counts from 1; what the other parts refer to."""
    journal: str = ""
    """The file that it was read from, "" for the run that ends with this report."""
    command: tuple[str, ...] = ()
    mode: Literal["enforce", "audit"] = "enforce"
    start: str = ""
    end: str = ""
    duration: float | None = None
    """Seconds; None where the end is not known."""
    code: int | None = None
    """The command's exit status."""
    signal: int = 0
    program: Result
    policy: Result
    supervisor: Result
    totals: Totals = Totals()
    files: tuple[str, ...] = ()
    """The policy's files."""
    layers: tuple[dict[str, Any], ...] = ()
    """The policy's rules, as ``StartRecord.policy`` has them."""
    versions: dict[str, str] = {}
    host: dict[str, str] = {}
    assurance: str = ""
    dropped: tuple[str, ...] = ()
    passed: dict[str, str] = {}
    redacted: tuple[str, ...] = ()
    """What was left out on purpose: ``arguments``."""
    proxies: dict[str, str] = {}
    """``https_proxy`` and its like, without credentials: the rules then judge the proxy."""


class Asker(msgspec.Struct, frozen=True):
    """A program that asked for a destination."""

    chain: tuple[str, ...]
    """Names, its own first."""
    count: int
    processes: tuple[tuple[int, int], ...] = ()
    """(run, process id) of the first few."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts at one place that came out the same way."""

    id: int
    shown: str
    """As a person reads it: ``example.org:443``, ``unix:/run/x``, ``look-up of example.org``."""
    kind: Literal["inet", "unix", "lookup", "other"]
    verdict: Literal["allow", "deny"]
    reason: str
    """A ``model.Reason``."""
    counted: bool = True
    """Whether it counts as denied: see ``model.QUIET``."""
    carried: bool = True
    """False in audit: the verdict was not carried out."""
    owner: str = ""
    """What kind of address: ``loopback``, ``private``, ``link-local``, ``metadata``,
    ``multicast``, ``public``, ``special``; of the first place."""
    proto: str = ""
    name: str = ""
    names: tuple[str, ...] = ()
    known: str = ""
    """How the name is known, see ``records.Dest``."""
    places: tuple[str, ...] = ()
    """The first few addresses, paths."""
    port: int | None = None
    lookup: str = ""
    """The record types that were asked for."""
    syscall: str = ""
    rule: str = ""
    layer: str = ""
    why: str = ""
    fix: str = ""
    errno: str = ""
    redirect: str = ""
    """Where the calls went instead, as ``127.0.0.1:8443``."""
    count: int = 0
    first: str = ""
    last: str = ""
    results: dict[str, int] = {}
    """What the kernel answered: ``{"ok": 3, "ETIMEDOUT": 1}``."""
    failure: str = ""
    """Why a look-up that was let through brought nothing: ``192.0.2.53 answered SERVFAIL``."""
    askers: tuple[Asker, ...] = ()
    others: int = 0
    """Attempts by programs that found no room in *askers*."""
    runs: tuple[int, ...] = ()


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A program image that asked for something, or an ancestor of one that did."""

    run: int
    id: int
    parent: int
    """0: the command itself, or its parent is not known."""
    pid: int
    name: str
    exe: str
    argv: tuple[str, ...] = ()
    cwd: str = ""
    uid: int = -1
    start: str = ""
    destinations: dict[int, int] = {}
    """Destination id: how many attempts."""


class Listener(msgspec.Struct, frozen=True):
    """A socket that accepts."""

    shown: str
    proto: str
    scope: str
    """A ``report.Scope``."""
    chain: tuple[str, ...]
    fix: str = ""
    count: int = 1


class Door(msgspec.Struct, frozen=True):
    """A call that is refused whatever the rules say."""

    syscall: str
    count: int
    why: str
    askers: tuple[Asker, ...] = ()


class RuleUse(msgspec.Struct, frozen=True):
    """How often a rule decided; 0: it is unused."""

    rule: str
    layer: str
    kind: Literal["allow", "deny", "self"]
    count: int = 0
    first: str = ""
    last: str = ""
    reason: str = ""


class Notice(msgspec.Struct, frozen=True):
    """What the user should know."""

    text: str
    count: int = 1


class Moment(msgspec.Struct, frozen=True):
    """A point of the timeline: attempts at one destination at about one time."""

    ts: str
    destination: int
    count: int
    run: int = 1


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report."""

    schema: Literal["netjail/report/1"] = "netjail/report/1"
    headline: str
    """The verdict in one line."""
    state: State
    """``denied``: something counted as denied, or would have been in audit."""
    generated: str
    generator: str
    """``netjail 0.1.0``."""
    totals: Totals
    runs: tuple[Run, ...]
    destinations: tuple[Destination, ...] = ()
    """Those that were denied first, then the most frequent."""
    processes: tuple[Process, ...] = ()
    listeners: tuple[Listener, ...] = ()
    doors: tuple[Door, ...] = ()
    rules: tuple[RuleUse, ...] = ()
    """Every rule of the policy, unused ones too."""
    warnings: tuple[Notice, ...] = ()
    timeline: tuple[Moment, ...] = ()
    omitted: dict[str, int] = {}
    """
    What found no room: ``attempts_denied`` and ``attempts_allowed`` at other destinations,
    ``listeners``, ``warnings``, ``rules``, ``processes``, ``moments``.
    """
