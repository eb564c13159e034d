"""
What the journal holds, as types: one struct a kind of line; and JSON of it and back.

Each line is an object with ``"schema":"netjail/event/1"`` and a ``type``. To add a
field, add it here with a default, so that older journals still read; to add a kind
of line, add its struct and put it into ``Record``; its maker goes to ``make``.
"""

from __future__ import annotations

import msgspec

SCHEMA = "netjail/event/1"

# gc=False: nothing here can be part of a cycle, and of large journals there are millions.


class Dest(msgspec.Struct, frozen=True, gc=False):
    """Where to; the fields that do not apply are empty."""

    ip: str = ""
    port: int | None = None
    name: str = ""
    """The host name whose rule decided, or that leads there; of a look-up, what was asked."""
    names: tuple[str, ...] = ()
    """Every name that leads there."""
    known: str = ""
    """
    How the names came to be known: ``asked`` for by the jail, by a ``rule``, in
    ``reverse`` from the address; ``none``: no name led to this address; ``stand-in``:
    the address was made up for the name, which only rules that lead elsewhere speak of.
    """
    type: str = ""
    """Of a look-up: ``A``, ``AAAA``."""
    unix: str = ""
    """A path, or ``@`` and an abstract name; a path that begins with ``@`` gets ``./``."""
    other: str = ""
    """Any other family, in words."""


class Seen(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """
    What the policy could ask of the world about an attempt, so that it can be judged
    again elsewhere: see ``policy.Facts``. Fields that say nothing are left out.
    """

    owners: dict[str, str] = {}
    """Protocol: a ``model.Owner``."""
    names: tuple[str, ...] = ()
    """Names that lead there as the supervisor's own look-ups say, or, of a look-up of an
    address's name, to that address."""
    trusted: tuple[str, ...] = ()
    """Those of *names* that may give a private address."""
    resolver: bool = False
    """It goes to a configured name server."""
    search: tuple[str, ...] = ()
    """Of a look-up: the domains that resolvers append."""
    missing: str = ""
    """The errno that looking up a unix path gave."""
    path: str = ""
    """A unix path absolute and without links, if it is there."""
    raw: str = ""
    """``Dest.unix`` in hexadecimal, where its text does not say every byte."""
    raw_path: str = ""
    """The same of *path*."""
    who: bool = False
    """Rules asked who calls: the next three say what was proven."""
    program: str = ""
    """The caller's program; empty: not known."""
    ancestors: tuple[str, ...] = ()
    """The programs that it was started by."""
    rooted: bool = False
    """Those are all, up to the command."""


class Proc(msgspec.Struct, frozen=True, gc=False):
    """Who asked."""

    id: int
    pid: int
    tid: int
    exe: str
    argv: tuple[str, ...]
    chain: tuple[str, ...]
    """Names, the asking program first, then who started it, and so on."""
    cwd: str
    uid: int


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    schema: str = SCHEMA
    ts: str


class RuleRecord(msgspec.Struct, frozen=True):
    """A rule of the run's policy."""

    rule: str
    layer: str
    """Where it was written: ``--allow``, ``netjail.toml:3``."""
    kind: str
    """``allow`` or ``deny``."""
    reason: str = ""
    """The user's own words."""


class UseRecord(msgspec.Struct, frozen=True):
    """How often a rule decided; 0: never."""

    rule: str
    layer: str
    count: int
    first: str = ""
    last: str = ""


class StartRecord(_Line, frozen=True, kw_only=True, tag="start"):
    """The first line of a run."""

    command: tuple[str, ...]
    mode: str
    policy: dict[str, object]
    versions: dict[str, str]
    host: dict[str, str]
    assurance: str
    warnings: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Capabilities that were taken from the command."""
    passed: dict[str, str] = {}
    """Inherited sockets that it has, by number: nothing sent on them is judged."""
    rules: tuple[RuleRecord, ...] = ()
    proxies: dict[str, str] = {}
    """``https_proxy`` and its like, without credentials: the rules judge the proxy then."""
    redacted: tuple[str, ...] = ()
    """What is left out on purpose: ``arguments``."""


class AttemptRecord(_Line, frozen=True, kw_only=True, gc=False, tag="attempt"):
    """One network call, written before the program learns its result."""

    id: int
    verdict: str
    mode: str
    """``enforce``, or ``audit``: the verdict is not carried out."""
    syscall: str
    operation: str
    proto: str
    """Several, joined by ``+``, where the descriptor could be any of them."""
    dest: Dest
    errno: str
    """What a denied call gets, as ``ECONNREFUSED``."""
    rule: str
    layer: str
    reason: str
    why: str
    fix: str
    proc: Proc
    result: str
    """``refused``; empty while the call runs: a ``result`` line follows."""
    assurance: str
    redirect: str = ""
    """Where the call goes instead, as ``127.0.0.1:8443``; of a look-up, where its rule leads."""
    count: int = 1
    """How many calls this line stands for. Lines with the same *id* add up: see ``repeat``."""
    seen: Seen = Seen()


class ResultRecord(_Line, frozen=True, kw_only=True, gc=False, tag="result"):
    """What the kernel answered to an attempt that was let through."""

    id: int
    result: str
    """
    ``ok``, an errno as ``EINPROGRESS``, or ``gone``: the caller died in the call. Of a
    look-up ``NXDOMAIN``, ``SERVFAIL``, or ``gone``: it was not answered.
    """
    why: str = ""
    """Of a look-up that brought nothing, in words: ``192.0.2.53 answered SERVFAIL``."""


class ProcessRecord(_Line, frozen=True, kw_only=True, gc=False, tag="process"):
    """A process after a fork or an exec; *id* never recurs, pids do."""

    id: int
    parent: int
    pid: int
    exe: str
    argv: tuple[str, ...]
    cwd: str
    uid: int


class ListenRecord(_Line, frozen=True, kw_only=True, tag="listen"):
    """A listener that the jail opened, and who can reach it."""

    proto: str
    dest: Dest
    scope: str
    """See ``report.Scope``."""
    rule: str
    fix: str
    proc: Proc


class EndRecord(_Line, frozen=True, kw_only=True, tag="end"):
    """The last line: without it the run did not end well."""

    code: int
    signal: int
    attempts: int
    allowed: int
    denied: int
    rules: dict[str, int]
    """How often each rule decided; *uses* tells more."""
    warnings: tuple[str, ...]
    bytes: int
    """Length of this run's lines before this one."""
    uses: tuple[UseRecord, ...] = ()
    """Each rule of the policy by its layer and text, unused ones too."""
    status: int | None = None
    """The command's own exit status, where *code* may be --exit-code's; None: by a signal."""


Record = StartRecord | AttemptRecord | ResultRecord | ProcessRecord | ListenRecord | EndRecord

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line of JSON with its newline; no byte of it can drive a terminal."""
    line = _encoder.encode(record)
    if line.isascii() and b"\x7f" not in line:
        return line + b"\n"
    # JSON escapes the controls below 0x20 itself, but DEL, C1 and what turns the
    # direction of writing around would reach the terminal of whoever reads the file.
    return "".join(c if c.isprintable() else _escape(c) for c in line.decode()).encode() + b"\n"


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def decode(line: bytes) -> Record:
    """
    Read a line back.

    :raises ValueError: if it is no event of this schema; the text says what is wrong.
    """
    record = _decoder.decode(line)
    if record.schema != SCHEMA:
        raise ValueError(f"schema {record.schema!r} is not {SCHEMA!r}")
    return record
