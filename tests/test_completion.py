"""
Completion: what is offered where, and what bash, zsh and fish make of it.

The shells are real. bash and zsh sit at a terminal, where a key of ours, pressed after
TAB, tells the line as it then is; fish tells what it would offer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pexpect
import pytest
from jail import needs

from netjail.cli.completion import SHELLS
from netjail.cli.group import COMMANDS, group
from netjail.cli.offers import offers
from netjail.cli.options import OPTIONS
from netjail.cli.page import Jail
from netjail.policy.words import WORDS

SCRIPTS = Path(__file__).parent.parent / "netjail/cli/shells"


def offered(line: str) -> set[str]:
    """What there is for the last word of *line*."""
    *words, typed = line.split(" ")
    return {" ".join(offer[:2]).strip() for offer in offers(group, words, typed)}


def words(*values: str) -> set[str]:
    return {f"word {value}" for value in values}


# -- What is offered ----------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("netjail ", words(*COMMANDS), id="commands"),
        pytest.param("netjail tr", words("trace"), id="a-command"),
        pytest.param("netjail --v", words("--version"), id="netjail's-own-option"),
        pytest.param("netjail nonsense ", set(), id="of-an-unknown-command-nothing"),
        pytest.param("netjail trace --pol", words("--policy"), id="an-option"),
        pytest.param("netjail audit --au", set(), id="audit-needs-no-audit"),
        pytest.param("netjail trace -q --n", words("--no-config"), id="another-option"),
        pytest.param("netjail trace --color ", words("auto", "always", "never"), id="choices"),
        pytest.param("netjail trace --color=al", words("--color=always"), id="behind-="),
        pytest.param("netjail trace -qp ", {"file"}, id="behind-a-cluster"),
        pytest.param("netjail trace -pf curl", {"command 3"}, id="glued"),
        pytest.param("netjail trace --events=", {"file --events="}, id="a-file-behind-="),
        pytest.param("netjail trace -a pri", words("private"), id="a-rule-word"),
        pytest.param("netjail trace -d tcp://loop", words("tcp://loopback"), id="a-scheme"),
        pytest.param("netjail trace -a t", {"open tcp://"}, id="a-scheme-goes-on"),
        pytest.param("netjail trace -a raw", set(), id="none-that-is-refused"),
        pytest.param("netjail trace -a u", {"open udp://", "open unix:"}, id="unix"),
        pytest.param("netjail trace -a unix:/r", {"file unix:"}, id="the-path-of-a-socket"),
        pytest.param("netjail trace -a @l", {"file @"}, id="a-list"),
        pytest.param("netjail trace -a tcp://@l", {"file tcp://@"}, id="a-list-with-a-scheme"),
        pytest.param("netjail trace --bind s", set(), id="where-nobody-can-listen"),
        pytest.param("netjail trace --bind priv", words("private"), id="where-to-listen"),
        pytest.param("netjail trace --errno ECONNREF", words("ECONNREFUSED"), id="an-errno"),
        pytest.param("netjail trace --preset self-o", words("self-only"), id="a-preset"),
        pytest.param("netjail presets show self-o", words("self-only"), id="a-preset-to-show"),
        pytest.param("netjail trace --report x", {"file"}, id="a-report"),
        pytest.param("netjail trace --report x:j", words("x:json", "x:junit"), id="its-format"),
        pytest.param("netjail check ", {"file"}, id="a-policy"),
        pytest.param("netjail report a ", {"file"}, id="one-journal-more"),
        pytest.param("netjail explain u", {"open udp://", "open unix:"}, id="a-destination"),
        pytest.param("netjail explain unix:/r", {"file unix:"}, id="a-socket-to-explain"),
        pytest.param("netjail trace --keep-fd ", set(), id="a-number"),
        pytest.param("netjail trace ", {"command 2"}, id="the-command"),
        pytest.param("netjail trace -a x -q ", {"command 5"}, id="the-command-after-options"),
        pytest.param("netjail trace -a x -- -", {"command 5"}, id="after-two-dashes"),
        pytest.param("netjail trace curl --al", {"command 2"}, id="its-options-are-its-own"),
        pytest.param("netjail trace --nonsense ", {"command 3"}, id="after-a-mistake"),
        pytest.param("netjail doctor --j", words("--json"), id="click's-option"),
        pytest.param("netjail doctor --color n", words("never"), id="click's-choice"),
        pytest.param("netjail completion ", words(*SHELLS), id="click's-argument"),
        pytest.param("netjail completion bash ", set(), id="no-argument-more"),
        pytest.param("netjail completion --o", set(), id="what-is-hidden-stays-so"),
    ],
)  # fmt: skip
def test_offers(line, expected):
    assert offered(line) == expected


def test_an_exception_is_a_target():
    given = ["netjail", "trace", "-a"]
    assert {offer.value for offer in offers(group, given, "private !m")} == {
        "private !metadata",
        "private !multicast",
    }
    assert offers(group, given, "private m") == []


def test_every_word_is_offered():
    assert words(*WORDS) <= offered("netjail trace -a ")


def test_every_option_is_offered_with_its_help():
    found = {offer.value: offer.help for offer in offers(group, ["netjail", "trace"], "--")}
    assert found == {flag: o.help for o in OPTIONS for flag in o.flags if flag.startswith("--")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_known(name):
    command = group.get_command(click.Context(group), name)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    assert offers(group, ["netjail", name], "") or not arguments


@pytest.mark.parametrize("name", COMMANDS)
def test_every_value_of_an_option_is_known(name):
    """What takes a value and no number says what can be there."""
    command = group.get_command(click.Context(group), name)
    if isinstance(command, Jail):
        taking = [o.flags[-1] for o in command.options if o.takes and not o.numbers]
    else:
        found = [each for each in command.params if isinstance(each, click.Option)]
        taking = [o.opts[-1] for o in found if not (o.is_flag or o.hidden or o.type is click.INT)]
    for flag in taking:
        assert offers(group, ["netjail", name, flag], ""), flag


def test_completing_loads_little():
    code = """
