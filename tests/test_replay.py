"""A journal judged again by another policy: what changes, what stays, which rules are idle."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from scene import CHAIN, CURL, attempt, inet

from netjail import records
from netjail.cli.group import group
from netjail.endpoints import Question, Unix, Unspecified
from netjail.formats.replay import render
from netjail.journal.writing import Journal
from netjail.model import Operation, Owner, Process, Protocol
from netjail.policy import Policy, Rules
from netjail.policy.facts import Known, Seen
from netjail.policy.supposed import Supposed
from netjail.replay import Player
from netjail.replay.result import Replay
from netjail.report import Scope

SITE = inet("192.0.2.1", 443)
REMOTE = Seen({Protocol.TCP: Owner.REMOTE})


class Run:
    """A journal of a run under the policy of *rules*."""

    def __init__(self, path, show=True, **rules):
        self.path = str(path)
        self.policy = Policy.load(Rules(**rules))
        self.journal = Journal(path)
        self.show = show
        self.next = 0
        self.journal.write(records.process_record(CURL, show))

    def add(self, of, seen=REMOTE, count=1, process=CURL, name="", facts=None, audit=False):
        self.next += 1
        owner = next(iter(seen.owners.values()), Owner.REMOTE)
        verdict = self.policy.decide(of, facts or Supposed(owner, path=seen.path))
        record = records.attempt_record(
            of,
            verdict,
            records.proc(process, of.tid, CHAIN, self.show),
            id=self.next,
            audit=audit,
            assurance="vault",
            known=Known(seen.names),
            seen=seen,
        )
        self.journal.write(record)
        if count > 1:
            self.journal.write(records.repeat(record, count - 1))
        return self

    def replay(self, **rules):
        player = Player(Policy.load(Rules(**rules)))
        from netjail.journal.reading import read_journal

        player.take(read_journal(self.path), self.path)
        return player.result()


@pytest.fixture
def run(tmp_path):
    return lambda **rules: Run(tmp_path / "run.jsonl", **rules)


def rows(found):
    return [(r.dest, r.before.verdict, r.after.verdict, r.count) for r in found]


def test_the_same_policy_changes_nothing(run):
    found = run(allow=("192.0.2.1",)).add(attempt(SITE), count=5).add(attempt(inet("::1", 1)))
    replay = found.replay(allow=("192.0.2.1",))
    assert (replay.attempts, replay.same, replay.changed) == (6, 6, [])
    assert [(use.rule, use.count) for use in replay.rules] == [("192.0.2.1", 5)]


def test_what_changes_is_told_with_its_rules(run):
    ran = run(allow=("192.0.2.1",)).add(attempt(SITE), count=3)
    replay = ran.replay(deny=("192.0.2.0/24",), allow=("x.org",))
    assert rows(replay.changed) == [("192.0.2.1:443", "allow", "deny", 3)]
    (row,) = replay.changed
    assert (row.program, row.proto) == (CHAIN[0], "tcp")
    assert (row.before.rule, row.after.rule) == ("192.0.2.1", "192.0.2.0/24")
    assert row.after.fix == "--deny '192.0.2.0/24 !192.0.2.1'"
    assert (row.before.layer, row.after.layer) == ("--allow", "--deny")
    assert [(use.rule, use.count) for use in replay.rules] == [("x.org", 0), ("192.0.2.0/24", 3)]


def test_what_stays_denied_is_told(run):
    ran = run().add(attempt(SITE)).add(attempt(inet("127.0.0.1", 9)),
                                       Seen({Protocol.TCP: Owner.NOBODY}))  # fmt: skip
    replay = ran.replay()
    assert rows(replay.denied) == [("192.0.2.1:443", "deny", "deny", 1)]
    assert rows(ran.replay(allow=("any",)).changed) == [
        ("192.0.2.1:443", "deny", "allow", 1),
        ("127.0.0.1:9", "deny", "allow", 1),
    ]


def test_facts_are_those_of_the_run(run):
    ran = run(allow=("any", "unix:*"))
    ran.add(attempt(inet("127.0.0.1", 1)), Seen({Protocol.TCP: Owner.JAIL}))
    ran.add(attempt(inet("127.0.0.1", 2)), Seen({Protocol.TCP: Owner.OUTSIDE}))
    ran.add(attempt(SITE), Seen(REMOTE.owners, ("a.x.org",)))
    ran.add(attempt(inet("10.0.0.1", 443)), Seen(REMOTE.owners, ("b.x.org",)))
    ran.add(attempt(Unix(b"/l")), Seen({Protocol.UNIX: Owner.OUTSIDE}, path=b"/run/true"))
    replay = ran.replay(allow=("*.x.org", "unix:/run/*"))
    assert rows(replay.changed) == [
        ("127.0.0.1:2", "allow", "deny", 1),
        ("10.0.0.1:443", "allow", "deny", 1),
    ]
    assert [row.after.reason for row in replay.changed] == ["foreign", "rebinding"]


def test_look_ups(run):
    def asks(name, kind="A"):
        question = Question(name, kind, inet("192.0.2.53", 53))
        return attempt(question, Protocol.UDP, operation=Operation.RESOLVE)

    ran = run().add(asks("x.org"), Seen()).add(asks("x.org", "NULL"), Seen())
    replay = ran.replay(allow=("x.org",))
    assert rows(replay.changed) == [("look-up of x.org", "deny", "allow", 1)]
    assert replay.factless == 0  # a look-up needs none


def test_what_no_rule_decides_stays(run):
    ran = run()
    ran.add(attempt(Unspecified(), Protocol.OTHER, operation=Operation.SOCKET), Seen())
    ran.add(attempt(Unspecified(), operation=Operation.FORBIDDEN, syscall="ptrace"), Seen())
    replay = ran.replay(allow=("any",))
    assert (replay.attempts, replay.same, replay.changed) == (1, 1, [])


def policy(tmp_path, text):
    (tmp_path / "p.toml").write_text(text)
    return (str(tmp_path / "p.toml"),)


def test_who_called_is_that_of_the_run(run, tmp_path):
    shell = Process(3, 0, 30, "/bin/sh", ("sh",))
    child = Process(4, 3, 31, "/usr/bin/curl", ("curl", "x"))
    ran = run(allow=("any",))
    for process in (shell, child):
        ran.journal.write(records.process_record(process, True))
    ran.add(attempt(SITE), process=child).add(attempt(SITE), process=shell)
    for rule, allowed in (
        ('exe = "**/curl"', 1),
        ('parent = "/bin/*"', 1),
        ('exe = "/bin/sh"', 1),
        ('argv = "x"', 1),
        ('exe = "/bin/nothing"', 0),
    ):
        # The fixed part of a glob is followed; so is /bin, to what the journal has.
        files = policy(tmp_path, f'[[rule]]\nallow = "192.0.2.1"\n{rule}\n')
        replay = ran.replay(files=files)
        if "/bin/" not in rule:
            assert (replay.same, replay.hidden) == (allowed, 0), rule


def test_rules_on_hidden_arguments_are_not_judged(run, tmp_path):
    ran = run(show=False, allow=("any",)).add(attempt(SITE), count=4)
    files = policy(tmp_path, '[[rule]]\nallow = "192.0.2.1"\nargv = "*.py"\n')
    replay = ran.replay(files=files)
    assert (replay.hidden, replay.attempts) == (4, 4)
    files = policy(tmp_path, '[[rule]]\nallow = "192.0.2.7"\nargv = "*.py"\n')
    assert ran.replay(files=files).hidden == 0


def test_an_older_journal_is_told_of(run):
    ran = run(allow=("any",)).add(attempt(inet("127.0.0.1", 80)), Seen())
    assert ran.replay().factless == 1


def test_listeners(run):
    ran = run()
    for port, scope in ((80, Scope.MACHINE), (81, Scope.OPEN), (82, Scope.MACHINE)):
        who = records.proc(CURL, 1, CHAIN, False)
        ran.journal.write(
            records.listen_record(inet("0.0.0.0", port), Protocol.TCP, who, scope=scope.value)
        )
    found = ran.replay(bind=(":80",)).listeners
    assert [(row.dest, row.before.reason, row.after.reason) for row in found] == [
        ("0.0.0.0:80", "machine", "open"),
        ("0.0.0.0:81", "open", "machine"),
    ]


def test_no_rule_opens_what_is_bound_to_loopback(run):
    ran = run()
    who = records.proc(CURL, 1, CHAIN, False)
    line = records.listen_record(inet("127.0.0.1", 80), Protocol.TCP, who, scope="machine")
    ran.journal.write(line)
    assert not ran.replay(bind=(":80",)).listeners


def test_room_is_bounded(run, monkeypatch):
    monkeypatch.setattr("netjail.replay.player.GROUPS", 3)
    monkeypatch.setattr("netjail.replay.player._KNOWN", 2)
    ran = run()
    for last in range(5):
        ran.add(attempt(inet(f"192.0.2.{last + 1}", 443)))
    replay = ran.replay()
    assert (len(replay.denied), replay.omitted, replay.same) == (3, 2, 5)


# ---- the command ----


def replayed(*words):
    return CliRunner().invoke(group, ["replay", "--no-config", *words], prog_name="netjail")


def test_the_page(run):
    ran = run(allow=("192.0.2.1",)).add(attempt(SITE), count=3)
    result = replayed(ran.path, "-a", "x\u0430.org")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "3 of 3 network calls would be judged otherwise"
    assert lines[1] == "allow -> deny"
    assert lines[2].split() == ["3", "tcp", "192.0.2.1:443", CHAIN[0]]
    assert "fix: --allow 192.0.2.1:443" in result.stdout
    assert "unused rules" in lines
    same = replayed(ran.path, "-a", "192.0.2.1")
    assert same.stdout == "3 network calls, judged as before\n"


def test_the_page_has_last_what_nobody_listened_to(run):
    nobody = Seen({Protocol.TCP: Owner.NOBODY})
    ran = run(allow=("any",)).add(attempt(inet("127.0.0.1", 9)), nobody).add(attempt(SITE))
    lines = render(ran.replay()).splitlines()
    assert [line.split()[2] for line in lines if line.startswith(" " * 7 + "1")] == [
        "192.0.2.1:443",
        "127.0.0.1:9",
    ]


@pytest.mark.parametrize(("torn", "said"), [(1, "1 run was"), (2, "2 runs were")])
def test_the_page_says_what_was_cut_off(torn, said):
    assert f"\n{said} cut off\n" in render(Replay(torn=torn))


def test_a_policy_that_is_not_used_is_told(run, tmp_path, monkeypatch):
    file = tmp_path / "netjail.toml"
    file.write_text('allow = ["192.0.2.1"]\n')
    file.chmod(0o666)
    ran = run().add(attempt(SITE))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, ["replay", ran.path], prog_name="netjail")
    lines = result.stdout.splitlines()
    assert lines[0] == "1 network call, judged as before"
    said = f"{file} is not used: others than its owner can write it (chmod go-w)"
    assert lines[-1] == f"warning: {said}"


def test_json(run):
    ran = run().add(attempt(SITE))
    found = json.loads(replayed(ran.path, ran.path, "--json").stdout)
    assert (found["schema"], found["attempts"]) == ("netjail/replay/1", 2)
    assert found["journals"] == [ran.path, ran.path]


def test_a_hostile_journal_is_harmless(run):
    ran = run()
    evil = Unix(b"/\x1b]0;x\x07\xe2\x80\xae")
    ran.add(attempt(evil), Seen({Protocol.UNIX: Owner.OUTSIDE}, path=evil.path))
    result = replayed(ran.path)
    assert all(line.isprintable() for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="no-journal"),
        pytest.param(["none.jsonl"], id="none-there"),
        pytest.param(["/etc/passwd"], id="no-journal-at-all"),
        pytest.param(["/dev/null", "-a", "x:y"], id="no-rule"),
    ],
)
def test_wrong_usage_is_2(words):
    assert replayed(*words).exit_code == 2
