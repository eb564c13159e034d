"""
JUnit's XML, as GitLab, Jenkins and GitHub's actions read it: a test case a destination.

What was denied failed; a run that netjail could not see to its end is an error. There is
no one schema: this keeps to what Jenkins' has, the narrowest of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from netjail.formats import visible
from netjail.formats.document import Asker, Document, Run
from netjail.formats.findings import Finding, Level, chain, command, findings, where

# ElementTree would write the locale's encoding.
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def render(document: Document) -> str:
    """One suite: the runs, what they reached, and what they were refused."""
    found = findings(document)
    failed = sum(finding.level is not Level.NOTE for finding in found)
    errors = sum(run.supervisor.state != "ok" for run in document.runs)
    allowed = [one for one in document.destinations if one.verdict == "allow"]
    counts = {
        "tests": str(len(document.runs) + len(found) + len(allowed)),
        "failures": str(failed),
        "errors": str(errors),
    }
    times = [run.duration for run in document.runs if run.duration is not None]
    counts["time"] = f"{sum(times):.3f}"
    root = ET.Element("testsuites", {"name": "netjail", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _name(document), **counts})
    suite.set("skipped", str(len(found) - failed))
    first = next((run.start for run in document.runs if run.start), "")
    if first:
        suite.set("timestamp", first[:19])  # without fractions and zone: as readers want it
    _properties(suite, document)
    for run in document.runs:
        _run(suite, run)
    for finding in found:
        _denied(suite, finding)
    for one in allowed:
        case = _case(suite, _program(one.askers), where(one))
        said = [f"led to {visible(one.redirect)}"] if one.redirect else []
        said += [f"failed: {visible(one.failure, 1000)}"] if one.failure else []
        if said:
            ET.SubElement(case, "system-out").text = "\n".join(said)
    ET.SubElement(suite, "system-out").text = visible(document.headline, 1000)
    ET.indent(root)
    return f"{_DECLARATION}\n{ET.tostring(root, 'unicode')}\n"


def _name(document: Document) -> str:
    one = next(iter(document.runs), None)
    if one is None or len(document.runs) > 1:
        return f"netjail: {len(document.runs)} runs"
    return f"netjail: {command(one)}"


def _properties(suite: ET.Element, document: Document) -> None:
    properties = ET.SubElement(suite, "properties")
    for name, value in _facts(document):
        shown = {"name": visible(name, 100), "value": visible(value, 1000)}
        ET.SubElement(properties, "property", shown)


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    yield "generator", document.generator
    yield "state", document.state
    for run in document.runs[:1]:
        yield "mode", run.mode
        yield "assurance", run.assurance
        yield "policy", ", ".join(run.files)
        yield from run.versions.items()
        yield from run.host.items()
    for notice in document.warnings:
        yield "warning", notice.text


def _case(suite: ET.Element, program: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", {"classname": f"netjail.{program}", "name": name})


def _program(askers: tuple[Asker, ...]) -> str:
    """What readers group cases by; a dot would make a package of it."""
    names = next((asker.chain for asker in askers if asker.chain), ("?",))
    return visible(names[0], 60).replace(".", "_")


def _run(suite: ET.Element, run: Run) -> None:
    case = _case(suite, "run", f"{run.id}: {command(run)}")
    if run.duration is not None:
        case.set("time", f"{run.duration:.3f}")
    if run.supervisor.state != "ok":
        message = visible(run.supervisor.text)
        ET.SubElement(case, "error", {"type": "supervisor", "message": message})
    lines = (f"program: {run.program.text}", f"policy: {run.policy.text}")
    ET.SubElement(case, "system-out").text = "\n".join(visible(line, 1000) for line in lines)


def _denied(suite: ET.Element, finding: Finding) -> None:
    case = _case(suite, _program(finding.askers), finding.where)
    if finding.level is Level.NOTE:
        ET.SubElement(case, "skipped").text = finding.text
        return
    failure = {"type": finding.rule.value, "message": f"{finding.title}: {finding.text}"}
    lines = [finding.text, *(chain(asker.chain) for asker in finding.askers)]
    place = visible(f"{finding.file}:{finding.line}" if finding.line else finding.file, 1000)
    lines += [f"at: {place}", *([f"fix: {finding.fix}"] if finding.fix else [])]
    ET.SubElement(case, "failure", failure).text = "\n".join(lines)
