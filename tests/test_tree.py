"""Who asked: chains of names, from what the core knows of the caller's line."""

from __future__ import annotations

import os
import shutil

import pytest

from netjail.model import Process
from netjail.tree import KNOWN, Tree, name_of

ME = os.getpid()


def process(number, exe="/usr/bin/curl", argv=("curl",)):
    return Process(number, 0, ME, exe, argv)


def line(*processes):
    """An ``ancestor`` for a caller whose line is *processes*, the caller first."""
    return lambda tid, depth: processes[depth] if depth < len(processes) else None


SHELL = process(1, "/nowhere/dash", ("sh", "-c", "make"))
MAKE = process(2, "/usr/bin/make", ("make",))
CURL = process(3)


@pytest.mark.parametrize(
    ("processes", "chain"),
    [
        pytest.param([CURL], ("curl",), id="alone"),
        pytest.param([CURL, MAKE, SHELL], ("curl", "make", "dash"), id="the-asking-one-first"),
        pytest.param([process(5), CURL, MAKE], ("curl", "make"), id="a-fork-is-not-said-twice"),
        pytest.param([process(5, "", ()), MAKE], ("make",), id="a-nameless-one-is-left-out"),
        pytest.param([process(5, "", ())], ("?",), id="nobody-known"),
        pytest.param([], ("?",), id="already-gone"),
    ],
)
def test_a_chain_names_who_started_whom(processes, chain):
    assert Tree(line(*processes)).of(ME, 3).chain == chain


def test_the_caller_has_its_owner_directory_and_parent():
    found = Tree(line(CURL, MAKE)).of(ME, 3).process
    assert (found.uid, found.cwd, found.parent) == (os.geteuid(), os.getcwd(), 2)


def test_a_caller_that_is_gone_is_still_named():
    found = Tree(line(process(3), MAKE)).of(2**22 + 1, 3)
    assert (found.chain, found.process.uid, found.process.cwd) == (("curl", "make"), -1, "")


def test_a_very_long_line_is_cut():
    generations = [process(i, f"/bin/p{i}") for i in range(100)]
    assert len(Tree(line(*generations)).of(ME, 0).chain) == 16


def test_a_process_is_asked_for_once_and_few_are_remembered():
    asked = []

    def ancestor(tid, depth):
        asked.append(tid)
        return process(tid) if depth == 0 else None

    tree = Tree(ancestor)
    for number in range(KNOWN + 10):
        tree.of(number, number)
    before = len(asked)
    tree.of(KNOWN, KNOWN)
    assert len(asked) == before
    tree.of(0, 0)
    assert len(asked) > before


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        pytest.param(("tool",), "tool", id="its-own-name"),
        pytest.param(("alias",), "alias", id="a-link-to-it-beside-it"),
        pytest.param(("./dir/alias",), "alias", id="a-link-by-its-path"),
        pytest.param(("innocent",), "tool", id="a-made-up-name"),
        pytest.param(("other",), "tool", id="the-name-of-another-program"),
        pytest.param(("",), "tool", id="an-empty-name"),
        pytest.param((), "tool", id="no-arguments"),
    ],
)
def test_a_program_is_called_by_a_name_that_is_its(tmp_path, argv, name):
    exe = tmp_path / "tool"
    shutil.copy("/bin/true", exe)
    (tmp_path / "alias").symlink_to("tool")
    shutil.copy("/bin/true", tmp_path / "other")
    assert name_of(process(1, str(exe), argv)) == name


def test_a_deleted_program_keeps_its_name():
    assert name_of(process(1, "/tmp/gone (deleted)", ("gone",))) == "gone"


def test_ancestors_are_given_with_their_parents():
    found = Tree(line(CURL, MAKE, SHELL)).of(ME, 3)
    assert [(one.id, one.parent) for one in found.above] == [(2, 1), (1, 0)]
    assert found.above[0].argv == MAKE.argv
