"""
The order of the house: who may import whom, who may print, how long a thing may be.

The modules are parsed, never imported. To add a module, give it its room in
``LAYERS``; to break a budget, add a row to ``LONGER`` and say why.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "netjail"
TESTS = ROOT / "tests"

# Lowest first. A room (a package, or a module beside it) imports only from the
# layers below its own; inside a room everybody may know everybody.
LAYERS = (
    {"__init__"},
    {"errors"},
    {"endpoints", "stops"},
    {"model"},
    {"sockets"},
    {"syscalls", "actions", "policy"},
    {"records"},
    {"filter", "tree", "names", "journal", "kernel"},
    {"report", "lock", "replay"},
    {"supervisor"},
    {"formats"},
    {"doctor", "api"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# A dependency has one door: (what is imported, whose files may).
DOORS = {
    "click": re.compile(r"cli/"),
    "cffi": re.compile(r"kernel/build\.py"),
    "netjail.kernel._core": re.compile(r"kernel/"),
    "tree_sitter": re.compile(r"policy/grammar\.py"),
    "tree_sitter_toml": re.compile(r"policy/grammar\.py"),
}
# Only these may print or end the process.
VOICES = re.compile(r"cli/|__main__\.py")

# Lines; STYLE calls them budgets, not fences: a row here needs its reason.
MODULE, FUNCTION, C_FUNCTION = 300, 50, 40
LONGER: dict[str, str] = {}

# module or room: the test file that stands in for tests/test_<module>.py
TESTED_BY = {
    "__main__": "test_cli.py",
    "kernel/build": "test_packaging.py",
    "kernel/doors": "test_doctor.py",
    "kernel/links": "test_trace.py",
    "kernel/start": "test_trace.py",
    "kernel/tracee": "test_trace.py",
    "policy/entries": "test_policy_lists.py",
    "policy/rulebook": "test_policy.py",
    "stops": "test_syscalls.py",
    "supervisor": "test_trace.py",
}

MODULES = sorted(HOUSE.rglob("*.py"))
C_FILES = sorted(path for path in HOUSE.rglob("*.[ch]") if path.name != "_core.c")


def name(path: Path) -> str:
    """As the tables above write it: ``kernel/probe.py``."""
    return path.relative_to(HOUSE).as_posix()


def room(path: Path) -> str:
    return name(path).removesuffix(".py").split("/")[0]


def rows(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=name(path)) for path in paths]


every_module = pytest.mark.parametrize("path", rows(MODULES))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(node: ast.AST, path: Path, typing: bool = False) -> Iterator[tuple[str, bool, int]]:
    """Every import as (dotted name, only for types, line), the late ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, typing, child.lineno
        elif isinstance(child, ast.ImportFrom):
            parts = ("netjail", *name(path).split("/"))[: -child.level] if child.level else ()
            base = ".".join((*parts, *filter(None, (child.module,))))
            for alias in child.names:
                yield f"{base}.{alias.name}", typing, child.lineno
        else:
            yield from imports(child, path, typing or is_typing_only(child))


def target(dotted: str) -> str | None:
    """The room that an import of netjail's leads to; None for anybody else's."""
    first, _, rest = dotted.partition(".")
    if first != "netjail":
        return None
    found = rest.split(".")[0]
    return found if found in LEVEL else "__init__"


@every_module
def test_has_a_room(path):
    assert room(path) in LEVEL, f"give {room(path)} its place in LAYERS, and in DESIGN"


@every_module
def test_imports_only_from_below(path):
    wrong = []
    for dotted, typing, line in imports(parse(path), path):
        to = target(dotted)
        if to is None or to == room(path):
            continue
        if (name(path), to, typing) == ("__init__.py", "api", True):
            continue  # the package's own face: at run time it looks only where it is asked to
        # A type is only a shape: it may be borrowed from beside, never from above.
        limit = LEVEL[room(path)] + (1 if typing else 0)
        if LEVEL[to] >= limit:
            wrong.append(f"{name(path)}:{line} imports {dotted}")
    assert not wrong


@every_module
def test_every_dependency_has_one_door(path):
    wrong = [
        f"{name(path)}:{line} imports {dotted}"
        for dotted, _, line in imports(parse(path), path)
        for dependency, door in DOORS.items()
        if f"{dotted}.".startswith(f"{dependency}.") and not door.match(name(path))
    ]
    assert not wrong


