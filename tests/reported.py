"""Reports as the tests of formats want them: one that has something of each kind."""

from __future__ import annotations

from typing import Any

from netjail.formats.document import (
    Asker,
    Destination,
    Document,
    Door,
    Listener,
    Notice,
    Process,
    Result,
    RuleUse,
    Run,
    Totals,
)

OK = Result("ok", "exit status 0")
START, END = "2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:09.000006Z"
CURL = Asker(("curl", "make", "sh"), 3, ((1, 2),))


def destination(shown: str = "example.org:443", **fields: Any) -> Destination:
    """One that was denied because no rule allows it, unless *fields* say otherwise."""
    usual = {
        "id": 1,
        "kind": "inet",
        "verdict": "deny",
        "reason": "default",
        "owner": "public",
        "proto": "tcp",
        "why": f"no rule allows tcp to {shown}",
        "fix": f"--allow {shown}",
        "errno": "ECONNREFUSED",
        "count": 3,
        "first": START,
        "last": END,
        "askers": (CURL,),
        "runs": (1,),
    }
    return Destination(shown=shown, **{**usual, **fields})


def allowed(shown: str = "pypi.org:443", **fields: Any) -> Destination:
    """One that a rule allows."""
    usual = {"rule": shown, "layer": "netjail.toml:2", "why": f"allowed by {shown}", "fix": ""}
    rest = {"verdict": "allow", "reason": "rule", "errno": "", "results": {"ok": 1}}
    return destination(shown, **{**usual, **rest, **fields})


def run(**fields: Any) -> Run:
    """A run that ended well."""
    usual = {
        "id": 1,
        "command": ("make", "…"),
        "start": START,
        "end": END,
        "duration": 4.0,
        "code": 0,
        "program": OK,
        "policy": Result("failed", "4 of 9 network calls denied"),
        "supervisor": Result("ok", "it saw everything"),
        "files": ("netjail.toml",),
        "versions": {"netjail": "0.1.0", "python": "3.11.2"},
        "host": {"kernel": "6.18.1"},
        "assurance": "vault",
        "redacted": ("arguments",),
    }
    return Run(**{**usual, **fields})


def document(*destinations: Destination, **fields: Any) -> Document:
    """A report of one run with *destinations*."""
    usual = {
        "headline": "4 of 9 network calls denied",
        "state": "denied",
        "generated": END,
        "generator": "netjail 0.1.0",
        "totals": Totals(9, 4, 4, 1),
        "runs": (run(),),
    }
    return Document(destinations=destinations, **{**usual, **fields})


def busy() -> Document:
    """Something of each kind."""
    return document(
        destination(id=1),
        destination(
            "203.0.113.7:25",
            id=2,
            reason="rule",
            rule="*:25",
            layer="netjail.toml:7",
            why="denied by *:25 (netjail.toml:7): mail goes through the relay",
            fix="netjail.toml:7: deny '*:25 !203.0.113.7'",
            count=1,
            askers=(Asker(("python3.11", "pytest"), 1),),
        ),
        destination(
            "unix:/run/docker.sock",
            id=3,
            kind="unix",
            reason="foreign",
            owner="",
            proto="unix",
            why="/run/docker.sock belongs to a program outside this jail",
            fix="--allow unix:/run/docker.sock",
            others=2,
        ),
        destination(
            "look-up of tracker.test",
            id=4,
            kind="lookup",
            proto="udp",
            lookup="A AAAA",
            why="no rule allows looking up tracker.test",
            fix="--allow tracker.test",
            carried=False,
        ),
        destination(
            "127.0.0.1:5432",
            id=5,
            reason="no-listener",
            counted=False,
            why="nobody listens on 127.0.0.1:5432",
            fix="",
        ),
        allowed(id=6, redirect="127.0.0.1:8443"),
        allowed(
            "look-up of mirror.test",
            id=7,
            kind="lookup",
            proto="udp",
            lookup="A",
            rule="mirror.test",
            results={"SERVFAIL": 1},
            failure="192.0.2.53 answered SERVFAIL",
            count=1,
        ),
        processes=(Process(run=1, id=2, parent=1, pid=4321, name="curl", exe="/usr/bin/curl"),),
        listeners=(Listener("0.0.0.0:8080", "tcp", "machine", ("nginx",), "--bind :8080"),),
        doors=(Door("ptrace", 2, "gdb and strace need it", (Asker(("gdb", "sh"), 2),)),),
        rules=(RuleUse("pypi.org:443", "netjail.toml:2", "allow", 3),),
        warnings=(Notice("the command runs as root"),),
        omitted={"destinations": 12},
    )
