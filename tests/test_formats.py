"""
What a person reads: held by golden files, and safe to look at in a terminal.

After a change that is meant, write them again: ``NETJAIL_GOLDEN=1 pytest tests/test_formats.py``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import msgspec
import pytest
import reported
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import CHAIN, allowed, attempt, busy, denied, inet

from netjail import records
from netjail.endpoints import Unix
from netjail.formats import FORMATS, additions, as_json, as_md, as_text, visible
from netjail.formats import document as doc
from netjail.formats import render as formats_render
from netjail.formats.compose import compose
from netjail.formats.document import Asker, Destination, Document, Door, Notice, Process, RuleUse
from netjail.formats.document import Listener as Where
from netjail.formats.lines import paint
from netjail.model import Operation, Protocol, Reason
from netjail.policy import Policy, Rules
from netjail.report import GROUPS, Listener, Report, Scope

GOLDEN = Path(__file__).parent / "formats"

TEXT = st.text(st.characters(codec=None))


def render(report: Report, **options: object) -> str:
    """The end of a run."""
    return as_text.summary(compose(report), **options)


FILES = ("/home/me/netjail.toml",)
COPIED = ' +(fix|to open|to open, .*toml): |netjail: policy |to allow |      "'


def golden(name: str, text: str) -> None:
    if os.environ.get("NETJAIL_GOLDEN"):
        (GOLDEN / f"{name}.txt").write_text(text)
    assert text == (GOLDEN / f"{name}.txt").read_text()


def test_the_golden_file():
    golden("as_text", as_text.render(reported.busy(), verbose=True))


def test_the_golden_markdown():
    golden("as_md", as_md.render(reported.busy()))


def test_the_golden_json():
    text = as_json.render(reported.busy())
    golden("as_json", text)
    assert msgspec.json.decode(text, type=Document) == reported.busy()


def test_the_shipped_schema_is_the_types():
    if os.environ.get("NETJAIL_GOLDEN"):
        as_json.SHIPPED.write_text(as_json.schema())
    assert as_json.SHIPPED.read_text() == as_json.schema()


@pytest.mark.parametrize("made", [reported.busy(), compose(busy())], ids=["by-hand", "composed"])
def test_the_json_keeps_to_its_schema(made):
    schema = json.loads(as_json.SHIPPED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(as_json.render(made)), schema)


def test_each_format_has_its_row():
    modules = {path.stem for path in Path(as_json.__file__).parent.glob("as_*.py")}
    # A row may be there before its module: it is another's to write.
    assert modules <= {row.module for row in FORMATS.values()}
    suffixes = [suffix for row in FORMATS.values() for suffix in row.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_the_end_of_a_run():
    golden("summary", render(busy(), verbose=True, found=FILES, files=FILES))


@pytest.mark.parametrize(
    ("verdicts", "audit", "line"),
    [
        pytest.param((), False, "netjail: no network calls", id="nothing"),
        pytest.param((allowed(),), False, "netjail: 1 network call, none denied", id="fine"),
        pytest.param((denied(),), False, "netjail: 1 of 1 network call denied", id="denied"),
        pytest.param(
            (denied(), allowed()),
            True,
            "netjail: audit, 1 of 2 network calls would be denied",
            id="audit",
        ),
        pytest.param((), True, "netjail: audit, no network calls", id="audit-of-nothing"),
        pytest.param(
            (denied(Reason.NO_LISTENER),), False, "netjail: 1 network call, none denied", id="quiet"
        ),
    ],
)
def test_the_first_line_is_the_verdict(verdicts, audit, line):
    report = Report(audit=audit)
    for verdict in verdicts:
        report.add(attempt(), verdict, CHAIN)
    assert render(report).splitlines()[0] == line


def test_nothing_is_one_line():
    assert render(Report()) == "netjail: no network calls\n"


@pytest.mark.parametrize("width", [40, 80, 100])
def test_it_fits_but_for_what_is_copied(width):
    lines = render(busy(), width=width, verbose=True).splitlines()
    assert [line for line in lines if len(line) > width and not re.match(COPIED, line)] == []


def test_colours_change_nothing_else():
    painted = render(busy(), colour=True)
    assert "\x1b[" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == render(busy())


def test_without_colours_rich_is_not_imported():
    code = """
