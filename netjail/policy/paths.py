"""
Rules on unix sockets: ``unix:`` and a glob of paths or, after ``@``, of abstract names.

``*`` matches everything, ``/`` included, and ``?`` one byte; ``[…]`` is a class.
"""

from __future__ import annotations

import fnmatch
import os
import re

import msgspec

from netjail.endpoints import Unix
from netjail.errors import Place, Source
from netjail.policy.terms import PLAIN, Terms


class Glob(msgspec.Struct, frozen=True):
    """One glob; several patterns where links in its fixed part lead elsewhere."""

    abstract: bool
    patterns: tuple[re.Pattern[bytes], ...]

    def matches(self, endpoint: Unix) -> bool:
        """Whether it names *endpoint*, whose links have been followed."""
        return self.abstract == endpoint.abstract and any(
            pattern.match(endpoint.path) for pattern in self.patterns
        )


class PathRule(msgspec.Struct, frozen=True):
    """A rule on unix sockets."""

    text: str
    """As the user wrote it."""
    layer: str
    """Where: ``--allow``, ``netjail.toml:3``."""
    glob: Glob
    exceptions: tuple[Glob, ...] = ()
    terms: Terms = PLAIN
    place: Place = Place("")

    def matches(self, endpoint: Unix) -> bool:
        """Whether it speaks of *endpoint*."""
        return self.glob.matches(endpoint) and not any(
            glob.matches(endpoint) for glob in self.exceptions
        )


def parse_unix(text: str, source: Source, layer: str, terms: Terms = PLAIN) -> PathRule:
    """Read a ``unix:`` rule; blanks belong to a path, `` !`` starts an exception."""
    first, *rest = re.split(r"\s+!", text.strip())
    exceptions = tuple(_glob(word, source) for word in rest)
    return PathRule(text.strip(), layer, _glob(first, source), exceptions, terms, source.place)


def body(text: str) -> str:
    """The glob of a rule, without its scheme and exceptions; ``@`` begins an abstract one."""
    first, *_ = re.split(r"\s+!", text.strip())
    return re.sub("^unix:(//(?=/))?", "", first, flags=re.IGNORECASE)


def _glob(text: str, source: Source) -> Glob:
    glob = body(text)
    if glob.startswith("@"):
        return Glob(True, (_compile(glob[1:]),))
    if not glob.startswith(("/", "*")):
        hint = "a path is unix:/run/app.sock, an abstract name unix:@name"
        raise source.error(f"{text!r}: not an absolute path", hint, text)
    return Glob(False, tuple(_compile(one) for one in dict.fromkeys((glob, _followed(glob)))))


# What a call reaches is known without links (/run, not /var/run), and a link that the jail
# makes later must not widen a rule: links are followed once, before the command runs.
def _followed(glob: str) -> str:
    fixed = re.split(r"[*?\[]", glob)[0]
    if fixed != glob:
        fixed = fixed[: fixed.rfind("/") + 1]
    if not fixed:
        return glob
    slash = "/" if fixed.endswith("/") and fixed.strip("/") else ""
    return escape(os.path.realpath(fixed)) + slash + glob[len(fixed) :]


def _compile(glob: str) -> re.Pattern[bytes]:
    # fnmatch.translate works on text; latin-1 keeps every byte what it is.
    text = os.fsencode(glob).decode("latin-1")
    return re.compile(fnmatch.translate(text).encode("latin-1"))


# One byte outside of what ASCII prints.
_ODD = "[!!-~]"


def escape(path: str) -> str:
    """
    A glob that means *path* itself, printable.

    Of a byte that cannot be printed it says no more than that: a program that chose such
    a name must not be given a rule that fits another's.
    """
    safe = re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", path)
    safe = re.sub(r" (?=!|$)", "[ ]", safe)  # a rule would end there, or have an exception
    return "".join(c if c.isprintable() else _ODD * len(os.fsencode(c)) for c in safe)
