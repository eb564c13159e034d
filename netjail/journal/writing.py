"""
Records to a file, one line of JSON each, as they happen.

A line is complete in the kernel's hands before ``Journal.write`` returns: whatever
crashes then, the line is there. What a line holds is in ``records``, imported only
where there is a file to write: starting up is to be quick.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from netjail.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from netjail.records import Record

_CHUNK = 1 << 20


class Journal:
    """
    The file that a run is written to, or none: then nothing is kept.

    :param path: replaced unless *append*; a FIFO, a terminal or a pipe will do.
    :raises JournalError: if it cannot be written, or another netjail writes to it.
    """

    def __init__(self, path: str | Path | None = None, append: bool = False) -> None:
        self.path = "" if path is None else os.path.abspath(path)
        self.size = 0
        """Bytes written by this run."""
        self._fd = -1
        if path is not None:
            self._open(append)

    @property
    def enabled(self) -> bool:
        """Whether there is a file; without one there is no need to make records."""
        return self._fd >= 0

    def write(self, record: Record) -> None:
        """
        Append one line; it is all in the file when this returns.

        :raises JournalError: if it is not; nothing that follows would be recorded.
        """
        if self._fd < 0:
            return
        line = self._encode(record)
        try:
            self._write(line)
        except OSError as error:
            self._cut()
            raise _failure("cannot write", self.path, error) from error
        self._hash.update(line)
        self.size += len(line)

    def close(self) -> None:
        """
        Compare the file with what was written to it, and let go of it.

        :raises JournalError: naming the difference, if there is one.
        """
        if self._fd < 0:
            return
        try:
            difference = self._difference() if self._regular else ""
        except OSError as error:
            raise _failure("cannot check", self.path, error) from error
        finally:
            os.close(self._fd)
            self._fd = -1
        if difference:
            raise JournalError(
                f"journal was altered: {self.path} {difference}",
                "something else wrote to it during the run; do not trust it",
            )

    def _open(self, append: bool) -> None:
        from hashlib import sha256

        from netjail.records import encode

        self._encode = encode
        self._hash = sha256()
        try:
            self._fd = _above_stdio(_open(self.path))
            state = os.fstat(self._fd)
            self._regular = stat.S_ISREG(state.st_mode)
            self._base = state.st_size if append and self._regular else 0
            if self._regular:
                self._claim(append)
        except OSError as error:
            raise _failure("cannot open", self.path, error) from error

    def _claim(self, append: bool) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "give each run a file of its own"
            raise JournalError(f"another netjail writes to {self.path}", hint) from None
        except OSError:
            pass  # a file system without locks, see flock(2)
        if not append:
            os.ftruncate(self._fd, 0)
        elif self._base and os.pread(self._fd, 1, self._base - 1) != b"\n":
            # A run that was cut off left half a line: let ours not be glued to it.
            self._base += os.write(self._fd, b"\n")

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Somebody else's pipe, set to O_NONBLOCK by them: it is not ours to change.
                from select import POLLOUT, poll

                waiting = poll()
                waiting.register(self._fd, POLLOUT)
                waiting.poll()

    def _cut(self) -> None:
        """Take half a line away again: what is there stays readable."""
        if self._regular:
            # It is the failed write that gets reported, not this.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._base + self.size)

    def _difference(self) -> str:
        ours = os.fstat(self._fd)
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return "was removed"
        if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
            return "was replaced by another file"
        if (expected := self._base + self.size) != ours.st_size:
            return f"has {ours.st_size} bytes instead of {expected}"
        return "" if self._digest() == self._hash.digest() else "has other contents"

    def _digest(self) -> bytes:
        from hashlib import sha256

        digest, at, end = sha256(), self._base, self._base + self.size
        while at < end:
            chunk = os.pread(self._fd, min(_CHUNK, end - at), at)
            if not chunk:
                break
            digest.update(chunk)
            at += len(chunk)
        return digest.digest()


class Observed(Journal):
    """
    A journal whose records are seen by *observe* as well, with or without a file.

    :raises NetjailError: what *observe* raises, before the record is written.
    """

    def __init__(
        self, observe: Callable[[Record], None], path: str | Path | None, append: bool
    ) -> None:
        super().__init__(path, append)
        self._observe = observe

    @property
    def enabled(self) -> bool:
        """Records are to be made."""
        return True

    def write(self, record: Record) -> None:
        """Show the record, and append it to the file if there is one."""
        self._observe(record)
        super().write(record)


def _open(path: str) -> int:
    flags = os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = True
    # Reading is for the comparison at the end. A FIFO must not be opened so: it
    # would never wait for its reader, see fifo(7).
    return os.open(path, flags | (os.O_RDWR if regular else os.O_WRONLY), 0o666)


def _above_stdio(fd: int) -> int:
    """*fd*, moved where no program expects its stderr, if it was started without one."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


_HINTS = {
    errno.ENOSPC: "the disk is full: make room, or name a file elsewhere with --events",
    errno.EDQUOT: "your quota is used up: make room, or name a file elsewhere with --events",
    errno.EFBIG: "the file has reached the limit of `ulimit -f`",
    errno.ENOENT: "make its directory first",
    errno.EPIPE: "its reader has gone",
}


def _failure(what: str, path: str, error: OSError) -> JournalError:
    hint = _HINTS.get(error.errno or 0, "name a file that you can write with --events")
    return JournalError(f"{what} the journal {path}: {error.strerror}", hint)
