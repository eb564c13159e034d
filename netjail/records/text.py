"""Words of a tracee, and of the kernel, as strict JSON can hold them."""

from __future__ import annotations

import errno

_LENGTH = 4096
ARGUMENTS = 4096
"""Bytes of a command line that are shown at most."""
HIDDEN = "…"
"""In the place of what is not shown."""


def plain(raw: str | bytes) -> str:
    """Text of a tracee as strict JSON can hold it: odd bytes become ``\\xNN``."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")
    if not text.isascii():
        text = "".join(_odd(c) if "\ud800" <= c <= "\udfff" else c for c in text)
    return text if len(text) <= _LENGTH else text[:_LENGTH] + HIDDEN


def _odd(surrogate: str) -> str:
    byte = ord(surrogate) - 0xDC00  # where surrogateescape puts 0x80 to 0xff, PEP 383
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{ord(surrogate):04x}"


def error_name(error: int) -> str:
    """``ECONNREFUSED`` for 111; the number itself where Linux has no name for it."""
    return errno.errorcode.get(error, str(error))
