"""
What docs/ci.md and action.yml say of pipelines: checked against their schemas, and run.

The steps of the action run as a runner would run them, with its files and variables; the
shell recipe is run with all other consoles, in ``test_docs.py``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml
from examples import blocks
from jail import Runner, needs, unmet

ROOT = Path(__file__).parent.parent
ACTION = ROOT / "action.yml"
PAGE = ROOT / "docs/ci.md"

TALKS = "import socket; socket.create_connection(('{}', {}))"


def files() -> dict[str, str]:
    """The files of the page, by name."""
    return {block.notes["file"]: block.text for block in blocks(PAGE) if "file" in block.notes}


def schema(name: str, path: Path) -> None:
    """Hold *path* against the published schema that check-jsonschema brings along."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, str(path)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vendor.github-workflows", ".github/workflows/test.yml"),
        ("vendor.github-workflows", ".github/workflows/plain.yml"),
        ("vendor.gitlab-ci", ".gitlab-ci.yml"),
    ],
)
def test_recipes_are_what_their_system_reads(name, file, tmp_path):
    path = tmp_path / Path(file).name
    path.write_text(files()[file])
    schema(name, path)


def test_the_action_is_one():
    schema("vendor.github-actions", ACTION)


def test_a_schema_finds_what_is_wrong(tmp_path):
    path = tmp_path / "action.yml"
    path.write_text(ACTION.read_text().replace("using: composite", "using: magic"))
    with pytest.raises(AssertionError, match="magic"):
        schema("vendor.github-actions", path)


def test_the_page_names_every_input():
    action = yaml.safe_load(ACTION.read_text())
    text = PAGE.read_text().partition("## GitHub Actions")[2].partition("## GitLab")[0]
    assert [name for name in action["inputs"] if f"`{name}`" not in text] == []
    workflow = yaml.safe_load(files()[".github/workflows/test.yml"])
    assert set(workflow["jobs"]["test"]["steps"][1]["with"]) <= set(action["inputs"])


def words_of_jails(text: str) -> list[list[str]]:
    """What recipes give to netjail before the ``--``."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"netjail(?:/bin/netjail)?\"? (?:trace|lock) (.*?) -- ", joined)
    return [line.split() for line in found]


@pytest.mark.parametrize("file", sorted(files()))
def test_recipes_use_options_that_are(file):
    from netjail.cli.options import read

    for words in words_of_jails(files()[file]):
        plain = [word for word in words if word not in ("--check",)]
        assert read([*plain, "--", "true"]).command == ("true",)


def test_there_are_recipes_to_check():
    assert sum(len(words_of_jails(text)) for text in files().values()) >= 4


# -- The action's steps, as a runner runs them --------------------------------


class Job(NamedTuple):
    """What a runner gives a step, and takes from it."""

    runner: Runner
    steps: dict[str, dict[str, Any]]
    defaults: dict[str, str]
    temp: Path

    def path(self, name: str) -> Path:
        return self.temp / name

    def text(self, name: str) -> str:
        path = self.path(name)
        return path.read_text() if path.exists() else ""

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.text("output").splitlines())

    def run(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run a step with *inputs*; an expression that is not known fails the test."""
        step = self.steps[name]
        known = {f"inputs.{key}": value for key, value in (self.defaults | inputs).items()}
        known["github.action_path"] = str(ROOT)

        def value(text: str) -> str:
            return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], text)

        assert "${{" not in step["run"], "an input would be script"
        script = self.path("script.sh")
        script.write_text(step["run"])
        env = {
            **self.runner.environment,
            "PATH": f"{self.path('bin')}:{self.runner.environment['PATH']}",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.path("output")),
            "GITHUB_PATH": str(self.path("path")),
            "GITHUB_STEP_SUMMARY": str(self.path("summary")),
            "RUNNER_TEMP": str(self.temp),
            **{name: value(text) for name, text in step["env"].items()},
        }
        # As actions/runner has it for `shell: bash`.
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        return subprocess.run(
            [*self.runner.user.prefix, *words],
            env=env,
            cwd=self.runner.workdir,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )


@pytest.fixture
def job(runner: Runner) -> Iterator[Job]:
    action = yaml.safe_load(ACTION.read_text())
    steps = {step["name"]: step for step in action["runs"]["steps"]}
    defaults = {name: one.get("default", "") for name, one in action["inputs"].items()}
    temp = Path(tempfile.mkdtemp(prefix="nj-ci-"))
    (temp / "bin").mkdir()
    netjail = temp / "bin/netjail"
    netjail.write_text(f'#!/bin/sh\nexec {runner.python} -m netjail "$@"\n')
    netjail.chmod(0o755)
    if runner.user.change:
        os.chown(temp, runner.user.uid, runner.user.uid)
    temp.chmod(0o755)
    yield Job(runner, steps, defaults, temp)
    shutil.rmtree(temp)


RUN = "Run the command"


def errors(path: Path) -> list[str]:
    """What a SARIF file says was denied, beside notes on what nobody asked about."""
    found = json.loads(path.read_text())["runs"][0]["results"]
    return [one["message"]["text"] for one in found if one["level"] == "error"]


