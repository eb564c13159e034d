"""
The doctor: its jail holds here, and a jail that does not hold is noticed.

Judged by what the doctor says of jails whose state is known: netjail's own, one with a
rule too many, none at all.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import confine
import msgspec
import pytest
from confine import Profile, without
from jail import needs

from netjail.doctor import Limits, examine
from netjail.doctor.attacker import environment, jail
from netjail.doctor.canary import CANARIES, TOKEN
from netjail.doctor.diag import device
from netjail.doctor.doors import CONTROL, GROUPS, WORKS, Door
from netjail.doctor.host import Fact, facts
from netjail.doctor.outside import Outside
from netjail.doctor.result import Examination, Line, Round, Status, document, judge
from netjail.doctor.text import render
from netjail.kernel.doors import NAMES, Scene, Tried

DOORS = {door.name: door for doors in GROUPS.values() for door in doors}
# Enough to see something, not enough to win a rare race.
SHORT = Limits(bound=5000, race=150, attack=80, total=300_000)
SELF_TESTS = {"hangs", "crashes"}


def some(*names: str) -> dict[str, tuple[Door, ...]]:
    """A group of doors, the control first."""
    chosen = dict.fromkeys((CONTROL, *names))
    return {"some": tuple(DOORS.get(name, Door(name, name)) for name in chosen)}


def status(examination: Examination) -> dict[str, Status]:
    return {line.name: line.status for line in examination.lines}


def reason(examination: Examination, name: str) -> str:
    return next(line.reason for line in examination.lines if line.name == name)


def sabotaged(*rules: str):
    """The jail, with rules that its user did not ask for."""

    def words(scene: Scene) -> list[str]:
        allowed = [w for rule in rules for w in ("--allow", rule.format(scene=scene))]
        return [*jail(scene)[:-1], *allowed, "--"]

    return words


def left(mark: str) -> list[str]:
    """Every process that has *mark* in its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.fixture
def mark(monkeypatch):
    """What the attackers that a test starts have in their environment."""
    value = f"netjail-doctor-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("NETJAIL_TEST_MARK", value)
    return value


# -- The table and the probes -------------------------------------------------


def test_every_probe_has_its_row():
    rows = [*DOORS, *(door.name for door in WORKS)]
    assert len(rows) == len(set(rows)) == sum(map(len, GROUPS.values())) + len(WORKS)
    assert set(rows) | SELF_TESTS == set(NAMES)
    assert len(NAMES) == len(set(NAMES))


def test_the_scene_is_the_one_that_c_knows():
    from netjail.kernel._core import ffi

    assert {name for name, _ in ffi.typeof("struct nj_scene").fields} == set(
        Scene.__struct_fields__
    )


def test_what_doors_need_exists():
    with Outside() as outside:
        parts = {part for door in DOORS.values() for part in door.needs}
        assert parts - set(outside.missing) <= set(CANARIES) | {
            *("path", "datagrams", "abstract", "victim", "stranger", "terminal", "ring"),
            "sniffer",
        }


def test_the_tokens_agree():
    header = Path(__file__).parent.parent / "netjail/kernel/doors.h"
    assert f'#define NJ_TOKEN "{TOKEN.decode()}"' in header.read_text()


# -- This host ----------------------------------------------------------------


def test_every_door_holds_here(runner):
    """As any user would run it; a door that is open here is a hole, and this test its finder."""
    command = [*runner.user.prefix, runner.python, "-m", "netjail", "doctor", "--json"]
    result = runner.run(command, timeout=250)
    told = json.loads(result.stdout)
    wrong = [d for d in told["doors"] if d["status"] in {"open", "broken"}]
    assert not wrong, result.stderr
    assert (result.exit_code, told["fine"], told["stray"]) == (0, True, [])
    assert told["counts"]["held"] >= 60
    assert told["counts"]["works"] == len(WORKS)
    assert told["verdict"].startswith(f"all {told['counts']['held']} doors held")
    assert not left(str(runner.workdir))


# -- A doctor that sees ------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "opened", "shut"),
    [
        pytest.param("tcp://127.0.0.1:{scene.tcp}", "tcp-connect", "udp-sendto", id="tcp"),
        pytest.param("udp://127.0.0.1:{scene.udp}", "udp-sendmsg", "tcp-connect", id="udp"),
        pytest.param("udp://127.0.0.1:{scene.udp}", "race-address", "tcp-connect", id="race"),
        pytest.param("unix:{scene.path}", "unix-path", "tcp-connect", id="unix"),
    ],
)
def test_a_rule_too_many_is_noticed(rule, opened, shut):
    found = examine(limits=SHORT, guarded=sabotaged(rule), groups=some(opened, shut))
    assert (status(found)[opened], status(found)[shut]) == (Status.OPEN, Status.HELD)
    assert not found.fine
    assert "1 OPEN" in found.verdict


