"""
Data that is no policy document in; every mistake, and what is left without them, out.

Imported when something is wrong: a document that is right never comes here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from msgspec import inspect

from netjail.errors import RuleError, guess
from netjail.policy.document import Document
from netjail.policy.places import Page, Path

_WRONG = object()


class Sieve:
    """Goes through data beside the types of the model."""

    def __init__(self, page: Page, table: tuple[str, ...]) -> None:
        self.errors: list[RuleError] = []
        self._page = page
        self._table = table

    def sift(self, data: object) -> Any:
        """What is right of *data*, as a mapping that is a document."""
        left = self._take(data, inspect.type_info(Document), ())
        return {} if left is _WRONG else left

    def _take(self, value: object, kind: inspect.Type, path: Path) -> object:
        while isinstance(kind, inspect.Metadata):
            kind = kind.type
        for known, reader in self._readers():
            if isinstance(kind, known):
                return reader(value, kind, path)
        raise TypeError(f"{kind} has no reader")

    def _readers(self) -> list[tuple[type, Callable[[object, Any, Path], object]]]:
        return [
            (inspect.StructType, self._struct),
            (inspect.ListType, self._list),
            (inspect.UnionType, self._union),
            (inspect.LiteralType, self._word),
            (inspect.StrType, self._text),
            (inspect.DateType, self._date),
        ]

    def _struct(self, value: object, kind: inspect.StructType, path: Path) -> object:
        if not isinstance(value, dict):
            return self._expected(value, kind, path)
        fields = {field.encode_name: field for field in kind.fields}
        for key in value.keys() - fields.keys():
            hint = _TOP.get(key, "") if not path else ""
            self._complain(
                f"unknown key {key!r}", hint or guess(key, fields), (*path, key), key=True
            )
        for name in [f.encode_name for f in kind.fields if f.required]:
            if name not in value:
                self._complain(f"{_named(path)} has no key {name!r}", "", path)
                return _WRONG
        kept = {
            key: self._take(each, fields[key].type, (*path, key))
            for key, each in value.items()
            if key in fields
        }
        # What stands in for a wrong destination keeps the table from being one without.
        if path[:1] == ("rule",):
            for key in {"allow", "deny"} & kept.keys():
                kept[key] = (
                    kept[key] if kept[key] not in (_WRONG, []) or value[key] == [] else "any"
                )
        if any(kept[f.encode_name] is _WRONG for f in kind.fields if f.required):
            return _WRONG
        return {key: each for key, each in kept.items() if each is not _WRONG}

    def _list(self, value: object, kind: inspect.ListType, path: Path) -> object:
        if not isinstance(value, list):
            return self._expected(value, kind, path)
        taken = [self._take(each, kind.item_type, (*path, i)) for i, each in enumerate(value)]
        kept = [index for index, each in enumerate(taken) if each is not _WRONG]
        # Places are found by index: what follows a gap moves up there too.
        self._page.keep((*self._table, *path), kept)
        return [taken[index] for index in kept]

    def _union(self, value: object, kind: inspect.UnionType, path: Path) -> object:
        kinds = _choices(kind)
        several = next((each for each in kinds if isinstance(each, inspect.ListType)), None)
        if several and isinstance(value, list):
            return self._list(value, several, path)
        single = next(e for e in kinds if not isinstance(e, inspect.ListType))
        if several and not isinstance(value, str):
            return self._expected(value, kind, path)
        return self._take(value, single, path)

    def _word(self, value: object, kind: inspect.LiteralType, path: Path) -> object:
        if value in kind.values:
            return value
        if not isinstance(value, str):
            return self._expected(value, kind, path)
        message = f"{_named(path)}: {value!r} is unknown"
        return self._complain(message, guess(value, map(str, kind.values)), path)

    def _text(self, value: object, kind: inspect.StrType, path: Path) -> object:
        return value if isinstance(value, str) else self._expected(value, kind, path)

    def _date(self, value: object, kind: inspect.DateType, path: Path) -> object:
        if isinstance(value, str):
            try:
                return datetime.date.fromisoformat(value)
            except ValueError:
                message = f"{_named(path)}: {value!r} is no date"
                return self._complain(message, "write 2030-12-31", path)
        if type(value) is datetime.date:
            return value
        return self._expected(value, kind, path)

    def _expected(self, value: object, kind: inspect.Type, path: Path) -> object:
        wanted, found = _words(kind), _FOUND.get(type(value), "a date with a time")
        hint = ""
        if isinstance(value, str) and isinstance(_bare(kind), inspect.ListType):
            hint = f"write {path[-1]} = {json.dumps([value], ensure_ascii=False)}"
        if isinstance(value, dict) and path[-1:] in (("rule",), ("test",)):
            hint = f"write [[{path[-1]}]]"
        return self._complain(f"{_named(path)}: expected {wanted}, not {found}", hint, path)

    def _complain(self, message: str, hint: str, path: Path, key: bool = False) -> object:
        find = self._page.key if key or not path else self._page.at
        self.errors.append(RuleError(message, hint, find(*self._table, *path)))
        return _WRONG


# Of keys at the top, what is meant by those that stand elsewhere.
_TOP = {"tool": "[tool.netjail] is for a pyproject.toml: here its keys stand without it"}

_FOUND: dict[type, str] = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    datetime.date: "a date",
    datetime.time: "a time",
}


def _bare(kind: inspect.Type) -> inspect.Type:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _choices(kind: inspect.UnionType) -> list[inspect.Type]:
    """What a value may be: "not there" is no choice where there is one."""
    some = [_bare(each) for each in kind.types]
    known = (inspect.StrType, inspect.ListType, inspect.LiteralType, inspect.DateType)
    return [each for each in some if isinstance(each, known)]


def _named(path: Path) -> str:
    """A key as messages name it: ``rule.deny``, and ``[[rule]]`` for a whole table."""
    names = [step for step in path if isinstance(step, str)]
    if path and isinstance(path[-1], int) and names[-1] in ("rule", "test"):
        return f"[[{names[-1]}]]"
    return ".".join(names) or "the policy"


def _words(kind: inspect.Type) -> str:
    kind = _bare(kind)
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_words(each) for each in _choices(kind))
    if isinstance(kind, inspect.ListType):
        return f"a list of {_words(kind.item_type).removeprefix('a ')}s"
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(f'"{value}"' for value in kind.values)
    if isinstance(kind, inspect.DateType):
        return "a date, as 2030-12-31"
    return "a table" if isinstance(kind, inspect.StructType) else "a string"
