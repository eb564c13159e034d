"""Where a run takes place: the host, and what the command gets from who started it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from netjail.kernel.inherited import UNDOING, Inherited

if TYPE_CHECKING:
    from netjail.kernel.probe import Host

_ROOT = (
    "the command runs as root, which can lead out by the machine's files, mounts and "
    "devices; run what you do not trust as an ordinary user"
)

_WEAK = (
    "no Landlock scopes here: the command can write the memory of its user's other programs "
    "by /proc/PID/mem where Yama lets it, and events say weak; Linux 6.12 has them, and a "
    "container's profile must let landlock_* through"
)

_BLIND = (
    "whose socket listens cannot be asked here (netlink: {}): nothing is `self`, and the jail's "
    "own servers need a rule; a service's RestrictAddressFamilies= must name AF_NETLINK"
)


class Setting(msgspec.Struct, frozen=True):
    """What was there before the first process of the jail."""

    host: Host
    inherited: Inherited
    keep_caps: bool

    @property
    def dropped(self) -> int:
        """A bit for each capability that the command loses."""
        return 0 if self.keep_caps else sum(1 << bit for bit in UNDOING.values())

    @property
    def lost(self) -> tuple[str, ...]:
        """The same by name, those that it would have had."""
        return () if self.keep_caps else self.inherited.undoing

    @property
    def kept(self) -> tuple[str, ...]:
        """Capabilities that would undo the jail, and stay."""
        return self.inherited.undoing if self.keep_caps else ()

    @property
    def assurance(self) -> str:
        """What is added to it, see DESIGN "The event"."""
        return " weak" if self.host.weak or self.kept else ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of it; a line each."""
        found = [*([_ROOT] if os.geteuid() == 0 else []), *([_WEAK] if self.host.weak else [])]
        if self.host.diag_error:
            found.append(_BLIND.format(os.strerror(self.host.diag_error)))
        kept = f"--keep-caps: the command has {', '.join(self.kept)}, which can undo the jail"
        warnings = (*([kept] if self.kept else []), *self.inherited.warnings)
        return (*found, *warnings, *_proxied(os.environ))


# Proxies are rare: what reads them is imported where there is one.
def _proxied(environment: Mapping[str, str]) -> tuple[str, ...]:
    if not any(name.lower().endswith("_proxy") for name in environment):
        return ()
    from netjail.records.proxies import read_proxies

    found, _ = read_proxies(environment)
    return tuple(
        f"{name} is set: of what goes through {place}, rules judge that proxy alone, "
        "not the places behind it"
        for name, place in found.items()
    )