import sys
from netjail.cli.group import group
from netjail.cli.offers import offers
assert offers(group, ["netjail", "trace", "-a"], "pri")
print(*sys.modules)
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"rich", "dns", "ptrace", "netjail.supervisor", "netjail.kernel._core"} & set(loaded)


# -- The scripts --------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a netjail on its PATH and files to complete."""
    (tmp_path / "bin").mkdir()
    netjail = tmp_path / "bin/netjail"
    netjail.write_text(f'#!/bin/sh\nexec {sys.executable} -m netjail "$@"\n')
    netjail.chmod(0o755)
    (tmp_path / "policy.toml").touch()
    (tmp_path / "some folder").mkdir()
    (tmp_path / "some folder/list").touch()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    path = f"{home}/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", "PS1": "$ "}


# What makes a shell quiet, loads the script, and has ^X d tell the line.
TELL = {
    "bash": (
        ["--noprofile", "--norc", "-i"],
        """
        bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'
        bind 'set page-completions off'; bind 'set enable-bracketed-paste off'
        told() { printf '[''[%s]'']\\n' "$READLINE_LINE"; READLINE_LINE=; }
        bind -x '"\\C-xd": told'
        eval "$(netjail completion bash)"
        """,
    ),
    "zsh": (
        ["-f", "-i"],
        """
        unset zle_bracketed_paste; unsetopt automenu promptsp beep
        LISTMAX=0; bindkey -e; autoload -Uz compinit; compinit -u -D
        told() { print -r -- "[""[$BUFFER]""]"; BUFFER= }
        zle -N told; bindkey '^Xd' told
        eval "$(netjail completion zsh)"
        """,
    ),
}


class Shell:
    """bash or zsh at a terminal."""

    def __init__(self, name: str, home: Path) -> None:
        words, setup = TELL[name]
        self.terminal = pexpect.spawn(
            name, words, env=environment(home), cwd=str(home), timeout=60, encoding="utf-8",
            dimensions=(60, 160),
        )  # fmt: skip
        self.terminal.expect_exact("$ ")
        (home / "setup").write_text(setup)
        self.terminal.sendline(". ./setup; rm setup; echo set''up")
        self.terminal.expect_exact("setup\r\n")
        self.terminal.expect_exact("$ ")

    def complete(self, line: str) -> tuple[str, str]:
        """The line that *line* and TAB make, and what was shown meanwhile."""
        self.terminal.send(f"{line}\t\x18d")
        self.terminal.expect_exact("[[")
        shown = self.terminal.before
        self.terminal.expect_exact("]]")
        return self.terminal.before, shown


@pytest.fixture(params=TELL)
def shell(request, home):
    needs(request.param)
    opened = Shell(request.param, home)
    yield opened
    opened.terminal.close(force=True)


