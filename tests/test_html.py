"""
The page as text: held by a golden file, and made of nothing that a program wrote.

What a browser does with it is in ``test_page.py``. After a change that is meant, write the
golden file again: ``NETJAIL_GOLDEN=1 pytest tests/test_html.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail.formats.as_html import render
from netjail.formats.document import Process
from netjail.formats.family import DEEPEST, family
from netjail.formats.phrases import FILTERS, state

GOLDEN = Path(__file__).parent / "formats" / "as_html.txt"

HOSTILE = (
    "</script><script>window.pwned = 1</script>",
    "\"><img src=x onerror='window.pwned = 1'>",
    "' autofocus onfocus=window.pwned=1 x='",
    "<!--<script>",
    "]]><svg onload=window.pwned=1>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.pwned=1",
    "\x1b]0;pwned\x07\x1b[31m",
    "\u202egpj.exe\u2066",
    "\x00\ud800\udcff",
    "&lt;img src=x onerror=window.pwned=1&gt;",
)


class Reader(HTMLParser):
    """What elements and attributes a page has, and what its scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {(tag, name) for name, _ in attrs}


def bare(text: str) -> str:
    """The page without its library code: what the golden file holds."""
    text = re.sub(r"<style>.*?</style>", "<style>…</style>", text, flags=re.S)
    text = re.sub(r"<script>.*?</script>", "<script>…</script>", text, flags=re.S)
    return re.sub(r"sha256-[\w+/=]+", "sha256-…", text)


def poison(value: object, text: str) -> object:
    """*value* with *text* wherever a program, or a file, could have put it."""
    fixed = {"kind", "verdict", "state", "mode", "schema", "first", "last", "ts", "start", "end"}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value,
            **{
                field: poison(getattr(value, field), text)
                for field in value.__struct_fields__
                if field not in fixed
            },
        )
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(poison(one, text) for one in value)
    if isinstance(value, dict) and value and isinstance(next(iter(value)), str):
        return {key: poison(one, text) for key, one in value.items()}
    return value


def test_the_golden_file():
    text = bare(render(pages.small()))
    if os.environ.get("NETJAIL_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_an_element(text):
    harmless = Reader(render(poison(pages.small(), "harmless")))
    page = render(poison(pages.small(), text))
    hostile = Reader(page)
    assert hostile.tags == harmless.tags
    assert hostile.attributes == harmless.attributes


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec=None)))
def test_no_control_character_gets_through(text):
    page = bare(render(poison(pages.small(), text)))
    page.encode()
    assert [line for line in page.split("\n") if not line.isprintable()] == []


def test_a_megabyte_is_cut():
    usual = len(render(poison(pages.small(), "x" * 40)))
    assert len(render(poison(pages.small(), "x" * 10**6))) < 3 * usual


def test_every_way_a_destination_can_look():
    pair = pages.destination(1, "a:1"), pages.denied(2, "b:1")
    audited = msgspec.structs.replace(pair[1], carried=False)
    quiet = msgspec.structs.replace(pair[1], counted=False)
    found = [state(one) for one in (*pair, audited, quiet)]
    assert found == ["allowed", "denied", "would", "quiet"]


def test_cards_have_last_the_look_ups_of_what_was_called_too():
    found = (
        pages.denied(1, "look-up of a.example", kind="lookup", name="a.example"),
        pages.denied(2, "look-up of b.example", kind="lookup", name="b.example"),
        pages.denied(3, "a.example:443", name="a.example"),
        pages.denied(4, "169.254.169.254:80", name=""),
    )
    page = render(msgspec.structs.replace(pages.clean(), destinations=found))
    cards = page.partition('<ul class="cards">')[2].partition("</ul>")[0]
    assert re.findall(r'href="#d(\d)"', cards) == ["2", "3", "4", "1"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(pages.clean(), "1 network call, none denied", id="clean"),
        pytest.param(pages.clean("audit"), "Nobody talked to anybody", id="nothing"),
        pytest.param(pages.clean("audit"), "Audit: nothing was refused.", id="audit"),
        pytest.param(pages.fleet(3), "1,200 more processes found no room here", id="omitted"),
        pytest.param(pages.fleet(5), "the journal was cut off", id="a-run-that-was-killed"),
        pytest.param(pages.small(), "The rules judge the proxy", id="proxy"),
        pytest.param(pages.small(), ">unused<", id="an-unused-rule"),
        pytest.param(pages.small(), "make test &#39;CFLAGS=-O2 -g&#39;", id="command-for-a-shell"),
        pytest.param(pages.crowd(400), "and 34 more, in the table", id="many-denied"),
    ],
)
def test_it_says(document, said):
    assert said in bare(render(document))


