"""Report documents for the tests of the formats that are made from them."""

from __future__ import annotations

from netjail.formats.document import (
    Asker,
    Destination,
    Document,
    Door,
    Listener,
    Moment,
    Notice,
    Process,
    Result,
    RuleUse,
    Run,
    Totals,
)

START = "2026-03-05T09:30:{:09.6f}Z"


def at(seconds: float) -> str:
    return START.format(seconds)


def run(**fields: object) -> Run:
    known: dict[str, object] = {
        "id": 1,
        "command": ("make", "test", "CFLAGS=-O2 -g"),
        "start": at(0),
        "end": at(12.4),
        "duration": 12.4,
        "code": 2,
        "program": Result("failed", "exit status 2"),
        "policy": Result("failed", "17 of 286 network calls denied"),
        "supervisor": Result("ok", "the journal is whole"),
        "totals": Totals(286, 265, 17, 4),
        "files": ("/home/me/project/netjail.toml",),
        "layers": ({"default": "deny", "allow": ["registry.npmjs.org:443", ":53"], "deny": []},),
        "versions": {"netjail": "0.1.0", "python": "3.11.7"},
        "host": {"kernel": "6.18.0", "machine": "x86_64", "landlock": "7"},
        "assurance": "vault",
        "redacted": ("arguments",),
        "proxies": {"https_proxy": "http://proxy.example.org:3128"},
    }
    return Run(**(known | fields))  # type: ignore[arg-type]


def asker(*chain: str, count: int = 1, process: int = 3) -> Asker:
    return Asker(chain, count, ((1, process),))


def destination(id: int, shown: str, **fields: object) -> Destination:
    known: dict[str, object] = {
        "kind": "inet",
        "verdict": "allow",
        "reason": "rule",
        "owner": "public",
        "proto": "tcp",
        "places": ("192.0.2.1",),
        "syscall": "connect",
        "count": 1,
        "first": at(id % 12 + 0.25),
        "last": at(id % 12 + 0.5),
        "askers": (asker("npm", "make", "sh"),),
        "runs": (1,),
    }
    return Destination(id=id, shown=shown, **(known | fields))  # type: ignore[arg-type]


def denied(id: int, shown: str, **fields: object) -> Destination:
    known: dict[str, object] = {
        "verdict": "deny",
        "reason": "default",
        "why": f"no rule allows tcp to {shown}",
        "fix": f"--allow {shown}",
        "errno": "ECONNREFUSED",
    }
    return destination(id, shown, **(known | fields))


def small() -> Document:
    """What one build could look like: a bit of everything."""
    gone = denied(
        1,
        "telemetry.example.com:443",
        name="telemetry.example.com",
        names=("telemetry.example.com", "edge.example.net"),
        places=("192.0.2.7", "192.0.2.8"),
        known="look-up",
        count=11,
        askers=(asker("node", "npm", "make", "sh", count=9), asker("curl", "sh", count=2)),
    )
    metadata = denied(
        2,
        "169.254.169.254:80",
        owner="metadata",
        reason="rule",
        rule="metadata",
        layer="netjail.toml:3",
        why="denied by metadata (netjail.toml:3): the cloud's keys",
        fix="",
        count=6,
        askers=(asker("python3", "make", "sh", count=6, process=5),),
    )
    fine = destination(
        3,
        "registry.npmjs.org:443",
        name="registry.npmjs.org",
        rule="registry.npmjs.org:443",
        layer="netjail.toml:2",
        count=230,
        results={"ok": 229, "ETIMEDOUT": 1},
    )
    own = destination(4, "127.0.0.1:8080", owner="loopback", reason="self", rule="self", count=35)
    nscd = denied(
        5,
        "unix:/var/run/nscd/socket",
        kind="unix",
        owner="",
        proto="unix",
        reason="name-service",
        why="",
        fix="",
        counted=False,
        count=4,
        askers=(asker("id", "sh", count=4),),
    )
    return Document(
        headline="17 of 286 network calls denied: 2 destinations",
        state="denied",
        generated=at(13),
        generator="netjail 0.1.0",
        totals=Totals(286, 265, 17, 4),
        runs=(run(),),
        destinations=(gone, metadata, fine, own, nscd),
        processes=(
            process(1, 0, "make", ("make", "test", "CFLAGS=-O2 -g")),
            process(2, 1, "sh", ("sh", "-c", "npm ci && npm test")),
            process(3, 2, "npm", ("npm", "ci"), {3: 230}),
            process(4, 3, "node", ("node", "postinstall.js"), {1: 9, 4: 35}),
            process(5, 1, "python3", ("python3", "-m", "pytest"), {2: 6}),
            process(6, 1, "id", (), {5: 4}),
        ),
        listeners=(
            Listener("0.0.0.0:8080", "tcp", "machine", ("node", "npm"), "--bind :8080"),
            Listener("/tmp/x.sock", "unix", "local", ("python3",), "", 3),
        ),
        doors=(Door("ptrace", 3, "gdb, strace and LeakSanitizer need it", (asker("gdb", "sh"),)),),
        rules=(
            RuleUse("registry.npmjs.org:443", "netjail.toml:2", "allow", 230, at(1), at(9)),
            RuleUse("metadata", "netjail.toml:3", "deny", 6, at(2), at(3), "the cloud's keys"),
            RuleUse("old.example.org", "netjail.toml:4", "allow"),
        ),
        warnings=(Notice("--allow nosuch.example: the name does not resolve", 2),),
        timeline=(
            *(Moment(at(1 + n * 0.4), 3, 11) for n in range(21)),
            *(Moment(at(4 + n), 1, 1 + n) for n in range(5)),
            *(Moment(at(2 + n), 4, 9) for n in range(4)),
            Moment(at(2.5), 2, 6),
            Moment(at(0.3), 5, 4),
        ),
    )


