"""Policy files and presets of a real run: which are used, who trusts them, what is said."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from jail import Result, Runner, needs, unmet
from servers import Server

REFUSED = errno.ECONNREFUSED


class Project:
    """A folder of the user's own, with policy files in it."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.root = runner.workdir / "project"
        self.folder("")

    def folder(self, name: str) -> Path:
        path = self.root
        for part in ("", *Path(name).parts):
            path /= part
            if not path.exists():
                path.mkdir()
                self.own(path)
        return path

    def own(self, path: Path) -> None:
        if self.runner.user.change:
            os.chown(path, self.runner.user.uid, -1)

    def write(self, name: str, text: str) -> Path:
        path = self.folder(os.path.dirname(name)) / os.path.basename(name)
        path.write_text(text)
        path.chmod(0o644)
        self.own(path)
        return path

    def run(
        self,
        server: Server,
        *options: str,
        folder: str = "",
        around: Sequence[str] = (),
        **keywords: object,
    ) -> Result:
        """Run what connects to *server*; its exit status is the errno that it saw."""
        netjail = [self.runner.python, "-m", "netjail", "trace", *options]
        words = [*around, *self.runner.user.prefix, *netjail]
        command = self.runner.command(fixture="connect_inet", to=server)
        return self.runner.run([*words, "--", *command], cwd=self.root / folder, **keywords)


@pytest.fixture
def project(runner: Runner) -> Project:
    if os.path.exists("/etc/netjail/netjail.toml"):
        unmet("this machine has a policy of its own")
    return Project(runner)


def allowing(server: Server) -> str:
    return f'allow = ["{server.host}:{server.port}"]\n'


def test_a_file_is_found_from_below_and_opens_the_summary(project, server):
    path = project.write("netjail.toml", allowing(server))
    project.folder("a/b")
    result = project.run(server, folder="a/b")
    assert (result.exit_code, server.accepted) == (0, 1)
    assert result.stderr.splitlines()[0] == f"netjail: policy {path}"


def test_no_config_skips_the_search(project, server):
    project.write("netjail.toml", allowing(server))
    result = project.run(server, "--no-config")
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert "policy" not in result.stderr


def test_a_pyproject_is_found(project, server):
    project.write("pyproject.toml", f"[project]\nname = 'x'\n[tool.netjail]\n{allowing(server)}")
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (0, 1)


def test_netjail_toml_goes_before_pyproject(project, server):
    project.write("netjail.toml", "")
    project.write("pyproject.toml", f"[tool.netjail]\n{allowing(server)}")
    assert (project.run(server).exit_code, server.accepted) == (REFUSED, 0)


def test_a_table_of_rules_is_enough_of_a_pyproject(project, server):
    rule = f'[[tool.netjail.rule]]\nallow = "{server.host}:{server.port}"\n'
    project.write("pyproject.toml", rule)
    assert (project.run(server).exit_code, server.accepted) == (0, 1)


def test_a_file_that_is_named_ends_the_search(project, server):
    project.write("netjail.toml", allowing(server))
    project.write("other.toml", "")
    assert (project.run(server, "-p", "other.toml").exit_code, server.accepted) == (REFUSED, 0)


def test_the_search_ends_at_the_repository(project, server):
    project.write("netjail.toml", allowing(server))
    project.folder("repository/.git")
    result = project.run(server, folder="repository")
    assert (result.exit_code, server.accepted) == (REFUSED, 0)


def test_the_search_ends_at_a_folder_that_cannot_be_read(project, server, user):
    if user.uid == 0:
        pytest.skip("root reads every folder")
    project.write("netjail.toml", allowing(server))
    project.folder("shut/a")
    (project.root / "shut").chmod(0o311)
    result = project.run(server, folder="shut/a")
    assert (result.exit_code, server.accepted) == (REFUSED, 0)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_named_and_not_used(project, server, mode):
    path = project.write("netjail.toml", allowing(server))
    path.chmod(mode)
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert "chmod go-w" in " ".join(result.stderr.split())


@pytest.fixture
def foreign() -> int:
    """Somebody else, who is not root."""
    if os.getuid():
        unmet("only root can make files of somebody else")
    return 4242


def test_a_file_of_somebody_else_is_named_and_not_used(project, server, foreign):
    path = project.write("netjail.toml", allowing(server))
    os.chown(path, foreign, -1)
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert "belongs to uid 4242" in " ".join(result.stderr.split())


def test_a_link_that_somebody_else_made_is_not_followed(project, server, foreign):
    project.write("elsewhere.toml", allowing(server))
    link = project.root / "netjail.toml"
    link.symlink_to("elsewhere.toml")
    os.lchown(link, project.runner.user.uid, -1)
    assert project.run(server).exit_code == 0
    os.lchown(link, foreign, -1)
    assert (project.run(server).exit_code, server.accepted) == (REFUSED, 1)


def test_a_file_of_root_is_used(project, server, foreign):
    path = project.write("netjail.toml", allowing(server))
    os.chown(path, 0, 0)
    assert (project.run(server).exit_code, server.accepted) == (0, 1)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("base.toml", 'extends = ["base.toml"]\n', "base.toml", id="what-it-extends"),
        pytest.param("list", 'allow = ["@list"]\n', "'@list'", id="a-list-that-it-names"),
    ],
)
def test_what_a_found_file_names_is_trusted_no_more(project, server, name, text, says):
    project.write("netjail.toml", text)
    content = allowing(server) if name.endswith("toml") else f"{server.host}\n"
    path = project.write(name, content)
    assert (project.run(server).exit_code, server.accepted) == (0, 1)
    path.chmod(0o666)
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (125, 1)
    assert f"{says} cannot be trusted: others than its owner can write it" in result.stderr
    # Who names the file answers for it.
    assert project.run(server, "-p", "netjail.toml").exit_code == 0


