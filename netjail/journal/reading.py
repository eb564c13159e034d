"""Lines of a file back into records, compressed or not, as far as they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from typing import TYPE_CHECKING, NamedTuple

from netjail.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from netjail.records import Record


class Torn(NamedTuple):
    """A line that a run which was cut off did not finish."""

    line: int
    text: bytes


def read_journal(
    path: str | Path, tell: Callable[[int], None] | None = None
) -> Iterator[Record | Torn]:
    """
    The records of a journal, in order; a :class:`Torn` where a run was cut off.

    :param path: it may be compressed with gzip.
    :param tell: called now and then with how many bytes more of the file were read.
    :raises JournalError: naming file and line, if it cannot be read or is no journal.
    """
    from netjail.records import StartRecord, decode

    torn: Torn | None = None
    why = ""
    for number, line in enumerate(_lines(path, tell), 1):
        try:
            record = decode(line)
        except (ValueError, RecursionError) as error:
            if torn:
                break
            torn, why = Torn(number, line), str(error)
            continue
        if torn:
            if not isinstance(record, StartRecord):
                break
            yield torn
            torn = None
        yield record
    else:
        if torn and torn.text.endswith(b"\n"):
            raise _broken(path, torn, why)
        if torn:
            yield torn
        return
    if torn:
        raise _broken(path, torn, why)


def _broken(path: str | Path, torn: Torn, why: str) -> JournalError:
    hint = "it is no journal of netjail, or was edited"
    return JournalError(f"{path}:{torn.line}: not an event: {why}", hint)


_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_LINES = 1 << 14  # between two calls of *tell*


def _lines(path: str | Path, tell: Callable[[int], None] | None) -> Iterator[bytes]:
    try:
        with BufferedReader(FileIO(path), _CHUNK) as file:
            yield from _told(_plain(file), file, tell) if tell else _plain(file)
    except OSError as error:
        # gzip's own errors have no errno.
        why = error.strerror or str(error)
        raise JournalError(f"cannot read the journal {path}: {why}") from error


def _plain(file: BufferedReader[FileIO]) -> Iterator[bytes]:
    """The lines of *file*, whether it is compressed or not."""
    if file.peek(2)[:2] != _GZIP:
        yield from file
        return
    import gzip
    import zlib

    line = b""
    with gzip.GzipFile(fileobj=file) as inside:
        try:
            for line in inside:
                yield line
        except (EOFError, zlib.error) as error:
            if isinstance(error, zlib.error):
                raise OSError(str(error)) from error
            # What a compressor that was killed left behind: the rest of its last block is lost.
            if not line or line.endswith(b"\n"):
                yield b"{"


def _told(
    lines: Iterator[bytes], file: BufferedReader[FileIO], tell: Callable[[int], None]
) -> Iterator[bytes]:
    at = 0
    for number, line in enumerate(lines):
        if number % _LINES == 0:
            now = file.tell()
            tell(now - at)
            at = now
        yield line
