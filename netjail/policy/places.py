"""
Where things stand in a TOML file: its text in, a tree of places out.

``tomllib`` gives values without their places. What it has read without complaint is
read a second time here, by tree-sitter, for the places alone.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from netjail.errors import Place, RuleError

if TYPE_CHECKING:
    from netjail.policy.grammar import Node

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: ``("rule", 0, "deny")``."""


Trust = Callable[[str, os.stat_result], str]
"""Why a file that a page names cannot be trusted, "" if it can."""


class Spot(msgspec.Struct):
    """A value: where its key and itself stand, as offsets, and what is in it."""

    key: tuple[int, int]
    value: tuple[int, int]
    items: dict[str | int, Spot] = msgspec.field(default_factory=dict)


_ESCAPE = re.compile(r"\\(?:[ \t]*\r?\n[ \t\r\n]*|U.{8}|u.{4}|.)|\r\n|.", re.DOTALL)
_LITERAL = re.compile(r"\r\n|.", re.DOTALL)
_HEADERS = ("table", "table_array_element")


class Page:
    """The text of a file that ``tomllib`` reads, and what stands where in it."""

    def __init__(self, text: str, name: str, trust: Trust | None = None) -> None:
        self.text = text
        self.name = name
        self.trust = trust
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._excerpts: dict[int, str] = {}
        self.root = Spot((0, 0), (0, 0))

    def read(self) -> Page:
        """Find what stands where in the text, which has to be TOML."""
        from netjail.policy.grammar import parse

        for node in parse(self.text):
            self._pairs(node, self._header(node) if node.type in _HEADERS else self.root)
        return self

    def at(self, *path: str | int) -> Place:
        """The place of the value at *path*, or of what comes nearest to it."""
        spot = self._nearest(path)
        if spot is self.root:
            return Place(self.name)
        start, end = spot.value
        if self.text[start] in "\"'":
            return self._quoted(start, end)
        return self.place(start, end)

    def key(self, *path: str | int) -> Place:
        """The place of the key at *path*; of an element, its own."""
        spot = self._nearest(path)
        return Place(self.name) if spot is self.root else self.place(*spot.key)

    def place(self, start: int, end: int) -> Place:
        """The place of the characters from *start* to *end*, as far as its line goes."""
        line = bisect_right(self._lines, start)
        first = self._lines[line - 1]
        excerpt = self._excerpt(line)
        width = max(min(end, first + len(excerpt)) - start, 1)
        return Place(self.name, line, start - first + 1, excerpt, width)

    def _excerpt(self, line: int) -> str:
        # One for all that stand in the line: it may be long, and they many.
        if line not in self._excerpts:
            first = self._lines[line - 1]
            last = self._lines[line] - 1 if line < len(self._lines) else len(self.text)
            self._excerpts[line] = self.text[first:last].rstrip("\r")
        return self._excerpts[line]

    def keep(self, path: Path, indexes: list[int]) -> None:
        """Leave only these elements of the list at *path*, and number them anew."""
        spot = self._nearest(path)
        spot.items = {new: spot.items[old] for new, old in enumerate(indexes)}

    def offset(self, line: int, column: int) -> int:
        """Where *column* of *line* is."""
        return min(self._lines[min(line, len(self._lines)) - 1] + column - 1, len(self.text))

    def _nearest(self, path: Path) -> Spot:
        spot = self.root
        for step in path:
            if step not in spot.items:
                break
            spot = spot.items[step]
        return spot

    def _quoted(self, start: int, end: int) -> Quoted:
        quotes = _quotes(self.text[start:end])
        start, end = start + quotes, end - quotes
        if quotes == 3:
            start += len(re.match(r"\r?\n|", self.text[start:])[0])  # type: ignore[index]
        place = self.place(start, end)
        return Quoted(
            place.source, place.line, place.column, place.excerpt, place.width, self, start, end
        )

    def _header(self, node: Node) -> Spot:
        """The table that a header opens."""
        *above, (name, key) = node.keys
        spot = self.root
        for part, place in above:
            spot = _last(spot.items.setdefault(part, Spot(place, node.head)))
        found = spot.items.setdefault(name, Spot(key, node.head))
        if node.type == "table_array_element":
            found = found.items.setdefault(len(found.items), Spot(key, node.head))
        return found

    def _pairs(self, node: Node, table: Spot) -> None:
        for pair in (node, *node.children) if node.type == "pair" else node.children:
            if pair.type == "pair":
                self._pair(pair, table)

    def _pair(self, pair: Node, table: Spot) -> None:
        *above, (name, key) = pair.keys
        for part, place in above:
            table = table.items.setdefault(part, Spot(place, place))
        # What tomllib takes and tree-sitter does not: the key is near enough.
        value = pair.children[-1] if pair.children else pair
        table.items[name] = spot = Spot(key, value.span)
        self._value(value, spot)

    def _value(self, node: Node, spot: Spot) -> None:
        if node.type == "inline_table":
            self._pairs(node, spot)
        elif node.type == "array":
            for index, item in enumerate(node.children):
                spot.items[index] = Spot(item.span, item.span)
                self._value(item, spot.items[index])


