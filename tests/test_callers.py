"""Rules that ask who calls: no program passes for another, and nobody denies his ancestors."""

from __future__ import annotations

import errno
import json
import shutil

import pytest
from jail import needs

from netjail import records
from netjail.policy import Policy, Rules

REFUSED = errno.ECONNREFUSED


@pytest.fixture
def programs(runner):
    """``good``, of which the rules speak, and ``evil``: the same code by another path."""
    folder = runner.workdir / "programs"
    folder.mkdir()
    folder.chmod(0o777)
    for name in ("good", "evil"):
        shutil.copy(runner.program("disguise"), folder / name)
    return folder


@pytest.fixture
def policy(runner):
    """Write the text of a policy; gives the option that reads it."""

    def written(text: str) -> tuple[str, str]:
        path = runner.workdir / "policy.toml"
        path.write_text(text)
        return ("--policy", str(path))

    return written


def allowing(server, **who):
    terms = "".join(f'{key} = "{value}"\n' for key, value in who.items())
    return f'[[rule]]\nallow = "{server.host}:{server.port}"\n{terms}'


def denying(server, **who):
    terms = "".join(f'{key} = "{value}"\n' for key, value in who.items())
    deny = f'deny = "{server.host}:{server.port}"\nerrno = "EPERM"'
    return f'default = "allow"\n[[rule]]\n{deny}\n{terms}'


def steps(programs, text: str, server) -> list[str]:
    """The words of a run of ``disguise``: GOOD and EVIL are the programs, TO the server."""
    known = {"GOOD": str(programs / "good"), "EVIL": str(programs / "evil"), "TO": server.target}
    return [known.get(word, word) for word in text.split()]


# What is done, and what each reach is answered where GOOD alone may. Natively all succeed.
WAYS = [
    pytest.param("GOOD reach TO", [0], id="the-program-itself"),
    pytest.param("EVIL reach TO", [REFUSED], id="another"),
    pytest.param("EVIL named GOOD reach TO", [REFUSED], id="by-its-first-argument"),
    pytest.param("EVIL bind GOOD exec GOOD reach TO", [REFUSED], id="bound-over-its-path"),
    pytest.param("EVIL cover GOOD exec GOOD reach TO", [REFUSED], id="in-a-directory-over-its-own"),
    pytest.param("EVIL memfd GOOD reach TO", [REFUSED], id="out-of-memory"),
    pytest.param("EVIL reach TO exec GOOD reach TO", [REFUSED, 0], id="good-after-evil"),
    pytest.param(
        "GOOD reach TO reach TO exec EVIL reach TO", [0, 0, REFUSED], id="evil-after-good"
    ),
    pytest.param("GOOD reach TO exec-by-thread EVIL reach TO", [0, REFUSED], id="by-a-thread"),
    pytest.param("GOOD fork 2 reach TO reach TO", [0, 0], id="a-fork-is-its-parent-still"),
    pytest.param("GOOD fork 4 exec EVIL reach TO reach TO", [REFUSED, 0], id="its-child"),
    pytest.param("GOOD reach TO vfork 3 EVIL reach TO reach TO", [0, REFUSED, 0], id="its-vfork"),
    pytest.param("EVIL vfork 3 GOOD reach TO reach TO", [0, REFUSED], id="parent-of-a-vfork"),
    pytest.param("GOOD clone 2 reach TO reach TO", [0, 0], id="beside-in-its-memory"),
    pytest.param("EVIL clone 4 exec GOOD reach TO reach TO", [0, REFUSED], id="evil-beside-it"),
    pytest.param("GOOD clone 4 exec EVIL reach TO reach TO", [REFUSED, 0], id="good-beside-evil"),
    pytest.param("GOOD daemon reach TO", [0], id="a-daemon"),
    pytest.param("GOOD daemon exec EVIL reach TO", [REFUSED], id="a-daemons-program"),
]


