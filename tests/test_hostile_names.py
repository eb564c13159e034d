"""Names that a program chose for itself and for its sockets: what is made of them does nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netjail.endpoints import Unix
from netjail.errors import Place
from netjail.policy import rules, wording

# Written as a program's name may be: without a slash, and as short as a line keeps them whole.
NAMES = [
    pytest.param("::error::owned", id="github"),
    pytest.param("::add-mask::e", id="github-hides"),
    pytest.param("::error file=x::y", id="github-with-a-property"),
    pytest.param("##[add-mask]e", id="github-of-old"),
    pytest.param("a##[set-output name=b]c", id="inside-a-word"),
    pytest.param("##vso[task.complete]", id="azure"),
    pytest.param("##teamcity[x]", id="teamcity"),
]


def commands(text: str) -> list[str]:
    """
    The lines that a reader of CI's logs obeys.

    As ActionCommand.cs of GitHub's runner has it: ``::`` behind blanks, with another ``::``
    after it, or ``##[`` anywhere with a ``]``; the others have a word before the bracket.
    """
    found = re.compile(r"\s*::[A-Za-z-]+( .*)?::|.*##\w*\[.*\]")
    return [line for line in text.splitlines() if found.match(line)]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_command_in_a_log(runner, server, name):
    assert commands(f"{'':16}{name} <- sh"), "as it is, it would be one"
    path = runner.workdir / name
    shutil.copy(runner.program("connect_inet"), path)
    result = runner.trace("-v", command=[str(path)], to=server)
    assert result.exit_code and not server.accepted
    (attempt,) = result.attempts
    assert attempt.proc.chain[0] == name
    report = [runner.python, "-m", "netjail", "report", str(runner.workdir / "events-1.jsonl")]
    later = runner.run([*runner.user.prefix, *report])
    for text in (result.stderr, later.stdout):
        assert "denied" in text and not commands(text), text


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("::1, ::2", id="addresses"),
        pytest.param("::ffff:192.0.2.1", id="a-mapped-address"),
        pytest.param("a ::error::", id="behind-a-word"),
    ],
)
def test_what_is_no_command_stays_as_it_is(line):
    from netjail.formats.lines import paint

    assert paint([("  ", ""), (line, "faint")], colour=False) == f"  {line}"


# -- Names of sockets ---------------------------------------------------------


def glob(name: bytes):
    """The rule that a denial of the abstract *name* would have people add."""
    rule = f"unix:{wording.path(Unix(name, abstract=True))}"
    return rules.parse(rule, Place(rule), "")


@given(st.binary(min_size=1, max_size=107))
def test_the_rule_for_a_name_fits_it(name):
    assert glob(name).matches(Unix(name, abstract=True))


@given(st.binary(min_size=1, max_size=107), st.text(st.characters(codec="ascii"), min_size=1))
def test_the_rule_for_a_name_fits_no_other_that_can_be_printed(name, other):
    text = "".join(c for c in other if c.isprintable() and c != " ").encode()
    padded = (text * len(name) or b"x" * len(name))[: len(name)]
    assert padded == name or not glob(name).matches(Unix(padded, abstract=True))


CONNECT = "import socket; raise SystemExit(socket.socket(1).connect_ex(bytes.fromhex({!r})))"


@pytest.fixture
def outside():
    """``outside(name)``: a listener at an abstract name, which nobody here may have."""
    with contextlib.ExitStack() as stack:

        def listening(name: bytes) -> socket.socket:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(b"\0" + name)
            listener.listen()
            listener.settimeout(10)
            return listener

        yield listening


def test_a_name_of_odd_bytes_learns_no_rule_for_another(runner, outside):
    """Learned from a program that asks for bytes, the rule would open a broker as long."""
    broker = b"broker-%07d-%d" % (os.getpid(), runner.user.uid)
    odd = bytes(1 + byte % 8 for byte in broker)
    listeners = outside(broker), outside(odd)
    ask = [[runner.python, "-c", CONNECT.format((b"\0" + name).hex())] for name in (broker, odd)]
    for words, listener in zip(ask, listeners, strict=True):
        assert runner.native(command=words).exit_code == 0
        listener.accept()[0].close()

    learned = runner.workdir / "learned.toml"
    netjail = [*runner.user.prefix, runner.python, "-m", "netjail"]
    result = runner.run([*netjail, "learn", "-q", "-o", str(learned), "--", *ask[1]])
    assert result.exit_code == 0 and "unix:@" in learned.read_text(), result.stderr
    listeners[1].accept()[0].close()

    assert runner.trace("--policy", str(learned), command=ask[1]).exit_code == 0
    assert runner.trace("--policy", str(learned), command=ask[0]).exit_code == errno.ECONNREFUSED
    listeners[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        listeners[0].accept()
