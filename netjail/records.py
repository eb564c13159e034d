"""
What the journal holds, as types: one struct a kind of line.

Each line is an object with ``"schema":"netjail/event/1"`` and a ``type``. To add a
field, add it here with a default, so that older journals still read; to add a kind
of line, add its struct and put it into ``Record``.

Times are RFC 3339 in UTC, with microseconds: they sort as text. Text of a tracee
that is not UTF-8 has ``\\xNN`` for the odd bytes: strict JSON has no place for them.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec

from netjail import __version__
from netjail.endpoints import Endpoint, Inet, Unix
from netjail.model import Attempt, Decision, Operation, Process, Protocol, Verdict

SCHEMA = "netjail/event/1"

# A program chooses its own arguments: without a limit a line could hold megabytes.
_ARGUMENTS = 64
_LENGTH = 4096
_HIDDEN = "…"


class Dest(msgspec.Struct, frozen=True):
    """Where to; the fields that do not apply are empty."""

    ip: str = ""
    port: int | None = None
    name: str = ""
    """The host name whose rule decided, if one did."""
    unix: str = ""
    """A path, or ``@`` and an abstract name; a path that begins with ``@`` gets ``./``."""
    other: str = ""
    """Any other family, in words."""


class Proc(msgspec.Struct, frozen=True):
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


class StartRecord(_Line, frozen=True, kw_only=True, tag="start"):
    """The first line of a run."""

    command: tuple[str, ...]
    mode: str
    policy: dict[str, object]
    versions: dict[str, str]
    host: dict[str, str]
    assurance: str
    warnings: tuple[str, ...] = ()


class AttemptRecord(_Line, frozen=True, kw_only=True, tag="attempt"):
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
    count: int = 1
    """How many calls this line stands for. Lines with the same *id* add up: see ``repeat``."""


class ResultRecord(_Line, frozen=True, kw_only=True, tag="result"):
    """What the kernel answered to an attempt that was let through."""

    id: int
    result: str
    """``ok``, an errno as ``EINPROGRESS``, or ``gone``: the caller died in the call."""


class ProcessRecord(_Line, frozen=True, kw_only=True, tag="process"):
    """A process or an exec; *id* never recurs, pids do."""

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
    """How often each rule decided."""
    warnings: tuple[str, ...]
    bytes: int
    """Length of this run's lines before this one."""


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


def now() -> str:
    """The time of day, as records carry it."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{rest // 1000:06d}Z"


def plain(raw: str | bytes) -> str:
    """Text of a tracee as strict JSON can hold it: odd bytes become ``\\xNN``."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")
    if not text.isascii():
        text = "".join(_odd(c) if "\ud800" <= c <= "\udfff" else c for c in text)
    return text if len(text) <= _LENGTH else text[:_LENGTH] + _HIDDEN


def _odd(surrogate: str) -> str:
    byte = ord(surrogate) - 0xDC00  # where surrogateescape puts 0x80 to 0xff, PEP 383
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{ord(surrogate):04x}"


def arguments(argv: Sequence[str], show: bool) -> tuple[str, ...]:
    """*argv* with everything after the program's name hidden unless *show*: it may be secret."""
    kept = [
        plain(word) if show or at == 0 else _HIDDEN for at, word in enumerate(argv[:_ARGUMENTS])
    ]
    return (*kept, _HIDDEN) if len(argv) > _ARGUMENTS else tuple(kept)


def dest(endpoint: Endpoint, name: str = "") -> Dest:
    """Where *endpoint* is."""
    match endpoint:
        case Inet(address, port):
            return Dest(ip=str(address), port=port, name=name)
        case Unix(path, abstract):
            return Dest(unix=_unix(path, abstract))
    return Dest(other=plain(str(endpoint)))


def _unix(path: bytes, abstract: bool) -> str:
    if abstract:
        return plain(b"@" + path)
    return plain(b"./" + path if path.startswith(b"@") else path)


def proto(protocols: frozenset[Protocol]) -> str:
    """One word for what could carry the bytes."""
    return "+".join(sorted(protocol.value for protocol in protocols))


def proc(process: Process, tid: int, chain: Sequence[str], show: bool) -> Proc:
    """Who asked; *chain* are names, the asking program's first."""
    return Proc(
        id=process.id,
        pid=process.pid,
        tid=tid,
        exe=plain(process.exe),
        argv=arguments(process.argv, show),
        chain=tuple(plain(name) for name in chain),
        cwd=plain(process.cwd),
        uid=process.uid,
    )


def start_record(
    command: Sequence[str],
    *,
    audit: bool,
    policy: Mapping[str, object],
    host: Mapping[str, str],
    assurance: str,
    show: bool,
    warnings: Sequence[str] = (),
) -> StartRecord:
    """How a run began."""
    return StartRecord(
        ts=now(),
        command=arguments(command, show),
        mode=_mode(audit),
        policy=dict(policy),
        versions={"netjail": __version__, "python": ".".join(map(str, sys.version_info[:3]))},
        host=dict(host),
        assurance=assurance,
        warnings=tuple(plain(warning) for warning in warnings),
    )


def attempt_record(
    attempt: Attempt,
    verdict: Verdict,
    who: Proc,
    *,
    id: int,
    audit: bool,
    assurance: str,
) -> AttemptRecord:
    """What was judged, and how; see ``proc`` for *who*."""
    refused = verdict.decision is Decision.DENY and (
        not audit or attempt.operation is Operation.FORBIDDEN
    )
    return AttemptRecord(
        ts=now(),
        id=id,
        verdict=verdict.decision.value,
        mode=_mode(audit),
        syscall=attempt.syscall,
        operation=attempt.operation.value,
        proto=proto(attempt.protocols),
        dest=dest(attempt.endpoint, verdict.name),
        errno=error_name(verdict.error) if verdict.error else "",
        rule=plain(verdict.rule),
        layer=plain(verdict.layer),
        reason=verdict.reason.value,
        why=plain(verdict.why),
        fix=plain(verdict.fix),
        proc=who,
        result="refused" if refused else "",
        assurance=assurance,
    )


def repeat(record: AttemptRecord, count: int) -> AttemptRecord:
    """*count* more calls like *record*, which is in the journal already."""
    return msgspec.structs.replace(record, ts=now(), count=count)


def result_record(id: int, error: int) -> ResultRecord:
    """The kernel's answer to attempt *id*: an errno, 0 for success."""
    return ResultRecord(ts=now(), id=id, result=error_name(error) if error else "ok")


def gone_record(id: int) -> ResultRecord:
    """The caller of attempt *id* died before the kernel answered."""
    return ResultRecord(ts=now(), id=id, result="gone")


def process_record(process: Process, show: bool) -> ProcessRecord:
    """A process as it is after a fork or an exec."""
    return ProcessRecord(
        ts=now(),
        id=process.id,
        parent=process.parent,
        pid=process.pid,
        exe=plain(process.exe),
        argv=arguments(process.argv, show),
        cwd=plain(process.cwd),
        uid=process.uid,
    )


def error_name(error: int) -> str:
    """``ECONNREFUSED`` for 111; the number itself where Linux has no name for it."""
    return errno.errorcode.get(error, str(error))


def _mode(audit: bool) -> str:
    return "audit" if audit else "enforce"