def test_a_line_with_a_broken_time_is_left_out_of_the_timeline():
    odd = (pages.Moment("yesterday", 1, 1), pages.Moment(pages.at(1), 99, 1))
    page = render(msgspec.structs.replace(pages.small(), timeline=odd))
    assert "The run" in page
    assert 'id="chart"' not in page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(("make", "CFLAGS=-O2 -g"), "make 'CFLAGS=-O2 -g'", id="for-a-shell"),
        pytest.param(("curl", "…", "…", "…"), "curl …", id="left-out"),
        pytest.param((), "", id="nothing"),
    ],
)
def test_a_command(words, line):
    assert FILTERS["command"](words) == line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "not known"),
        (0.5, "0.50 s"),
        (12.34, "12.3 s"),
        (61, "1 min 01 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_how_long(seconds, shown):
    assert FILTERS["lasted"](seconds) == shown


# ---- the tree ----


def drawn(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
    """(id, depth) of the processes, from (id, parent)."""
    made = [Process(run=1, id=id, parent=up, pid=id, name="p", exe="") for id, up in pairs]
    return [(one.process.id, one.depth) for one in family(made)]


@pytest.mark.parametrize(
    ("pairs", "tree"),
    [
        pytest.param([], [], id="nobody"),
        pytest.param([(1, 0), (2, 1), (3, 1)], [(1, 1), (2, 2), (3, 2)], id="children"),
        pytest.param([(3, 2), (2, 1), (1, 0)], [(1, 1), (2, 2), (3, 3)], id="any-order"),
        pytest.param([(1, 0), (2, 1), (3, 2), (4, 1)], [(1, 1), (2, 2), (3, 3), (4, 2)], id="back"),
        pytest.param([(5, 4), (6, 5)], [(5, 1), (6, 2)], id="a-parent-that-asked-for-nothing"),
        pytest.param([(1, 2), (2, 1)], [(1, 1), (2, 2)], id="a-ring"),
        pytest.param([(1, 1)], [(1, 1)], id="its-own-parent"),
    ],
)
def test_family(pairs, tree):
    assert drawn(*pairs) == tree


def test_a_deep_family_is_drawn_whole():
    depth = 5000
    assert drawn(*((n, n - 1) for n in range(1, depth + 1)))[-1] == (depth, depth)
    made = [pages.process(n, n - 1, "fork", ()) for n in range(1, 300)]
    page = render(msgspec.structs.replace(pages.small(), processes=tuple(made)))
    tree = page.partition('<div class="tree">')[2].partition("</section>")[0]
    assert tree.count("<li>") == tree.count("</li>") == 299
    assert tree.count("<ul>") == tree.count("</ul>") == DEEPEST


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=30, unique_by=lambda p: p[0]
    )
)
def test_lists_are_closed_and_nobody_is_left_out(pairs):
    made = [Process(run=1, id=id, parent=up, pid=id, name="p", exe="") for id, up in pairs]
    branches = list(family(made))
    assert sorted(one.process.id for one in branches) == sorted(id for id, _ in pairs)
    assert sum(one.opens for one in branches) == sum(one.closes for one in branches)


def test_only_the_page_imports_the_template_library():
    code = "import sys, netjail.formats.as_html as page; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert not {"jinja2", "rich", "click"} & set(loaded.stdout.split())


def test_libraries_are_named_with_their_licences():
    assets = Path(__file__).parent.parent / "netjail/formats/assets"
    listed = (assets / "README.md").read_text()
    for file in assets.iterdir():
        assert file.name in listed, file.name
