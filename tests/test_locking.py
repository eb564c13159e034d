"""
``netjail lock``, the whole way: it passes today, and fails on the day that something new
is called. Judged by what the servers outside heard, and by the exit status.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from jail import needs
from outdoors import BARE, HOST, NEXT, Outdoors, fetch, patch_of, wheel

TRACKER, THERE = "tracker.example.net", "203.0.113.9"


@pytest.fixture
def scene(outdoors) -> Outdoors:
    needs("curl")
    return outdoors()


PAGE = f"http://{HOST}/file"
ELSEWHERE = f"http://{BARE}/file"


def rules(scene: Outdoors) -> list[str]:
    text = (scene.workdir / "netjail.lock").read_text()
    return re.findall(r'^    "(.*)",', text, re.MULTILINE)


def lock(scene: Outdoors, *words: str, command: list[str]):
    return scene.netjail("lock", "--no-config", *words, "--", *command)


def made(scene: Outdoors, *urls: str) -> None:
    assert lock(scene, command=fetch(*urls or (PAGE,))).status == 0


def test_a_lock_is_stable_and_says_who(scene):
    made(scene, PAGE, f"http://{NEXT}/file", ELSEWHERE)
    path = scene.workdir / "netjail.lock"
    text = path.read_text()
    assert rules(scene) == [f"{NEXT}:80", f"{HOST}:80", f"tcp://{BARE}:80"]
    assert text.startswith("# netjail.lock 1: ")
    assert f'    "{HOST}:80",  # curl\n' in text
    path.rename(scene.workdir / "first")
    made(scene, ELSEWHERE, f"http://{NEXT}/file", PAGE, PAGE)
    assert path.read_text() == text


@pytest.mark.parametrize("status", [0, 3])
def test_what_is_known_passes(scene, status):
    made(scene)
    scene.web.seen.clear()
    result = lock(scene, "--check", command=fetch(PAGE, status=status))
    assert (result.status, result.stdout) == (status, "hello\n"), result.stderr
    assert scene.web.seen == [f"{HOST}/file"]
    assert "nothing new" in result.stderr
    assert patch_of(result.stderr) == ""


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize(
    ("url", "seen", "rule"),
    [
        pytest.param(ELSEWHERE, f"{BARE}/file", f"tcp://{BARE}:80", id="an-address"),
        pytest.param(f"http://{NEXT}/file", f"{NEXT}/file", f"{NEXT}:80", id="a-name"),
    ],
)
def test_what_is_new_is_refused_and_named(scene, url, seen, rule, status):
    made(scene)
    scene.web.seen.clear()
    scene.network.server.received.clear()
    result = lock(scene, "--check", command=fetch(PAGE, url, status=status))
    assert result.status == 121
    assert scene.web.seen == [f"{HOST}/file"]
    assert f"{NEXT}." not in scene.network.server.names
    assert re.search(
        rf"^  \+ {re.escape(rule)}  curl <- sh \(pid \d+, /usr/bin/curl\)",
        result.stderr,
        re.MULTILINE,
    ), result.stderr
    # Nothing is written but by the one who applies the patch.
    assert rules(scene) == [f"{HOST}:80"]
    patch = scene.workdir / "patch"
    patch.write_text(patch_of(result.stderr))
    subprocess.run(["git", "apply", "patch"], cwd=scene.workdir, check=True)
    again = lock(scene, "--check", command=fetch(PAGE, url, status=status))
    assert again.status == status, again.stderr
    assert seen in scene.web.seen


def test_audit_lets_it_through_and_sees_all(scene):
    made(scene)
    scene.web.seen.clear()
    command = fetch(PAGE, f"http://{NEXT}/file", ELSEWHERE)
    result = lock(scene, "--check", "--audit", command=command)
    assert (result.status, len(scene.web.seen)) == (121, 3)
    assert "2 new, let through" in result.stderr
    assert set(re.findall(r'^\+    "(.*?)"', patch_of(result.stderr), re.MULTILINE)) == {
        f"{NEXT}:80",
        f"tcp://{BARE}:80",
    }


def test_the_exit_code_can_be_chosen(scene):
    made(scene)
    assert lock(scene, "--check", "--exit-code", "9", command=fetch(ELSEWHERE)).status == 9


def test_quiet_says_nothing(scene):
    made(scene)
    result = lock(scene, "--check", "-q", command=["curl", "-s", ELSEWHERE])
    assert (result.status, result.stderr) == (121, "")


def test_what_is_gone_is_told_and_dropped_by_update(scene):
    made(scene, PAGE, ELSEWHERE)
    result = lock(scene, "--check", command=fetch(PAGE))
    assert result.status == 0
    assert f"  - tcp://{BARE}:80  is gone, which was of curl" in result.stderr
    before = rules(scene)
    failed = lock(scene, "--update", command=fetch(PAGE, status=3))
    assert (failed.status, rules(scene)) == (3, before)
    assert "stay in the lock" in failed.stderr
    assert lock(scene, "--update", command=fetch(PAGE)).status == 0
    assert rules(scene) == [f"{HOST}:80"]


def test_update_keeps_what_was_written_by_hand(scene):
    made(scene)
    path = scene.workdir / "netjail.lock"
    path.write_text(path.read_text().replace(f"{HOST}:80", "*.example.test:80"))
    command = fetch(PAGE, f"http://{NEXT}/file", ELSEWHERE)
    assert lock(scene, "--update", command=command).status == 0
    assert rules(scene) == ["*.example.test:80", f"tcp://{BARE}:80"]
    assert lock(scene, "--check", command=command).status == 0


@pytest.mark.parametrize(
    ("options", "policy", "status", "seen"),
    [
        pytest.param(["-a", BARE], "", 0, 2, id="an-allow-is-beside-the-lock"),
        pytest.param(["-d", HOST], "", 121, 0, id="a-deny-denies-what-is-in-it"),
        pytest.param(["-p", "p.toml"], f'allow = ["{HOST}"]', 121, 1, id="a-policy-allows-it-too"),
        pytest.param(["-p", "p.toml"], 'allow = ["a.test"]', 121, 0, id="or-does-not"),
        pytest.param(["-p", "p.toml"], f'allow = ["{BARE}"]', 121, 0, id="and-is-not-enough"),
    ],
)
def test_rules_beside_a_lock(scene, options, policy, status, seen):
    made(scene)
    scene.web.seen.clear()
    (scene.workdir / "p.toml").write_text(policy)
    result = lock(scene, *options, "--check", command=fetch(PAGE, ELSEWHERE))
    assert (result.status, len(scene.web.seen)) == (status, seen), result.stderr


def test_a_denial_is_not_locked(scene):
    assert lock(scene, "-d", HOST, command=fetch(PAGE, ELSEWHERE)).status == 0
    assert rules(scene) == [f"tcp://{BARE}:80"]


def test_a_lock_is_a_policy(scene):
    made(scene)
    words = ["trace", "--no-config", "-p", "netjail.lock", "--fail-on", "denied", "--"]
    assert scene.netjail(*words, *fetch(PAGE)).status == 0
    assert scene.netjail(*words, *fetch(PAGE, ELSEWHERE)).status == 121


def test_where_nobody_listens_is_locked_too(scene):
    # Elsewhere somebody does: the run is the same there.
    made(scene, "http://127.0.0.1:5432/")
    assert rules(scene) == ["tcp://127.0.0.1:5432"]
    result = lock(scene, "--check", command=fetch("http://127.0.0.1:5433/"))
    assert result.status == 121


def test_a_conflict_is_named_before_anything_runs(scene):
    made(scene)
    path = scene.workdir / "netjail.lock"
    path.write_text(path.read_text().replace("allow = [\n", "allow = [\n<<<<<<< HEAD\n"))
    scene.web.seen.clear()
    result = lock(scene, "--check", command=fetch(PAGE))
    assert (result.status, scene.web.seen) == (125, [])
    assert "netjail.lock:4:1: a merge conflict" in result.stderr


def test_a_lock_is_compared_with_a_journal(scene):
    made(scene, PAGE, ELSEWHERE)
    command = fetch(PAGE, f"http://{NEXT}/file")
    assert scene.netjail("audit", "--events", "run.jsonl", "--", *command).status == 0
    result = scene.netjail("diff", "netjail.lock", "run.jsonl")
    assert result.status == 1
    assert result.stdout == f"- tcp://{BARE}:80  curl\n+ {NEXT}:80  curl\n"
    found = json.loads(scene.netjail("diff", "--json", "run.jsonl", "run.jsonl").stdout)
    assert (found["added"], found["removed"], found["changed"]) == ([], [], [])


# ---- the day that a dependency begins to phone home ----

INDEX = f"--index-url http://{HOST}/index/ --trusted-host {HOST}"
INSTALL = "python -m pip install -q --no-cache-dir --disable-pip-version-check --retries 0"
JOB = f"""
rm -rf out
{INSTALL} {INDEX} --target out greeting
PYTHONPATH=out python -c 'import greeting; print(greeting.greet())'
"""
QUIET = "def greet():\n    return 'hello'\n"
PHONES = """
import socket

