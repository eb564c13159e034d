"""What CI reads of a report: SARIF, JUnit and annotations, held by schemas and other readers."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import jsonschema
import junitparser
import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from reported import allowed, busy, destination, document, run
from sarif import loader

from netjail.formats import as_github, as_junit, as_sarif
from netjail.formats.document import Asker, Door, Notice, Result
from netjail.formats.findings import RULES, Level, findings
from netjail.model import Reason

HERE = Path(__file__).parent
SARIF = jsonschema.Draft4Validator(
    json.loads((HERE / "schemas" / "sarif-2.1.0.json").read_text()),
    format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER,
)
JUNIT = xmlschema.XMLSchema(HERE / "schemas" / "junit.xsd")
# Whatever a journal can hold: strict UTF-8, so no surrogates.
TEXT = st.text(max_size=40)


def sarif_run(text: str) -> dict:
    log = json.loads(text)
    SARIF.validate(log)
    (one,) = log["runs"]
    return one


@pytest.mark.parametrize("name", ["sarif", "junit", "github"])
def test_the_golden_file(name):
    golden = HERE / "formats" / f"as_{name}.txt"
    text = import_module(f"netjail.formats.as_{name}").render(busy())
    if os.environ.get("NETJAIL_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


# ---- findings ----


def test_every_reason_is_explained():
    assert set(RULES) == set(Reason)
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_what_counts_comes_first():
    found = findings(busy())
    assert [one.level for one in found] == [
        Level.ERROR,
        Level.ERROR,
        Level.ERROR,
        Level.WARNING,
        Level.NOTE,
        Level.NOTE,
    ]
    assert {one.where for one in found} >= {"example.org:443 (tcp)", "unix:/run/docker.sock"}


@pytest.mark.parametrize(
    ("layer", "facts", "place"),
    [
        pytest.param("netjail.toml:7", {}, ("netjail.toml", 7), id="the-rule's-line"),
        pytest.param("a:b.toml:7", {}, ("a:b.toml", 7), id="a-colon-in-its-name"),
        pytest.param("--deny", {}, ("netjail.toml", 0), id="an-option-has-none"),
        pytest.param("", {"files": ("x.toml",)}, ("x.toml", 0), id="the-policy's-file"),
        pytest.param(
            "preset pypi",
            {"files": (), "journal": "run.jsonl"},
            ("run.jsonl", 0),
            id="else-the-journal",
        ),
        pytest.param("", {"files": ()}, ("netjail.toml", 0), id="else-the-file-to-make"),
    ],
)
def test_where_it_is_shown(layer, facts, place):
    (one,) = findings(document(destination(layer=layer), runs=(run(**facts),)))
    assert (one.file, one.line) == place


# ---- SARIF ----


def test_sarif_says_what_was_refused():
    one = sarif_run(as_sarif.render(busy()))
    results = {result["message"]["text"].split("\n")[0]: result for result in one["results"]}
    mail = results["denied: 203.0.113.7:25 (tcp)"]
    assert mail["level"] == "error"
    assert one["tool"]["driver"]["rules"][mail["ruleIndex"]]["id"] == mail["ruleId"]
    place = mail["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "netjail.toml"
    assert place["physicalLocation"]["region"]["startLine"] == 7
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "python3.11 <- pytest"
    assert "fix: netjail.toml:7: deny" in mail["message"]["text"]
    assert results["would be denied: look-up of tracker.test (udp)"]["level"] == "warning"
    assert results["always shut: ptrace"]["level"] == "note"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({"code": 3}, {"exitCode": 3, "executionSuccessful": True}, id="a-status"),
        pytest.param(
            {"code": None, "signal": 9},
            {"exitSignalNumber": 9, "executionSuccessful": True},
            id="a-signal",
        ),
        pytest.param(
            {"code": None, "supervisor": Result("unknown", "the journal was cut off")},
            {"executionSuccessful": False},
            id="cut-off",
        ),
    ],
)
def test_sarif_tells_the_command_from_netjail(facts, expected):
    (invocation,) = sarif_run(as_sarif.render(document(runs=(run(**facts),))))["invocations"]
    kept = ("exitCode", "exitSignalNumber", "executionSuccessful")
    assert {key: value for key, value in invocation.items() if key in kept} == expected


def test_a_fingerprint_is_the_same_in_each_run():
    def fingerprints(**fields):
        one = sarif_run(as_sarif.render(document(destination(**fields))))
        return [result["partialFingerprints"] for result in one["results"]]

    first = fingerprints()
    assert fingerprints(count=99, first="", askers=(Asker(("wget",), 1),), id=7) == first
    assert fingerprints(proto="udp") != first
    assert fingerprints(shown="other.test:443") != first


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/srv/a b/netjail.toml", "file:///srv/a%20b/netjail.toml"),
        ("sub/ü%.toml", "sub/%C3%BC%25.toml"),
        ("./netjail.toml", "netjail.toml"),
    ],
)
def test_a_path_becomes_a_uri(path, uri):
    one = sarif_run(as_sarif.render(document(destination(layer=f"{path}:3"))))
    place = one["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == uri


def test_sarif_tools_read_it(tmp_path):
    path = tmp_path / "netjail.sarif"
    path.write_text(as_sarif.render(busy()))
    file = loader.load_sarif_file(str(path))
    assert file.get_distinct_tool_names() == ["netjail"]
    report = file.get_report()
    assert report.get_issue_type_histogram_for_severity("error") == {
        "netjail/default denied: example.org:443 (tcp)": 1,
        "netjail/foreign denied: unix:/run/docker.sock": 1,
        "netjail/rule denied: 203.0.113.7:25 (tcp)": 1,
    }
    records = [row for row in file.get_records() if "203.0.113.7" in str(row)]
    assert [(row["Location"], row["Line"]) for row in records] == [("netjail.toml", 7)]


# ---- JUnit ----


def read_junit(text: str) -> list[junitparser.TestSuite]:
    JUNIT.validate(ET.ElementTree(ET.fromstring(text)))
    xml = junitparser.JUnitXml.fromstring(text.encode())
    assert isinstance(xml, junitparser.JUnitXml)
    return list(xml)


def test_junit_is_read_by_another():
    (suite,) = read_junit(as_junit.render(busy()))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (9, 4, 0, 2)
    assert len(list(suite)) == 9
    failures = {case.name: case.result[0] for case in suite if case.is_failure}
    assert set(failures) == {
        "example.org:443 (tcp)",
        "203.0.113.7:25 (tcp)",
        "unix:/run/docker.sock",
        "look-up of tracker.test (udp)",
    }
    mail = failures["203.0.113.7:25 (tcp)"]
    assert mail.type == "rule"
    assert "denied by *:25" in mail.message
    assert "at: netjail.toml:7\nfix: netjail.toml:7: deny" in mail.text
    assert {one.name: one.value for one in suite.properties()}["policy"] == "netjail.toml"
    assert {case.classname for case in suite if case.is_failure} == {
        "netjail.curl",
        "netjail.python3_11",
    }


def test_a_run_that_was_cut_off_is_an_error():
    cut = run(supervisor=Result("unknown", "the journal was cut off"), duration=None, code=None)
    (suite,) = read_junit(as_junit.render(document(allowed(), runs=(run(), cut))))
    assert (suite.tests, suite.failures, suite.errors) == (3, 0, 1)
    assert suite.name == "netjail: 2 runs"
    (case,) = [case for case in suite if case.is_error]
    assert case.result[0].message == "the journal was cut off"


def test_nothing_happened():
    nothing = document(headline="no network calls", state="ok")
    (suite,) = read_junit(as_junit.render(nothing))
    assert (suite.tests, suite.failures) == (1, 0)
    assert sarif_run(as_sarif.render(nothing))["results"] == []
    assert as_github.render(nothing) == "::notice title=netjail::no network calls\n"


# ---- GitHub ----


def read_github(text: str) -> list[tuple[str, dict[str, str], str]]:
    """As ActionCommand.TryParseV2 of GitHub's runner reads lines of output."""
    found = []
    for line in text.splitlines():
        word, fields, data = re.fullmatch(r"::(\w+) ?(.*?)::(.*)", line).groups()
        properties = dict(field.split("=", 1) for field in fields.split(",") if field)
        found.append(
            (word, {key: unquote(value) for key, value in properties.items()}, unquote(data))
        )
    return found


