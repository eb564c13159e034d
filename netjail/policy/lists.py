"""Lists: ``@FILE`` in, the addresses and names that it lists out; ``entries`` reads lines."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from netjail.errors import Source
from netjail.policy.addresses import AddressSet
from netjail.policy.entries import Entries
from netjail.policy.hosts import Hosts
from netjail.policy.targets import Target

_SIZE = 1 << 28  # bytes of text: ten times a million names

_LISTED: WeakValueDictionary[tuple[int, ...], Target] = WeakValueDictionary()
"""What was read, while a rule holds it: several rules may name one list."""


def read(text: str, source: Source) -> Target:
    """
    Read ``@FILE``; of a policy file's rule it is beside that file.

    :raises RuleError: if it cannot be read, or lines of it are not understood.
    """
    if text == "@":
        raise source.error("'@' names no file", "a list is @FILE, as @hosts.txt", text)
    path = os.path.expanduser(text[1:])  # the shell does so at the start of a word only
    if source.place.line:
        path = os.path.join(os.path.dirname(source.place.source), path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if doubt := source.place.doubt(path, status):
                raise source.error(f"{text!r} cannot be trusted: {doubt}", word=text)
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            found = _LISTED.get(key)
            if found is None:
                _check(status, piped=not source.place.line)
                # Files of /proc are regular, and some wait for what may never come.
                os.set_blocking(descriptor, stat.S_ISFIFO(status.st_mode))
                _LISTED[key] = found = _target(_text(file), path)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise source.error(f"{text!r} cannot be read: {reason}", word=text) from None
    if not found.addresses and not found.hosts:
        hint = "one address, network or name a line, or hosts(5)"
        raise source.error(f"{text!r} lists nothing", hint, text)
    return found


# A pipe, as of "@<(curl …)", is for whoever stands at the command line: a file that was
# found somewhere must not hold us.
def _check(status: os.stat_result, piped: bool) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if kind != stat.S_IFREG and not (piped and kind == stat.S_IFIFO):
        raise OSError(errno.EINVAL, "it is no regular file")


def _text(file: io.BufferedReader) -> io.TextIOWrapper:
    source: BinaryIO = file
    if file.peek(2)[:2] == b"\x1f\x8b":
        import gzip

        source = cast(BinaryIO, gzip.GzipFile(fileobj=file))
    held = io.BytesIO()
    while part := source.read(1 << 20):
        if held.tell() > _SIZE:
            raise OSError(errno.EFBIG, f"it has more than {_SIZE >> 20} MiB")
        held.write(part)
    held.seek(0)
    # Comments may be in any encoding; entries that are not UTF-8 are complained of.
    return io.TextIOWrapper(held, encoding="utf-8-sig", errors="surrogateescape")


def _target(text: io.TextIOWrapper, path: str) -> Target:
    found = Entries(path)
    found.read(text)
    found.finish()
    names = Hosts(frozenset(found.exact), frozenset(found.below))
    return Target(AddressSet.spanning(found.spans), names or None)
