"""
Look-ups that are allowed and bring nothing: a program fails, and every report says why.

Judged by what the name server received, and by what the program natively sees.
"""

from __future__ import annotations

import errno
import json
from html import unescape

import pytest
from outdoors import HOST, Outdoors

from netjail.formats import FORMATS

MISSING = "missing.example.test"

# case: (what is asked for, what the program sees, result, reason)
CASES = {
    "an-answer-that-is-none": (HOST, errno.EAGAIN, "SERVFAIL", "192.0.2.53 answered SERVFAIL"),
    "no-such-name": (MISSING, errno.ENOENT, "NXDOMAIN", "no such name"),
    "no-answer": (HOST, errno.EAGAIN, "SERVFAIL", "no answer in time from 192.0.2.53"),
    "no-server": (HOST, errno.EAGAIN, "SERVFAIL", "no answer in time from 192.0.2.53"),
}


def prepare(scene: Outdoors, case: str) -> None:
    server = scene.network.server
    match case:
        case "an-answer-that-is-none":
            server.code = 2
        case "no-answer":
            server.silent = True
        case "no-server":
            server.close()


def targets(scene: Outdoors) -> list[str]:
    return [word for name in FORMATS for word in ("--report", f"{scene.workdir}/x.{name}:{name}")]


def shown(text: str) -> str:
    """What a page or a table says, without its own marks."""
    return unescape(text).replace("\\", "").replace("%0A", "\n")


@pytest.mark.parametrize("case", list(CASES))
def test_every_report_says_why_a_look_up_failed(outdoors, case):
    scene = outdoors(options="options timeout:8 attempts:1\n")
    name, seen, result, why = CASES[case]
    prepare(scene, case)
    command = [scene.runner.program("resolve"), name]
    assert scene.run(command).status == seen
    scene.network.server.received.clear()
    jailed = scene.trace("--allow", name, *targets(scene), command=command)
    assert jailed.status == seen
    if case != "no-server":
        assert scene.network.server.names == {f"{name}."}
    assert f"failed: {why}" in " ".join(jailed.stderr.split())
    lines = {(one.result, one.why) for one in jailed.of_type("result") if one.result == result}
    assert lines == {(result, why)}
    for format in FORMATS:
        text = (scene.workdir / f"x.{format}").read_text()
        assert why in " ".join(shown(text).split()), format


@pytest.mark.parametrize("options", [("--allow", HOST), ("--audit",)], ids=["allowed", "audit"])
def test_without_a_journal_and_from_one_it_says_the_same(outdoors, options):
    scene = outdoors()
    prepare(scene, "an-answer-that-is-none")
    command = [scene.runner.program("resolve"), HOST]
    alone = scene.netjail("trace", "--no-config", *options, "--", *command)
    assert "failed: 192.0.2.53 answered SERVFAIL" in alone.stderr
    report = f"{scene.workdir}/live.json"
    scene.trace("--no-config", *options, "--report", report, command=command)
    again = scene.netjail(
        "report", "-f", "json", f"{scene.workdir}/events-{scene.runner.runs}.jsonl"
    )
    documents = [json.loads((scene.workdir / "live.json").read_text()), json.loads(again.stdout)]
    found = [
        [(one["shown"], one["failure"]) for one in document["destinations"] if one["failure"]]
        for document in documents
    ]
    assert found == [[(f"look-up of {HOST}", "192.0.2.53 answered SERVFAIL")]] * 2


def test_who_does_not_wait_is_told_of_as_well(outdoors):
    scene = outdoors(options="options timeout:1 attempts:1\n")
    prepare(scene, "no-answer")
    command = [scene.runner.program("resolve"), HOST]
    assert scene.run(command).status == errno.EAGAIN
    jailed = scene.trace("--allow", HOST, command=command)
    assert jailed.status == errno.EAGAIN
    # Where the machine is busy, its answer may be there first.
    said = ("no answer before the jail ended", "no answer in time from 192.0.2.53")
    assert any(f"failed: {why}" in " ".join(jailed.stderr.split()) for why in said)


def test_what_is_answered_has_not_failed(outdoors):
    scene = outdoors()
    command = [scene.runner.program("resolve"), HOST]
    jailed = scene.trace("--allow", HOST, *targets(scene), command=command)
    assert (jailed.status, bool(jailed.stdout)) == (0, True)
    assert "failed:" not in jailed.stderr
    (document,) = [json.loads((scene.workdir / "x.json").read_text())]
    assert {one["failure"] for one in document["destinations"]} == {""}
