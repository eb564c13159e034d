"""Who makes the supervisor wait for ever ends the jail, and itself."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

import pytest
from jail import read_events, unmet

WAYS = ["address", "header", "control", "vector", "path", "root", "descriptor", "lock", "memory"]


@pytest.fixture
def device(workdir, user) -> str:
    """A device that opens a FUSE for the test's user."""
    with contextlib.suppress(PermissionError):
        path = workdir / "device"
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 229))
        path.chmod(0o666)
        return str(path)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        unmet("no /dev/fuse that an ordinary user may open")
    return "/dev/fuse"


def inhabitants(directory: Path) -> list[int]:
    """Who has *directory* as the working directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.path.samefile(entry / "cwd", directory):
                found.append(int(entry.name))
    return found


def emptied(directory: Path) -> bool:
    """Whether all of them end within some seconds: they were killed, not waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not inhabitants(directory):
            return True
    return False


@pytest.fixture
def places(workdir, user):
    """A directory for each way, where it mounts its file system."""
    found = {}
    for way in WAYS:
        found[way] = workdir / way
        found[way].mkdir()
        os.chown(found[way], user.uid, user.uid)
    return found


def test_it_waits_itself_natively(runner, program, device, places, server):
    """Else the test below would say nothing."""
    for way, place in places.items():
        words = [*runner.user.prefix, program("hang"), way, device, "2", server.target]
        with runner.started(words, cwd=place) as process:
            with pytest.raises(Exception, match="timed out"):
                process.wait(timeout=0.5)
            stderr = process.communicate(timeout=60)[1]
            if process.returncode == 200 and "mount" in stderr:
                unmet(f"no FUSE here: {stderr}")
            assert process.returncode == 0, stderr


def test_a_look_that_takes_for_ever_ends_the_jail(runner, program, device, places, server):
    with contextlib.ExitStack() as stack:
        runs = {}
        for way, place in places.items():
            jail = runner.jailed("--allow", "any", "--allow", "unix:*", events=place / "events")
            words = [*jail, program("hang"), way, device, "100", server.target]
            runs[way] = stack.enter_context(runner.started(words, cwd=place))
        for way, process in runs.items():
            stderr = process.communicate(timeout=60)[1]
            assert (way, process.returncode, "FUSE" in stderr) == (way, 125, True), stderr
            assert emptied(places[way])
            assert read_events(places[way] / "events")
    assert server.accepted <= 1  # "memory" reaches it once, to touch all that it needs
