"""
TOML that a stranger may have written: its text in, what it says out.

``tomllib`` takes time and memory by the square of a key's parts: ``a.a.a… = 1``, a line
of some kilobytes, exhausts a machine.
"""

from __future__ import annotations

import re
from typing import Any

DEPTH = 16
"""Parts of a key; no policy has more than four, and other tools' tables hardly more."""

# Each takes what has no end up to where it could have one, and what follows a repeat
# always matches there: nothing is read twice. (Before Python 3.11.5 a possessive group
# that looks ahead goes wrong: gh-106052.)
_STRINGS = re.compile(
    r'"{3}(?:[^"\\]+|\\.?|"(?!""))*(?:"{3,5}|\Z)'
    r"|'{3}(?:[^']+|'(?!''))*(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]+|\\.?)*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*",
    re.DOTALL,
)
_DEEP = re.compile(rf'(?<![\w"-])(?:[\w"-]++[ \t]*+\.[ \t]*+){{{DEPTH}}}')


def loads(text: str) -> Any:
    """
    What *text* says.

    :raises ValueError: as ``tomllib.loads``, see ``places.syntax``.
    :raises RecursionError: if it is nested too deeply.
    """
    import tomllib

    if _DEEP.search(_STRINGS.sub('"', text)):
        raise RecursionError
    return tomllib.loads(text)