class Quoted(Place, frozen=True):
    """The place of a string: words in it are found behind escapes and line ends as well."""

    page: Page | None = None
    start: int = 0
    end: int = 0
    added: int = 0
    """How many characters of the text stand before the string, and not in the file."""

    def behind(self, added: str) -> Quoted:
        """The same for a text that *added* is put before, which does not stand there."""
        return msgspec.structs.replace(self, added=len(added))

    def doubt(self, path: str, status: os.stat_result) -> str:
        """Why a file that is named here cannot be trusted."""
        trust = self.page.trust if self.page else None
        return trust(path, status) if trust else ""

    def within(self, text: str, word: str) -> Place:
        """The place of *word* in *text*, which is what the string says."""
        assert self.page
        offset = text.rfind(word) if word else -1
        first, last = (offset, offset + len(word)) if offset >= 0 else (0, len(text))
        first, last = max(first - self.added, 0), last - self.added
        marks = list(self._marks())
        start = marks[first] if first < len(marks) else self.start
        end = marks[last] if last < len(marks) else self.end
        return self.page.place(start, end)

    def _marks(self) -> Iterator[int]:
        """Where each character of the string begins, and where the last one ends."""
        assert self.page
        pattern = _ESCAPE if self.page.text[self.end] == '"' else _LITERAL
        for found in pattern.finditer(self.page.text, self.start, self.end):
            # A backslash at the end of a line stands for nothing.
            if not (found[0][0] == "\\" and found[0][1:].isspace()):
                yield found.start()
        yield self.end


def _quotes(token: str) -> int:
    return 3 if token[:3] in ('"""', "'''") and len(token) >= 6 else 1


def _last(spot: Spot) -> Spot:
    """The table that a header means: of an array of tables its last."""
    index = len(spot.items) - 1
    return spot.items.get(index, spot)


def syntax(text: str, name: str, error: Exception) -> RuleError:
    """The complaint about *text*, which ``tomllib`` refused with *error*."""
    message, _, where = str(error).partition(" (at ")
    page = Page(text, name)
    found = re.match(r"line (\d+), column (\d+)", where)
    start = len(text)
    if found:
        start = page.offset(int(found[1]), int(found[2]))
    place = page.place(start, start + 1)
    return RuleError(message[:1].lower() + message[1:], _HINTS.get(message, "see toml.io"), place)


_QUOTES = 'strings have quotes: "example.org:443"'
_QUOTE = "a string ends on its own line, with the quote that it begins with"
_LINE = 'a line is KEY = VALUE, or [[rule]]; as allow = ["example.org"]'
# What tomllib complains about most, where policies are written by hand.
_HINTS = {
    "Invalid value": _QUOTES,
    "Unclosed array": f"a comma between two, a ] at the end; {_QUOTES}",
    "Invalid statement": _LINE,
    "Expected '=' after a key in a key/value pair": _LINE,
    "Expected newline or end of document after a statement": _LINE,
    "Illegal character '\\n'": _QUOTE,
    'Expected "\'"': _QUOTE,
    "Unterminated string": "it ends with the \"\"\" or ''' that it begins with",
    "Unescaped '\\' in a string": "write it twice, or the string in single quotes",
    "Cannot overwrite a value": "a key is written once; lists take several values",
    "Cannot declare ('rule',) twice": "write [[rule]]",
    "Cannot declare ('test',) twice": "write [[test]]",
}
