"""Programs outside that act for whoever reaches them: shut, and named where a rule opens one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jail import needs

from netjail.model import Decision
from netjail.policy import Policy, Rules

RUNTIME = f"/run/user/{os.getuid()}"


def warnings(*allow: str, deny: tuple[str, ...] = ()) -> tuple[str, ...]:
    return Policy.load(Rules(allow=allow, deny=deny, default=Decision.DENY)).warnings


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("DOCKER_HOST", "SSH_AUTH_SOCK", "TMUX", "XDG_RUNTIME_DIR", "NVIM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        pytest.param("unix:/run/docker.sock", "docker can run programs as root", id="docker"),
        pytest.param("unix:/var/run/docker.sock", "docker can run programs as root", id="var-run"),
        pytest.param("unix:///run/docker.sock", "docker can run programs as root", id="as-a-url"),
        pytest.param("unix:/run/docker.s*", "docker can run programs as root", id="a-glob"),
        pytest.param("unix:/run/*/containerd.sock", "containerd can", id="a-glob-inside"),
        pytest.param("unix:/run/systemd/private", "systemd can run programs as root", id="systemd"),
        pytest.param("unix:/run/dbus/*", "the system D-Bus can", id="system-bus"),
        pytest.param(f"unix:{RUNTIME}/bus", "the session D-Bus can", id="session-bus"),
        pytest.param("unix:/run/user/4711/bus", "the session D-Bus can", id="another-user-s-bus"),
        pytest.param("unix:@/tmp/dbus-x7", "the session D-Bus can", id="an-abstract-bus"),
        pytest.param("unix:/tmp/tmux-4711/work", "tmux can run programs as you", id="tmux"),
        pytest.param("unix:/run/screen/S-me/1.pts", "screen can", id="screen"),
        pytest.param("unix:/home/me/.gnupg/S.gpg", "gpg-agent uses your keys", id="gpg"),
        pytest.param("unix:/tmp/ssh-abc/agent.17", "ssh-agent uses your keys", id="ssh-agent"),
        pytest.param("unix:/tmp/.X11-unix/X0", "the X server reads", id="x11"),
        pytest.param("unix:@/tmp/.X11-unix/*", "the X server reads", id="x11-abstract"),
        pytest.param(f"unix:{RUNTIME}/wayland-0", "the Wayland compositor", id="wayland"),
        pytest.param(f"unix:{RUNTIME}/pulse/native", "the sound server", id="pulseaudio"),
        pytest.param("unix:/run/nscd/socket", "nscd asks the network", id="nscd"),
        pytest.param("unix:/run/snapd.socket", "snapd can", id="snapd"),
        pytest.param("unix:/run/libvirt/libvirt-sock", "libvirt can", id="libvirt"),
        pytest.param("unix:/var/lib/lxd/unix.socket", "lxd can", id="lxd"),
        pytest.param("unix:*", "act for the command outside this jail, some as root", id="all"),
        pytest.param("unix:/run/*", "more act for the command", id="much"),
        pytest.param("unix:@*", "the X server", id="all-abstract"),
    ],
)
def test_a_rule_that_opens_one_is_named(rule, named):
    (warning,) = warnings(rule)
    assert warning.startswith(f"--allow {rule}: ")
    assert named in warning


@pytest.mark.parametrize(
    "allow",
    [
        pytest.param(("127.0.0.1:5432", "example.org"), id="no-unix-rule"),
        pytest.param(("unix:/run/postgresql/*",), id="a-database"),
        pytest.param(("unix:/home/me/project/*.sock",), id="one-s-own"),
        pytest.param(("unix:@my-app",), id="an-abstract-name"),
        pytest.param(("unix:/tmp/x", "unix:/tmp/y*"), id="in-tmp"),
    ],
)
def test_other_rules_go_without_a_word(allow):
    assert warnings(*allow) == ()


def test_an_exception_or_a_denial_takes_it_out():
    (every,) = warnings("unix:/run/docker*")
    assert "docker" in every
    assert not warnings("unix:/run/docker.sock", deny=("unix:/run/docker.sock",))
    assert not warnings("unix:/tmp/tmux-*/* !/tmp/tmux-*")
    (most,) = warnings("unix:@*", deny=("unix:@/tmp/*",))
    assert most.startswith("--allow unix:@*: containerd")


def test_a_link_to_one_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/real.sock")
    (tmp_path / "real.sock").touch()
    (tmp_path / "link.sock").symlink_to(tmp_path / "real.sock")
    for name in ("real", "link"):
        (warning,) = warnings(f"unix:{tmp_path}/{name}.sock")
        assert "docker can run programs as root" in warning


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("SSH_AUTH_SOCK", "/home/me/agent", "unix:/home/me/agent"),
        ("TMUX", "/home/me/t/default,123,0", "unix:/home/me/t/default"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/home/me/bus,guid=1", "unix:/home/me/bus"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/x/bus,guid=1", "unix:@/x/bus"),
        ("XDG_RUNTIME_DIR", "/home/me/run", "unix:/home/me/run/bus"),
    ],
)
def test_the_environment_tells_where_it_is(monkeypatch, variable, value, rule):
    assert not warnings(rule)
    monkeypatch.setenv(variable, value)
    assert len(warnings(rule)) == 1


# -- Real ones ----------------------------------------------------------------


@contextmanager
def tmux(runner) -> Iterator[tuple[str, list[str]]]:
    """A server outside that would touch a file for us."""
    path = f"{runner.workdir}/tmux"
    start = ["tmux", "-f", "/dev/null", "-S", path, "new-session", "-d", "sleep", "1000"]
    assert runner.native(command=start).exit_code == 0
    try:
        yield path, ["tmux", "-S", path, "run-shell", "touch out"]
    finally:
        runner.native(command=["tmux", "-S", path, "kill-server"])


@contextmanager
def ssh_agent(runner) -> Iterator[tuple[str, list[str]]]:
    path = f"{runner.workdir}/agent"
    words = [*runner.user.prefix, "ssh-agent", "-D", "-a", path]
    with runner.started(words) as process:
        assert process.stdout.readline()
        script = f"SSH_AUTH_SOCK={path} ssh-add -l; [ $? = 1 ] && touch out"
        yield path, ["sh", "-c", script]
        process.kill()


@contextmanager
def dbus(runner, address="path={}/bus") -> Iterator[tuple[str, list[str]]]:
    where = address.format(runner.workdir)
    words = [*runner.user.prefix, "dbus-daemon", "--session", "--nofork", "--print-address=1"]
    with runner.started([*words, f"--address=unix:{where}"]) as process:
        full = process.stdout.readline().strip()
        send = ["dbus-send", f"--bus={full}", "--print-reply", "--dest=org.freedesktop.DBus"]
        ask = [*send, "/org/freedesktop/DBus", "org.freedesktop.DBus.ListNames"]
        path = where.removeprefix("path=").replace("abstract=", "@")
        yield path, ["sh", "-c", '"$@" && touch out', "sh", *ask]
        process.kill()


def abstract_dbus(runner):
    return dbus(runner, "abstract=/tmp/dbus-test-{}")


@contextmanager
def docker(runner) -> Iterator[tuple[str, list[str]]]:
    """What answers as its daemon does."""
    import socket

    path = f"{runner.workdir}/docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen()
        server.settimeout(60)

        def serve():
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        script = f"curl -sS --unix-socket {path} http://docker/_ping && touch out"
        yield path, ["sh", "-c", script]


@pytest.mark.parametrize(
    ("broker", "programs", "warned"),
    [
        pytest.param(tmux, ["tmux"], "", id="tmux"),
        pytest.param(ssh_agent, ["ssh-agent", "ssh-add"], "", id="ssh-agent"),
        pytest.param(dbus, ["dbus-daemon", "dbus-send"], "", id="dbus"),
        pytest.param(abstract_dbus, ["dbus-daemon", "dbus-send"], "D-Bus", id="abstract-dbus"),
        pytest.param(docker, ["curl"], "", id="docker"),
    ],
)
def test_no_broker_acts_for_the_jail(runner, broker, programs, warned):
    needs(*programs)
    out = runner.workdir / "out"
    with broker(runner) as (path, command):
        denied = runner.trace(command=command)
        assert not out.exists(), denied.stderr
        assert f"fix: --allow unix:{path}" in denied.stderr
        (event, *_) = [one for one in denied.attempts if path in one.dest.unix]
        assert (event.verdict, event.reason) == ("deny", "foreign")
        allowed = runner.trace("--allow", f"unix:{path}", command=command)
        assert out.exists(), allowed.stderr
        assert (warned in " ".join(allowed.start.warnings)) and warned in allowed.stderr
        out.unlink()
        assert runner.native(command=command).exit_code == 0
        assert out.exists()


def test_the_warning_is_in_the_summary_and_the_journal(trace):
    result = trace("--allow", "unix:/run/docker.sock", command=["true"])
    said = "--allow unix:/run/docker.sock: docker can run programs as root, outside this jail"
    assert said in result.start.warnings
    assert said in " ".join(result.stderr.split())


def test_the_broker_s_own_variable_is_read_from_the_caller(runner, workdir):
    words = [*runner.jailed("--allow", f"unix:{workdir}/d"), "true"]
    plain = runner.run(words)
    told = runner.run(words, env={"DOCKER_HOST": f"unix://{workdir}/d"})
    assert "docker" not in plain.stderr
    assert "docker can run programs as root" in " ".join(told.stderr.split())