def answers(result) -> list[int]:
    return [int(line.split()[-1]) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(("way", "expected"), WAYS)
def test_one_program_may(trace, native, serve, policy, programs, way, expected):
    server = serve("tcp")
    words = steps(programs, way, server)
    result = native(command=words)
    assert answers(result) == [0] * len(expected), result.stderr
    if "bind" in way or "cover" in way:
        assert result.stdout == f"{programs}/good 0\n"  # /proc/PID/exe says the other's path
    before = server.accepted
    result = trace(*policy(allowing(server, exe=programs / "good")), command=words)
    assert answers(result) == expected, result.stderr
    assert server.accepted - before == expected.count(0)


# A disguise, and how GOOD's calls look where GOOD alone may not. What is not known is held
# to be GOOD.
DENIED = [
    pytest.param("GOOD reach TO", [errno.EPERM], id="the-program-itself"),
    pytest.param("EVIL reach TO", [0], id="another"),
    pytest.param("GOOD named EVIL reach TO", [errno.EPERM], id="by-another-name"),
    pytest.param("GOOD bind EVIL exec EVIL reach TO", [errno.EPERM], id="bound-over-another"),
    pytest.param("GOOD memfd x reach TO", [errno.EPERM], id="out-of-memory"),
    pytest.param("EVIL reach TO exec GOOD reach TO", [0, errno.EPERM], id="good-after-evil"),
    pytest.param("GOOD daemon reach TO", [errno.EPERM], id="a-daemon"),
]


@pytest.mark.parametrize(("way", "expected"), DENIED)
def test_one_program_may_not(trace, native, serve, policy, programs, way, expected):
    server = serve("tcp")
    words = steps(programs, way, server)
    assert answers(native(command=words)) == [0] * len(expected)
    before = server.accepted
    result = trace(*policy(denying(server, exe=programs / "good")), command=words)
    assert answers(result) == expected, result.stderr
    assert server.accepted - before == expected.count(0)


PARENTS = [
    pytest.param("EVIL reach TO", False, id="nobodys-child"),
    pytest.param("GOOD fork 4 exec EVIL reach TO", True, id="its-child"),
    pytest.param("GOOD fork 8 exec EVIL fork 4 exec EVIL reach TO", True, id="its-grandchild"),
    pytest.param("GOOD exec EVIL reach TO", True, id="in-its-place"),
    pytest.param("GOOD reach TO", False, id="not-itself"),
    pytest.param("GOOD fork 2 reach TO", True, id="but-its-fork"),
    pytest.param("GOOD daemon exec EVIL reach TO", True, id="a-daemon-that-it-started"),
    pytest.param("GOOD exec EVIL daemon reach TO", True, id="when-it-is-no-more"),
    pytest.param("EVIL fork 4 exec GOOD reach TO", False, id="not-its-parent"),
    pytest.param("GOOD vfork 3 EVIL reach TO", True, id="its-vfork"),
    pytest.param("GOOD clone 4 exec EVIL reach TO", True, id="beside-it"),
    pytest.param("GOOD exec-by-thread EVIL reach TO", True, id="by-a-thread-of-it"),
]


@pytest.mark.parametrize(("way", "child"), PARENTS)
def test_what_a_program_started(trace, serve, policy, programs, way, child):
    """For an allowing rule, and the other way round for a denying one."""
    server = serve("tcp")
    words = steps(programs, way, server)
    result = trace(*policy(allowing(server, parent=programs / "good")), command=words)
    assert answers(result) == [0 if child else REFUSED], result.stderr
    assert server.accepted == child
    result = trace(*policy(denying(server, parent=programs / "good")), command=words)
    assert answers(result) == [errno.EPERM if child else 0], result.stderr
    assert server.accepted == 1


def test_ancestors_that_are_forgotten_count_as_anybody(trace, serve, policy, programs):
    """A program that starts itself without end: netjail keeps so many."""
    server = serve("tcp")
    way = "GOOD " + "exec EVIL " * 100 + "reach TO"
    words = steps(programs, way, server)
    result = trace(*policy(allowing(server, parent=programs / "good")), command=words)
    assert answers(result) == [REFUSED], result.stderr
    result = trace(*policy(denying(server, parent=programs / "nobody")), command=words)
    assert answers(result) == [errno.EPERM], result.stderr
    assert not server.accepted


@pytest.mark.parametrize(
    ("argv", "words", "reached"),
    [
        pytest.param("*.py", ["-c", "{}", "tool.py"], True, id="a-word"),
        pytest.param("tool.py", ["-c", "{}", "./tool.py"], False, id="another"),
        pytest.param("tool.py", ["-c", "{}", *["x" * 100] * 200, "tool.py"], True, id="far-behind"),
    ],
)
def test_a_word_of_the_command_line(trace, serve, policy, argv, words, reached):
    server = serve("tcp")
    code = f"import socket; socket.create_connection(('127.0.0.1', {server.port}))"
    command = ["python", *(code if word == "{}" else word for word in words)]
    trace(*policy(allowing(server, argv=argv)), command=command)
    assert server.accepted == reached


def test_a_script_is_found_by_its_interpreter_and_its_name(trace, serve, policy, runner):
    needs("bash")
    server = serve("tcp")
    script, shell = runner.workdir / "fetch", shutil.which("bash")
    code = f": </dev/tcp/127.0.0.1/{server.port}"
    script.write_text(f"#!{shell}\n{code}\n")
    script.chmod(0o755)
    rule = allowing(server, exe=shell, argv="*/fetch")
    result = trace(*policy(rule), command=[str(script)])
    assert (result.exit_code, server.accepted) == (0, 1), result.stderr
    assert trace(*policy(rule), command=["bash", "-c", code]).exit_code == 1
    assert trace(*policy(allowing(server, exe=script)), command=[str(script)]).exit_code == 1
    assert server.accepted == 1


def test_a_program_cannot_choose_its_file(trace, programs, serve, policy):
    server = serve("tcp")
    words = steps(programs, "EVIL exe-file GOOD reach TO", server)
    result = trace(*policy(allowing(server, exe=programs / "good")), command=words)
    assert answers(result) == [errno.EPERM, REFUSED], result.stderr
    assert not server.accepted


def test_a_program_that_is_replaced_stays_what_it_was(trace, native, serve, policy, programs):
    """An upgrade while it runs: what counts is what it was at its exec."""
    server = serve("tcp")
    words = steps(programs, "GOOD reach TO fork 3 exec /bin/rm GOOD reach TO", server)
    result = trace(*policy(allowing(server, exe=programs / "good")), command=words)
    good = f"{programs}/good"
    assert result.stdout == f"{good} 0\n{good} (deleted) 0\n", result.stderr
    assert server.accepted == 2


@pytest.mark.parametrize("who", ["exe", "parent"])
@pytest.mark.parametrize(
    "way",
    [
        pytest.param("GOOD fork 4 exec EVIL reach TO reach TO", id="a-child"),
        pytest.param("EVIL bind GOOD exec GOOD reach TO", id="bound-over-its-path"),
        pytest.param("GOOD daemon exec EVIL reach TO", id="a-daemon"),
    ],
)
def test_a_journal_says_what_was_known_of_the_caller(runner, serve, programs, way, who):
    """Judged again by what it holds, each call gets the verdict that it got."""
    server = serve("tcp")
    path = runner.workdir / "policy.toml"
    path.write_text(allowing(server, **{who: programs / "good"}))
    words = steps(programs, way, server)
    result = runner.trace("--policy", str(path), command=words)
    policy = Policy.load(Rules(files=(str(path),)))
    lines = [line for line in result.events if line["type"] == "attempt"]
    assert lines
    for line in lines:
        record = records.decode(json.dumps(line).encode())
        again = policy.decide(records.attempt_of(record), records.Replayed(record))
        assert (again.decision.value, again.why) == (record.verdict, record.why)
