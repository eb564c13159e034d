"""Policy documents at random, right and wrong, and TOML in many manners of writing."""

from __future__ import annotations

import datetime
import json
from typing import Any

from hypothesis import strategies as st

# What TOML cannot hold even escaped are surrogates alone.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
RULES = (
    ["any", "192.0.2.1:443", "private !10.0.0.1", "unix:/run/x", "example.org", "udp://*:53"],
    ["privte", "192.0.2.1:0", "htp://x", "", "a b", "unix:x"],
)
PROGRAMS = (["/bin/sh", "**/curl", "/a[b", "/**/[!]*"], ["curl", "", "/\0"])
ERRNOS = (["EPERM", "ENETDOWN"], ["EPREM", ""])
ODD = st.one_of(
    st.just({}), st.integers(), st.booleans(), st.floats(), st.lists(TEXT, max_size=2), TEXT
)


def documents(wrong: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that are right, or *wrong* in most places."""
    return _Writer(wrong).document()


class _Writer:
    def __init__(self, wrong: bool) -> None:
        self.wrong = wrong

    def of(self, right: list[str], wrong: list[str]) -> st.SearchStrategy[Any]:
        return self.maybe(st.sampled_from(right + wrong if self.wrong else right))

    def maybe(self, right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(right, right, right, ODD) if self.wrong else right

    def some(self, one: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[Any]:
        return self.maybe(st.lists(one, min_size=least * (not self.wrong), max_size=3))

    def one_or_some(self, one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(one, self.some(one, 1))

    def table(self, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        known = {name.replace("_", "-"): value for name, value in keys.items()}
        some = st.fixed_dictionaries({}, optional=known)
        odd = st.dictionaries(TEXT, ODD, max_size=1 if self.wrong else 0)
        return st.builds(lambda one, two: two | one, some, odd)

    def rule(self) -> st.SearchStrategy[dict[str, Any]]:
        destination = self.one_or_some(self.of(*RULES))
        address = self.one_or_some(self.of([r for r in RULES[0] if "unix" not in r], RULES[1]))
        programs = self.one_or_some(self.of(*PROGRAMS))
        dates = st.one_of(st.dates(), st.dates().map(str))
        terms = {
            "name": self.maybe(TEXT),
            "exe": programs,
            "argv": self.one_or_some(self.maybe(st.sampled_from(["x", "*.py"]))),
            "parent": programs,
            "reason": self.maybe(TEXT),
            "until": self.maybe(dates | st.datetimes() | st.just("soon") if self.wrong else dates),
        }
        errors = self.of(*ERRNOS)
        where = self.of(["127.0.0.1:80", "[::1]:80"], ["x", "1.1.1.1:0", "::1:80"])
        if self.wrong:
            return self.table(
                allow=destination, deny=destination, errno=errors, redirect=where, **terms
            )
        return st.one_of(
            self.needing({"allow": address}, redirect=where, **terms),
            self.needing({"deny": destination}, errno=errors, **terms),
        )

    def needing(
        self, needed: dict[str, st.SearchStrategy[Any]], **keys: st.SearchStrategy[Any]
    ) -> st.SearchStrategy[dict[str, Any]]:
        return st.builds(lambda a, b: a | b, st.fixed_dictionaries(needed), self.table(**keys))

    def test(self) -> st.SearchStrategy[dict[str, Any]]:
        needed = {
            "dest": self.of(["192.0.2.1:443", "unix:/run/x", "example.org:1"], [""]),
            "expect": self.of(["allow", "deny"], ["maybe"]),
        }
        optional = {
            "exe": self.of(["/bin/sh"], ["sh"]),
            "proto": self.of(["tcp"], ["x"]),
            "name": self.maybe(TEXT),
        }
        if self.wrong:
            return self.table(**needed, **optional)
        return self.needing(needed, **optional)

    def document(self) -> st.SearchStrategy[dict[str, Any]]:
        return self.table(
            extends=self.some(self.of(["pypi", "dns"], ["pipy", "./none.toml"])),
            default=self.of(["allow", "deny"], ["maybe"]),
            mode=self.of(["enforce", "audit"], ["x"]),
            errno=self.of(*ERRNOS),
            allow=self.some(self.of(*RULES)),
            deny=self.some(self.of(*RULES)),
            bind=self.some(self.of([":80", "any"], [":0", "x"])),
            unix=self.some(self.of(["/run/x", "@x", "unix:/run/x"], ["x"])),
            dns_refusal=self.of(["nxdomain", "refused"], ["x"]),
            rule=self.some(self.rule()),
            test=self.some(self.test()),
        )


def toml(value: Any) -> str:
    """A document as TOML; arrays of tables with headers, what is below them inline."""
    lines = [f"{_key(k)} = {inline(v)}" for k, v in value.items() if not _tables(v)]
    for key, tables in value.items():
        if _tables(tables):
            for table in tables:
                lines.append(f"[[{_key(key)}]]")
                lines += [f"{_key(k)} = {inline(v)}" for k, v in table.items()]
    return "\n".join([*lines, ""])


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").isalnum() else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value: Any) -> str:
    """A value on one line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _quoted(value)
        case list():
            return "[" + ", ".join(map(inline, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_key(k)} = {inline(v)}" for k, v in value.items()) + "}"
        case datetime.date():
            return value.isoformat()
    return repr(value)
