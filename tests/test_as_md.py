"""Markdown read by a parser of somebody else's: whatever a program chose is text, nothing more."""

from __future__ import annotations

import pytest
import reported
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from netjail.formats import as_md, visible
from netjail.formats.document import Asker, Listener, Notice, RuleUse

# Tables are GitHub's addition; what it would make a link of is looked for by hand.
PARSER = MarkdownIt("commonmark").enable("table")

OURS = {"<sub>", "</sub>", "</details>"}


def tokens(text: str) -> list[Token]:
    flat = []
    for token in PARSER.parse(text):
        flat += [token, *(token.children or ())]
    return flat


def document(hostile: str):
    """A report in which *hostile* stands wherever a program has a say."""
    words = {"why": hostile, "fix": hostile, "rule": hostile, "layer": hostile}
    asker = Asker((hostile, "sh"), 1)
    return reported.document(
        reported.destination(hostile, places=(hostile,), name=hostile, askers=(asker,), **words),
        reported.allowed(hostile, askers=(asker,)),
        runs=(reported.run(command=(hostile,), id=1),),
        listeners=(Listener(hostile, "unix", "local", (hostile,), hostile),),
        rules=(RuleUse(hostile, hostile, "allow"),),
        warnings=(Notice(hostile),),
    )


def cells(text: str) -> list[str]:
    """The texts of all cells, as a reader sees them; what is code as it is."""
    found, inside = [], False
    for token in tokens(text):
        if token.type in ("td_open", "th_open"):
            inside = True
            found.append("")
        elif token.type in ("td_close", "th_close"):
            inside = False
        elif inside and token.type in ("text", "code_inline", "text_special"):
            found[-1] += token.content
    return found


PLAIN = document("example")
SHAPE = [token.type for token in PARSER.parse(as_md.render(PLAIN))]

HOSTILE = [
    pytest.param("a|b", id="a-bar"),
    pytest.param("a\\|b", id="a-bar-after-a-backslash"),
    pytest.param("`x` ``y``", id="backticks"),
    pytest.param("`", id="one-backtick"),
    pytest.param("a\n\n# b\r\n- c", id="lines"),
    pytest.param("<script>alert(1)</script>", id="a-script"),
    pytest.param("</details><img src=x onerror=y>", id="a-tag"),
    pytest.param("[x](http://a.b) ![y](z)", id="a-link"),
    pytest.param("**x** _y_ ~~z~~", id="emphasis"),
    pytest.param("\x1b[31m\x07\u202e", id="controls"),
    pytest.param("&lt;b&gt; &#60;", id="entities"),
    pytest.param("\\", id="a-backslash"),
    pytest.param("|", id="a-bar-alone"),
    pytest.param("- x", id="a-list"),
    pytest.param("x" * 10**6, id="a-megabyte"),
    pytest.param("http://evil.test www.evil.test @all #1", id="what-becomes-a-link"),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_are_text(hostile):
    check(hostile)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_any_words_are_text(hostile):
    check(hostile)


def check(hostile: str) -> None:
    text = as_md.render(document(hostile))
    assert len(text) < 100_000
    assert all(line.isprintable() for line in text.split("\n"))
    # The same blocks, whatever the words; and no link, image, emphasis or tag in them.
    assert [token.type for token in PARSER.parse(text)] == SHAPE
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {"link_open", "image", "em_open", "strong_open"} - {"em_open"}
    tags = {token.content for token in tokens(text) if token.type == "html_inline"}
    assert tags <= OURS | {"<code>", "</code>"}
    shown = visible(hostile, 1000)
    if shown.strip() and "`" not in shown and len(shown) < 900:
        assert f"remove {shown}".split("remove ")[1] in " ".join(cells(text))


def test_a_crowd_is_cut_short_and_counted():
    many = [reported.destination(f"a{n}.test:443", id=n) for n in range(as_md.ROOM + 7)]
    text = as_md.render(reported.document(*many))
    assert "*And 7 more destinations.*" in text
    assert text.count("a1.test") >= 1 and f"a{as_md.ROOM + 1}.test" not in text
    crowded = reported.document(*many, omitted={"attempts_denied": 99})
    assert "*And 99 calls at other destinations.*" in as_md.render(crowded)


def test_nothing_is_short():
    empty = reported.document(headline="no network calls", state="ok", totals=reported.Totals())
    text = as_md.render(empty)
    assert text.startswith("## netjail: no network calls\n")
    assert "###" not in text