def test_a_found_file_never_switches_to_audit(project, server):
    path = project.write("netjail.toml", 'mode = "audit"\n')
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert f"{path}: mode =" in " ".join(result.stderr.split())


def test_nor_what_a_found_file_extends(project, server):
    project.write("netjail.toml", 'extends = ["base.toml"]\n')
    project.write("base.toml", 'mode = "audit"\n')
    assert (project.run(server).exit_code, server.accepted) == (REFUSED, 0)


def test_a_file_that_is_named_switches_to_audit(project, server):
    project.write("netjail.toml", 'mode = "audit"\ndeny = ["loopback"]\n')
    result = project.run(server, "-p", "netjail.toml")
    assert (result.exit_code, server.accepted) == (0, 1)
    assert result.stderr.startswith("netjail: audit")


def test_options_files_and_presets_add_up(project, serve):
    one, two = serve(), serve()
    project.write("netjail.toml", allowing(one))
    assert project.run(one).exit_code == 0
    assert project.run(two).exit_code == REFUSED
    assert project.run(two, "-a", f"{two.host}:{two.port}").exit_code == 0
    assert project.run(two, "--preset", "loopback").exit_code == 0
    assert project.run(one, "--preset", "offline").exit_code == REFUSED
    assert (one.accepted, two.accepted) == (1, 2)


def test_a_rule_that_is_over_stops_only_ci(project, server):
    day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(1)
    table = f'[[rule]]\nallow = "{server.host}"\nuntil = {day}\n'
    project.write("netjail.toml", table)
    result = project.run(server)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert f"held until {day}" in " ".join(result.stderr.split())
    result = project.run(server, env={"CI": "true"})
    assert result.exit_code == 125
    assert f"netjail.toml:3:9: allow '{server.host}' held until {day}" in result.stderr
    assert f"    until = {day}\n            ^^^^^^^^^^\n" in result.stderr
    assert project.run(server, env={"CI": ""}).exit_code == REFUSED


def test_no_environment_variable_changes_a_policy(project, server):
    project.write("other.toml", allowing(server))
    names = ("NETJAIL_POLICY", "NETJAIL_CONFIG", "NETJAIL_TRACE_POLICY", "NETJAIL_FILE")
    environment = dict.fromkeys(names, str(project.root / "other.toml")) | {"CI": "1"}
    environment |= {"NETJAIL_TRACE_ALLOW": "any", "NETJAIL_ALLOW": "any"}
    result = project.run(server, env=environment)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)


def test_mistakes_end_it_before_the_command_runs(project, server):
    project.write("netjail.toml", 'alow = ["any"]\ndeny = ["privte"]\n')
    result = project.run(server, "-a", "any:0")
    assert (result.exit_code, result.stdout, server.accepted) == (125, "", 0)
    assert [line for line in result.stderr.splitlines() if "^" in line] == [
        " " * 16 + "^",
        "    ^^^^",
        " " * 13 + "^^^^^^",
    ]


@pytest.fixture
def system(project, foreign) -> Iterator[Callable[..., Result]]:
    """Run with a policy of the system's, in a mount namespace with an /etc of its own."""
    needs("unshare", "mount")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        unmet("unshare -m is not permitted here")
    place = Path(tempfile.mkdtemp(prefix="nj-"))
    place.chmod(0o755)
    etc = place / "etc"
    subprocess.run(["cp", "-a", "/etc", str(etc)], check=True)
    (etc / "netjail").mkdir(mode=0o755)

    def run(text: str, server: Server, *options: str) -> Result:
        (etc / "netjail/netjail.toml").write_text(text)
        (etc / "netjail/netjail.toml").chmod(0o644)
        mounts = f'mount --make-rprivate /; mount --bind {etc} /etc; exec "$@"'
        around = ["unshare", "-m", "sh", "-ec", mounts, "sh"]
        return project.run(server, *options, around=around)

    yield run
    shutil.rmtree(place)


def test_the_systems_policy_must_allow_as_well(system, project, server):
    given = allowing(server)
    project.write("netjail.toml", given)
    assert (system(given, server).exit_code, server.accepted) == (0, 1)
    for text in ("", 'allow = ["192.0.2.1"]', f'{given}deny = ["loopback"]'):
        assert system(text, server).exit_code == REFUSED
        assert system(text, server, "--default", "allow", "-a", "any").exit_code == REFUSED
        assert system(text, server, "--no-config", "--preset", "loopback").exit_code == REFUSED
    result = system(given, server, "--no-config")
    assert (result.exit_code, server.accepted) == (REFUSED, 1)
    assert "netjail: policy /etc/netjail/netjail.toml" in result.stderr


def test_the_systems_policy_does_not_switch_to_audit(system, server):
    result = system('mode = "audit"\n', server)
    assert (result.exit_code, server.accepted) == (REFUSED, 0)
    assert "is not heeded" in " ".join(result.stderr.split())
