"""Attempts, verdicts and reports for the tests of what records and shows them."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

from netjail.endpoints import Endpoint, Inet, Question, Unix, Unspecified
from netjail.model import (
    Attempt,
    Decision,
    Operation,
    Process,
    Protocol,
    Reason,
    Verdict,
)
from netjail.report import Listener, Report, Scope
from netjail.stops import Descriptor

SOCKET = Descriptor(0)
CURL = Process(7, 3, 4242, "/usr/bin/curl", ("curl", "-u", "me:secret"), 1000, "/home/me")
CHAIN = ("curl", "make", "sh")


def inet(address: str, port: int) -> Inet:
    return Inet(ip_address(address), port)


def attempt(
    endpoint: Endpoint | None = None,
    *protocols: Protocol,
    operation: Operation = Operation.CONNECT,
    syscall: str = "connect",
) -> Attempt:
    return Attempt(
        CURL.id,
        4243,
        syscall,
        operation,
        frozenset(protocols or {Protocol.TCP}),
        endpoint or inet("192.0.2.1", 443),
        SOCKET,
    )


def allowed(reason: Reason = Reason.RULE, **fields: Any) -> Verdict:
    return Verdict(Decision.ALLOW, reason, **fields)


def denied(reason: Reason = Reason.DEFAULT, **fields: str) -> Verdict:
    return Verdict(Decision.DENY, reason, error=errno.ECONNREFUSED, **fields)


def busy(audit: bool = False) -> Report:
    """A report with one of everything."""
    report = Report(audit=audit)
    site = denied(
        name="example.org", why="no rule allows tcp to example.org:443", fix="--allow example.org"
    )
    report.add(attempt(inet("192.0.2.1", 443)), site, CHAIN, 11)
    report.add(attempt(inet("2001:db8::1", 443)), site, ("wget", "sh"))
    foreign = denied(
        Reason.FOREIGN,
        why="127.0.0.1:5432 belongs to a program outside this jail",
        fix="--allow 127.0.0.1:5432",
    )
    report.add(attempt(inet("127.0.0.1", 5432)), foreign, ("psql", "make", "sh"))
    ruled = denied(Reason.RULE, rule="private", layer="netjail.toml:3:9")
    report.add(attempt(inet("10.0.0.1", 53), Protocol.UDP), ruled, ("dig\x1b[31m", "sh"), 2)
    asked = Question("www.example.net", "A", inet("192.0.2.53", 53))
    unnamed = denied(
        name="www.example.net",
        why="no rule allows looking up www.example.net",
        fix="--allow www.example.net:443",
    )
    look_up = attempt(asked, Protocol.UDP, operation=Operation.RESOLVE)
    report.add(look_up, unnamed, ("git-remote-https", "git", "sh"), 2)
    own = allowed(Reason.SELF, rule="self")
    report.add(attempt(inet("127.0.0.1", 8080)), own, ("python3", "sh"), 230)
    report.add(
        attempt(inet("2001:db8:1234:5678:9abc:def0:1234:5678", 443)),
        allowed(rule="2001:db8::/32", layer="--allow", redirect=inet("127.0.0.1", 8443)),
        ("python3", "run-all-the-tests", "make", "sh"),
    )
    nscd = attempt(Unix(b"/var/run/nscd/socket"), Protocol.UNIX)
    report.add(nscd, denied(Reason.NAME_SERVICE), ("id", "sh"), 3)
    report.add(attempt(inet("127.0.0.1", 9)), denied(Reason.NO_LISTENER), ("sh",))
    door = attempt(Unspecified(), Protocol.OTHER, operation=Operation.FORBIDDEN, syscall="ptrace")
    report.add(door, denied(Reason.STRUCTURE), ("gdb", "sh"), 3)
    report.listen(
        Listener(inet("0.0.0.0", 8080), Protocol.TCP, Scope.MACHINE, ("python3",), "--bind :8080")
    )
    report.listen(Listener(Unix(b"/tmp/x.sock"), Protocol.UNIX, Scope.LOCAL, ("redis-server",)))
    report.warn("--allow nosuch.example: the name does not resolve")
    return report
