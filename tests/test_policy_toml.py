"""TOML of strangers: what tomllib says of it, but for what would exhaust the machine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tomllib

import pytest

from netjail.errors import RuleError
from netjail.policy import sheets, toml

ROOM = 256 << 20  # bytes of memory


def key(parts: int, part: str = "a", dot: str = ".") -> str:
    return dot.join([part] * parts)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{key(toml.DEPTH)} = 1", id="as-many-parts-as-may-be"),
        pytest.param(f"[{key(toml.DEPTH)}]", id="a-header"),
        pytest.param(f'a = "{key(99)}"', id="a-string"),
        pytest.param(f"a = '{key(99)}'", id="a-literal-string"),
        pytest.param(f'a = """\n\\"{key(99)}"""""\nb = 1', id="a-long-string"),
        pytest.param(f"a = '''\n{key(99)}''''\nb = 1", id="a-long-literal-string"),
        pytest.param(f"a = 1 # {key(99)}\n", id="a-comment"),
        pytest.param(f"a = [{'0.5, ' * 99}]", id="numbers"),
        pytest.param('allow = ["10.0.0.1:80", "example.org"]\n[[rule]]\ndeny = "*"', id="a-policy"),
    ],
)
def test_what_is_not_deep_is_read(text):
    assert toml.loads(text) == tomllib.loads(text)


DEEP = toml.DEPTH + 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{key(DEEP)} = 1", id="bare"),
        pytest.param(f"{key(DEEP, dot=' . ')} = 1", id="with-blanks"),
        pytest.param(f"{key(DEEP, dot=chr(9) + '.')} = 1", id="with-tabs"),
        pytest.param(f"""{key(DEEP, '""')} = 1""", id="empty"),
        pytest.param(f"""{key(DEEP, '"a.b"')} = 1""", id="quoted"),
        pytest.param(rf"""{key(DEEP, '"' + chr(92) + '""')} = 1""", id="with-an-escaped-quote"),
        pytest.param(f"{key(DEEP, chr(39) + chr(92) + chr(39))} = 1", id="with-a-backslash"),
        pytest.param(f"[{key(DEEP)}]", id="a-header"),
        pytest.param(f"[[{key(DEEP)}]]", id="a-header-of-an-array"),
        pytest.param(f"x = {{{key(DEEP)} = 1}}", id="an-inline-table"),
        pytest.param(f'x = ["""a"""", {{{key(DEEP)} = 1}}]', id="behind-four-quotes"),
        pytest.param(f"x = ['''a''''', {{{key(DEEP)} = 1}}]", id="behind-five-quotes"),
        pytest.param(f'x = "#"\n{key(DEEP)} = 1', id="behind-what-is-no-comment"),
        pytest.param(f'# """\n{key(DEEP)} = 1', id="behind-what-is-no-string"),
    ],
)
def test_what_is_deep_is_refused(text):
    assert tomllib.loads(text)
    with pytest.raises(RecursionError):
        toml.loads(text)


READ = """
import resource, sys, tomllib
from netjail.policy import toml
resource.setrlimit(resource.RLIMIT_AS, ({room}, {room}))
try:
    {module}.loads("a." * 15_000 + "a = 1")
except (MemoryError, RecursionError) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("module", "end"),
    [
        pytest.param("tomllib", "MemoryError", id="as-python-reads-it"),
        pytest.param("toml", "RecursionError", id="as-we-do"),
    ],
)
def test_a_line_does_not_exhaust_the_memory(module, end):
    script = READ.format(room=ROOM, module=module)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{end}\n"


@pytest.mark.parametrize("piece", ['"""\\', '"\\"', "'''", '"', "a", "a-", "a.", '"".', "a ."])
def test_a_long_text_is_looked_through_once(piece):
    # By the square of its length this would take hours.
    with pytest.raises((ValueError, RecursionError)):
        toml.loads(piece * 300_000)


def test_what_stands_in_a_long_line_does_not_have_it_each():
    """The line is 400 KB, and has 20,000 mistakes."""
    text = "allow = [" + ", ".join(['"!!!!!!!!!!!!!!!"'] * 20_000) + "]"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RuleError) as caught:
        sheets.parse(text, "netjail.toml")
    assert len(caught.value.errors) == 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < ROOM >> 10


WAITS = (
    "from netjail.policy import sheets; sheets.parse('allow = [\"@/proc/kmsg\"]', 'netjail.toml')"
)


def test_a_list_that_never_ends_is_not_waited_for():
    """The kernel's log is a regular file, and a read of it waits for what comes next."""
    done = subprocess.run(
        [sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=60, check=False
    )
    assert "RuleError" in done.stderr, done.stderr
    if os.access("/proc/kmsg", os.R_OK):
        assert "lists nothing" in done.stderr or "not understood" in done.stderr, done.stderr