def speaks(node: ast.AST) -> bool:
    """Whether *node* prints or ends the process."""
    match node:
        case ast.Call(func=ast.Name(id="print" | "exit" | "quit")):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="exit" | "stdout" | "stderr"):
            return True
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="os"), attr="write"),
            args=[ast.Constant(value=1 | 2), *_],
        ):
            return True
        case ast.Raise(exc=ast.Name(id="SystemExit") | ast.Call(func=ast.Name(id="SystemExit"))):
            return True
    return False


@every_module
def test_only_the_command_line_prints_and_exits(path):
    lines = [node.lineno for node in ast.walk(parse(path)) if speaks(node)]
    assert not lines or VOICES.match(name(path)), f"{name(path)} speaks at {lines}"


def long(path: Path, lines: int, budget: int, what: str = "") -> bool:
    return lines > budget and f"{name(path)}{what and ':'}{what}" not in LONGER


@pytest.mark.parametrize("path", rows(MODULES + C_FILES))
def test_modules_are_short(path):
    lines = len(path.read_text().splitlines())
    assert not long(path, lines, MODULE), f"{lines} lines"


@every_module
def test_functions_are_short(path):
    found = [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef)
    ]
    assert not [(what, lines) for what, lines in found if long(path, lines, FUNCTION, what)]


def c_functions(text: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function: a brace alone in column 0 to its twin."""
    lines = text.splitlines()
    begin = None
    for number, line in enumerate(lines):
        if line == "{":
            begin = number
        elif line == "}" and begin is not None:
            head = " ".join(lines[max(0, begin - 4) : begin])
            called = re.findall(r"(\w+)\(", head)
            yield (called[-1] if called else "?"), number - begin + 2
            begin = None


@pytest.mark.parametrize("path", rows(C_FILES))
def test_c_functions_are_short(path):
    found = c_functions(path.read_text())
    assert not [(what, lines) for what, lines in found if long(path, lines, C_FUNCTION, what)]


@pytest.mark.parametrize("path", rows([path for path in MODULES if path.name != "__init__.py"]))
def test_every_module_has_its_tests(path):
    parts = name(path).removesuffix(".py").split("/")
    named = {f"test_{part}.py" for part in (parts[-1], "_".join(parts), parts[0])}
    named |= {TESTED_BY.get("/".join(parts)), TESTED_BY.get(parts[0])} - {None}
    assert any(path.name in named for path in TESTS.glob("test_*.py")), f"wanted one of {named}"


def test_every_format_has_a_golden_file():
    formats = {path.stem for path in (HOUSE / "formats").glob("as_*.py")}
    assert formats
    assert {path.stem for path in (TESTS / "formats").glob("as_*.txt")} == formats


def test_no_exception_is_stale():
    modules = {name(path).removesuffix(".py") for path in MODULES}
    assert set(TESTED_BY) <= modules | {room(path) for path in MODULES}
    for row in LONGER:
        file, _, function = row.partition(":")
        text = (HOUSE / file).read_text()
        assert function in text if function else len(text.splitlines()) > MODULE, row


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in DOCUMENTS])
def test_documents_name_files_that_exist(path):
    # NAME stands for what the reader adds.
    folders = r"(?<![\w/])(?:netjail|tests|fixtures|docs|\.ci)"
    pattern = rf"{folders}/[\w./-]*\w\.(?:py|c|h|md|sh|txt|toml)\b"
    assert not [
        file
        for file in re.findall(pattern, path.read_text())
        if "NAME" not in file and not (ROOT / file).exists()
    ]


def test_the_tour_passes_every_room():
    tour = (ROOT / "docs/internals.md").read_text()
    rooms = {room(path) for path in MODULES} - {"__init__", "__main__"}
    assert not [each for each in rooms if not re.search(rf"`(netjail/)?{each}(\.py|/)?`", tour)]


def test_the_command_line_starts_light():
    """Start-up is paid by every run: what only some runs need is imported late."""
    code = "import sys, netjail.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.split()
    assert not {"rich", "dns", "ptrace", "asyncio", "email", "http"} & set(loaded)
