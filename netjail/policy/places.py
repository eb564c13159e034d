"""
Where things stand in a TOML file: its text in, a tree of places out.

``tomllib`` gives values without their places. What it has read without complaint is
walked a second time here, by tokens alone: what the values are is not asked again.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from netjail.errors import Place, RuleError

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value: ``("rule", 0, "deny")``."""


class Spot(msgspec.Struct):
    """A value: where its key and itself stand, as offsets, and what is in it."""

    key: tuple[int, int]
    value: tuple[int, int]
    items: dict[str | int, Spot] = msgspec.field(default_factory=dict)


# TOML 1.0.0, "String"; a string of several lines may end in up to two quotes of its own.
_STRING = r'"""(?:\\.|[^\\])*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:\\.|[^"\\])*"|\'[^\']*\''
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_VALUE = re.compile(rf"(?P<string>{_STRING})|[^,\]}}#\r\n]+", re.DOTALL)
_KEY = re.compile(rf"(?:{_STRING})|[A-Za-z0-9_-]+", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[ \t]*\r?\n[ \t\r\n]*|U.{8}|u.{4}|.)|\r\n|.", re.DOTALL)
_LITERAL = re.compile(r"\r\n|.", re.DOTALL)
_SHORT = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


class Page:
    """The text of a file that ``tomllib`` reads, and what stands where in it."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self.root = Spot((0, 0), (0, 0))
        self._table = self.root

    def read(self) -> Page:
        """Walk the text, which has to be TOML."""
        position = self._skip(0)
        while position < len(self.text):
            if self.text[position] == "[":
                position = self._header(position)
            else:
                position = self._pair(self._table, position)
            position = self._skip(position)
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
        last = self._lines[line] - 1 if line < len(self._lines) else len(self.text)
        excerpt = self.text[first:last].rstrip("\r")
        width = max(min(end, first + len(excerpt)) - start, 1)
        return Place(self.name, line, start - first + 1, excerpt, width)

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

    def _skip(self, position: int) -> int:
        found = _BLANK.match(self.text, position)
        assert found
        return found.end()

    def _keys(self, position: int) -> tuple[list[tuple[str, int, int]], int]:
        """The parts of a dotted key, and where it ends."""
        parts = []
        while found := _KEY.match(self.text, self._skip(position)):
            parts.append((_unquoted(found[0]), found.start(), found.end()))
            position = self._skip(found.end())
            if self.text[position : position + 1] != ".":
                break
            position += 1
        return parts, position

    def _header(self, start: int) -> int:
        many = self.text.startswith("[[", start)
        keys, position = self._keys(start + 1 + many)
        end = position + 1 + many
        spot = self.root
        for name, *key in keys[:-1]:
            spot = _last(spot.items.setdefault(name, Spot((key[0], key[1]), (start, end))))
        name, *key = keys[-1]
        found = spot.items.setdefault(name, Spot((key[0], key[1]), (start, end)))
        if many:
            index = len(found.items)
            found = found.items.setdefault(index, Spot((key[0], key[1]), (start, end)))
        self._table = found
        return end

    def _pair(self, table: Spot, position: int) -> int:
        keys, position = self._keys(position)
        for name, start, end in keys[:-1]:
            table = table.items.setdefault(name, Spot((start, end), (start, end)))
        name, start, end = keys[-1]
        position = self._skip(position + 1)
        spot = Spot((start, end), (position, position))
        table.items[name] = spot
        return self._value(spot)

    def _value(self, spot: Spot) -> int:
        start = spot.value[0]
        if self.text[start] == "[":
            end = self._list(spot, start + 1)
        elif self.text[start] == "{":
            end = self._inline(spot, start + 1)
        else:
            found = _VALUE.match(self.text, start)
            assert found
            end = found.end() if found["string"] else start + len(found[0].rstrip())
        spot.value = (start, end)
        return end

    def _list(self, spot: Spot, position: int) -> int:
        for index, start in enumerate(self._elements(position, "]")):
            item = spot.items[index] = Spot((start, start), (start, start))
            self._end = self._value(item)
            item.key = item.value
        return self._end

    def _inline(self, spot: Spot, position: int) -> int:
        for start in self._elements(position, "}"):
            self._end = self._pair(spot, start)
        return self._end

    # Whoever takes an element leaves where it ends in _end; so does this, at the end.
    def _elements(self, position: int, close: str) -> Iterator[int]:
        while (position := self._skip(position)) < len(self.text):
            if self.text[position] == close:
                self._end = position + 1
                return
            if self.text[position] == ",":
                position += 1
                continue
            yield position
            position = self._end


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


def _unquoted(token: str) -> str:
    """The name that a part of a key stands for; its quotes and escapes are well-formed."""
    if token[0] == "'":
        return token[1:-1]
    return _ESCAPE.sub(_character, token[1:-1]) if token[0] == '"' else token


def _character(found: re.Match[str]) -> str:
    text = found[0]
    if text[0] != "\\":
        return text
    if text[1] in "uU":
        return chr(int(text[2:], 16))
    return _SHORT.get(text[1], text[1])


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
# What tomllib complains about most, where policies are written by hand.
_HINTS = {
    "Invalid value": _QUOTES,
    "Unclosed array": f"a comma between two, a ] at the end; {_QUOTES}",
    "Invalid statement": 'a line is KEY = VALUE, or [[rule]]; as allow = ["example.org"]',
    "Unescaped '\\' in a string": "write it twice, or the string in single quotes",
    "Cannot overwrite a value": "a key is written once; lists take several values",
    "Cannot declare ('rule',) twice": "write [[rule]]",
    "Cannot declare ('test',) twice": "write [[test]]",
}