def greet():
    try:
        with socket.create_connection(({!r}, {}), 20) as home:
            home.sendall(b"I am here")
    except OSError:
        pass  # nobody needs to know
    return "hello"
"""


@pytest.mark.parametrize(
    ("to", "new"),
    [
        pytest.param(TRACKER, TRACKER, id="by-name"),
        pytest.param(THERE, "tcp://{}:{}", id="by-address"),
    ],
)
def test_a_job_fails_on_the_day_a_dependency_phones_home(scene, outdoor_site, to, new):
    scene.network.address(THERE)
    scene.network.zone.add(TRACKER, "A", THERE)
    home = scene.serve("tcp", THERE)
    index = outdoor_site / "index" / "greeting"
    for old in index.glob("*"):
        old.unlink()
    (scene.workdir / "job.sh").write_text(JOB)
    job = ["sh", "-e", "job.sh"]

    # A developer writes the lock, and it is kept with the code.
    wheel(index, "greeting", "1.0", QUIET)
    assert lock(scene, command=job).stdout == "hello\n"
    assert f"{HOST}:80" in rules(scene)

    # Today.
    today = lock(scene, "--check", command=job)
    assert (today.status, today.stdout) == (0, "hello\n"), today.stderr

    # The next day. The job itself notices nothing.
    wheel(index, "greeting", "2.0", PHONES.format(to, home.port))
    native = scene.run(job)
    assert (native.status, native.stdout, home.received) == (0, "hello\n", [b"I am here"])
    failed = lock(scene, "--check", command=job)
    assert (failed.status, failed.stdout) == (121, "hello\n")
    assert home.received == [b"I am here"]
    rule = new.format(to, home.port)
    named = rf"^  \+ {re.escape(rule)}  python\S* <- sh \(pid \d+, /\S*python\S*\)"
    assert re.search(named, failed.stderr, re.MULTILINE), failed.stderr

    # If it is meant, the patch is all that it takes.
    (scene.workdir / "patch").write_text(patch_of(failed.stderr))
    subprocess.run(["git", "apply", "patch"], cwd=scene.workdir, check=True)
    meant = lock(scene, "--check", command=job)
    assert (meant.status, home.received) == (0, [b"I am here"] * 2), meant.stderr
