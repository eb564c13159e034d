"""Policy documents at random, right and wrong, and TOML in many manners of writing."""

from __future__ import annotations

import datetime
import json
from typing import Any

from hypothesis import strategies as st

# What TOML cannot hold even escaped are surrogates alone.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
RULES = st.sampled_from(
    [
        "any",
        "privte",
        "192.0.2.1:443",
        "192.0.2.1:0",
        "private !10.0.0.1",
        "unix:/run/x",
        "example.org",
        "udp://*:53",
        "htp://x",
    ]
)
ODD = st.one_of(
    st.none().map(lambda _: {}), st.integers(), st.booleans(), st.floats(), st.lists(TEXT), TEXT
)


def _maybe(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly *right*, at times anything."""
    return st.one_of(right, right, right, ODD)


def _some(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(_maybe(right), max_size=3)


def _table(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {name.replace("_", "-"): _maybe(value) for name, value in keys.items()}
    odd = st.dictionaries(TEXT, ODD, max_size=1)
    some = st.fixed_dictionaries({}, optional=known)
    return st.one_of(some, some, st.builds(lambda one, two: two | one, some, odd))


_PROGRAMS = st.sampled_from(["/bin/sh", "**/curl", "curl", "", "/a[b", "/\0"])
_ERRNOS = st.sampled_from(["EPERM", "EPREM", ""])
_DATES = st.one_of(
    st.dates(), st.dates().map(str), st.just("soon"), st.datetimes(timezones=st.just(datetime.UTC))
)


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Documents; about half of them have mistakes."""
    rule = _table(
        allow=st.one_of(RULES, _some(RULES)),
        deny=st.one_of(RULES, _some(RULES)),
        name=TEXT,
        exe=st.one_of(_PROGRAMS, _some(_PROGRAMS)),
        argv=st.one_of(TEXT, _some(TEXT)),
        parent=_PROGRAMS,
        reason=TEXT,
        until=_DATES,
        errno=_ERRNOS,
        redirect=st.sampled_from(["127.0.0.1:80", "[::1]:80", "x", "1.1.1.1:0", "127.0.0.1:08"]),
    )
    test = _table(
        dest=TEXT,
        expect=st.sampled_from(["allow", "deny", "maybe"]),
        exe=_PROGRAMS,
        proto=st.sampled_from(["tcp", "unix", "x"]),
        name=TEXT,
    )
    return _table(
        extends=_some(st.sampled_from(["pypi", "pipy", "./none.toml"])),
        default=st.sampled_from(["allow", "deny", "maybe"]),
        mode=st.sampled_from(["enforce", "audit", "x"]),
        errno=_ERRNOS,
        allow=_some(RULES),
        deny=_some(RULES),
        bind=_some(st.sampled_from([":80", "any", ":0", "x"])),
        unix=_some(st.sampled_from(["/run/x", "@x", "x", "unix:/run/x"])),
        dns_refusal=st.sampled_from(["nxdomain", "refused", "x"]),
        rule=_some(rule),
        test=_some(test),
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