def test_a_line_is_completed(shell):
    for line, completed in [
        ("netjail tr", "netjail trace "),
        ("FOO=1 netjail tr", "FOO=1 netjail trace "),
        ("~/bin/netjail tr", "~/bin/netjail trace "),
        ("netjail trace --pol", "netjail trace --policy "),
        ("netjail trace -p p", "netjail trace -p policy.toml "),
        ("netjail trace --policy=p", "netjail trace --policy=policy.toml "),
        ("netjail trace -p some", "netjail trace -p some\\ folder/"),
        ("netjail trace -a pri", "netjail trace -a private "),
        ("netjail trace -a tc", "netjail trace -a tcp://"),
        ("netjail trace -a tcp://loopb", "netjail trace -a tcp://loopback "),
        ("netjail trace --allow=tcp://meta", "netjail trace --allow=tcp://metadata "),
        ("netjail trace -a 'private !meta", "netjail trace -a 'private !metadata' "),
        ("netjail trace -a unix:/et", "netjail trace -a unix:/etc/"),
        ("netjail trace -a @p", "netjail trace -a @policy.toml "),
        ("netjail trace --allow=@some", "netjail trace --allow=@some\\ folder/"),
        ("netjail trace --errno ECONNREF", "netjail trace --errno ECONNREFUSED "),
        # What the command takes is the shell's business.
        ("netjail trace mktem", "netjail trace mktemp "),
        ("netjail trace -a x:1 -- mktem", "netjail trace -a x:1 -- mktemp "),
        ("netjail trace -q cat p", "netjail trace -q cat policy.toml "),
        ("netjail trace -a tcp://x cat p", "netjail trace -a tcp://x cat policy.toml "),
    ]:
        assert shell.complete(line)[0] == completed


def test_a_choice_is_shown(shell):
    line, shown = shell.complete("netjail trace -a ")
    assert line == "netjail trace -a "
    assert all(word in shown for word in (*WORDS, "tcp://", "unix:"))
    line, shown = shell.complete("netjail trace --")
    assert all(flag in shown for flag in ("--allow", "--policy", "--errno", "--quiet"))


def test_zsh_shows_the_help(home):
    needs("zsh")
    shell = Shell("zsh", home)
    assert "Let calls to RULE through." in shell.complete("netjail trace --")[1]
    assert "Attack netjail's own jail" in shell.complete("netjail ")[1]
    shell.terminal.close(force=True)


def test_bash_asks_bash_completion_where_it_is(home):
    """As sudo's completion does: by the place of the command among bash's words."""
    needs("bash")
    shell = Shell("bash", home)
    for name in ("_command_offset", "_comp_command_offset"):
        shell.terminal.sendline(f'{name}() {{ COMPREPLY=("{name[1:2]}$1"); }}')
        shell.terminal.expect_exact("$ ")
        line = "netjail trace -a tcp://x:1 --policy=f git st"
        assert shell.complete(line)[0] == f"{line[:-2]}c11 "
    shell.terminal.close(force=True)


def fish(home: Path, line: str) -> list[str]:
    """What fish offers for the last word of *line*: the words, with their help."""
    code = "source (netjail completion fish | psub); complete -C $argv[1]"
    return subprocess.run(
        ["fish", "-c", code, "--", line],
        env=environment(home), cwd=home, check=True, capture_output=True, text=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("netjail tr", "trace\tRun COMMAND; let its network calls through as the rules say."),
        ("~/bin/netjail tr", "trace\tRun COMMAND; let its network calls through as the rules say."),
        ("netjail trace --pol", "--policy\tRead rules from FILE as well."),
        ("netjail trace -p p", "policy.toml"),
        ("netjail trace --policy=p", "--policy=policy.toml"),
        ("netjail trace -p some", "some folder/"),
        ("netjail trace -a tcp://meta", "tcp://metadata\tthe metadata services of the clouds"),
        ("netjail trace -a 'any !loopb", "any !loopback\tthis machine: 127.0.0.0/8 and ::1"),
        ("netjail trace -a unix:/et", "unix:/etc/"),
        ("netjail trace --allow=@some", "--allow=@some folder/"),
        ("netjail trace --errno ECONNREF", "ECONNREFUSED\tConnection refused"),
        ("netjail trace -q cat p", "policy.toml"),
    ],
)  # fmt: skip
def test_fish_offers(home, line, expected):
    needs("fish")
    assert fish(home, line) == [expected]


def test_fish_completes_the_command(home):
    needs("fish")
    commands = [line.split("\t")[0] for line in fish(home, "netjail trace -a x -- mktem")]
    assert "mktemp" in commands
    flags = [line.split("\t")[0] for line in fish(home, "netjail trace -q ls --al")]
    assert "--all" in flags and "--allow" not in flags


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_as_it_is(shell):
    printed = subprocess.run(
        [sys.executable, "-m", "netjail", "completion", shell], check=True, capture_output=True
    ).stdout
    assert printed == (SCRIPTS / f"netjail.{shell}").read_bytes()


def test_an_unknown_shell_is_an_error():
    words = [sys.executable, "-m", "netjail", "completion", "tcsh"]
    failed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "'tcsh'" in failed.stderr
    assert os.listdir(SCRIPTS)