def test_a_job_that_stays_where_it_may(job, server):
    command = f'echo hello\n{job.runner.python} -c "{TALKS.format(server.host, server.port)}"'
    rules = f"192.0.2.9\n\n{server.host}:{server.port}\n"
    result = job.run(RUN, command=command, allow=rules)
    assert (result.returncode, result.stdout) == (0, "hello\n"), result.stderr
    assert server.accepted == 1
    assert job.outputs["status"] == "0"
    assert "none denied" in job.text("summary")
    report = job.runner.workdir / job.outputs["directory"]
    assert "none denied" in (report / "netjail.html").read_text()
    assert errors(job.runner.workdir / job.outputs["sarif"]) == []


def test_a_job_that_goes_elsewhere(job, server):
    command = f'{job.runner.python} -c "{TALKS.format(server.host, server.port)}" || true'
    result = job.run(RUN, command=command, reports="html sarif junit json md")
    assert result.returncode == 121, result.stderr
    assert server.accepted == 0
    assert job.outputs["status"] == "121"
    where = f"{server.host}:{server.port}"
    assert where in job.text("summary")
    (found,) = errors(job.runner.workdir / job.outputs["sarif"])
    assert where in found
    report = job.runner.workdir / job.outputs["directory"]
    assert where in (report / "netjail.html").read_text()
    assert ElementTree.parse(report / "netjail.junit").getroot().get("failures") != "0"


def test_an_audit_lets_it_through_and_fails_nothing(job, server):
    command = f'{job.runner.python} -c "{TALKS.format(server.host, server.port)}"'
    inputs = {"audit": "true", "allow": "192.0.2.9", "fail-on": "never"}
    result = job.run(RUN, command=command, **inputs)
    assert result.returncode == 0, result.stderr
    assert server.accepted == 1
    assert "would be denied" in job.text("summary")


def test_the_commands_own_failure_is_the_jobs(job):
    result = job.run(RUN, command="exit 7\n")
    assert (result.returncode, job.outputs["status"]) == (7, "7")
    result = job.run(RUN, command="false | true")
    assert result.returncode == 1


def test_a_rule_that_is_none_fails_before_anything_runs(job):
    result = job.run(RUN, command="touch ran", allow="nowhere at all")
    assert result.returncode == 125
    assert not (job.runner.workdir / "ran").exists()
    assert job.outputs["status"] == "125"


def test_a_lock_passes_until_the_job_phones_home(job, serve):
    known, new = serve(), serve()
    lock = job.runner.workdir / "my.lock"
    talks = f'{job.runner.python} -c "{TALKS}"\n'
    command = talks.format(known.host, known.port)
    words = [*job.runner.user.prefix, str(job.path("bin/netjail")), "lock", "--no-config"]
    made = job.runner.run([*words, "--file", str(lock), "--", "bash", "-c", command])
    assert (made.exit_code, known.accepted) == (0, 1), made.stderr

    result = job.run(RUN, command=command, lock=str(lock))
    assert (result.returncode, known.accepted) == (0, 2), result.stderr
    later = command + talks.format(new.host, new.port)
    result = job.run(RUN, command=later, lock=str(lock))
    assert result.returncode == 121 if new.accepted == 0 else False, result.stderr
    assert (known.accepted, new.accepted) == (3, 0)
    assert f"{new.host}:{new.port}" in result.stderr


HOSTILE = (
    "'; touch ran; '",
    '"; touch ran; "',
    "$(touch ran)",
    "`touch ran`",
    "--audit\n--default\nallow",
    "*",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["allow", "lock", "directory"])
def test_an_input_is_never_script(job, name, text):
    job.run(RUN, command="true", **{name: text})
    assert not (job.runner.workdir / "ran").exists()


def test_the_command_sees_nothing_of_the_actions(job):
    result = job.run(RUN, command="env")
    assert result.returncode == 0, result.stderr
    assert "NETJAIL" not in result.stdout
    assert "GITHUB_ACTIONS=true" in result.stdout


def test_what_is_kept_is_what_was_written(job):
    """The steps that need GitHub take the names that the one before gave."""
    keep, scan = job.steps["Keep the reports"], job.steps["Give the SARIF to code scanning"]
    assert keep["with"]["path"] == "${{ steps.run.outputs.directory }}"
    assert scan["with"]["sarif_file"] == "${{ steps.run.outputs.sarif }}"
    assert job.steps[RUN]["id"] == "run"
    for step in (keep, scan):
        assert step["if"].startswith("${{ always() && inputs.upload == 'true' && ")


def test_installing_puts_netjail_on_the_path(job):
    """For real: it builds the C core and takes the libraries from the registry."""
    needs("gcc")
    if job.runner.user.change:
        pytest.skip("once is enough")
    copy = job.path("checkout")
    ignored = shutil.ignore_patterns(".venv", ".git", "build", "*.so", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", job.temp, "click"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if probe.returncode:
        unmet("no package registry here")
    result = job.run("Install netjail", install=str(copy))
    assert result.returncode == 0, result.stderr
    (folder,) = job.text("path").splitlines()
    assert os.listdir(folder) == ["netjail"]
    version = subprocess.run(
        [f"{folder}/netjail", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("netjail ")
