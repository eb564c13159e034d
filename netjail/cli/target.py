"""Where a report goes: ``FILE[:FORMAT]`` in, a file written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from netjail.cli.files import STDOUT, beside, put, umask
from netjail.errors import NetjailError, UsageError
from netjail.formats import FORMATS, render

if TYPE_CHECKING:
    from netjail.formats.document import Document

_SUMMARY = "GITHUB_STEP_SUMMARY"


class Target(NamedTuple):
    """One report that was asked for."""

    path: str
    format: str
    append: bool = False

    def check(self) -> None:
        """
        See that it can be written, before anything is run.

        :raises UsageError: if it cannot.
        """
        if self.path == STDOUT:
            return
        try:
            if self.append or not _regular(self.path):
                os.close(_open(self.path))
            else:
                fd, probe = beside(os.path.realpath(self.path))
                os.close(fd)
                os.unlink(probe)
        except OSError as error:
            raise UsageError(*_failure(self.path, error)) from error

    def write(self, document: Document) -> None:
        """
        Write it.

        :raises NetjailError: if it cannot be written; a file that was there stays as it was.
        """
        text = render(document, self.format).encode()
        try:
            self._put(text)
        except OSError as error:
            raise NetjailError(*_failure(self.path, error)) from error

    def _put(self, text: bytes) -> None:
        if self.path == STDOUT:
            sys.stdout.flush()
            _all(1, text)
        elif self.append or not _regular(self.path):
            fd = _open(self.path)
            try:
                _all(fd, text)
            finally:
                os.close(fd)
        else:
            # A link stays one: what it leads to is replaced.
            put(os.path.realpath(self.path), text, _mode(self.path), replace=True)


def parse(text: str, option: str = "--report") -> Target:
    """
    Read ``FILE``, by whose suffix the format is known, or ``FILE:FORMAT``.

    :raises UsageError: for a suffix that says nothing.
    """
    path, colon, format = text.rpartition(":")
    if colon and format in FORMATS:
        return Target(_absolute(path, option), format)
    suffix = os.path.splitext(text)[1].lower()
    found = next((name for name, row in FORMATS.items() if suffix in row.suffixes), "")
    if text == STDOUT:
        found = "text"
    if not found:
        formats = ", ".join(FORMATS)
        message = f"{option}: {text!r}: which format is that?"
        raise UsageError(message, f"write {text}:FORMAT, with one of {formats}")
    return Target(_absolute(text, option), found)


def step_summary() -> Target:
    """
    GitHub's page of a job.

    :raises UsageError: where there is none.
    """
    path = os.environ.get(_SUMMARY, "")
    if not path:
        hint = "GitHub Actions sets it; elsewhere write --report FILE.md"
        raise UsageError(f"--summary: {_SUMMARY} is not set", hint)
    return Target(os.path.abspath(path), "md", append=True)


def _absolute(path: str, option: str) -> str:
    if not path:
        raise UsageError(f"{option} needs a file", f"write {option} FILE[:FORMAT]")
    # The command may go elsewhere; what the shell knows by a number goes where that leads.
    return path if path == STDOUT else os.path.abspath(path)


def _regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o666)


def _mode(path: str) -> int:
    """As the file that is replaced, else as the umask says."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(os.stat(path).st_mode)
    return 0o666 & ~umask()


def _all(fd: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _failure(path: str, error: OSError) -> tuple[str, str]:
    hint = "make its directory first" if isinstance(error, FileNotFoundError) else ""
    hint = hint or "name a file that you can write"
    return f"cannot write the report {path}: {error.strerror}", hint
