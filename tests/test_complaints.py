"""How mistakes are shown: where they stand, what is meant, nothing that drives a terminal."""

from __future__ import annotations

import os
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.cli import terminal
from netjail.cli.terminal import complain, underlined, width
from netjail.errors import HostError, Place, RuleError, RuleErrors, guess
from netjail.policy import Policy, Rules, files, sheets


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "SYSTEM", str(tmp_path / "none"))
    monkeypatch.setattr(terminal, "width", lambda: 60)


def shown(capsys, **rules) -> list[str]:
    with pytest.raises(RuleError) as caught:
        Policy.load(Rules(**rules))
    complain(caught.value)
    return capsys.readouterr().err.splitlines()


def test_all_mistakes_of_options_and_files_at_once(capsys, tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('alow = []\nallow = [\n\t"privte", 7, "any:0",\n]\n[[rule]]\n')
    lines = shown(capsys, allow=("htp://x",), errno="EPREM", files=(str(path), "/none.toml"))
    assert [line for line in lines if not line.startswith("  hint: ")] == [
        "netjail: --allow htp://x: unknown scheme 'htp'",
        "    --allow htp://x",
        "            ^^^^^^^",
        "netjail: --errno EPREM: 'EPREM' is not the name of an errno",
        "    --errno EPREM",
        "            ^^^^^",
        f"netjail: {path}:1:1: unknown key 'alow'",
        "    alow = []",
        "    ^^^^",
        f"netjail: {path}:3:3: unknown word 'privte'",
        '    "privte", 7, "any:0",',
        "     ^^^^^^",
        f"netjail: {path}:3:12: allow: expected a string, not a number",
        '    "privte", 7, "any:0",',
        "              ^",
        f"netjail: {path}:3:20: port 0 is out of range",
        '    "privte", 7, "any:0",',
        "                      ^",
        f"netjail: {path}:5:1: [[rule]] has no allow and no deny",
        "    [[rule]]",
        "    ^^^^^^^^",
        "netjail: /none.toml: cannot be read: No such file or directory",
    ]
    hints = [line for line in lines if line.startswith("  hint: did you mean ")]
    assert [hint.split()[4].rstrip("?;") for hint in hints] == [
        "'tcp'",
        "'EPERM'",
        "'allow'",
        "'private'",
    ]


def test_the_option_that_is_meant(capsys):
    assert shown(capsys, deny=("private !1.2.3.4:1",))[1:3] == [
        "    --deny private !1.2.3.4:1",
        "                   ^^^^^^^^^^",
    ]


@pytest.mark.parametrize(
    ("text", "line", "mark"),
    [
        pytest.param('allow = ["日本語:0"]', 'allow = ["日本語:0"]', " " * 17 + "^", id="wide"),
        pytest.param(
            'allow = ["a\\u001by:1"]', 'allow = ["a\\u001by:1"]', " " * 11 + "^" * 6, id="an-escape"
        ),
        pytest.param('bind = ["\\u003A0"]', 'bind = ["\\u003A0"]', " " * 15 + "^", id="behind-one"),
        pytest.param('unix = ["run"]', 'unix = ["run"]', " " * 9 + "^^^", id="unix-has-no-scheme"),
        pytest.param(
            'allow = ["' + ".".join(["x" * 40] * 3) + '", "any:0"]',
            "x" * 12 + '", "any:0"]',
            " " * 20 + "^",
            id="a-long-line",
        ),
        pytest.param('allow = ["any:0"]\r', 'allow = ["any:0"]', " " * 14 + "^", id="crlf"),
        pytest.param('allow = ["""\nany:0"""]', 'any:0"""]', "    ^", id="many-lines"),
        pytest.param(
            "allow = ['''any\n !a:1''']", "allow = ['''any", " " * 15 + "^", id="a-line-end"
        ),
        pytest.param('allow = ["""an\\\n  y:0"""]', 'y:0"""]', "  ^", id="a-folded-line"),
    ],
)
def test_the_word_is_underlined(capsys, tmp_path, text, line, mark):
    (tmp_path / "x.toml").write_text(text + "\n", newline="")
    told = shown(capsys, files=(str(tmp_path / "x.toml"),))
    assert told[1:3] == [f"    {line}", f"    {mark}"]


def test_what_drives_a_terminal_is_shown_and_not_sent(capsys, tmp_path):
    (tmp_path / "x.toml").write_text("\x1b]0;title\x07 = 1\n# \x1b[2J\n")
    told = shown(capsys, files=(str(tmp_path / "x.toml"),))
    assert told[1:3] == ["    \\x1b]0;title\\x07 = 1", "    ^^^^"]


def test_other_errors_are_a_line_and_a_hint(capsys):
    complain(HostError("too old", "update"))
    assert capsys.readouterr().err == "netjail: too old\n  hint: update\n"


@given(st.text(max_size=200), st.integers(1, 250), st.integers(0, 250), st.integers(40, 100))
def test_any_line_can_be_underlined(text, column, width, room):
    line = text.replace("\n", " ")
    first, second, end = underlined(Place("f", 1, column, line, width), room).split("\n")
    assert first.isprintable()
    assert set(second.strip()) == {"^"}
    assert end == ""


@given(st.text(max_size=60))
def test_any_text_is_a_sheet_or_complaints_with_places(text):
    try:
        sheets.parse(text, "f")
    except RuleError as error:
        assert all(each.place and each.place.source == "f" for each in error.errors)


def test_a_flood_of_mistakes_ends(capsys):
    complain(RuleErrors([RuleError(f"wrong {number}") for number in range(250)]))
    lines = capsys.readouterr().err.splitlines()
    assert lines[99] == "netjail: wrong 99"
    assert lines[100:] == ["netjail: and 150 more mistakes"]


def test_swapped_letters_are_guessed():
    assert guess("pipy", ["npm", "pypi"]) == "did you mean 'pypi'? allowed: npm, pypi"


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        pytest.param(72, 72, id="as-it-is"),
        pytest.param(200, 100, id="legible"),
        pytest.param(20, 40, id="enough-for-a-word"),
        pytest.param(0, 80, id="a-terminal-without-a-size"),
        pytest.param(None, 80, id="no-terminal"),
    ],
)
def test_how_wide_it_is(columns, shown):
    end, fd = os.openpty() if columns is not None else os.pipe()
    if columns is not None:
        termios.tcsetwinsize(fd, (24, columns))
    try:
        assert width(fd) == shown
    finally:
        os.close(end)
        os.close(fd)
