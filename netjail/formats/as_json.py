"""
A report as JSON: ``netjail/report/1``, the document field by field.

``report.schema.json`` beside this file is its JSON Schema. To write it again after a
change of ``document``: ``NETJAIL_GOLDEN=1 pytest tests/test_formats.py``.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from netjail.formats import pretty
from netjail.formats.document import SCHEMA, Document

SHIPPED = Path(__file__).parent / "report.schema.json"


def render(document: Document) -> str:
    """JSON with an indent of two; nothing in it drives a terminal."""
    text = pretty(document)
    if text.isascii() and "\x7f" not in text:
        return text + "\n"
    # JSON itself escapes what is below 0x20; DEL, C1 and what turns writing around are left.
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text) + "\n"


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def schema() -> str:
    """The JSON Schema of what ``render`` gives, made from the types."""
    made = msgspec.json.schema(Document)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
    }
    return pretty({**head, **made}) + "\n"
