"""A tracee's path leads where its own call would go, whatever its root, directory and links."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from children import CLONE_NEWNS, become_nobody, child, unshare

from netjail.errors import TraceeGone
from netjail.kernel import paths

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def reach(pid: int, path: str | Path) -> os.stat_result | int:
    """What *path* leads the process to: the file, or the errno."""
    viewer = paths.Viewer.of(pid)
    try:
        with paths.acting_as(viewer.credentials):
            fd = paths.open_path(viewer, os.fsencode(path))
    except OSError as error:
        return error.errno or 0
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def leads(pid: int, path: str | Path, to: Path) -> bool:
    found = reach(pid, path)
    return not isinstance(found, int) and os.path.samestat(found, to.stat())


def native(pid: int, path: str | Path) -> int:
    """The errno of the kernel's own walk, by a child that becomes like *pid*."""
    reader, writer = os.pipe()
    probe = os.fork()
    if probe == 0:
        here = os.open(f"/proc/{pid}/cwd", os.O_PATH)
        os.chdir(f"/proc/{pid}/root")
        with contextlib.suppress(PermissionError):
            os.chroot(".")
        os.fchdir(here)
        error = 0
        try:
            os.open(path, os.O_PATH)
        except OSError as failure:
            error = failure.errno or 0
        os.write(writer, error.to_bytes(2, "little"))
        os._exit(0)
    os.waitpid(probe, 0)
    os.close(writer)
    try:
        return int.from_bytes(os.read(reader, 2), "little")
    finally:
        os.close(reader)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """
    root/            root/s
    root/d/          root/d/s
    s                outside of root
    """
    (tmp_path / "root" / "d").mkdir(parents=True)
    for name in ("root/s", "root/d/s", "s"):
        (tmp_path / name).touch()
    links = {
        "root/up": "../s",
        "root/top": "../../../../../../s",
        "root/absolute": "/s",
        "root/d/absolute": "/s",
        "root/d/up": "../s",
        "root/twice": "d/up",
        "root/loop": "loop",
        "root/dangling": "nothing",
        "root/directory": "d",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "to"),
    [
        pytest.param("s", "root/d/s", id="its-own-directory"),
        pytest.param("./s", "root/d/s", id="a-dot"),
        pytest.param("../s", "root/s", id="up"),
        pytest.param("../d//s", "root/d/s", id="up-and-down"),
        pytest.param("../../s", "s", id="further-up"),
        pytest.param("up", "root/s", id="a-link-up"),
        pytest.param("../twice", "root/s", id="a-link-to-a-link"),
        pytest.param("../directory/s", "root/d/s", id="through-a-link"),
        pytest.param("../up", "s", id="a-link-out"),
    ],
)
def test_the_tracees_directory_counts(tree: Path, name: str, to: str) -> None:
    with child(lambda: os.chdir(tree / "root" / "d")) as pid:
        assert leads(pid, name, tree / to)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nothing", errno.ENOENT),
        ("s/s", errno.ENOTDIR),
        ("s/", errno.ENOTDIR),
        ("../loop", errno.ELOOP),
        ("../dangling", errno.ENOENT),
        ("../dangling/s", errno.ENOENT),
        ("x" * 256, errno.ENAMETOOLONG),
        ("/proc/self/fd/987654/s", errno.ENOENT),
        ("/proc/self/cwd/nothing", errno.ENOENT),
    ],
)
def test_what_is_missing_is_answered_as_by_the_kernel(tree: Path, name: str, error: int) -> None:
    with child(lambda: os.chdir(tree / "root" / "d")) as pid:
        assert reach(pid, name) == error == native(pid, name)


@pytest.mark.parametrize("length", [40, 41])
def test_a_chain_of_links_has_an_end(tmp_path: Path, length: int) -> None:
    (tmp_path / "0").touch()
    for index in range(length):
        (tmp_path / str(index + 1)).symlink_to(str(index))
    with child(lambda: os.chdir(tmp_path)) as pid:
        for name in (str(length), f"/proc/self/cwd/{length - 2}"):
            assert (reach(pid, name) == errno.ELOOP) is (native(pid, name) == errno.ELOOP)


@pytest.mark.parametrize(
    "name",
    [
        "/proc/self/cwd/s",
        "/proc/thread-self/cwd/s",
        "/proc/self/fd/200/s",
        "/proc/self/fd/200/../d/s",
        "/proc/self/root{tree}/root/d/s",
        "/proc/{pid}/cwd/s",
        "{tree}/fd/200/s",
        "../../fd/200/s",
        "/dev/fd/200/s",
    ],
)
def test_proc_self_is_the_tracee(tree: Path, name: str) -> None:
    (tree / "fd").symlink_to("/proc/self/fd")

    def enter() -> None:
        os.chdir(tree / "root" / "d")
        os.dup2(os.open(".", os.O_RDONLY), 200)

    with child(enter) as pid:
        assert leads(pid, name.format(tree=tree, pid=pid), tree / "root/d/s")


