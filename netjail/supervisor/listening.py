"""Who may reach a listener of the jail's: a listen(2) in, a ``report.Listener`` out."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from netjail.endpoints import on_loopback
from netjail.model import Attempt, Protocol
from netjail.report import Chain, Listener, Scope

if TYPE_CHECKING:
    from netjail.policy import Policy

# What listens by TCP, or would: the kernel answers the others.
_INET = frozenset({Protocol.TCP, Protocol.UDP, Protocol.ICMP})


def judge(
    attempt: Attempt, policy: Policy, strict: bool, before: Container[int], chain: Chain
) -> tuple[Listener, bool]:
    """
    How far a listener reaches, what would open it, and whether to shut it to other machines.

    :param before: cookies of sockets that listened before the jail began. They stay as they
        are: shut to other machines, a server that was handed one would lose its clients.
    """
    (protocol, *others) = sorted(attempt.protocols, key=lambda member: member.value)
    if protocol not in _INET and not others:
        refused = strict and protocol is Protocol.UNIX
        scope = Scope.REFUSED if refused else Scope.LOCAL
        return Listener(attempt.endpoint, protocol, scope, chain), False
    opened = attempt.descriptor.cookie in before or policy.listen(attempt.endpoint, Protocol.TCP)
    inside = on_loopback(attempt.endpoint)
    scope = Scope.OPEN if opened and not inside else Scope.MACHINE
    port = getattr(attempt.endpoint, "port", 0)
    # What is bound to loopback no rule opens.
    fix = f"--bind :{port}" if port and not opened and not inside else ""
    return Listener(attempt.endpoint, Protocol.TCP, scope, chain, fix), not opened