def test_annotations_are_errors_first():
    found = read_github(as_github.render(busy()))
    assert [word for word, *_ in found] == ["error"] * 3 + ["warning"] * 2 + ["notice"] * 4
    (mail,) = [one for one in found if "203.0.113.7" in one[1]["title"]]
    assert mail[1] == {
        "title": "netjail: denied: 203.0.113.7:25 (tcp)",
        "file": "netjail.toml",
        "line": "7",
    }
    assert mail[2].split("\n")[1].startswith("fix: netjail.toml:7")
    assert "4 of 9 network calls denied" in [data for _, _, data in found]


@pytest.mark.parametrize("count", [9, 10, 11, 500])
def test_a_step_has_room_for_ten_of_a_kind(count):
    crowd = [destination(f"{at}.test:443", count=at) for at in range(count)]
    found = read_github(as_github.render(document(*crowd)))
    errors = [one for one in found if one[0] == "error"]
    assert len(errors) == min(count, 10)
    assert errors[0][1]["title"] == f"netjail: denied: {count - 1}.test:443 (tcp)"
    if count > 10:
        assert errors[-1][1]["title"] == f"netjail: and {count - 9} more"


# ---- whatever a program calls itself ----


HOSTILE = st.builds(
    lambda shown, why, name, rule, layer: document(
        destination(shown, why=why, fix=why, rule=rule, layer=layer, proto=name, name=name),
        destination(shown, counted=False, askers=(Asker((name,) * 3, 1), Asker((), 1))),
        allowed(shown, askers=(Asker((name,), 1),)),
        doors=(Door(name, 1, why),),
        warnings=(Notice(why),),
        headline=why,
        runs=(run(command=(name, why), files=(rule,), journal=layer, host={name: why}),),
    ),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    TEXT | st.builds("{}:3".format, TEXT),
)


@given(HOSTILE)
def test_no_text_breaks_out(hostile):
    sarif, junit, github = (format.render(hostile) for format in (as_sarif, as_junit, as_github))
    assert len(sarif_run(sarif)["results"]) == 3
    (suite,) = read_junit(junit)
    assert len(list(suite)) == 5
    assert len(read_github(github)) == 5
    for text in (sarif, junit, github):
        assert all(line.isprintable() for line in text.split("\n"))
