"""Places in TOML: whatever way it is written, each value is found where it stands."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail.errors import RuleError
from netjail.policy import sheets
from netjail.policy.places import Page, Quoted, Spot

# A second source: what stands at a place, read by tomllib alone, is the value.


def check(text: str) -> int:
    """Compare every place of *text* with what is read there; how many there were."""
    page = Page(text, "f").read()
    return compare(page, page.root, tomllib.loads(text))


def compare(page: Page, spot: Spot, value: Any) -> int:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        assert set(spot.items) == {key for key, _ in items}
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return sum(compare(page, spot.items[key], each) for key, each in items)
    start, end = spot.value
    read = tomllib.loads(f"x = {page.text[start:end]}")["x"]
    assert read == value or read != read  # nan
    if isinstance(value, str):
        in_words(page, spot, value)
    return 1


def in_words(page: Page, spot: Spot, value: str) -> None:
    """Each character of a string is found: what stands there stands for it."""
    quoted = page._quoted(*spot.value)
    assert isinstance(quoted, Quoted)
    marks = list(quoted._marks())
    assert len(marks) == len(value) + 1
    for character, start, end in zip(value, marks, marks[1:], strict=False):
        raw = page.text[start:end]
        if raw[0] != "\\":
            assert raw[0] == character or (raw[:2], character) == ("\r\n", "\n")
        elif page.text[quoted.end] == '"':
            cut = raw if raw[1] not in "uU" else raw[: {"u": 6, "U": 10}[raw[1]]]
            cut = cut if raw[1] in "uU" else raw[:2]
            assert tomllib.loads(f'x = "{cut}"')["x"] == character


# Documents in every manner of writing. Names are numbered so that none comes twice.

PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=9)


@st.composite
def strings(draw: st.DrawFn) -> str:
    text = draw(PLAIN)
    manner = draw(st.sampled_from(["basic", "literal", "long", "long literal", "escaped"]))
    clean = text.replace("'", "").replace('"', "").replace("\\", "/")
    if manner == "literal":
        return f"'{text.replace(chr(39), chr(92))}'"
    if manner == "long":
        joint = draw(st.sampled_from(["\n", "\\\n  \n ", "\\u0041", '""x', '\\""x', "\\t", "#"]))
        quote = draw(st.sampled_from(["", '"', '""']))
        return f'"""{draw(st.sampled_from(["", chr(10)]))}{clean}{joint}{clean}{quote}"""'
    if manner == "long literal":
        joint = draw(st.sampled_from(["\n", "\\", "\\\n", "''x", '"', "\\u0041", "]", "#"]))
        return f"'''{clean}{joint}{clean}'''"
    if manner == "escaped":
        return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '\\\\\\"\\n"'
    return json.dumps(text, ensure_ascii=False)


OTHERS = st.sampled_from(["1", "0x1f", "1_000", "1.5e3", "inf", "nan", "true"])
DATES = st.sampled_from(["07:32:00", "1979-05-27", "1979-05-27 07:32:00Z", "1979-05-27T07:32:00"])
GAPS = st.sampled_from(["", " ", "\t", "\n", " # ] } \" ' [\n", "\n\n  "])


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(
        st.sampled_from(["string", "string", "other", "list", "table"][: 3 + 2 * (depth > 0)])
    )
    if kind == "list":
        items = draw(st.lists(values(depth - 1), max_size=3))
        gaps = [draw(GAPS) for _ in range(len(items) + 1)]
        comma = draw(st.sampled_from(["", ","])) if items else ""
        return (
            "["
            + ",".join(a + b for a, b in zip(gaps, items, strict=False))
            + comma
            + gaps[-1]
            + "]"
        )
    if kind == "table":
        items = draw(st.lists(values(depth - 1), max_size=3))
        pairs = [f"{draw(keys(i))} = {item}" for i, item in enumerate(items)]
        return "{ " + ", ".join(pairs) + " }"
    return draw(strings() if kind == "string" else OTHERS | DATES)


@st.composite
def keys(draw: st.DrawFn, number: int) -> str:
    manner = draw(st.sampled_from(["{}", '"{}"', "'{}'", '"\\u006b.{}"', "a{}.b", 'a{}. "b c" .d']))
    return manner.format(f"k{number}")


@st.composite
def texts(draw: st.DrawFn) -> str:
    lines = [draw(GAPS) + "\n"]
    number = 0
    for header in draw(st.lists(st.sampled_from(["", "[{}]", "[ {}.x ]", "[[{}]]", "[[many]]"]))):
        number += 1
        lines.append(header.format(f"t{number}" + draw(st.sampled_from(["", ' . "q.r"']))) + "\n")
        if header == "[[many]]":
            lines.append(f"[many.below.x{number}]\n")
        for value in draw(st.lists(values(), max_size=3)):
            number += 1
            end = draw(st.sampled_from(["", " ", " # 'x"]))
            lines.append(f"{draw(keys(number))} ={draw(st.sampled_from(['', ' ']))}{value}{end}\n")
    text = "".join(lines)
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@given(texts())
@settings(deadline=None)
def test_every_value_is_found_where_it_stands(text):
    check(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param('x = [{"a.b" = "1"}, { c . d = "2" }]', 2, id="inline-tables"),
        pytest.param("[tool]\nnetjail.allow = ['a']\nnetjail.deny = []", 1, id="dotted-keys"),
        pytest.param("[[a.b]]\nx = 1\n[a.b.c]\ny = 2\n[[a.b]]\nx = 3", 3, id="tables-of-a-list"),
        pytest.param('x = """""a"""""', 1, id="quotes-beside-the-quotes"),
        pytest.param("x = ''''a''''", 1, id="the-same-in-single-ones"),
        pytest.param('x = """\r\na\\\r\n  b\r\n"""', 1, id="line-ends-of-windows"),
        pytest.param('x = ""\ny = """"""\nz = \'\'', 3, id="nothing-in-quotes"),
        pytest.param("1 = 1\n3.14 = 2", 2, id="keys-that-look-like-numbers"),
        pytest.param('"" = 1\n\'a"b\' = 2', 2, id="odd-keys"),
    ],
)
def test_manners_of_writing(text, found):
    assert check(text) == found


def test_keys_and_headers_have_places():
    page = Page('[a]\n"b c" = {d = 1}\n[[e]]\n', "f").read()
    places = [page.key("a"), page.key("a", "b c"), page.key("a", "b c", "d"), page.at("e", 0)]
    assert [(place.line, place.column, place.width) for place in places] == [
        (1, 2, 1),
        (2, 1, 5),
        (2, 10, 1),
        (3, 1, 5),
    ]
    assert str(page.at("no")) == "f"
    assert page.at("a", "b c", "no").line == 2


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        pytest.param("allow = any", "1:9", "strings have quotes", id="no-quotes"),
        pytest.param('allow = ["a" "b"]', "1:14", "comma", id="no-comma"),
        pytest.param("allow", "1:6", "", id="no-value"),
        pytest.param("a b", "1:3", "", id="two-words"),
        pytest.param("allow = ['a']\n\nallow = []", "3:11", "once", id="twice"),
        pytest.param("x = '日本語' 1", "1:11", "", id="columns-count-characters"),
        pytest.param("[[[", "1:3", "", id="brackets"),
        pytest.param("x = " + "[" * 5000, "", "", id="deep"),
        pytest.param("x = " + "9" * 5000, "", "", id="long-numbers"),
        pytest.param("\ufeffx = 1", "1:1", "", id="a-byte-order-mark"),
        pytest.param("x = \x00", "1:5", "", id="a-null"),
    ],
)
def test_what_is_no_toml(text, place, hint):
    with pytest.raises(RuleError) as caught:
        sheets.parse(text, "f")
    assert str(caught.value).startswith(f"f:{place}: " if place else "f")
    assert hint in caught.value.hint
