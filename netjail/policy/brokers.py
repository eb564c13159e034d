"""
Programs outside the jail that act for whoever reaches their unix socket.

A rule that opens one opens all that it can do, and a warning says so. To add one, add
its row to ``BROKERS``.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netjail.endpoints import Unix
from netjail.policy.paths import PathRule, body

_ROOT = "can run programs as root"
_YOU = "can run programs as you"
_KEYS = "uses your keys"
_SCREEN = "reads and types into your other windows"
_NETWORK = "asks the network"


class Broker(NamedTuple):
    """One program, and where it listens."""

    name: str
    does: str
    paths: tuple[str, ...]
    """Globs, as in rules. ``{uid}`` is the user's number, ``{runtime}`` XDG_RUNTIME_DIR."""
    variable: str = ""
    """The environment variable that names another place."""


BROKERS = (
    Broker("docker", _ROOT, ("/run/docker.sock", "/run/docker/*.sock"), "DOCKER_HOST"),
    Broker("docker", _YOU, ("{runtime}/docker.sock", "*/.docker/*.sock")),
    Broker(
        "containerd",
        _ROOT,
        ("/run/containerd/containerd.sock", "/run/containerd/*", "@/containerd-shim/*"),
        "CONTAINERD_ADDRESS",
    ),
    Broker("podman", _ROOT, ("/run/podman/podman.sock",), "CONTAINER_HOST"),
    Broker("podman", _YOU, ("{runtime}/podman/podman.sock",)),
    Broker("cri-o", _ROOT, ("/run/crio/*",)),
    Broker("buildkit", _ROOT, ("/run/buildkit/buildkitd.sock",), "BUILDKIT_HOST"),
    Broker("lxd", _ROOT, ("/var/lib/lxd/unix.socket", "/var/snap/lxd/*/unix.socket")),
    Broker("incus", _ROOT, ("/var/lib/incus/unix.socket", "/run/incus/unix.socket")),
    Broker("libvirt", _ROOT, ("/run/libvirt/libvirt-sock", "/run/libvirt/*")),
    Broker("snapd", _ROOT, ("/run/snapd.socket", "/run/snapd-snap.socket")),
    Broker("systemd", _ROOT, ("/run/systemd/private", "/run/systemd/io.systemd.*")),
    Broker("systemd", _YOU, ("{runtime}/systemd/private",)),
    Broker("the system D-Bus", _ROOT, ("/run/dbus/system_bus_socket",), "DBUS_SYSTEM_BUS_ADDRESS"),
    Broker(
        "the session D-Bus",
        _YOU,
        ("{runtime}/bus", "@/tmp/dbus-*", "/tmp/dbus-*"),
        "DBUS_SESSION_BUS_ADDRESS",
    ),
    Broker("supervisord", _ROOT, ("/run/supervisor.sock", "/run/supervisor/*")),
    Broker("the Nix daemon", "builds programs as other users", ("/nix/var/nix/daemon-socket/*",)),
    Broker("tmux", _YOU, ("/tmp/tmux-{uid}/default", "/tmp/tmux-{uid}/*"), "TMUX"),
    Broker("screen", _YOU, ("/run/screen/S-*", "*/.screen/*")),
    Broker("emacs", _YOU, ("{runtime}/emacs/*", "/tmp/emacs{uid}/*")),
    Broker("an editor", _YOU, ("{runtime}/vscode-*", "{runtime}/nvim.*"), "NVIM"),
    Broker("ssh-agent", _KEYS, ("/tmp/ssh-*/agent.*", "{runtime}/keyring/*"), "SSH_AUTH_SOCK"),
    Broker("gpg-agent", _KEYS, ("{runtime}/gnupg/*", "*/.gnupg/S.*")),
    Broker("the X server", _SCREEN, ("/tmp/.X11-unix/X*", "@/tmp/.X11-unix/X*")),
    Broker("the Wayland compositor", "is your screen", ("{runtime}/wayland-*",)),
    Broker(
        "the sound server", "hears your microphone", ("{runtime}/pulse/*", "{runtime}/pipewire-*")
    ),
    Broker("the printing system", _NETWORK, ("/run/cups/cups.sock",)),
    Broker("nscd", _NETWORK, ("/run/nscd/socket",)),
    Broker("systemd-resolved", _NETWORK, ("/run/systemd/resolve/io.systemd.*",)),
    Broker("avahi", _NETWORK, ("/run/avahi-daemon/socket",)),
)

_FEW = 3


def warnings(allow: Iterable[PathRule], deny: Iterable[PathRule]) -> Iterator[str]:
    """What the rules *allow* open, a line for each rule that opens a broker."""
    denials = tuple(deny)
    places = [(broker, place) for broker in BROKERS for place in _places(broker)]
    for rule in allow:
        opened = dict.fromkeys(
            (broker.name, broker.does) for broker, place in places if _opens(rule, place, denials)
        )
        if opened:
            yield f"{rule.layer} {rule.text}: {_sentence(list(opened))}"


def _sentence(opened: list[tuple[str, str]]) -> str:
    if len(opened) == 1:
        ((name, does),) = opened
        return f"{name} {does}, outside this jail"
    names = list(dict.fromkeys(name for name, _ in opened))
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    power = ", some as root" if any(does == _ROOT for _, does in opened) else ""
    return f"{', '.join(names[:_FEW])}{more} act for the command outside this jail{power}"


class _Place(NamedTuple):
    glob: str
    """With a star for what varies."""
    sample: str
    """As it is called on this machine, for this user."""


def _places(broker: Broker) -> Iterator[_Place]:
    uid = str(os.getuid())
    usual = f"/run/user/{uid}"
    for runtime in dict.fromkeys((usual, os.environ.get("XDG_RUNTIME_DIR") or usual)):
        for path in broker.paths:
            stars = path.replace("{runtime}", "/run/user/*" if runtime == usual else runtime)
            here = path.replace("{runtime}", runtime).replace("{uid}", uid).replace("*", "x")
            yield _Place(stars.replace("{uid}", "*"), here)
            if path.startswith("/run/"):  # a link to it, but maybe not here
                yield _Place(f"/var{stars}", f"/var{here}")
    found = _named(os.environ.get(broker.variable, ""))
    if found:
        yield _Place(found, found)


def _named(value: str) -> str:
    """The socket in ``unix:///run/x``, ``unix:abstract=/tmp/x,guid=1``, ``/tmp/x,1,0``."""
    found = re.match(r"(?:unix:)?(?:path=|(abstract=))?(?://(?=/))?(/[^,;]*)", value)
    return ("@" if found[1] else "") + found[2] if found else ""


# A rule names a broker if it matches the socket that is here, or if it is itself, read as
# a path, one that the broker has on some machine.
def _opens(rule: PathRule, place: _Place, denials: tuple[PathRule, ...]) -> bool:
    text = body(rule.text)
    sample = _endpoint(place.sample)
    if not rule.matches(sample):
        sample = _endpoint(text)
        if not (fnmatch.fnmatchcase(text, place.glob) and rule.matches(sample)):
            return False
    return not any(denial.matches(sample) for denial in denials)


def _endpoint(path: str) -> Unix:
    abstract = path.startswith("@")
    return Unix(os.fsencode(path[abstract:]), abstract)