def process(
    id: int, parent: int, name: str, argv: tuple[str, ...], to: dict[int, int] | None = None
) -> Process:
    return Process(
        run=1,
        id=id,
        parent=parent,
        pid=4200 + id,
        name=name,
        exe=f"/usr/bin/{name}",
        argv=argv,
        cwd="/home/me/project",
        uid=1000,
        start=at(id / 10),
        destinations=to or {},
    )


def crowd(count: int) -> Document:
    """*count* destinations, one in ten of them denied, and a family to match."""
    places = []
    for number in range(1, count + 1):
        make = denied if number % 10 == 3 else destination
        places.append(
            make(
                number,
                f"host-{number}.example.org:443",
                count=1 + number * 7 % 400,
                places=(f"192.0.2.{number % 256}",),
                rule="" if make is denied else "*.example.org:443",
                layer="" if make is denied else "netjail.toml:2",
                askers=(asker(f"worker-{number % 7}", "make", "sh", process=2 + number % 7),),
            )
        )
    places.sort(key=lambda one: (one.verdict == "allow", -one.count))
    bad = sum(one.count for one in places if one.verdict == "deny")
    every = sum(one.count for one in places)
    workers = [
        process(
            2 + number,
            1,
            f"worker-{number}",
            (f"worker-{number}", "--all"),
            {one.id: one.count for one in places if one.id % 7 == number},
        )
        for number in range(7)
    ]
    moments = (
        Moment(at(one.id % 12 + step / 4), one.id, max(1, one.count // 4))
        for one in places
        for step in range(3)
    )
    return Document(
        headline=f"{bad:,} of {every:,} network calls denied",
        state="denied",
        generated=at(13),
        generator="netjail 0.1.0",
        totals=Totals(every, every - bad, bad),
        runs=(run(proxies={}),),
        destinations=tuple(places),
        processes=(process(1, 0, "make", ("make", "-j7")), *workers),
        timeline=tuple(moments),
    )


def clean(mode: str = "enforce") -> Document:
    """Nothing denied; or, audited, nothing called."""
    known = {"proxies": {}, "mode": mode, "code": 0, "program": Result("ok", "exit status 0")}
    places = () if mode == "audit" else (destination(1, "registry.npmjs.org:443", rule="any"),)
    said = "no network calls" if mode == "audit" else "1 network call, none denied"
    return Document(
        headline=said,
        state="ok",
        generated=at(13),
        generator="netjail 0.1.0",
        totals=Totals(len(places), len(places)),
        runs=(run(**known, policy=Result("ok", said), files=(), totals=Totals(1, 1)),),
        destinations=places,
    )


def fleet(count: int) -> Document:
    """One report of many journals, of several days."""
    runs = tuple(
        run(
            id=number,
            journal=f"runs/{number}.jsonl",
            start=f"2026-03-{number % 28 + 1:02}T09:30:00Z",
            end=f"2026-03-{number % 28 + 1:02}T09:30:12Z",
            mode="audit" if number % 3 == 0 else "enforce",
            duration=None if number % 5 == 0 else number * 61.5,
            supervisor=Result("unknown", "the journal was cut off")
            if number % 5 == 0
            else Result("ok", "the journal is whole"),
        )
        for number in range(1, count + 1)
    )
    base = small()
    return Document(
        headline=f"{count} runs: 17 of 286 network calls denied",
        state="unknown",
        generated=at(13),
        generator="netjail 0.1.0",
        totals=base.totals,
        runs=runs,
        destinations=base.destinations,
        processes=base.processes,
        timeline=base.timeline,
        omitted={"processes": 1200},
    )
