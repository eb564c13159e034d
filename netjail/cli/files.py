"""Files that are written at the end of a run: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from netjail.errors import NetjailError, UsageError

STDOUT = "-"


class NewFile(NamedTuple):
    """A place for a file."""

    path: str
    write: Callable[[str], None]


def new_file(path: str, replace: bool) -> NewFile:
    """
    Where a file will be written.

    :raises UsageError: if it cannot be, or is there already and not to be *replace*-d.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        cause = "is not writable" if os.path.isdir(folder) else "is no directory"
        raise UsageError(f"{path} cannot be written: {folder} {cause}", "name another file")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a directory", "name a file in it")
    if os.path.lexists(path) and not replace:
        raise UsageError(f"{path} is there already", "name another, or replace it with --force")
    real = os.path.realpath(path) if replace else os.path.abspath(path)
    return NewFile(path, lambda text: _write(real, text, replace))


def stdout() -> NewFile:
    """
    The command's own stdout, to be written after it.

    :raises UsageError: if it is closed.
    """
    try:
        os.fstat(1)
    except OSError as error:
        raise UsageError(f"stdout cannot be written: {error.strerror}", "name a file") from None
    return NewFile(STDOUT, _print)


def _print(text: str) -> None:
    try:
        with open(1, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
    except OSError as error:
        raise NetjailError(f"stdout cannot be written: {error.strerror}", "name a file") from None


def _write(path: str, text: str, replace: bool) -> None:
    try:
        # As a policy's file must be, to be used: see policy.files.
        put(path, text.encode(), 0o644 & ~umask(), replace)
    except OSError as error:
        hint = "nothing of it is kept; name another file"
        raise NetjailError(f"{path} cannot be written: {error.strerror}", hint) from None


def put(path: str, content: bytes, mode: int, replace: bool) -> None:
    """
    Write a file as a whole or not at all.

    :raises OSError: if that cannot be; FileExistsError: it is not to be *replace*-d.
    """
    fd, made = beside(path)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, mode)
        if replace:
            os.replace(made, path)
        else:
            os.link(made, path)  # unlike rename(2), it spares what came meanwhile
    finally:
        if os.path.lexists(made):
            os.unlink(made)


def beside(path: str) -> tuple[int, str]:
    """A new file in the folder of *path*."""
    return tempfile.mkstemp(prefix=".netjail-", dir=os.path.dirname(path))


def umask() -> int:
    """The mask of this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
