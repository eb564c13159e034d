"""What is built, from what, and what a machine without it is told."""

from __future__ import annotations

import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import netjail
from netjail.kernel import build

ROOT = Path(__file__).parent.parent
KERNEL = ROOT / "netjail/kernel"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_core_is_made_of_every_c_file():
    _, _, _, options = build.ffi._assigned_source
    sources = {Path(source).name for source in options["sources"]}
    assert sources == {path.name for path in KERNEL.glob("*.c")} - {"_core.c"}
    assert not any(os.path.isabs(source) for source in options["sources"])


def test_the_core_is_one_for_every_python():
    _, _, _, options = build.ffi._assigned_source
    assert options["py_limited_api"] is True
    (core,) = KERNEL.glob("_core*.so")
    assert core.name == "_core.abi3.so"
    assert ".abi3.so" in importlib.machinery.EXTENSION_SUFFIXES


def test_what_cffi_reads_has_no_preprocessor():
    assert not re.search(r"^\s*#", (KERNEL / "api.h").read_text(), re.MULTILINE)


def test_every_file_of_the_package_is_installed():
    data = PROJECT["tool"]["setuptools"]["package-data"]["netjail"]
    house = ROOT / "netjail"
    shipped = {path for pattern in data for path in house.glob(pattern)}
    built = {".py", ".pyc", ".so", ".o"}
    files = {path for path in house.rglob("*") if path.is_file() and path.suffix not in built}
    assert files - shipped - {KERNEL / "_core.c"} == set()


def test_the_command_is_what_pyproject_says():
    module, function = PROJECT["project"]["scripts"]["netjail"].split(":")
    code = f"import {module} as module; assert callable(module.{function})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_changelog_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert netjail.__version__ in headings


@pytest.mark.parametrize("target", ["demo", "test", "bench", "check", "wheel", "clean"])
def test_make_tells_its_targets(target):
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.search(rf"^make {target} ", told.stdout, re.MULTILINE)
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("file", ["Makefile", "docs/demo.sh", ".ci/prerequisites"])
def test_nothing_becomes_root(file):
    assert not re.search(r"\b(sudo|su|doas)\s", (ROOT / file).read_text())


# -- A machine that lacks something -------------------------------------------


@pytest.fixture
def machine(tmp_path):
    """A PATH with nothing on it but what the check itself calls."""
    for tool in ("sh", "uname", "printf"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    (tmp_path / "cc").symlink_to(shutil.which("gcc"))
    (tmp_path / "python3").symlink_to(sys.executable)
    return tmp_path


def script(path, text):
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def check(machine, python="python3", **environment):
    return subprocess.run(
        ["/bin/sh", ROOT / ".ci/prerequisites", python],
        env={"PATH": f"{machine}", "CC": "cc", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def install(result, distribution):
    """The packages that the message names for *distribution*."""
    line = re.search(rf"^{distribution}.*:\s+\w+(?:-\w+)? install (.*)$", result.stderr, re.M)
    assert line, result.stderr
    return line[1].split()


def python_without(machine, what):
    """A python3 whose ``-c`` code fails where it mentions *what*."""
    real = sys.executable
    script(machine / "python3", f'case "$*" in *"{what}"*) exit 1;; esac\nexec {real} "$@"')


def test_no_python(machine):
    (machine / "python3").unlink()
    result = check(machine)
    assert result.returncode == 1
    assert "there is no python3" in result.stderr
    assert install(result, "Debian") == ["python3", "python3-venv", "python3-dev"]
    assert install(result, "Fedora") == ["python3", "python3-devel"]


def test_old_python(machine):
    script(machine / "python3", "case $1 in -V) echo Python 3.9.2;; *) exit 1;; esac")
    result = check(machine)
    assert result.returncode == 1
    assert "netjail needs Python 3.11 or newer; python3 is Python 3.9.2" in result.stderr
    assert "make PYTHON=" in result.stderr


def test_no_venv(machine):
    python_without(machine, "ensurepip")
    assert install(check(machine), "Debian") == ["python3-venv"]


def test_no_venv_of_a_named_python(machine):
    python_without(machine, "ensurepip")
    (machine / "python3").rename(machine / "python3.12")
    assert install(check(machine, "python3.12"), "Debian") == ["python3.12-venv"]


def test_no_compiler(machine):
    (machine / "cc").unlink()
    result = check(machine)
    assert result.returncode == 1
    assert "a C compiler: there is no cc" in result.stderr
    assert install(result, "Debian") == ["gcc", "libc6-dev"]
    assert install(result, "Fedora") == ["gcc"]


def test_no_c_headers(machine):
    script(machine / "cc", "exit 1")
    assert install(check(machine), "Debian") == ["libc6-dev"]


def test_no_python_headers(machine):
    answer = f'case "$*" in *get_path*) echo /nowhere;; *) exec {sys.executable} "$@";; esac'
    script(machine / "python3", answer)
    result = check(machine)
    assert "there is no /nowhere/Python.h" in result.stderr
    assert install(result, "Debian") == ["python3-dev"]
    assert install(result, "Fedora") == ["python3-devel"]


def test_everything_that_is_missing_is_told_at_once(machine):
    python_without(machine, "ensurepip")
    (machine / "cc").unlink()
    assert install(check(machine), "Debian") == ["python3-venv", "gcc", "libc6-dev"]


def test_another_architecture(machine):
    script(machine / "uname", "case $1 in -m) echo aarch64;; *) echo Linux;; esac")
    result = check(machine)
    assert result.returncode == 1
    assert result.stderr == "netjail needs Linux on x86-64; this is Linux on aarch64\n"
