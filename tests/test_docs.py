"""
Every example of the documentation is run: consoles show what happens, policies are policies.

The consoles run as an ordinary user, in a network of their own: names lead to one web
server, this machine has a few services, and /srv is the scene's.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from examples import Block, Command, agrees, blocks, commands
from jail import USERS, Runner, User, needs
from town import Town, town

from netjail.policy import Policy, Rules, document, presets
from netjail.policy.check import check
from netjail.policy.rules import SCHEMES
from netjail.policy.words import WORDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
POLICY = ROOT / "docs/policy.md"


def ids(page: Path) -> str:
    return page.name


# -- The reader of the examples -----------------------------------------------


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- file: f -->\n```toml\nx = 1\n```\n\n```console\n$ a\n> b\nc\n$ d\n```\n"
    )
    toml, console = blocks(page)
    assert toml == Block("page.md:3", "toml", "x = 1\n", {"file": "f"})
    assert list(commands(console)) == [Command("a\nb", "c\n"), Command("d", "")]


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\n", False),
        ("a.c\n", "abc\n", False),
        ("after … ms\n", "after 12 ms\n", True),
        ("after … ms\n", "after 12 s\n", False),
        ("a\n…\nb\n", "a\nx\ny\nb\n", True),
        ("a\n…\nb\n", "a\nb\n", True),
        ("a\n…\nb\n", "a\nx\n", False),
        ("", "", True),
        ("", "a\n", False),
    ],
)
def test_what_agrees(shown, output, expected):
    assert agrees(shown, output) is expected


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert block.language, f"{block.place}: which language is it?"
        assert all(note in ("not run", "file") for note in block.notes), block.place
        assert all(block.notes.values()), f"{block.place}: why?"


# -- Policies -----------------------------------------------------------------


def policies(page: Path) -> Iterator[Block]:
    for block in blocks(page):
        if block.language == "toml" and "not run" not in block.notes:
            yield block


def write(block: Block, folder: Path) -> Path:
    """The file that a block is."""
    path = folder / block.notes.get("file", "netjail.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def prepare(page: Path, folder: Path) -> None:
    """Write what a page calls a file."""
    for block in blocks(page):
        if "file" in block.notes:
            write(block, folder)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_policy_is_one(page, tmp_path, monkeypatch):
    prepare(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in policies(page):
        path = write(block, tmp_path)
        policy = Policy.load(Rules(files=(str(path),), expired_fails=True))
        failed = [finding for finding in check(policy) if finding.kind == "test"]
        assert not failed, block.place


def test_every_key_has_an_example():
    seen: dict[str, set[str]] = {"": set(), "rule": set(), "test": set()}
    for block in policies(POLICY):
        data = tomllib.loads(block.text)
        data = data.get("tool", {}).get("netjail", data)
        seen[""] |= data.keys()
        for table in ("rule", "test"):
            seen[table] |= {key for each in data.get(table, []) for key in each}
    for table, model in {
        "": document.Document,
        "rule": document.RuleTable,
        "test": document.TestTable,
    }.items():
        keys = {field.encode_name for field in msgspec.structs.fields(model)}
        assert keys - seen[table] == set(), f"{table or 'top'}: without an example"


def test_the_reference_names_everything_that_a_rule_can_say():
    text = POLICY.read_text()
    wanted = [*WORDS, *presets.names(), *(f"{scheme}://" for scheme in SCHEMES)]
    assert [word for word in wanted if f"`{word}`" not in text] == []


# -- Consoles -----------------------------------------------------------------


@pytest.fixture
def user() -> User:
    return USERS[-1]


@pytest.fixture
def world(runner: Runner) -> Iterator[Town]:
    with town(runner) as made:
        yield made


def consoles(page: Path, project: Path) -> Iterator[tuple[Block, Command]]:
    """The commands of a page, in their order; its files are there when their turn comes."""
    for block in blocks(page):
        if "file" in block.notes:
            write(block, project)
        if block.language == "console" and "not run" not in block.notes:
            for command in commands(block):
                yield block, command


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_console_shows_what_happens(page, world):
    """One after the other: an example may use what an earlier one made."""
    needs("curl", "make")
    wrong = []
    for block, command in consoles(page, world.project):
        result = world.run(command.words)
        # Where nothing is shown, it has to succeed.
        if agrees(command.output, result.stdout) if command.output else result.exit_code == 0:
            continue
        lines = (text.splitlines() for text in (command.output, result.stdout))
        difference = "\n".join(difflib.unified_diff(*lines, "page", "run", lineterm="", n=9))
        wrong.append(f"{block.place}: $ {command.words}\n{difference}")
    assert not wrong, "\n\n".join(wrong)
