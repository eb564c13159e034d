"""The JSON Schema: made of the model, true of what the reader takes, strict about the rest."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest
from drafts import documents, toml
from hypothesis import given, settings

from netjail.errors import RuleError
from netjail.policy import Policy, Rules, presets, schema, sheets

SCHEMA = json.loads(schema.text())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def takes(text: str) -> bool:
    """Whether the schema takes a document; a date is a string to it, as to editors."""
    return VALIDATOR.is_valid(json.loads(json.dumps(tomllib.loads(text), default=str)))


def test_it_is_what_the_model_says():
    assert schema.text() == schema.generate(), "run: make schema"


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_has_a_description():
    tables = [SCHEMA, *SCHEMA["$defs"].values()]
    keys = [(name, key) for table in tables for name, key in table["properties"].items()]
    assert len(keys) > 25
    assert not [name for name, key in keys if "description" not in key]


@pytest.mark.parametrize("name", presets.names())
def test_it_takes_presets(name):
    assert takes(presets.read(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        'extends = ["pypi", "./base.toml", "base.toml"]',
        'default = "allow"\nmode = "audit"\nerrno = "EPERM"\ndns-refusal = "refused"',
        'allow = ["any", "example.org:443"]\ndeny = ["private !10.0.0.1"]',
        'bind = [":8080"]\nunix = ["/run/x", "@x"]',
        '[[rule]]\nallow = "any"\nexe = "/bin/sh"\nredirect = "127.0.0.1:8080"\nuntil = 2030-12-31',
        '[[rule]]\ndeny = ["any"]\nargv = ["a", "b"]\nparent = "**/make"\nerrno = "EACCES"',
        '[[test]]\ndest = "x:1"\nexpect = "deny"\nexe = "/bin/x"\nproto = "icmp"\nname = "x"',
    ],
)
def test_it_takes_what_the_reader_takes(text):
    sheets.parse(text, "f")
    assert takes(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('alow = ["any"]', id="an-unknown-key"),
        pytest.param('allow = "any"', id="a-string-for-a-list"),
        pytest.param("allow = [7]", id="a-number-in-a-list"),
        pytest.param('allow = [""]', id="an-empty-rule"),
        pytest.param('default = "maybe"', id="an-unknown-word"),
        pytest.param('mode = "trace"', id="an-unknown-mode"),
        pytest.param('errno = "EPREM"', id="an-unknown-errno"),
        pytest.param('extends = ["pipy"]', id="an-unknown-preset"),
        pytest.param('[rule]\nallow = "any"', id="one-table-for-many"),
        pytest.param('[[rule]]\nname = "x"', id="a-rule-without-a-destination"),
        pytest.param('[[rule]]\nallow = "any"\ndeny = "any"', id="a-rule-with-both"),
        pytest.param('[[rule]]\nallow = "any"\nerrno = "EPERM"', id="an-errno-without-deny"),
        pytest.param(
            '[[rule]]\ndeny = "any"\nredirect = "127.0.0.1:1"', id="a-redirect-without-allow"
        ),
        pytest.param('[[rule]]\nallow = "any"\nredirect = "here"', id="a-redirect-to-nowhere"),
        pytest.param('[[rule]]\nallow = "any"\nexe = "curl"', id="a-bare-program"),
        pytest.param('[[rule]]\nallow = "any"\nuntil = "soon"', id="no-date"),
        pytest.param('[[test]]\ndest = "x:1"', id="a-test-without-a-verdict"),
        pytest.param('[[test]]\nexpect = "deny"', id="a-test-without-a-destination"),
        pytest.param('[[test]]\ndest = "x:1"\nexpect = "deny"\nproto = "x"', id="a-protocol"),
    ],
)
def test_neither_takes_what_is_wrong(text, tmp_path):
    assert not takes(text)
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(RuleError):
        Policy.load(Rules(files=(str(tmp_path / "x.toml"),)))


@given(documents(wrong=False))
@settings(deadline=None)
def test_both_take_what_is_right(document):
    text = toml(document)
    sheets.parse(text, "f")
    assert takes(text)


@given(documents())
@settings(deadline=None)
def test_it_takes_all_that_the_reader_takes(document):
    text = toml(document)
    try:
        sheet = sheets.parse(text, "f")
    except RuleError:
        return
    # Which presets there are is not the reader's to know.
    assert takes(text) or [entry for entry in sheet.extends if "/" not in entry.text]