def test_no_jail_at_all_is_noticed_by_every_probe():
    """Each probe that is not 'not applicable' is one that escapes where nothing holds it."""
    limits = msgspec.structs.replace(SHORT, race=500, attack=800)
    found = examine(limits=limits, guarded=lambda scene: ())
    stands = status(found)
    assert Status.HELD not in stands.values(), [k for k, v in stands.items() if v == "held"]
    assert found.counts.open >= 60
    assert found.counts.works == len(WORKS)
    assert not found.fine


def test_a_jail_that_refuses_everything_is_noticed():
    def strict(scene: Scene) -> list[str]:
        return [*jail(scene)[:-1], "--deny", "any", "--"]

    found = examine(limits=SHORT, guarded=strict, groups=some("race-address"))
    stands = status(found)
    assert stands[CONTROL] is Status.HELD
    assert stands["works-connect"] is Status.BROKEN
    assert stands["race-address"] is Status.BROKEN
    assert "the race was not run" in reason(found, "race-address")
    assert not found.fine


def test_a_doctor_that_cannot_see_says_so():
    found = examine(limits=SHORT, unguarded=jail, groups=some())
    assert found.verdict.startswith("cannot see an escape")
    assert not found.fine
    assert found.lines == ()


def test_a_jail_that_does_not_start_is_told():
    found = examine(
        limits=SHORT, guarded=lambda scene: [*jail(scene)[:-1], "--nonsense", "--"], groups=some()
    )
    assert status(found)[CONTROL] is Status.BROKEN
    assert "no such option: --nonsense" in reason(found, CONTROL) or "hint" in reason(
        found, CONTROL
    )
    assert not found.fine


def test_nothing_here_to_jail_with(tmp_path):
    missing = str(tmp_path / "missing")
    found = examine(limits=SHORT, guarded=lambda scene: [missing], groups=some("udp-sendto"))
    assert status(found)["udp-sendto"] is Status.BROKEN
    assert missing in reason(found, "udp-sendto")


# -- Bounds -------------------------------------------------------------------


def test_a_probe_that_hangs_or_dies_is_bounded(mark):
    found = examine(limits=SHORT, groups=some("hangs", "crashes", "udp-sendto"))
    stands = status(found)
    assert stands["hangs"] is stands["crashes"] is Status.NOT_APPLICABLE
    assert "its time was over" in reason(found, "hangs")
    assert "SIGSEGV" in reason(found, "crashes")
    assert stands["udp-sendto"] is Status.HELD  # the next one is tried all the same
    assert not left(mark)


def test_an_attacker_that_never_answers_is_ended():
    silent = examine(
        limits=msgspec.structs.replace(SHORT, bound=100),
        guarded=lambda scene: ["sh", "-c", "sleep 1000; :"],
        groups=some("udp-sendto", "udp-sendmsg"),
    )
    assert status(silent)["udp-sendmsg"] is Status.BROKEN
    assert "it does not answer" in reason(silent, CONTROL)


def test_when_time_is_up_the_rest_is_not_tried():
    limits = msgspec.structs.replace(SHORT, total=0)
    found = examine(limits=limits, groups=some())
    assert found.verdict.startswith("cannot see an escape")
    assert "no time left" in found.verdict


def test_it_leaves_no_process_and_no_descriptor(mark):
    before = len(os.listdir("/proc/self/fd"))
    examine(limits=SHORT, groups=some("supervisor", "race-address-process", "victim-kill"))
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert not left(mark)


# -- Less than a whole host ---------------------------------------------------


# As the command does, with some of the doors.
SOME = """
import sys
import msgspec
from netjail.doctor import Limits, examine
from netjail.doctor.doors import CONTROL, GROUPS
from netjail.doctor.result import document
chosen = [door for doors in GROUPS.values() for door in doors if door.name in sys.argv]
limits = Limits(bound=5000, race=150, attack=80)
found = examine(limits=limits, groups={"some": tuple(chosen)})
print(msgspec.json.encode(document(found)).decode())
sys.exit(not found.fine)
"""


def run(*outer: str, doors: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*outer, sys.executable, "-P", "-c", SOME, CONTROL, *doors]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )


