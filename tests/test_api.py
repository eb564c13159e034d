"""What programs import: typed, lazy, and the same as the command line says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import reported
from scene import allowed, attempt, inet
from test_report_reading import end, line, start

import netjail
from netjail import records
from netjail.formats import FORMATS
from netjail.records import AttemptRecord

ROOT = Path(__file__).parent.parent


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = [start(), line(), line(attempt(inet("192.0.2.2", 80)), allowed(), 2), end()]
    path.write_bytes(b"".join(map(records.encode, lines)))
    return path


def test_a_journal(journal):
    found = list(netjail.read_journal(journal))
    assert [type(record).__name__ for record in found] == [
        "StartRecord",
        "AttemptRecord",
        "AttemptRecord",
        "EndRecord",
    ]
    places = [record.dest.ip for record in found if isinstance(record, AttemptRecord)]
    assert places == ["192.0.2.1", "192.0.2.2"]


def test_a_report(journal):
    report = netjail.make_report(journal)
    assert isinstance(report, netjail.Report)
    assert report.headline == "1 of 2 network calls denied: 192.0.2.1:443"
    assert [place.shown for place in report.destinations] == ["192.0.2.1:443", "192.0.2.2:80"]
    two = netjail.make_report(journal, str(journal))
    assert (two.totals.attempted, len(two.runs)) == (4, 2)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(journal, format):
    assert "192.0.2.1" in netjail.render(netjail.make_report(journal), format)


def test_an_unknown_format(journal):
    with pytest.raises(netjail.NetjailError, match="no format is called 'pdf'") as caught:
        netjail.render(netjail.make_report(journal), "pdf")
    assert "html" in caught.value.hint


def test_a_report_is_read_back(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(netjail.render(reported.busy(), "json"))
    assert netjail.read_report(path) == reported.busy()


@pytest.mark.parametrize("text", ["", "{}", "[]", "x", '{"schema":"netjail/report/2"}'])
def test_what_is_no_report_is_an_error(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(netjail.NetjailError, match=f"{path}: not a report"):
        netjail.read_report(path)


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(netjail.NetjailError, match="No such file"):
        netjail.read_report(tmp_path / "r.json")
    with pytest.raises(netjail.JournalError, match="No such file"):
        netjail.make_report(tmp_path / "r.jsonl")
    with pytest.raises(AttributeError, match="nothing"):
        netjail.nothing  # noqa: B018


def test_every_name_is_there():
    assert {getattr(netjail, name) for name in netjail.__all__}
    listed = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", (ROOT / "docs/api.md").read_text()))
    assert set(netjail.__all__) - {"__version__", "Record", "Torn"} <= listed


def test_importing_it_costs_nothing():
    code = "import sys, netjail; print(*sys.modules)"
    words = [sys.executable, "-c", code]
    loaded = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert not {"msgspec", "netjail.api", "importlib.metadata"} & set(loaded.split())


def examples():
    text = (ROOT / "docs/api.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.S)


@pytest.mark.parametrize("number", range(3))
def test_the_examples_run_and_are_typed(journal, number):
    assert len(examples()) == 3
    code = examples()[number]
    script = journal.parent / "example.py"
    script.write_text(code)
    run = subprocess.run(
        [sys.executable, script],
        cwd=journal.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    words = ["-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(script)]
    typed = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert typed.returncode == 0, typed.stdout


def test_a_report_is_frozen(journal):
    with pytest.raises(AttributeError):
        netjail.make_report(journal).headline = "x"
    assert msgspec.structs.replace(netjail.make_report(journal), headline="x").headline == "x"
