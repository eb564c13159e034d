"""
The JSON Schema of a policy file, for editors: made of ``document``, kept in a file.

``make schema`` writes the file anew; a test holds that it is what the model says.
"""

from __future__ import annotations

import json
import os
from typing import Any

FILE = os.path.join(os.path.dirname(__file__), "netjail.schema.json")


def text() -> str:
    """The schema, as ``netjail check --schema`` prints it."""
    with open(FILE, encoding="utf-8") as file:
        return file.read()


def generate() -> str:
    """The schema of the model as it stands."""
    import msgspec

    from netjail.policy.document import Document

    made = msgspec.json.schema(Document)
    tables = made["$defs"]
    tables["RuleTable"] |= {
        "oneOf": [{"required": ["allow"]}, {"required": ["deny"]}],
        "dependentRequired": {"errno": ["deny"], "redirect": ["allow"]},
    }
    document = tables.pop("Document")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole = head | document | {"title": "netjail policy", "$defs": tables}
    return json.dumps(_filled(whole), indent=2, ensure_ascii=False) + "\n"


def _filled(value: Any) -> Any:
    """*value* with the choices that the model leaves to the tables."""
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if not isinstance(value, dict):
        return value
    rest = {key: _filled(each) for key, each in value.items() if key != "choice"}
    return rest | _choice(value["choice"]) if "choice" in value else rest


def _choice(kind: str) -> dict[str, object]:
    from netjail.policy import presets
    from netjail.policy.errnos import ERRNOS
    from netjail.policy.words import WORDS

    choices: dict[str, dict[str, object]] = {
        # Any other string is a host, an address, a path; editors offer the words.
        "word": {"anyOf": [{"enum": list(WORDS)}, {"type": "string"}]},
        "errno": {"enum": sorted(ERRNOS)},
        "preset": {"anyOf": [{"enum": presets.names()}, {"pattern": r"/|\.toml$"}]},
    }
    return choices[kind]