@pytest.fixture
def confined(program, tmp_path):
    """The words before a command that take away what a host's *profile* refuses."""

    def words(profile: Profile) -> tuple[str, ...]:
        file = tmp_path / "profile"
        file.write_bytes(profile.program())
        return program("confined"), str(file)

    return words


@pytest.mark.parametrize(
    ("profile", "door", "says"),
    [
        pytest.param(confine.DOCKER, "ring-connect", "no io_uring here", id="docker-io-uring"),
        pytest.param(confine.DOCKER, "setns", "a network namespace", id="docker-namespaces"),
        pytest.param(confine.PODMAN, "victim-writev", "nowhere unguarded", id="podman-writev"),
        pytest.param(without(438), "victim-descriptor", "nowhere unguarded", id="no-pidfd-getfd"),
    ],
)
def test_under_a_filter_it_says_what_cannot_be_tried(confined, profile, door, says):
    told = json.loads(run(*confined(profile), doors=(door, "udp-sendto")).stdout)
    stands = {line["name"]: line["status"] for line in told["doors"]}
    (why,) = [line["reason"] for line in told["doors"] if line["name"] == door]
    assert (stands[door], stands["udp-sendto"]) == ("not applicable", "held")
    assert says in why and "not permitted" in why
    (filtered,) = [fact for fact in told["host"] if fact["name"] == "already filtered"]
    assert filtered["value"] == "by 1"


def test_without_landlock_what_it_leaves_open_is_told(confined):
    doors = ("victim-kill", "udp-sendto")
    result = run(*confined(without(444, error=errno.ENOSYS)), doors=doors)
    told = json.loads(result.stdout)
    stands = {line["name"]: line["status"] for line in told["doors"]}
    assert [stands[name] for name in doors] == ["held", "held"]
    (landlock,) = [fact for fact in told["host"] if fact["name"] == "Landlock"]
    assert not landlock["good"] and "Linux 6.12" in landlock["means"]


def test_where_no_jail_can_be_made_it_says_why(confined):
    result = run(*confined(without(101)))
    told = json.loads(result.stdout)
    assert told["verdict"].startswith("no jail can be made here: ptrace is refused here")
    assert (result.returncode, told["fine"], told["doors"]) == (1, False, [])
    (ptrace,) = [fact for fact in told["host"] if fact["name"] == "ptrace"]
    assert (ptrace["good"], ptrace["value"]) == (False, "refused: Operation not permitted")


def test_inside_a_netjail_it_says_so():
    result = run(sys.executable, "-P", "-m", "netjail", "trace", "--no-config", "-q", "--")
    assert result.returncode == 1
    assert "already inside a netjail" in json.loads(result.stdout)["verdict"]


def test_in_a_user_namespace():
    needs("unshare")
    doors = ("udp-sendto", "raw-socket", "setns", "race-address")
    result = run("unshare", "--user", "--map-root-user", doors=doors)
    told = json.loads(result.stdout)
    assert [line for line in told["doors"] if line["status"] in {"open", "broken"}] == []
    assert {"name": "user namespace", "value": "its own", "good": True, "means": ""} in told["host"]


# -- What it says -------------------------------------------------------------

FACTS = (Fact("kernel", "Linux 6.1"), Fact("mseal", "no", False, "Linux 6.10 has it"))
LINES = (
    Line("a", "one", "first", Status.HELD, "Connection refused"),
    Line("b", "one", "second", Status.NOT_APPLICABLE, "no SCTP here: Protocol not supported"),
    Line("c", "two", "third", Status.WORKS),
)
FINE = Examination(FACTS, lines=LINES)


def with_line(state: Status) -> Examination:
    return Examination(FACTS, lines=(*LINES, Line("d", "two", "fourth", state, "because")))


@pytest.mark.parametrize(
    ("examination", "fine", "verdict"),
    [
        pytest.param(FINE, True, "all 1 doors held; 1 not applicable", id="fine"),
        pytest.param(with_line(Status.OPEN), False, "1 OPEN; 1 held; 1 not applicable", id="open"),
        pytest.param(
            with_line(Status.BROKEN), False, "1 doors held; 1 BROKEN; 1 not applicable", id="broken"
        ),
        pytest.param(
            Examination(FACTS, lines=LINES, stray=("TCP, port 1",)),
            False,
            "all 1 doors held; TCP, port 1 reached when no probe ran; 1 not applicable",
            id="stray",
        ),
        pytest.param(
            Examination(FACTS, blind="nothing arrived"),
            False,
            "cannot see an escape: an unguarded probe did not reach its canary: nothing arrived",
            id="blind",
        ),
        pytest.param(
            Examination(FACTS, refused="no"), False, "no jail can be made here: no", id="refused"
        ),
        pytest.param(Examination(FACTS), False, "all 0 doors held", id="nothing-was-tried"),
    ],
)
def test_the_verdict(examination, fine, verdict):
    assert (examination.fine, examination.verdict) == (fine, verdict)


