"""Reports of real runs: what they count is what servers saw, live and from the journal."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import jsonschema
import pytest

from netjail.formats.as_json import SHIPPED

VISITS = """
import socket, subprocess, sys
open_, shut = int(sys.argv[1]), int(sys.argv[2])
for port, times in ((open_, 3), (shut, 2)):
    for _ in range(times):
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", port))
if len(sys.argv) == 3:
    for _ in range(2):
        subprocess.run([sys.executable, __file__, str(open_), str(shut), "again"], check=True)
"""


CONNECT = "import socket; socket.socket().connect_ex(({!r}, {}))"


@pytest.fixture
def visits(workdir):
    path = workdir / "visits.py"
    path.write_text(VISITS)
    return lambda *servers: ["python", str(path), *(str(server.port) for server in servers)]


def report(runner, *words, **keywords):
    """``netjail report`` as the user; its words."""
    return runner.run(
        [*runner.user.prefix, runner.python, "-m", "netjail", "report", *words], **keywords
    )


def read(path):
    found = json.loads(path.read_text())
    jsonschema.validate(found, json.loads(SHIPPED.read_text()))
    return found


def by_port(document):
    return {one["port"]: one for one in document["destinations"] if one["kind"] == "inet"}


def test_it_counts_what_the_servers_saw(trace, serve, visits, workdir, runner):
    allowed, denied = serve("tcp"), serve("tcp")
    live = workdir / "live.json"
    options = ("--allow", f"127.0.0.1:{allowed.port}", "--report", str(live))
    result = trace(*options, command=visits(allowed, denied))
    assert result.exit_code == 0, result.stderr
    assert (allowed.accepted, denied.accepted) == (9, 0)
    found = read(live)
    assert found["totals"] == {"attempted": 15, "allowed": 9, "denied": 6, "quiet": 0}
    places = by_port(found)
    assert (places[allowed.port]["count"], places[denied.port]["count"]) == (9, 6)
    assert places[denied.port]["askers"][0]["count"] == 4
    assert places[allowed.port]["results"] == {"ok": 3}  # one of each process; repeats are counted
    assert found["headline"] == f"6 of 15 network calls denied: 127.0.0.1:{denied.port}"
    assert found["runs"][0]["policy"]["state"] == "failed"
    assert sum(moment["count"] for moment in found["timeline"]) == 15
    # The journal says the same, but for names of files and when it was said.
    made = report(runner, str(workdir / "events-1.jsonl"), "-f", "json")
    assert made.exit_code == 0, made.stderr
    again = json.loads(made.stdout)
    for one in (found, again):
        for key in ("generated", "timeline"):
            one.pop(key)
        one["runs"][0].pop("journal")
        for place in one["destinations"]:
            place.pop("first")
            place.pop("last")
        for rule in one["rules"]:
            rule.pop("first")
            rule.pop("last")
        for process in one["processes"]:
            process.pop("start")
    assert again == found


def test_the_tree_has_who_asked(trace, serve, visits, workdir):
    server = serve("tcp")
    trace("--report", str(workdir / "r.json"), command=visits(server, server))
    processes = read(workdir / "r.json")["processes"]
    root = [one for one in processes if not one["parent"]]
    assert len(root) == 1
    children = [one for one in processes if one["parent"] == root[0]["id"]]
    assert [sum(one["destinations"].values()) for one in children] == [5, 5]


def test_rules_are_counted_and_unused_ones_named(trace, serve, visits, workdir):
    allowed, denied = serve("tcp"), serve("tcp")
    (workdir / "p.toml").write_text(
        f'allow = [\n  "127.0.0.1:{allowed.port}",\n  "203.0.113.1:1",\n]\n'
    )
    result = trace("-p", "p.toml", "-v", command=visits(allowed, denied))
    uses = {use.rule: use for use in result.end.uses}
    used = uses[f"127.0.0.1:{allowed.port}"]
    assert (used.count, used.layer.startswith("p.toml:")) == (9, True)
    assert result.start.ts <= used.first < used.last <= result.end.ts
    assert (uses["203.0.113.1:1"].count, uses["203.0.113.1:1"].first) == (0, "")
    assert vars(result.end.rules) == {f"127.0.0.1:{allowed.port}": 9}
    assert "unused" in result.stderr and f"9  p.toml:2: 127.0.0.1:{allowed.port}" in result.stderr
    brief = trace("-p", "p.toml", command=visits(allowed, denied)).stderr
    assert "rules that decided nothing\n  p.toml:3: 203.0.113.1:1\n" in brief


def test_stdout_is_the_commands(trace, workdir):
    result = trace("--report", "r.json", command=["echo", "hello"])
    assert result.stdout == "hello\n"
    assert "no network calls" in result.stderr
    assert read(workdir / "r.json")["runs"][0]["program"] == {
        "state": "ok",
        "text": "exit status 0",
    }


@pytest.mark.parametrize(
    ("command", "status", "program"),
    [
        pytest.param(["sh", "-c", "exit 3"], 3, "exit status 3", id="a-status"),
        pytest.param(["sh", "-c", "kill -9 $$"], -9, "killed by SIGKILL", id="a-signal"),
    ],
)
def test_how_the_program_ended(trace, workdir, command, status, program):
    assert trace("--report", "r.json", command=command).status == status
    assert read(workdir / "r.json")["runs"][0]["program"]["text"] == program


def test_its_own_status_is_told_where_fail_on_changed_it(trace, server, workdir):
    command = ["python", "-c", CONNECT.format(server.host, server.port)]
    result = trace("--report", "r.json", "--fail-on", "denied", command=command)
    assert result.exit_code == 121
    assert read(workdir / "r.json")["runs"][0]["code"] == 0
    assert (result.end.code, result.end.status) == (121, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--report", "x.foo"), "which format", id="an-unknown-suffix"),
        pytest.param(("--report", "x.json:pdf"), "which format", id="an-unknown-format"),
        pytest.param(("--report", "no/x.json"), "cannot write", id="no-directory"),
        pytest.param(("--summary",), "GITHUB_STEP_SUMMARY is not set", id="no-page"),
        pytest.param(("--report", "x.md", "--report", "x.md"), "twice", id="one-file-twice"),
    ],
)
def test_what_cannot_be_written_stops_before_the_run(trace, workdir, options, says):
    result = trace(*options, command=["touch", "ran"])
    assert result.exit_code == 125
    assert says in result.stderr
    assert not (workdir / "ran").exists()


def test_it_may_not_be_the_journal(runner, workdir):
    words = runner.jailed("--report", "e.json", events=workdir / "e.json")
    result = runner.run([*words, "touch", "ran"])
    assert (result.exit_code, "written twice" in result.stderr) == (125, True)


def test_a_report_that_cannot_be_written_in_the_end_is_said(trace, workdir):
    """The command takes its directory away."""
    (workdir / "d").mkdir()
    os.chmod(workdir / "d", 0o777)
    result = trace("--report", "d/r.json", command=["mv", "d", "e"])
    assert result.exit_code == 125
    assert "cannot write the report" in result.stderr
    assert list((workdir / "e").iterdir()) == []


def test_the_page_of_a_job(trace, server, workdir):
    page = workdir / "page"
    page.write_text("before\n")
    os.chmod(page, 0o666)
    keywords = {"env": {"GITHUB_STEP_SUMMARY": str(page)}}
    command = ["python", "-c", CONNECT.format(server.host, server.port)]
    result = trace("--summary", command=command, keywords=keywords)
    assert result.exit_code == 0
    text = page.read_text()
    assert text.startswith("before\n## netjail: 1 of 1 network call denied\n")
    assert f"`127.0.0.1:{server.port}`" in text


def test_a_proxy_is_told_of_without_its_password(trace, workdir):
    keywords = {"env": {"https_proxy": "http://me:secret@127.0.0.1:3128/"}}
    result = trace("--report", "r.json", command=["true"], keywords=keywords)
    said = " ".join(result.stderr.split())
    assert "https_proxy is set" in said and "rules judge that proxy alone" in said
    assert result.start.proxies.https_proxy == "http://127.0.0.1:3128/"
    found = (workdir / "r.json").read_text() + (workdir / "events-1.jsonl").read_text()
    assert "secret" not in found + result.stderr
    assert "proxy credentials" in read(workdir / "r.json")["runs"][0]["redacted"]


def test_arguments_are_left_out_unless_asked_for(trace, workdir):
    trace("--report", "r.json", command=["sh", "-c", ": secret"])
    assert "secret" not in (workdir / "r.json").read_text()
    assert read(workdir / "r.json")["runs"][0]["redacted"] == ["arguments"]
    trace("--report", "r.json", "--show-args", command=["sh", "-c", ": secret"])
    assert read(workdir / "r.json")["runs"][0]["command"] == ["sh", "-c", ": secret"]


@pytest.fixture
def journals(trace, serve, visits, workdir):
    """Two journals of one run each."""
    one, two = serve("tcp"), serve("tcp")
    trace(command=visits(one, two))
    trace("--allow", "loopback", command=visits(one, two))
    return [workdir / "events-1.jsonl", workdir / "events-2.jsonl"]


def test_a_fleet(runner, journals):
    found = json.loads(report(runner, "-f", "json", *map(str, journals)).stdout)
    assert [run["journal"] for run in found["runs"]] == [str(path) for path in journals]
    assert [run["totals"]["denied"] for run in found["runs"]] == [15, 0]
    assert found["headline"].startswith("2 runs: 15 of 30 network calls denied")
    assert sorted({tuple(one["runs"]) for one in found["destinations"]}) == [(1,), (2,)]


def test_compressed_journals_are_read_as_they_are(runner, journals, workdir):
    packed = workdir / "all.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(path.read_bytes() for path in journals)))
    plain = json.loads(report(runner, "-f", "json", *map(str, journals)).stdout)
    made = json.loads(report(runner, "-f", "json", str(packed)).stdout)
    assert made["totals"] == plain["totals"]
    assert len(made["runs"]) == 2
    cut = workdir / "cut.jsonl.gz"
    cut.write_bytes(packed.read_bytes()[:-300])
    lost = json.loads(report(runner, "-f", "json", str(cut)).stdout)
    assert "was cut off" in lost["runs"][-1]["supervisor"]["text"]


def test_a_journal_that_was_cut_off(runner, journals):
    whole = journals[0].read_bytes()
    journals[0].write_bytes(whole[: len(whole) - 5])
    made = report(runner, str(journals[0]))
    assert made.exit_code == 0
    assert "15 of 15 network calls denied" in made.stdout
    assert "was cut off: its line" in " ".join(made.stdout.split())
    assert "how it ended is not known" in made.stdout


def test_what_is_no_journal_is_named(runner, workdir):
    other = workdir / "other"
    other.write_text('{"a":1}\n')
    made = report(runner, str(other))
    assert (made.exit_code, made.stdout) == (2, "")
    assert "other:1: not an event" in made.stderr


@pytest.mark.parametrize(
    ("format", "seen"),
    [
        pytest.param("json", '{\n  "schem', id="of-little"),
        pytest.param("html", "<!doctype ", id="of-more-than-a-pipe-holds"),
    ],
)
def test_a_reader_that_has_seen_enough(runner, journals, format, seen):
    words = f"{sys.executable} -m netjail report -f {format} {journals[0]} | head -c 10"
    words = f"{words}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, seen, "")


def test_runs_do_not_mix_in_one_file(trace, workdir, runner):
    both = workdir / "both.jsonl"
    for expected, options in ((1, ()), (1, ()), (2, ("--append",))):
        words = runner.jailed(*options, events=both)
        assert runner.run([*words, "true"]).exit_code == 0
        found = json.loads(report(runner, "-f", "json", str(both)).stdout)
        assert len(found["runs"]) == expected


def test_a_second_run_is_refused_a_file_that_is_written_to(runner, workdir):
    both = workdir / "both.jsonl"
    words = runner.jailed(events=both)
    script = "echo ready; read line"
    with runner.started([*words, "sh", "-c", script], stdin=subprocess.PIPE) as first:
        assert first.stdout.readline() == "ready\n"
        second = runner.run([*words, "touch", "ran"])
        assert second.exit_code == 125
        assert "another netjail writes to" in second.stderr
        first.communicate("\n", timeout=60)
    assert first.returncode == 0
    assert not (workdir / "ran").exists()
    assert [json.loads(line)["type"] for line in both.read_text().splitlines()] == ["start", "end"]
