"""
How a report looks; one module a format, each with ``render``; nothing here prints.

To add one, write its module and its row in ``FORMATS``. What a program chose itself
(names, paths, arguments) goes through :func:`visible` before it may reach a terminal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from netjail.errors import UsageError

if TYPE_CHECKING:
    from netjail.formats.document import Document


class Format(NamedTuple):
    """One way to write a report."""

    module: str
    suffixes: tuple[str, ...] = ()
    """Of files that are written so unless the user says otherwise."""
    options: tuple[tuple[str, object], ...] = ()
    """What a file gets that a terminal does not."""


FORMATS = {
    "text": Format("as_text", (".txt", ".text"), (("verbose", True),)),
    "json": Format("as_json", (".json",)),
    "md": Format("as_md", (".md", ".markdown")),
    "html": Format("as_html", (".html", ".htm")),
    "sarif": Format("as_sarif", (".sarif",)),
    "junit": Format("as_junit", (".xml",)),
    "github": Format("as_github"),
}


def render(document: Document, format: str, **options: object) -> str:
    """
    *document* as a row of ``FORMATS`` writes it.

    :raises UsageError: if there is no such row.
    """
    row = FORMATS.get(format)
    if row is None:
        raise UsageError(f"no format is called {format!r}", f"one of {', '.join(FORMATS)}")
    module = import_module(f"netjail.formats.{row.module}")
    text: str = module.render(document, **(options or dict(row.options)))
    return text


def visible(text: str, width: int = 200) -> str:
    """
    *text* on one line of at most *width* characters, with nothing that drives a terminal.

    What does not fit is cut out of the middle: a host's end says whose it is. Nor is
    there anything left that a reader of CI's logs obeys wherever it stands in a line:
    ``##[`` of GitHub's, ``##vso[`` of Azure's, ``##teamcity[``.
    """
    if len(text) > width:
        head = (width - 3) // 2
        text = f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"
    commanding = "##" in text and "[" in text
    if text.isprintable() and not commanding:
        return text
    escaped = "".join(c if c.isprintable() else _escape(c) for c in text)
    if commanding:
        escaped = escaped.replace("##", "#\\x23")
    return escaped if len(escaped) <= width else visible(escaped, width)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that was not UTF-8, see os.fsdecode
    for prefix, digits in (("\\x", 2), ("\\u", 4)):
        if code < 16**digits:
            return f"{prefix}{code:0{digits}x}"
    return f"\\U{code:08x}"


def pretty(value: object) -> str:
    """*value* as JSON that a person can read."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
