"""Where a report goes: known before the run, and there as a whole or as it was before."""

from __future__ import annotations

import os
import resource
import stat
import threading

import pytest
import reported

from netjail.cli.target import Target, parse, step_summary
from netjail.errors import NetjailError, UsageError
from netjail.formats import FORMATS

DOCUMENT = reported.busy()


@pytest.mark.parametrize(
    ("text", "path", "format"),
    [
        pytest.param("/a/out.json", "/a/out.json", "json", id="by-suffix"),
        pytest.param("/a/out.MD", "/a/out.MD", "md", id="in-capitals"),
        pytest.param("/a/out.xml", "/a/out.xml", "junit", id="xml-is-junit"),
        pytest.param("/a/out.txt", "/a/out.txt", "text", id="txt-is-text"),
        pytest.param("/a/out.txt:json", "/a/out.txt", "json", id="by-name"),
        pytest.param("/a/out:github", "/a/out", "github", id="that-has-no-suffix"),
        pytest.param("/a/b:c.html", "/a/b:c.html", "html", id="a-colon-in-a-name"),
        pytest.param("-", "-", "text", id="stdout"),
        pytest.param("-:sarif", "-", "sarif", id="stdout-otherwise"),
    ],
)
def test_format_and_file(text, path, format):
    assert parse(text) == Target(path, format)


def test_every_suffix_is_known():
    for name, row in FORMATS.items():
        for suffix in row.suffixes:
            assert parse(f"/x{suffix}").format == name


@pytest.mark.parametrize("text", ["out", "out.foo", "out:foo", "", ":json", "out.json:pdf"])
def test_a_format_that_nobody_knows_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "FORMAT" in caught.value.hint


def test_a_relative_path_is_where_netjail_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = parse("out.json")
    monkeypatch.chdir("/")
    found.write(DOCUMENT)
    assert (tmp_path / "out.json").read_text().startswith("{")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/nowhere/out.json", id="no-directory"),
        pytest.param("/proc/out.json", id="no-place-for-files"),
        pytest.param("/tmp", id="a-directory"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(path):
    with pytest.raises(UsageError, match="cannot write the report"):
        Target(path, "json").check()


def test_a_check_leaves_no_trace(tmp_path):
    Target(str(tmp_path / "x.json"), "json").check()
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / "old.json"
    old.write_text("old")
    Target(str(old), "json").check()
    assert (old.read_text(), list(tmp_path.iterdir())) == ("old", [old])


def test_a_failure_leaves_what_was_there(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(NetjailError, match="File too large"):
            Target(str(old), "json").write(DOCUMENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (old.read_text(), list(tmp_path.iterdir())) == ("old", [old])


def test_mode_and_links_stay(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("old")
    old.chmod(0o604)
    link = tmp_path / "link.json"
    link.symlink_to(old)
    Target(str(link), "json").write(DOCUMENT)
    assert link.is_symlink() and old.read_text().startswith("{")
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


def test_the_umask_is_the_users(tmp_path):
    old = os.umask(0o027)
    try:
        Target(str(tmp_path / "x.json"), "json").write(DOCUMENT)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o640


def test_a_fifo_gets_it(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    Target(str(path), "json").write(DOCUMENT)
    reader.join(60)
    assert got[0].startswith("{")


def test_the_page_of_a_job_is_added_to(tmp_path, monkeypatch):
    page = tmp_path / "summary"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    for _ in range(2):
        step_summary().write(DOCUMENT)
    assert page.read_text().startswith("before\n## netjail: ")
    assert page.read_text().count("## netjail: ") == 2


def test_without_a_job_there_is_no_page(monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY is not set"):
        step_summary()
