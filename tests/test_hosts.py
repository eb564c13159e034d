"""The jail where much is missing: in containers, behind filters, without /proc and the like."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

import confine
import pytest
from confine import Profile, without
from jail import Result, Runner, read_events
from servers import Server

# Docker's default capabilities, for its root; a runtime grants them by the bounding set.
_CAPS = (
    "chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,"
    "+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
)


@dataclass(frozen=True)
class Host:
    """A host: what holds netjail itself."""

    profile: Profile
    caps: str | None = _CAPS
    """What root may do there; None: all."""

    def around(self, runner: Runner) -> list[str]:
        """The words before netjail's own that take away what is not there."""
        file = runner.workdir / "profile.bpf"
        file.write_bytes(self.profile.program())
        words = [*runner.user.prefix, runner.program("confined"), str(file)]
        if runner.user.uid == 0 and self.caps is not None:
            kept = f"-all,+{self.caps}" if self.caps else "-all"
            words = ["setpriv", "--inh-caps=-all", f"--bounding-set={kept}", "--", *words]
        return words


@pytest.fixture
def trace_in(runner: Runner) -> Callable[..., Result]:
    """``trace_in(host, *options, fixture=…)``: as ``trace``, on another host."""

    def run(host: Host, *options: str, **what: object) -> Result:
        runner.runs += 1
        journal = runner.workdir / f"events-{runner.runs}.jsonl"
        words = [*host.around(runner), *runner.inner("--events", str(journal), *options)]
        result = runner.run([*words, *runner.command(**what)])
        return Result(result.status, result.stdout, result.stderr, read_events(journal))

    return run


def pair(serve, kind: str, workdir) -> tuple[Server, Server, str]:
    """A server to reach, one not to reach, and the rule that says so."""
    if kind == "unix":
        allowed, denied = (serve(kind, str(workdir / name)) for name in ("one", "two"))
        return allowed, denied, f"unix:{allowed.address}"
    allowed, denied = serve(kind), serve(kind)
    return allowed, denied, f"127.0.0.1:{allowed.port}"


HOSTS = [
    pytest.param(Host(confine.DOCKER), id="docker"),
    pytest.param(Host(confine.DOCKER, ""), id="docker-cap-drop-all"),
    pytest.param(Host(confine.DOCKER_20), id="docker-20"),
    pytest.param(Host(confine.PODMAN), id="podman"),
    pytest.param(Host(without(310, 311)), id="no-process-vm"),
    pytest.param(Host(without(438)), id="no-pidfd-getfd"),
    pytest.param(Host(without(434, 438, error=errno.ENOSYS)), id="no-pidfd"),
    pytest.param(Host(without(444, 445, 446, error=errno.ENOSYS)), id="no-landlock"),
    pytest.param(Host(without(462, error=errno.ENOSYS)), id="no-mseal"),
    pytest.param(Host(without(437, 439, 436, error=errno.ENOSYS)), id="no-openat2"),
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("kind", "fixture", "args"),
    [
        pytest.param("tcp", "connect_inet", [], id="tcp"),
        pytest.param("udp", "send_inet", ["sendto"], id="udp"),
        pytest.param("udp", "send_inet", ["sendmsg"], id="udp-sendmsg"),
        pytest.param("unix", "connect_unix", [], id="unix"),
    ],
)
def test_what_is_allowed_arrives_and_nothing_else(
    trace_in, serve, workdir, host, kind, fixture, args
):
    allowed, denied, rule = pair(serve, kind, workdir)
    refused = trace_in(host, "--allow", rule, fixture=fixture, args=args, to=denied)
    passed = trace_in(host, "--allow", rule, fixture=fixture, args=args, to=allowed)
    assert (refused.exit_code, denied.accepted) == (errno.ECONNREFUSED, 0), refused.stderr
    assert (passed.exit_code, allowed.accepted) == (0, 1), passed.stderr


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("what", "kind"),
    [("connect", "tcp"), ("sendto", "udp"), ("name", "udp"), ("link", "unix")],
)
def test_no_race_is_won(trace_in, serve, workdir, host, what, kind):
    allowed, denied, rule = pair(serve, kind, workdir)
    args = [what, "thread", "1"]
    result = trace_in(host, "--allow", rule, fixture="flip", args=args, to=[allowed, denied])
    assert result.exit_code == 0, result.stderr
    assert denied.accepted == 0
    assert allowed.accepted >= 20


REFUSED = [
    pytest.param(
        confine.CONTAINERD_1_6, "ptrace is refused here", "SYS_PTRACE", id="containerd-1.6"
    ),
    pytest.param(confine.PODMAN_3, "ptrace is refused here", "SYS_PTRACE", id="podman-3"),
    pytest.param(without(101), "ptrace is refused here", "SYS_PTRACE", id="no-ptrace"),
    pytest.param(without(317), "seccomp filters are refused", "seccomp(2)", id="no-seccomp"),
    pytest.param(without(319), "no memory can be sealed", "memfd_create", id="no-memfd"),
    pytest.param(without(214), "notification", "seccomp", id="no-notification"),
]


@pytest.mark.parametrize(("profile", "cause", "hint"), REFUSED)
def test_a_host_that_cannot_hold_a_jail_is_refused(trace_in, workdir, profile, cause, hint):
    result = trace_in(Host(profile), command=["touch", str(workdir / "ran")])
    assert result.exit_code == 125
    assert cause in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr
    assert not (workdir / "ran").exists()
