"""Complete lines in the file before write returns, and nobody else's in it at the end."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading

import pytest

from netjail.errors import JournalError
from netjail.journal.reading import Torn, read_journal
from netjail.journal.writing import Journal
from netjail.records import EndRecord, ResultRecord, StartRecord, encode

LINE = ResultRecord(ts="2024-01-01T00:00:00.000000Z", id=1, result="ok")
START = StartRecord(
    ts="", command=("x",), mode="enforce", policy={}, versions={}, host={}, assurance=""
)
END = EndRecord(
    ts="", code=0, signal=0, attempts=0, allowed=0, denied=0, rules={}, warnings=(), bytes=0
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_without_a_path_nothing_is_kept():
    journal = Journal()
    assert not journal.enabled
    journal.write(LINE)
    journal.close()
    assert journal.size == 0


def test_a_line_is_in_the_file_when_write_returns(path):
    journal = Journal(path)
    for count in range(1, 4):
        journal.write(LINE)
        assert path.read_bytes() == encode(LINE) * count
        assert journal.size == len(encode(LINE)) * count
    journal.close()
    assert list(read_journal(path)) == [LINE] * 3


@pytest.mark.parametrize(
    ("append", "expected"),
    [
        pytest.param(False, [LINE], id="replaced-unless-asked"),
        pytest.param(True, [START, LINE], id="appended-to-if-asked"),
    ],
)
def test_an_existing_file(path, append, expected):
    path.write_bytes(encode(START))
    journal = Journal(path, append)
    journal.write(LINE)
    journal.close()
    assert list(read_journal(path)) == expected


def test_appending_to_half_a_line_leaves_it_alone(path):
    path.write_bytes(encode(LINE) + b'{"type":"att')
    journal = Journal(path, append=True)
    journal.write(START)
    journal.close()
    assert list(read_journal(path)) == [LINE, Torn(2, b'{"type":"att\n'), START]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_umask_is_the_users(path, mode):
    old = os.umask(0o666 & ~mode)
    try:
        Journal(path).close()
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == mode


def test_it_is_not_inherited_and_keeps_off_stdio(path):
    code = """
import os, sys
os.close(0); os.close(2)
from netjail.journal.writing import Journal
journal = Journal(sys.argv[1])
assert journal._fd > 2 and not os.get_inheritable(journal._fd)
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)


@pytest.mark.parametrize(
    ("make", "what", "hint"),
    [
        pytest.param(lambda path: path.mkdir(), "Is a directory", "--events", id="a-directory"),
        pytest.param(lambda path: path.symlink_to(path), "symbolic links", "--events", id="a-loop"),
        pytest.param(
            lambda path: path.symlink_to("/nowhere/x"), "No such file", "directory", id="no-parent"
        ),
        pytest.param(
            lambda path: path.symlink_to("/proc/version"), "denied", "--events", id="read-only"
        ),
    ],
)
def test_unwritable_is_refused_at_the_start(path, make, what, hint):
    make(path)
    if what == "denied" and os.access("/proc/version", os.W_OK):
        what = "error"  # root may open it, and fails to write
    with pytest.raises(JournalError, match=what) as caught:
        Journal(path).write(LINE)
    assert str(path) in str(caught.value)
    assert hint in caught.value.hint


def test_a_full_disk_is_an_error_at_once():
    journal = Journal("/dev/full")
    with pytest.raises(JournalError, match="No space left") as caught:
        journal.write(LINE)
    assert "make room" in caught.value.hint
    journal.close()


