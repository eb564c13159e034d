"""
Policy files: TOML in, its entries with the places they stand at out.

``netjail.toml``, or ``[tool.netjail]`` of a ``pyproject.toml``. To add a key, write
it in :class:`Document`.
"""

from __future__ import annotations

import enum
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from netjail.errors import Place, RuleError, guess
from netjail.model import Decision

SYSTEM = "/etc/netjail/netjail.toml"
"""A second policy, where it exists: both must allow."""

KEYS = ("default", "allow", "deny", "errno", "bind", "dns-refusal")


class Refusal(enum.Enum):
    """How a look-up is refused: its value is what a policy file says."""

    NXDOMAIN = "nxdomain"  # there is no such name: every resolver ends at once
    REFUSED = "refused"  # more honest, but musl's waits for a better answer


class Entry(msgspec.Struct, frozen=True):
    """A string of a file or an option, and where it stands."""

    text: str
    place: Place
    layer: str
    """How verdicts name that place: ``--allow``, ``netjail.toml:3``."""


class Sheet(msgspec.Struct, frozen=True):
    """What one file, or the options of one run, say."""

    default: Decision | None = None
    allow: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()
    errno: Entry | None = None
    bind: tuple[Entry, ...] | None = None
    refusal: Refusal | None = None


# Paths are strings: pathlib costs some milliseconds at each start.
def read(path: str) -> Sheet:
    """
    Read a policy file that was asked for.

    :raises RuleError: if it cannot be read, is no TOML, or says what is not understood.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise RuleError(f"cannot be read: {error.strerror}", place=Place(path)) from None
    except UnicodeDecodeError:
        raise RuleError("is not UTF-8", place=Place(path)) from None
    return parse(text, path, _table(path))


def _table(path: str) -> tuple[str, ...]:
    return ("tool", "netjail") if os.path.basename(path) == "pyproject.toml" else ()


def parse(text: str, name: str, table: tuple[str, ...] = ()) -> Sheet:
    """Read the text of a policy file called *name*; *table* is where the policy starts."""
    data: Any = _toml(text, name)
    for key in table:
        data = data.get(key, {})
    reader = _Reader(text, name, ".".join(table))
    reader.check(data)
    default = data.get("default")
    return Sheet(
        Decision(default) if default else None,
        reader.entries("allow", data.get("allow", [])),
        reader.entries("deny", data.get("deny", [])),
        next(iter(reader.entries("errno", [data["errno"]])), None) if "errno" in data else None,
        reader.entries("bind", data["bind"]) if "bind" in data else None,
        Refusal(data["dns-refusal"]) if "dns-refusal" in data else None,
    )


def _toml(text: str, name: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, where = str(error).partition(" (at ")
        found = re.match(r"line (\d+), column (\d+)", where)
        place = (
            Place(name, int(found[1]), int(found[2])) if found else _place(name, text, len(text))
        )
        raise RuleError(message[:1].lower() + message[1:], "see toml.io", place) from None


def _place(name: str, text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(name, before.count("\n") + 1, offset - before.rfind("\n"))


# A string with its quotes, a comment, or the end of a list: TOML 1.0.0, "String".
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|\#[^\n]*|[\]\n]',
    re.DOTALL,
)


class _Reader(msgspec.Struct, frozen=True):
    """Finds again, in the text, what ``tomllib`` gives without a place."""

    text: str
    name: str
    table: str

    def check(self, data: Any) -> None:
        """Refuse unknown keys and wrong types."""

        class Document(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
            default: Literal["allow", "deny"] = "deny"
            allow: list[str] = []
            deny: list[str] = []
            errno: str = ""
            bind: list[str] = []
            dns_refusal: Literal["nxdomain", "refused"] = "nxdomain"

        for key in data if isinstance(data, dict) else ():
            if key not in KEYS:
                raise RuleError(f"unknown key {key!r}", guess(key, KEYS), self._place(key))
        try:
            msgspec.convert(data, Document)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$.")
            key = re.split(r"[\[`.]", where)[0]
            hint = (
                'default is "allow" or "deny", dns-refusal "nxdomain" or "refused", '
                "errno a string, the others lists of strings"
            )
            shown = f"{key}: {message[:1].lower()}{message[1:]}" if key else message
            raise RuleError(shown, hint, self._place(key)) from None

    def entries(self, key: str, texts: list[str]) -> tuple[Entry, ...]:
        """The strings of *key*, each with its line and column."""
        start = self._start(key)
        tokens = [
            found
            for found in _TOKEN.finditer(self.text, start[1] if start else len(self.text))
            if found[0][0] in "\"'"
        ]
        found = []
        for index, text in enumerate(texts):
            place = self._place(key)
            if index < len(tokens):
                quotes = 3 if tokens[index][0][:3] in ('"""', "'''") else 1
                place = self._at(tokens[index].start() + quotes)
            found.append(Entry(text, place, f"{self.name}:{place.line}"))
        return tuple(found)

    def _start(self, key: str) -> tuple[int, int] | None:
        head = self.text.find(f"[{self.table}]") if self.table else 0
        pattern = re.compile(rf"^[ \t]*([\"']?){re.escape(key)}\1[ \t]*=", re.MULTILINE)
        found = pattern.search(self.text, max(head, 0))
        return (found.end(1), found.end()) if found else None

    def _place(self, key: str) -> Place:
        start = self._start(key)
        return self._at(start[0]) if start else Place(self.name)

    def _at(self, offset: int) -> Place:
        return _place(self.name, self.text, offset)


class Found(msgspec.Struct, frozen=True):
    """What the search for a policy file came to."""

    path: str = ""
    sheet: Sheet | None = None
    warning: str = ""


def search(start: str) -> Found:
    """
    Look for a policy file from *start* upwards.

    It ends at the root of the repository and at a folder that cannot be read: what
    lies above either is not about this project. A file that somebody else could have
    written is not used, and ends the search as well: it hides what lies above it.
    """
    for folder in _upwards(start):
        if not os.access(folder, os.R_OK | os.X_OK):
            break
        for name in ("netjail.toml", "pyproject.toml"):
            found = _use(os.path.join(folder, name), start)
            if found:
                return found
        if os.path.exists(os.path.join(folder, ".git")):
            break
    return Found()


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while (parent := os.path.dirname(folder)) != folder:
        yield parent
        folder = parent


def _use(path: str, start: str) -> Found | None:
    try:
        # O_NONBLOCK: a pipe of that name must not hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Found(warning=f"{path} is not used: {error.strerror}")
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        text = file.read()
    table = _table(path)
    if table and not re.search(r"^\s*\[tool\.netjail\]", text, re.MULTILINE):
        return None
    if doubt := _doubt(status):
        return Found(warning=f"{path} is not used: {doubt}")
    shown = os.path.basename(path) if os.path.dirname(path) == start else path
    return Found(path, parse(text, shown, table))


def _doubt(status: os.stat_result) -> str:
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner can write it (chmod go-w)"
    return ""
