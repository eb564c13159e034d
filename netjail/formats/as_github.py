"""
Annotations of GitHub Actions: lines that its runner reads off a step's output.

It keeps ten errors, ten warnings and ten notices of a step, and drops the rest in
silence: so the most important come first, and the last of a kind says what is left.
See "Workflow commands for GitHub Actions", and ``ActionCommand.cs`` of its runner.
"""

from __future__ import annotations

from collections.abc import Iterator

from netjail.formats import visible
from netjail.formats.document import Document
from netjail.formats.findings import Level, failures, findings

ROOM = 10

_WORDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def render(document: Document) -> str:
    """A line each; the headline comes first, as a notice."""
    lines: dict[str, list[str]] = {word: [] for word in _WORDS.values()}
    lines["notice"].append(_line("notice", visible(document.headline, 1000), "netjail"))
    for run in document.runs:
        if run.supervisor.state != "ok":
            text = visible(run.supervisor.text, 1000)
            lines["error"].append(_line("error", text, "netjail could not see it through"))
    for one in findings(document):
        word = _WORDS[one.level]
        text = one.text + (f"\nfix: {one.fix}" if one.fix else "")
        lines[word].append(_line(word, text, f"netjail: {one.title}", one.file, one.line))
    for text in failures(document):
        lines["notice"].append(_line("notice", text, "netjail"))
    for notice in document.warnings:
        lines["warning"].append(_line("warning", visible(notice.text, 1000), "netjail"))
    return "".join(f"{line}\n" for word, some in lines.items() for line in _cut(word, some))


def _cut(word: str, lines: list[str]) -> Iterator[str]:
    if len(lines) <= ROOM:
        yield from lines
        return
    yield from lines[: ROOM - 1]
    left = len(lines) - ROOM + 1
    yield _line(word, f"{left} more, which the report has", f"netjail: and {left} more")


def _line(word: str, text: str, title: str, file: str = "", line: int = 0) -> str:
    fields = {"title": title, "file": visible(file, 1000), "line": str(line or "")}
    shown = ",".join(f"{key}={_property(value)}" for key, value in fields.items() if value)
    return f"::{word} {shown}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
