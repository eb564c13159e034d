"""
``netjail.lock``: one destination a line, the text of a policy that allows them.

::

    # netjail.lock 1: ...
    allow = [
        "tcp://example.org:443",  # the program that wanted it first
    ]

It is read as a policy by ``policy``, and line by line here: a line that stays is left
as it is, so that a change shows what changed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from netjail.errors import Place, RuleError
from netjail.lock.cover import Target, Use
from netjail.lock.learned import quoted

VERSION = 1
NAME = "netjail.lock"

_HEAD = re.compile(r"# netjail\.lock (\d+)\b")
_HEADER = f"""\
# netjail.lock {VERSION}: where the command goes. Nothing else is let through by
# netjail lock --check; netjail lock --update writes the list again.
allow = [
"""
_LINE = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*')\s*,\s*(?:#\s*(.*?)\s*)?""")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})(?: .*)?")
_OPEN, _CLOSE = re.compile(r"allow\s*=\s*\[\s*"), re.compile(r"\]\s*")


class Line(msgspec.Struct, frozen=True):
    """One destination of a lock."""

    rule: str
    program: str = ""
    """Who wanted it first."""
    text: str = ""
    """It as it stands in the file, with the comments before it; "" if it is not there yet."""
    number: int = 0

    def __str__(self) -> str:
        comment = f"  # {self.program}" if self.program else ""
        return self.text or f"    {quoted(self.rule)},{comment}"


class Lock(msgspec.Struct, frozen=True):
    """A lock file: what stands before its lines, they, and what stands behind."""

    lines: tuple[Line, ...] = ()
    head: str = _HEADER
    tail: str = "]\n"
    name: str = NAME

    @property
    def rules(self) -> frozenset[str]:
        """The rules of all lines."""
        return frozenset(line.rule for line in self.lines)

    @property
    def text(self) -> str:
        """The file."""
        return self.head + "".join(f"{line}\n" for line in self.lines) + self.tail

    def changed(self, new: Iterable[Line], gone: Iterable[Line] = ()) -> Lock:
        """The lock with *new* lines and without *gone* ones, in order."""
        left = set(gone)
        lines = [*(line for line in self.lines if line not in left), *new]
        return msgspec.structs.replace(self, lines=tuple(sorted(lines, key=_order)))


def line(target: Target, use: Use) -> Line:
    """A destination as a line."""
    return Line(target.rule, f"{use.program}; {use.note}" if use.note else use.program)


def is_lock(path: str) -> bool:
    """Whether a file is rather a lock than a journal, whose lines are JSON."""
    try:
        with open(path, "rb") as file:
            first = file.read(1)
    except OSError:
        return False  # whoever reads it as a journal says why
    return first not in (b"{", b"\x1f", b"")


def read(path: str) -> Lock:
    """
    Read a lock.

    :raises RuleError: naming file, line and column, if it is none, or was edited so that
        it cannot be read line by line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read(), path)
    except FileNotFoundError:
        hint = "make it: netjail lock -- COMMAND"
        raise RuleError("there is no such lock", hint, Place(path)) from None
    except OSError as error:
        raise RuleError(f"cannot be read: {error.strerror}", place=Place(path)) from None
    except UnicodeDecodeError:
        raise RuleError("is not UTF-8", place=Place(path)) from None


def parse(text: str, name: str) -> Lock:
    """Read the text of a lock called *name*."""
    lines = text.splitlines(keepends=True)
    for number, one in enumerate(lines, 1):
        if _CONFLICT.fullmatch(one.rstrip("\n")):
            hint = "keep the lines of both sides; netjail lock --check says if that is right"
            raise RuleError("a merge conflict is not resolved", hint, Place(name, number, 1))
    _check_version(lines[0] if lines else "", name)
    begin = _find(lines, _OPEN, 0, name, "allow = [")
    end = _find(lines, _CLOSE, begin + 1, name, "]")
    body = lines[begin + 1 : end]
    _check_tail(lines, end, name)
    found, rest = _lines(body, begin + 2, name)
    head, tail = "".join(lines[: begin + 1]), "".join([*rest, *lines[end:]])
    return Lock(tuple(found), head, tail, name)


def _check_version(first: str, name: str) -> None:
    found = _HEAD.match(first)
    place = Place(name, 1, 1)
    if not found:
        raise RuleError("this is no lock", f"its first line is '# netjail.lock {VERSION}'", place)
    if int(found[1]) != VERSION:
        hint = f"this netjail reads version {VERSION}; a newer one made it"
        raise RuleError(f"version {found[1]} of locks is not known", hint, place)


def _find(lines: list[str], pattern: re.Pattern[str], start: int, name: str, wanted: str) -> int:
    for at in range(start, len(lines)):
        if pattern.fullmatch(lines[at]):
            return at
        if pattern is _OPEN and lines[at].strip() and not lines[at].startswith("#"):
            break
    at = min(at if start < len(lines) else start, len(lines) - 1)
    hint = "the list begins with 'allow = [', and ends with ']', each on a line alone"
    raise RuleError(f"expected {wanted!r}", hint, Place(name, at + 1, 1))


def _check_tail(lines: list[str], end: int, name: str) -> None:
    for at in range(end + 1, len(lines)):
        if lines[at].strip() and not lines[at].startswith("#"):
            hint = "a lock has destinations alone; other rules belong into netjail.toml"
            raise RuleError("unexpected line", hint, Place(name, at + 1, 1))


def _lines(body: list[str], first: int, name: str) -> tuple[list[Line], list[str]]:
    """The destinations, and the comments behind the last of them."""
    found: dict[str, Line] = {}
    remarks: list[str] = []
    for number, text in enumerate(body, first):
        if not text.strip() or text.lstrip().startswith("#"):
            remarks.append(text)
            continue
        place = Place(name, number, len(text) - len(text.lstrip()) + 1)
        one = _line(text, "".join(remarks), place)
        if one.rule in found:
            earlier = found[one.rule].number
            raise RuleError(f"{one.rule!r} stands in line {earlier} already", "remove one", place)
        found[one.rule] = one
        remarks = []
    return list(found.values()), remarks


def _line(text: str, remarks: str, place: Place) -> Line:
    parts = _LINE.fullmatch(text.rstrip("\n"))
    if not parts:
        hint = 'one destination a line, with a comma: "tcp://example.org:443",'
        raise RuleError("this is no destination", hint, place)
    rule = _string(parts[1], place)
    return Line(rule, parts[2] or "", remarks + text.rstrip("\n"), place.line)


def _string(text: str, place: Place) -> str:
    try:
        found: str = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"not a string of TOML: {error}", "see toml.io", place) from None
    return found


_RULE = re.compile(r"(?:(\w+)://)?(\[[^\]]*\][^:]*|[^:]*)(?::(\d+).*)?")


def _order(one: Line) -> tuple[int, str, int, str]:
    """As ``Target`` sorts: names, addresses, paths."""
    if one.rule.startswith("unix:"):
        return (7, one.rule, 0, "")
    found = _RULE.fullmatch(one.rule)
    if not found:
        return (8, one.rule, 0, "")
    proto, host, port = found[1] or "any", found[2], int(found[3] or 0)
    try:
        return (ip_address(host.strip("[]")).version, host, port, proto)
    except ValueError:
        return (0, host, port, proto)
