"""
What happened in, records out.

Times are RFC 3339 in UTC, with microseconds: they sort as text. Text of a tracee
that is not UTF-8 has ``\\xNN`` for the odd bytes: strict JSON has no place for them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netjail import __version__
from netjail.actions import choose
from netjail.endpoints import Endpoint, Inet, Question, Unix
from netjail.model import Attempt, Process, Protocol, Verdict
from netjail.policy.facts import Known, Seen
from netjail.records.lines import (
    AttemptRecord,
    Dest,
    EndRecord,
    ListenRecord,
    Proc,
    ProcessRecord,
    ResultRecord,
    RuleRecord,
    StartRecord,
    UseRecord,
)
from netjail.records.proxies import read_proxies
from netjail.records.seen import seen_record
from netjail.records.text import HIDDEN, error_name, plain

# A program chooses its own arguments: without a limit a line could hold megabytes.
_ARGUMENTS = 64


def now() -> str:
    """The time of day, as records carry it."""
    return stamp(time.time_ns() // 1000)


def stamp(when: int) -> str:
    """Microseconds since 1970 as records carry them; "" for 0: nobody looked."""
    seconds, rest = divmod(when, 1_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:06d}Z" if when else ""


def arguments(argv: Sequence[str], show: bool) -> tuple[str, ...]:
    """*argv* with everything after the program's name hidden unless *show*: it may be secret."""
    kept = [plain(word) if show or at == 0 else HIDDEN for at, word in enumerate(argv[:_ARGUMENTS])]
    return (*kept, HIDDEN) if len(argv) > _ARGUMENTS else tuple(kept)


def dest(endpoint: Endpoint, name: str = "", known: Known | None = None) -> Dest:
    """Where *endpoint* is; *known* are the names that lead there."""
    match endpoint:
        case Inet(address, port):
            names = tuple(map(plain, (*known.names, *known.claimed))) if known else ()
            how = known.how or "none" if known else ""
            return Dest(ip=str(address), port=port, name=name, names=names, known=how)
        case Question(asked, kind, server):
            ip, port = str(server.address), server.port
            return Dest(ip=ip, port=port, name=plain(asked), type=kind)
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
    dropped: Sequence[str] = (),
    passed: Mapping[str, str] | None = None,
    rules: Sequence[RuleRecord] = (),
    environment: Mapping[str, str] | None = None,
) -> StartRecord:
    """How a run began."""
    proxies, secret = read_proxies(environment or {})
    hidden = [*([] if show else ["arguments"]), *(["proxy credentials"] if secret else [])]
    return StartRecord(
        ts=now(),
        command=arguments(command, show),
        mode=_mode(audit),
        policy=dict(policy),
        versions={"netjail": __version__, "python": ".".join(map(str, sys.version_info[:3]))},
        host=dict(host),
        assurance=assurance,
        warnings=tuple(plain(warning) for warning in warnings),
        dropped=tuple(dropped),
        passed={fd: plain(text) for fd, text in (passed or {}).items()},
        rules=tuple(rules),
        proxies={name: plain(place) for name, place in proxies.items()},
        redacted=tuple(hidden),
    )


def rule_record(rule: str, layer: str, kind: str, reason: str = "") -> RuleRecord:
    """A rule of the policy."""
    return RuleRecord(plain(rule), plain(layer), kind, plain(reason))


def use_record(rule: str, layer: str, count: int, first: int, last: int) -> UseRecord:
    """How often a rule decided, and when; see ``stamp``."""
    return UseRecord(plain(rule), plain(layer), count, stamp(first), stamp(last))


def attempt_record(
    attempt: Attempt,
    verdict: Verdict,
    who: Proc,
    *,
    id: int,
    audit: bool,
    assurance: str,
    known: Known | None = None,
    seen: Seen | None = None,
) -> AttemptRecord:
    """What was judged, and how; see ``proc`` for *who*."""
    return AttemptRecord(
        ts=now(),
        id=id,
        verdict=verdict.decision.value,
        mode=_mode(audit),
        syscall=attempt.syscall,
        operation=attempt.operation.value,
        proto=proto(attempt.protocols),
        dest=dest(attempt.endpoint, plain(verdict.name), known),
        errno=error_name(verdict.error) if verdict.error else "",
        rule=plain(verdict.rule),
        layer=plain(verdict.layer),
        reason=verdict.reason.value,
        why=plain(verdict.why),
        fix=plain(verdict.fix),
        redirect=str(verdict.redirect) if choose(verdict, audit).leads else "",
        proc=who,
        result="" if choose(verdict, audit).runs else "refused",
        assurance=assurance,
        seen=seen_record(attempt.endpoint, seen or Seen()),
    )


def repeat(record: AttemptRecord, count: int) -> AttemptRecord:
    """*count* more calls like *record*, which is in the journal already."""
    return msgspec.structs.replace(record, ts=now(), count=count)


def result_record(id: int, error: int | None) -> ResultRecord:
    """The kernel's answer to attempt *id*: an errno, 0, or None if the caller died first."""
    answer = "gone" if error is None else error_name(error) if error else "ok"
    return ResultRecord(ts=now(), id=id, result=answer)


def answer_record(id: int, result: str, why: str = "") -> ResultRecord:
    """How the look-up *id* was answered, and why it brought nothing."""
    return ResultRecord(ts=now(), id=id, result=result, why=plain(why))


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


def listen_record(
    endpoint: Endpoint, protocol: Protocol, who: Proc, *, scope: str, rule: str = "", fix: str = ""
) -> ListenRecord:
    """A listener; *scope* is the value of a ``report.Scope``."""
    return ListenRecord(
        ts=now(),
        proto=protocol.value,
        dest=dest(endpoint),
        scope=scope,
        rule=plain(rule),
        fix=plain(fix),
        proc=who,
    )


def end_record(
    code: int,
    signal: int,
    *,
    counts: tuple[int, int, int],
    rules: Mapping[str, int],
    warnings: Iterable[str],
    size: int,
    uses: Sequence[UseRecord] = (),
    status: int | None = None,
) -> EndRecord:
    """How a run ended; *counts* are attempted, allowed, denied, and *size* the journal's."""
    attempts, allowed, denied = counts
    return EndRecord(
        ts=now(),
        code=code,
        signal=signal,
        attempts=attempts,
        allowed=allowed,
        denied=denied,
        rules={plain(rule): count for rule, count in rules.items()},
        warnings=tuple(plain(warning) for warning in warnings),
        bytes=size,
        uses=tuple(uses),
        status=status,
    )


def _mode(audit: bool) -> str:
    return "audit" if audit else "enforce"
