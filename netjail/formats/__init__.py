"""
How a report looks; one module a format, each with ``render``; nothing here prints.

What a program chose itself (names, paths, arguments) goes through :func:`visible`
before it may reach a terminal.
"""

from __future__ import annotations


def visible(text: str, width: int = 200) -> str:
    """
    *text* on one line of at most *width* characters, with nothing that drives a terminal.

    What does not fit is cut out of the middle: a host's end says whose it is.
    """
    if len(text) > width:
        head = (width - 3) // 2
        text = f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"
    if text.isprintable():
        return text
    escaped = "".join(c if c.isprintable() else _escape(c) for c in text)
    return escaped if len(escaped) <= width else visible(escaped, width)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that was not UTF-8, see os.fsdecode
    for prefix, digits in (("\\x", 2), ("\\u", 4)):
        if code < 16**digits:
            return f"{prefix}{code:0{digits}x}"
    return f"\\U{code:08x}"
