"""
SARIF 2.1.0 (OASIS, with Errata 01), for code scanning: a result for each thing refused.

A reason is a rule, the policy's line is the place, programs are logical locations.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from netjail.formats import pretty, visible
from netjail.formats.document import Document, Run
from netjail.formats.findings import RULES, Finding, Level, chain, command, failures, findings
from netjail.model import QUIET, Reason

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_HIDDEN = "…"  # what stands for a redacted argument, see records.make


def render(document: Document) -> str:
    """A log of one run of netjail as a tool; each run of a command is an invocation."""
    found = findings(document)
    reasons = list(dict.fromkeys(finding.rule for finding in found))
    run: dict[str, Any] = {
        "tool": {"driver": _driver(document, reasons)},
        "automationDetails": {"id": "netjail/"},
        "invocations": [_invocation(document, run) for run in document.runs],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, reasons.index(finding.rule)) for finding in found],
        "properties": {
            "headline": visible(document.headline, 1000),
            "totals": msgspec.to_builtins(document.totals),
            "omitted": document.omitted,
        },
    }
    if any(run.redacted for run in document.runs):
        run["redactionTokens"] = [_HIDDEN]
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return pretty(log) + "\n"


def _driver(document: Document, reasons: list[Reason]) -> dict[str, Any]:
    name, _, version = document.generator.partition(" ")
    return {"name": name, "version": version, "rules": [_rule(reason) for reason in reasons]}


def _rule(reason: Reason) -> dict[str, Any]:
    rule = RULES[reason]
    level = Level.NOTE if reason in QUIET else Level.ERROR
    return {
        "id": _id(reason),
        "name": rule.name,
        "shortDescription": {"text": rule.short},
        "fullDescription": {"text": rule.short},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": level.value},
        "properties": {"tags": ["security", "network"]},
    }


def _id(reason: Reason) -> str:
    return f"netjail/{reason.value}"


def _result(finding: Finding, index: int) -> dict[str, Any]:
    fix = f"\nfix: {finding.fix}" if finding.fix else ""
    source = msgspec.to_builtins(finding.source)
    kept = ("proto", "owner", "rule", "layer", "errno", "first", "last", "results", "places")
    return {
        "ruleId": _id(finding.rule),
        "ruleIndex": index,
        "level": finding.level.value,
        "message": {"text": f"{finding.title}\n{finding.text}{fix}"},
        "locations": [_location(finding)],
        "occurrenceCount": finding.count,
        "partialFingerprints": {"netjailDestination/v1": _fingerprint(finding)},
        "properties": {
            **({"fix": finding.fix} if finding.fix else {}),
            **{key: _safe(source[key]) for key in kept if source.get(key)},
        },
    }


def _safe(value: Any) -> Any:
    """*value* with nothing in its texts that drives a terminal: somebody will read the file."""
    if isinstance(value, list | tuple):
        return [_safe(one) for one in value]
    return visible(value, 1000) if isinstance(value, str) else value


def _fingerprint(finding: Finding) -> str:
    from hashlib import sha256

    return sha256(msgspec.json.encode(finding.key)).hexdigest()


def _location(finding: Finding) -> dict[str, Any]:
    # Code scanning shows nothing that has no line.
    physical = {
        "artifactLocation": {"uri": _uri(finding.file)},
        "region": {"startLine": max(finding.line, 1)},
    }
    programs = [
        {"name": visible(asker.chain[0], 60), "fullyQualifiedName": chain(asker.chain)}
        for asker in finding.askers
        if asker.chain
    ]
    logical = {"logicalLocations": [{**one, "kind": "process"} for one in programs]}
    return {"physicalLocation": physical, **(logical if programs else {})}


def _uri(path: str) -> str:
    # A relative one is taken from the root of the repository.
    return ("file://" if path.startswith("/") else "") + quote(path.removeprefix("./"))


def _invocation(document: Document, run: Run) -> dict[str, Any]:
    """How the command ended, and whether netjail did its work: two things."""
    times = {"startTimeUtc": run.start, "endTimeUtc": run.end}
    notices = [
        {"level": "warning", "message": {"text": visible(notice.text, 1000)}}
        for notice in document.warnings
    ]
    notices += [{"level": "note", "message": {"text": text}} for text in failures(document)]
    ended: dict[str, Any] = {"exitCodeDescription": visible(run.program.text)}
    if run.signal:
        ended["exitSignalNumber"] = run.signal
    elif run.code is not None:
        ended["exitCode"] = run.code
    return {
        "commandLine": command(run),
        "arguments": [visible(word) for word in run.command[1:]],
        **{key: value for key, value in times.items() if value},
        **ended,
        "executionSuccessful": run.supervisor.state == "ok",
        "toolExecutionNotifications": notices if run is document.runs[0] else [],
        "properties": {
            "mode": run.mode,
            "assurance": run.assurance,
            "program": visible(run.program.text),
            "policy": visible(run.policy.text),
            "supervisor": visible(run.supervisor.text),
        },
    }
