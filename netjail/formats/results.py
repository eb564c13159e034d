"""One run of a report, for the document: how it ended, told apart by whom it was up to."""

from __future__ import annotations

import signal

from msgspec.structs import replace

from netjail.formats import document as doc
from netjail.records import plain
from netjail.report import Run


def outcome(totals: doc.Totals, audit: bool) -> str:
    """The verdict in words: ``3 of 14 network calls denied``."""
    calls = f"{totals.attempted} network call{'' if totals.attempted == 1 else 's'}"
    if not totals.attempted:
        return "no network calls"
    if not totals.denied:
        return f"{calls}, none denied"
    return f"{totals.denied} of {calls} {'would be ' if audit else ''}denied"


def run_of(run: Run) -> doc.Run:
    """What the document says of *run*."""
    start, end = run.start, run.end
    program, policy, supervisor = _program(run), _policy(run), _supervisor(run)
    totals = doc.Totals(run.attempted, run.allowed, run.denied, run.quiet)
    common = doc.Run(
        id=run.id,
        journal=plain(run.journal),
        end=end.ts if end else "",
        program=program,
        policy=policy,
        supervisor=supervisor,
        totals=totals,
        code=_code(run),
        signal=end.signal if end else 0,
        mode="audit" if run.audit else "enforce",
    )
    if start is None:
        return common
    said = start.policy
    return replace(
        common,
        command=start.command,
        start=start.ts,
        duration=_seconds(start.ts, end.ts) if end else None,
        files=_texts(said.get("files")),
        layers=tuple(layer for layer in _list(said.get("layers")) if isinstance(layer, dict)),
        versions=start.versions,
        host=start.host,
        assurance=start.assurance,
        dropped=start.dropped,
        passed=start.passed,
        redacted=start.redacted,
        proxies=start.proxies,
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> tuple[str, ...]:
    return tuple(plain(str(one)) for one in _list(value))


def _seconds(first: str, last: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def _code(run: Run) -> int | None:
    end = run.end
    if end is None or end.signal:
        return None
    return end.code if end.status is None else end.status


def _program(run: Run) -> doc.Result:
    if run.end is None:
        return doc.Result("unknown", "how it ended is not known")
    if run.end.signal:
        return doc.Result("failed", f"killed by {_signal(run.end.signal)}")
    code = _code(run)
    return doc.Result("failed" if code else "ok", f"exit status {code}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _policy(run: Run) -> doc.Result:
    totals = doc.Totals(run.attempted, run.allowed, run.denied, run.quiet)
    text = outcome(totals, run.audit)
    if run.denied:
        return doc.Result("failed", text)
    return doc.Result("ok", text) if _whole(run) else doc.Result("unknown", f"{text} so far")


def _whole(run: Run) -> bool:
    return run.end is not None and not run.torn


def _supervisor(run: Run) -> doc.Result:
    if _whole(run):
        return doc.Result("ok", "ended well")
    where = f"the journal {plain(run.journal)}" if run.journal else "the journal"
    why = run.torn or "the run is not over"
    return doc.Result("unknown", f"{where} was cut off: {why}")