@needs_root
@pytest.mark.parametrize("name", ["/s", "/../s", "../s", "../../../s", "/absolute", "absolute"])
@pytest.mark.parametrize("also", ["", "/proc/self/cwd/"], ids=["kernel", "walked"])
def test_the_tracees_root_counts(tree: Path, name: str, also: str) -> None:
    if also and name.startswith("/"):
        pytest.skip("an absolute path begins at the root")
    (tree / "root" / "proc").mkdir()

    def enter() -> None:
        unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", str(tree / "root" / "proc")], check=True)
        os.chroot(tree / "root")
        os.chdir("/d")

    with child(enter) as pid:
        assert leads(pid, also + name, tree / "root/s")
        assert leads(pid, "/top", tree / "root/s")
        assert leads(pid, "../up", tree / "root/s")
        assert reach(pid, str(tree / "s")) == errno.ENOENT


@needs_root
def test_a_directory_outside_the_root_counts(tree: Path) -> None:
    def enter() -> None:
        os.chdir(tree)
        os.chroot("root")

    with child(enter) as pid:
        assert leads(pid, "s", tree / "s")
        assert leads(pid, f"../{tree.name}/s", tree / "s")
        assert leads(pid, "root/d/absolute", tree / "root/s")
        assert leads(pid, "/s", tree / "root/s")


@needs_root
def test_the_tracees_mounts_count(tree: Path) -> None:
    mounted = tree / "root"

    def enter() -> None:
        unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mounted)], check=True)
        (mounted / "s").touch()
        os.chdir(mounted)

    with child(enter) as pid:
        inner = Path(f"/proc/{pid}/root{mounted}/s")
        assert leads(pid, mounted / "s", inner)
        assert leads(pid, "s", inner)
        assert leads(pid, "../s", tree / "s")
        assert reach(pid, mounted / "d") == errno.ENOENT
        assert not leads(pid, mounted / "s", mounted / "s")


@pytest.mark.parametrize("name", ["fifo", "/dev/tty", "/dev/ptmx"])
def test_nothing_is_opened_for_use(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with child(lambda: os.chdir(tmp_path)) as pid:
        assert not isinstance(reach(pid, name), int)


def test_a_dead_tracee_says_so() -> None:
    with child(lambda: None) as pid:
        viewer = paths.Viewer.of(pid)
    with pytest.raises(TraceeGone):
        paths.Viewer.of(pid)
    with pytest.raises(TraceeGone):
        paths.open_path(viewer, b"/")


# -- Rights -------------------------------------------------------------------


@needs_root
def test_the_tracees_rights_count_and_ours_come_back(tree: Path) -> None:
    for parent in (tree, *tree.parents[:2]):
        parent.chmod(0o755)
    (tree / "root" / "d").chmod(0o700)
    with child(become_nobody) as pid:
        assert paths.Viewer.of(pid).credentials == paths.Credentials(65534, 65534, ())
        assert leads(pid, tree / "root/s", tree / "root/s")
        assert reach(pid, tree / "root/d/s") == errno.EACCES
        assert reach(pid, f"/proc/self/root{tree}/root/d/s") == errno.EACCES
    assert leads(os.getpid(), tree / "root/d/s", tree / "root/d/s")
    assert paths.Viewer.of(os.getpid()).credentials.uid == 0


def links_are_protected() -> bool:
    return Path("/proc/sys/fs/protected_symlinks").read_text().strip() != "0"


@needs_root
@pytest.mark.skipif(not links_are_protected(), reason="fs.protected_symlinks is off")
@pytest.mark.parametrize("name", ["{tree}/t/link", "t/link", "/proc/self/cwd/t/link"])
def test_protected_links_are_not_followed(tree: Path, name: str) -> None:
    (tree / "t").mkdir()
    (tree / "t").chmod(0o1777)
    (tree / "t" / "link").symlink_to(tree / "s")
    os.chown(tree / "t" / "link", 65534, 65534, follow_symlinks=False)
    with child(lambda: os.chdir(tree)) as pid:
        path = name.format(tree=tree)
        assert reach(pid, path) == errno.EACCES == native(pid, path)


# -- Numbers ------------------------------------------------------------------


def number_of(path: str | Path) -> tuple[int, int]:
    fd = os.open(path, os.O_PATH)
    try:
        return paths.identity(os.getpid(), fd)
    finally:
        os.close(fd)


def test_an_inode_has_the_numbers_of_its_superblock(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    status = (tmp_path / "s").stat()
    device = os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    assert number_of(tmp_path / "s") == (device, status.st_ino & 0xFFFFFFFF)


@pytest.mark.parametrize("path", ["/proc/version", "/dev/null", "/sys/kernel"])
def test_the_long_way_gives_the_same(path: str, tmp_path: Path) -> None:
    # None of these is on the list of plain file systems, or is for another reason;
    # all of them answer stat(2) with their superblock's numbers.
    status = os.stat(path)
    device = os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    assert number_of(path) == (device, status.st_ino)


def test_descriptor_info_knows_the_mount() -> None:
    with open("/proc/self/status") as file:
        assert paths.descriptor_info(file.fileno())["mnt_id"].isdigit()


def test_viewing_as_oneself_needs_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(who: paths.Credentials) -> None:
        raise AssertionError("took an identity")

    take: Callable[[paths.Credentials], None] = forbidden
    monkeypatch.setattr(paths, "_take", take)
    with paths.acting_as(paths.Viewer.of(os.getpid()).credentials):
        pass