def test_the_document_keeps_its_shape():
    told = json.loads(msgspec.json.encode(document(FINE)))
    assert set(told) == {
        *("schema", "version", "fine", "verdict", "counts", "host", "doors", "stray")
    }
    assert told["schema"] == "netjail/doctor/1"
    assert told["counts"] == {"held": 1, "open": 0, "not_applicable": 1, "works": 1, "broken": 0}
    assert told["doors"][1] == {
        "name": "b",
        "group": "one",
        "title": "second",
        "status": "not applicable",
        "reason": "no SCTP here: Protocol not supported",
    }
    assert told["host"][1] == {
        "name": "mseal",
        "value": "no",
        "good": False,
        "means": "Linux 6.10 has it",
    }


def test_the_text_begins_with_the_verdict():
    assert render(FINE, width=80).splitlines() == [
        "netjail doctor: all 1 doors held; 1 not applicable",
        "",
        "this host",
        "  kernel                        Linux 6.1",
        "  mseal                         no",
        "      Linux 6.10 has it",
        "",
        "one",
        "  held            first",
        "  not applicable  second",
        "                    no SCTP here: Protocol not supported",
        "",
        "two",
        "  works           third",
    ]


def test_the_text_is_painted_by_whoever_prints_it():
    painted = render(with_line(Status.OPEN), paint=lambda text, style: f"<{style}>{text}", width=80)
    assert painted.startswith("<bad>netjail doctor: 1 OPEN")
    assert "<bad>open" in painted
    assert "<good>held" in painted


@pytest.mark.parametrize(
    ("native", "jailed", "expected", "says"),
    [
        pytest.param({"reached": ["x"]}, {"error": 111}, "held", "Connection refused", id="held"),
        pytest.param({"reached": ["x"]}, {"reached": ["x"]}, "open", "reached: x", id="open"),
        pytest.param(
            {"reached": ["x"]}, {"reached": ["x"], "ended": "y"}, "open", "x", id="open-and-ended"
        ),
        pytest.param({"error": 38}, {}, "not applicable", "Function not", id="not-seen-natively"),
        pytest.param({"skipped": "no"}, {}, "not applicable", "no", id="missing"),
        pytest.param({"reached": ["x"]}, {"ended": "with 125"}, "broken", "125", id="jail-ended"),
        pytest.param({"reached": ["x"]}, {"skipped": "late"}, "broken", "late", id="not-tried"),
        pytest.param({"reached": ["x"]}, {"signal": 9}, "held", "SIGKILL", id="killed"),
        pytest.param({"reached": ["x"]}, {"hung": True}, "held", "time was over", id="hung"),
    ],
)
def test_what_two_rounds_mean(native, jailed, expected, says):
    door = Door("d", "a door")
    (line,) = judge({"g": (door,)}, one_round("d", **native), one_round("d", **jailed))
    assert line.status == expected
    assert says in line.reason


def one_round(name, reached=(), ended="", skipped="", **tried) -> Round:
    found = Round(tried={name: Tried(**tried)}, reached={name: list(reached)}, arrived={name: 0})
    if ended:
        found.ended[name] = ended
    if skipped:
        found.skipped[name] = skipped
    return found


def test_the_facts_of_this_host():
    found = {fact.name: fact for fact in facts()}
    assert os.uname().release in found["kernel"].value
    assert found["user"].value == f"uid {os.getuid()}"
    assert found["ptrace"].good
    assert not [fact for fact in found.values() if not fact.good and not fact.means]


def test_where_a_listener_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert device(port) == 0
    assert device(port) is None
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert device(listener.getsockname()[1]) == socket.if_nametoindex("lo")


# -- The command --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(["--nonsense"], 2, "no such option: --nonsense", id="option"),
        pytest.param(["--color", "blue"], 2, "blue", id="choice"),
        pytest.param(["word"], 2, "unexpected extra argument", id="argument"),
        pytest.param(["--help"], 0, "Examples:", id="help"),
    ],
)
def test_usage(words, code, says):
    command = [sys.executable, "-P", "-m", "netjail", "doctor", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )
    assert result.returncode == code
    assert says in result.stdout + result.stderr