import sys
sys.path[:0] = sys.argv[1:]
import scene, netjail.formats.as_text
from netjail.formats.compose import compose
netjail.formats.as_text.summary(compose(scene.busy()))
assert not {name for name in sys.modules if name.partition(".")[0] in ("rich", "click")}
"""
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, here, here.parent], check=True, timeout=60)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_crowd_is_cut_short_and_still_counted(verbose):
    report = Report()
    for number in range(2 * GROUPS):
        address = inet(f"10.0.{number >> 8}.{number & 255}", 80)
        report.add(attempt(address), denied(), CHAIN)
        report.add(attempt(address), allowed(), CHAIN)
        report.listen(Listener(address, Protocol.TCP, Scope.MACHINE, CHAIN))
        report.warn(f"warning {number}")
    lines = render(report, verbose=verbose).splitlines()
    assert lines[0] == f"netjail: {2 * GROUPS} of {4 * GROUPS} network calls denied"
    assert len(lines) < 130 or verbose
    counts = [int(line.split()[0]) for line in lines if re.match(r" +\d+  (tcp|at) ", line)]
    assert sum(counts) == 4 * GROUPS


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        pytest.param("curl", 9, "curl", id="as-it-is"),
        pytest.param("naïve 日本", 9, "naïve 日本", id="other-scripts-are-fine"),
        pytest.param("a\x1b[31m", 99, r"a\x1b[31m", id="an-escape-sequence"),
        pytest.param("a\nb\r\x7f\x9b", 99, r"a\x0ab\x0d\x7f\x9b", id="controls"),
        pytest.param("\u202etxt", 99, r"\u202etxt", id="turned-around"),
        pytest.param("\udcff\ud800", 99, r"\xff\ud800", id="odd-bytes"),
        pytest.param("\U000e0001", 99, r"\U000e0001", id="beyond-the-first-plane"),
        pytest.param("good.example.of.evil.test", 15, "good.e...l.test", id="the-end-is-kept"),
        pytest.param("x" * 10**6, 9, "xxx...xxx", id="a-megabyte"),
        pytest.param("a##b#[c", 99, r"a#\x23b#[c", id="a-command-in-a-log"),
        pytest.param("####[x]", 99, r"#\x23#\x23[x]", id="a-command-behind-others"),
        pytest.param("## 1", 99, "## 1", id="no-command-in-a-log"),
    ],
)
def test_visible(text, width, shown):
    assert visible(text, width) == shown


@given(TEXT, st.integers(10, 50))
def test_visible_is_printable_and_fits(text, width):
    assert visible(text, width).isprintable()
    assert len(visible(text, width)) <= width


@given(TEXT, TEXT, st.binary(max_size=108), st.integers(40, 100), st.sampled_from(Operation))
def test_no_control_character_gets_through(name, why, path, width, operation):
    report = Report()
    hostile = Unix(path, abstract=bool(len(path) % 2))
    words = {"rule": name, "layer": why, "why": why, "fix": why, "name": name}
    for endpoint in (hostile, inet("192.0.2.1", 1)):
        for verdict in (denied(**words), allowed(**words), denied(Reason.NAME_SERVICE)):
            call = attempt(endpoint, operation=operation, syscall=name)
            report.add(call, verdict, (name, why) * 5)
    report.listen(Listener(hostile, Protocol.UNIX, Scope.LOCAL, (name,), why))
    report.warn(name)
    for line in render(report, width=width, verbose=True).split("\n"):
        assert line.isprintable()


# -- What to add --------------------------------------------------------------


def added(*fixes: str, files: tuple[str, ...] = (), room: int = 12) -> str:
    found = [
        Destination(
            id=number, shown="x", kind="inet", verdict="deny", reason="default", fix=fix,
            askers=(Asker(("curl", "sh"), 1),),
        )
        for number, fix in enumerate(fixes)
    ]  # fmt: skip
    return "".join(paint(line, False) + "\n" for line in additions.lines(files, found, room))


def test_additions_are_toml():
    text = added("--allow example.org:443", "--allow 'unix:/srv/a b.sock' --allow [2001:db8::1]:53")
    expected = ["example.org:443", "unix:/srv/a b.sock", "[2001:db8::1]:53"]
    assert tomllib.loads(text) == {"allow": expected}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("netjail.toml", 'allow = ["x"]\n[[rule]]\ndeny = "y"\n'),
        ("netjail.toml", "default = 'deny'\n[[test]]\ndest = 'x'\nexpect = 'deny'\n"),
        ("pyproject.toml", "[tool.netjail]\nallow = []\n[tool.other]\nx = 1\n"),
    ],
)
def test_additions_can_follow_what_is_there(file, said, tmp_path):
    text = added("--allow example.org:443", files=(file,))
    path = tmp_path / file
    path.write_text(said + text + text)
    rules = Policy.load(Rules(files=(str(path),))).engines[0]
    assert "example.org:443" in str(rules)


def test_bindings_are_toml():
    found = [
        doc.Listener(f"0.0.0.0:{port}", "tcp", "machine", ("nginx",), f"--bind :{port}")
        for port in (80, 443, 80)
    ]
    more = doc.Listener("/tmp/x", "unix", "local", ("redis",))
    (line,) = additions.bindings((), [*found, more])
    assert tomllib.loads(line[-1][0]) == {"bind": [":80", ":443"]}
    assert list(additions.bindings((), found[:0])) == []


@pytest.mark.parametrize(
    ("files", "where"),
    [
        pytest.param((), "at the top of netjail.toml", id="a-new-file"),
        pytest.param(("ci/jail.toml", "x.toml"), "at the top of ci/jail.toml", id="the-policy's"),
        pytest.param(
            ("/a/pyproject.toml",), "under [tool.netjail] in /a/pyproject.toml", id="its-table"
        ),
    ],
)
def test_bindings_say_where_they_go(files, where):
    listener = doc.Listener("0.0.0.0:80", "tcp", "machine", ("nginx",), "--bind :80")
    (line,) = additions.bindings(files, [listener])
    assert line[0][0] == f"  to open, {where}: "


@pytest.mark.parametrize(
    ("file", "layer"),
    [
        pytest.param("netjail.lock", "", id="by-its-name"),
        pytest.param("destinations", "destinations", id="by-what-it-refused"),
    ],
)
def test_nothing_is_added_to_a_lock(file, layer):
    """It takes no tables: pasted there, they would be a mistake."""
    found = Destination(
        id=1, shown="x", kind="inet", verdict="deny", reason="default", layer=layer,
        fix="--allow example.org:443",
    )  # fmt: skip
    listener = doc.Listener("0.0.0.0:80", "tcp", "machine", ("nginx",), "--bind :80")
    assert list(additions.lines((file,), [found], 12)) == []
    assert list(additions.bindings((file,), [listener], [found])) == []
    assert list(additions.lines(("netjail.toml",), [found], 12)) != []


def test_a_look_up_is_not_added_beside_the_port_of_its_host():
    found = [
        Destination(id=number, shown="x", kind=kind, verdict="deny", reason="default", fix=fix)
        for number, (kind, fix) in enumerate(
            [
                ("lookup", "--allow a.example"),
                ("lookup", "--allow b.example"),
                ("inet", "--allow a.example:443"),
                ("unix", "--allow unix:/b.example:1"),
            ]
        )
    ]
    text = "".join(paint(line, False) + "\n" for line in additions.lines((), found, 12))
    expected = ["b.example", "a.example:443", "unix:/b.example:1"]
    assert tomllib.loads(text) == {"allow": expected}


def test_additions_have_their_room():
    text = added(*(f"--allow h{n}.example" for n in range(20)))
    assert len(tomllib.loads(text)["allow"]) == 12
    assert "# and 8 more: -v" in text


@pytest.mark.parametrize(
    "fix",
    [
        pytest.param("", id="nothing"),
        pytest.param("remove --deny private", id="a-rule-to-remove"),
        pytest.param("netjail.toml:3: deny 'private !10.0.0.1'", id="an-exception"),
        pytest.param("--bind :8080", id="a-listener"),
        pytest.param("--allow 'example", id="no-shell"),
        pytest.param("--allow 'a\x1b[31m'", id="not-shown-as-it-is"),
        pytest.param("--allow unix:/run/docker.sock", id="a-broker"),
        pytest.param("--allow unix:/var/run/docker.sock", id="a-broker-by-another-name"),
    ],
)
def test_what_is_not_added(fix):
    assert added(fix) == ""


def test_metadata_is_not_added():
    found = Destination(
        id=1, shown="x", kind="inet", verdict="deny", reason="default", owner="metadata",
        fix="--allow 169.254.169.254:80",
    )  # fmt: skip
    assert list(additions.lines((), [found], 12)) == []


@given(TEXT, st.sampled_from(["text", "json", "md"]), st.integers(40, 100))
@settings(deadline=None)
def test_no_format_lets_a_control_character_through(word, format, width):
    words = {"why": word, "fix": word, "rule": word, "layer": word, "name": word}
    one = reported.destination(word, places=(word,), askers=(Asker((word,) * 9, 1),), **words)
    process = Process(run=1, id=2, parent=9, pid=1, name=word, exe=word, argv=(word,))
    made = reported.document(
        one,
        runs=(reported.run(command=(word,), journal=word, proxies={word: word}),),
        headline=word,
        processes=(process,),
        listeners=(Where(word, "unix", word, (word,), word),),
        doors=(Door(word, 1, word, (Asker((word,), 1),)),),
        rules=(RuleUse(word, word, "allow"),),
        warnings=(Notice(word),),
    )
    # As from a record: strict UTF-8, which JSON asks for.
    made = msgspec.convert(_plain(msgspec.to_builtins(made)), Document, strict=False)
    options = {"width": width, "verbose": True} if format == "text" else {}
    for line in formats_render(made, format, **options).split("\n"):
        assert line.isprintable()


def _plain(value: object) -> object:
    if isinstance(value, str):
        return records.plain(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