def test_a_line_that_finds_no_room_is_taken_away_whole(path):
    code = """
import resource, signal, sys
from netjail.errors import JournalError
from netjail.journal.writing import Journal
from netjail.records import ResultRecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = Journal(sys.argv[1])
try:
    while True:
        journal.write(ResultRecord(ts="", id=1, result="ok"))
except JournalError as error:
    print(error.hint)
journal.close()
"""
    run = subprocess.run([sys.executable, "-c", code, path], stdout=-1, text=True, timeout=60)
    assert (run.returncode, "ulimit" in run.stdout) == (0, True)
    assert path.read_bytes().endswith(b"}\n")
    assert {type(record) for record in read_journal(path)} == {ResultRecord}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_short_writes_are_continued(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    journal = Journal(path)
    journal.write(LINE)
    journal.close()
    assert list(read_journal(path)) == [LINE]


def test_a_fifo_waits_for_its_reader_and_gets_every_line(path):
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    journal = Journal(path)
    for _ in range(3):
        journal.write(LINE)
    journal.close()
    reader.join(60)
    assert got == [encode(LINE) * 3]


def test_a_pipe_that_does_not_block_is_waited_for():
    read, write = os.pipe()
    os.set_blocking(write, False)
    journal = Journal(f"/proc/self/fd/{write}")
    os.set_blocking(journal._fd, False)
    got = []

    def drain():
        while chunk := os.read(read, 1 << 16):
            got.append(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    for _ in range(5000):
        journal.write(LINE)
    journal.close()
    os.close(write)
    reader.join(60)
    os.close(read)
    assert b"".join(got) == encode(LINE) * 5000


def test_a_reader_that_goes_away_is_an_error():
    read, write = os.pipe()
    journal = Journal(f"/proc/self/fd/{write}")
    os.close(read)
    with pytest.raises(JournalError, match="Broken pipe"):
        journal.write(LINE)
    journal.close()
    os.close(write)


def replace(path):
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text)


def rewrite(path):
    with path.open("r+b") as file:
        file.write(b'{"SCHEMA"')


def truncate(path):
    os.truncate(path, 3)


def add(path):
    with path.open("ab") as file:
        file.write(encode(LINE))


ALTERATIONS = [
    pytest.param(lambda path: path.unlink(), "was removed", id="removed"),
    pytest.param(replace, "was replaced by another file", id="replaced-by-a-copy"),
    pytest.param(rewrite, "has other contents", id="rewritten-in-place"),
    pytest.param(truncate, "has 3 bytes instead of", id="cut"),
    pytest.param(add, "instead of", id="added-to"),
]


@pytest.mark.parametrize("append", [False, True], ids=["new", "appended"])
@pytest.mark.parametrize(("alter", "named"), ALTERATIONS)
def test_an_alteration_is_named(path, alter, named, append):
    path.write_bytes(encode(START))
    journal = Journal(path, append)
    journal.write(LINE)
    alter(path)
    if named == "has other contents" and append:
        with path.open("r+b") as file:
            file.seek(len(encode(START)))
            file.write(b'{"SCHEMA"')
    with pytest.raises(JournalError, match=f"journal was altered: {path} .*{named}"):
        journal.close()
    journal.close()


def test_cut_and_written_on_is_named(path):
    journal = Journal(path)
    journal.write(LINE)
    os.truncate(path, 0)
    journal.write(LINE)
    with pytest.raises(JournalError, match="altered"):
        journal.close()


def test_two_writers_of_one_file_are_refused(path):
    first = Journal(path)
    first.write(LINE)
    with pytest.raises(JournalError, match="another netjail writes to"):
        Journal(path)
    with pytest.raises(JournalError, match="another netjail writes to"):
        Journal(path, append=True)
    first.close()
    assert list(read_journal(path)) == [LINE]
    Journal(path, append=True).close()


def test_the_directory_may_change_meanwhile(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    journal = Journal(path.name)
    monkeypatch.chdir("/")
    journal.write(LINE)
    journal.close()


HALF = encode(LINE)[:20]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(encode(START) + encode(END), [START, END], id="a-whole-run"),
        pytest.param(encode(START) + HALF, [START, Torn(2, HALF)], id="cut-off-at-the-end"),
        pytest.param(
            HALF + b"\n" + encode(START), [Torn(1, HALF + b"\n"), START], id="cut-off-between-runs"
        ),
    ],
)
def test_reading(path, text, expected):
    path.write_bytes(text)
    assert list(read_journal(path)) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(HALF + b"\n" + encode(LINE), 1, id="half-a-line-within-a-run"),
        pytest.param(encode(LINE) + b"hello\n", 2, id="something-else-at-the-end"),
        pytest.param(encode(LINE) + b"{}\n{}\n", 2, id="two-in-a-row"),
        pytest.param(encode(LINE) + b'{"x":' + b"[" * 100_000 + b"\n", 2, id="very-deep"),
    ],
)
def test_what_is_no_journal_is_named_by_line(path, text, line):
    path.write_bytes(text)
    with pytest.raises(JournalError, match=f"^{path}:{line}: not an event: "):
        list(read_journal(path))


def test_a_missing_journal_is_named(path):
    with pytest.raises(JournalError, match=os.strerror(errno.ENOENT)):
        list(read_journal(path))


def test_every_line_is_json_without_blanks(path):
    journal = Journal(path)
    journal.write(START)
    journal.close()
    (line,) = path.read_text().splitlines()
    assert json.dumps(json.loads(line), separators=(",", ":")) == line
