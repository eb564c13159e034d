"""
One engine: what a run decided is what replay and explain say of it, whatever the policy.

Random policies and events; each event goes through the line that the journal has of it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netjail import records
from netjail.endpoints import Inet, Question, Unix
from netjail.journal.reading import read_journal
from netjail.journal.writing import Journal
from netjail.model import Attempt, Decision, Operation, Owner, Process, Protocol, Reason
from netjail.policy import Policy, Rules
from netjail.policy.destination import parse
from netjail.policy.explain import Setting, explain
from netjail.policy.facts import Caller, Known, Seen
from netjail.policy.supposed import Local
from netjail.records.back import Replayed, attempt_of
from netjail.replay import Player
from netjail.replay.player import judge
from netjail.stops import Descriptor

TARGETS = ["any", ":443", "public", "private", "loopback", "10.0.0.0/8", "10.1.2.3:443", "self",
           "10.1.2.3", "127.0.0.1:1-1000", "[2001:db8::]/32", "private !10.1.2.3", "tcp://any:1-99",
           "udp://any", "icmp://any", "resolver", "x.org", "x.org:443", "*.org", ".x.org:1-500",
           "any !x.org", "metadata", "unix:/run/*", "unix:/run/app", "unix:@*", "unix:@a",
           "127.0.0.53:53", "unix:* !/run/app", "self:443"]  # fmt: skip
EXES = ["/opt/a", "/opt/b", "/opt/c/d"]
WORDS = ["run", "--fast", "test.py"]


def maybe(**keys):
    """A table that has some of *keys*."""
    return st.fixed_dictionaries({}, optional=keys)


GLOBS = st.sampled_from(["/opt/a", "/opt/*", "/opt/**", "**/d", ["/opt/a", "/opt/b"]])
WHO = maybe(
    exe=GLOBS,
    parent=GLOBS,
    argv=st.sampled_from(["run", "*.py", "--*", "?un", "[rs]un"]),
    reason=st.just("why"),
    name=st.just("n"),
)
ALLOWS = st.builds(
    lambda target, who, more: {"allow": target, **who, **more},
    st.sampled_from(TARGETS),
    WHO,
    maybe(redirect=st.just("127.0.0.1:8080")),
)
DENIES = st.builds(
    lambda target, who, more: {"deny": target, **who, **more},
    st.sampled_from(TARGETS),
    WHO,
    maybe(errno=st.sampled_from(["EPERM", "ETIMEDOUT"])),
)
LISTS = st.lists(st.sampled_from(TARGETS), max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {"allow": LISTS, "deny": LISTS, "rule": st.lists(ALLOWS | DENIES, max_size=4)},
    optional={"default": st.sampled_from(["allow", "deny"]), "errno": st.just("EACCES")},
)


def as_toml(document):
    tables = document["rule"]
    lines = [f"{key} = {json.dumps(value)}" for key, value in document.items() if key != "rule"]
    for table in tables:
        if "redirect" in table and table["allow"].startswith("unix:"):
            table = {key: value for key, value in table.items() if key != "redirect"}
        lines += ["[[rule]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


@st.composite
def policies(draw):
    """One engine, or two; the second is as a system's."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(draw(st.integers(1, 2))):
            path = Path(folder) / f"{number}.toml"
            path.write_text(as_toml(draw(DOCUMENTS)))
            found.append(Policy.load(Rules(files=(str(path),))))
    engines = tuple(engine for policy in found for engine in policy.engines)
    return msgspec.structs.replace(found[0], engines=engines)


@dataclass
class Truth:
    """The world at the moment of an attempt."""

    owners: dict = field(default_factory=dict)
    names: tuple = ()
    trust: tuple = ()
    resolver: bool = False
    path: bytes = b""
    error: int = 0
    who: Caller = Caller()  # noqa: RUF009
    at: object = None

    def owner(self, attempt, protocol):
        return self.owners.get(protocol, Owner.UNKNOWN)

    def caller(self, attempt):
        return self.who

    def missing(self, attempt):
        return self.error

    def resolved(self, attempt):
        return self.path

    def addresses(self, name):
        return frozenset({self.at}) if name in self.names else frozenset()

    def known(self, address):
        return Known(self.names, (), "asked" if self.names else "")

    def search(self):
        return ()

    def resolvers(self):
        return frozenset({self.at} if self.resolver else ())

    def trusted(self, name):
        return "." not in name or name in self.trust


PLACES = ["10.1.2.3", "127.0.0.1", "127.0.0.53", "::1", "2001:db8::1", "192.0.2.1", "8.8.8.8",
          "169.254.169.254", "64:ff9b::10.1.2.3", "::ffff:10.1.2.3", "0.0.0.0"]  # fmt: skip
PROCESSES = st.lists(
    st.tuples(st.sampled_from([*EXES, ""]), st.lists(st.sampled_from(WORDS), max_size=2)),
    min_size=1,
    max_size=3,
)


@dataclass
class Event:
    attempt: Attempt
    truth: Truth
    processes: list
    """The caller's first."""
    show: bool
    proven: bool
    """Rules asked who calls, so that it was written down what is proven."""


def line(drawn):
    """Processes with ids and parents; the command is the last."""
    last = len(drawn)
    return [
        Process(last - at, last - at - 1, 100 + at, exe, (exe, *words))
        for at, (exe, words) in enumerate(drawn)
    ]


@st.composite
def events(draw):
    processes = line(draw(PROCESSES))
    show = draw(st.booleans())
    truth = Truth(
        who=Caller(
            processes[0].exe, processes[0].argv, True, tuple(p.exe for p in processes[1:]), True
        )
    )
    kind = draw(st.sampled_from(["inet", "inet", "unix", "look-up"]))
    operation = Operation.CONNECT
    if kind == "inet":
        truth.at = ip_address(draw(st.sampled_from(PLACES)))
        endpoint = Inet(truth.at, draw(st.sampled_from([1, 53, 80, 443, 5432])))
        carriers = [Protocol.TCP, Protocol.UDP, Protocol.ICMP]
        protocols = draw(st.sets(st.sampled_from(carriers), min_size=1))
        truth.owners = {protocol: draw(st.sampled_from(Owner)) for protocol in protocols}
        truth.names = tuple(draw(st.sets(st.sampled_from(["x.org", "a.x.org", "db"]))))
        truth.trust = tuple(name for name in truth.names if draw(st.booleans()))
        truth.resolver = endpoint.port == 53 and draw(st.booleans())
    elif kind == "unix":
        endpoint = draw(
            st.sampled_from([Unix(b"/run/app"), Unix(b"/run/\xff"), Unix(b"/x"), Unix(b"a", True)])
        )
        protocols = {Protocol.UNIX}
        truth.owners = {Protocol.UNIX: draw(st.sampled_from(Owner))}
        truth.error = 0 if endpoint.abstract else draw(st.sampled_from([0, 2]))
        there = not truth.error and not endpoint.abstract
        truth.path = draw(st.sampled_from([endpoint.path, b"/run/true"])) if there else b""
    else:
        server = Inet(ip_address("192.0.2.53"), 53)
        asked = draw(st.sampled_from(["x.org", "a.x.org", "y.org", "localhost", "db"]))
        endpoint = Question(asked, draw(st.sampled_from(["A", "AAAA"])), server)
        protocols, operation = {Protocol.UDP}, Operation.RESOLVE
    attempt = Attempt(
        processes[0].id, 7, "connect", operation, frozenset(protocols), endpoint, Descriptor(0)
    )
    return Event(attempt, truth, processes, show, draw(st.booleans()))


def seen(event):
    """What the supervisor writes down beside the verdict."""
    truth = event.truth
    who = truth.who if event.proven else None
    return Seen(
        truth.owners, truth.names, truth.trust, truth.resolver, (), truth.error, truth.path, who
    )


def recorded(event, verdict, path):
    """The journal of a run in which that happened; it is read back."""
    chain = tuple(process.exe or "?" for process in event.processes)
    who = records.proc(event.processes[0], 7, chain, event.show)
    record = records.attempt_record(
        event.attempt,
        verdict,
        who,
        id=1,
        audit=False,
        assurance="vault",
        known=event.truth.known(None),
        seen=seen(event),
    )
    journal = Journal(path)
    for process in reversed(event.processes):
        journal.write(records.process_record(process, event.show))
    journal.write(record)
    journal.close()
    return list(read_journal(path))


def _by_arguments(policy):
    return any(rule.terms.who and rule.terms.who.argv for rule in policy.rules)


@pytest.mark.timeout(600)  # each example reads files; a busy machine takes its time
@settings(max_examples=50, deadline=None)
@given(policies(), events())
def test_replay_says_what_was_decided(policy, event):
    verdict = policy.decide(event.attempt, event.truth)
    with tempfile.TemporaryDirectory() as folder:
        lines = recorded(event, verdict, f"{folder}/run.jsonl")
    player = Player(policy)
    player.take(lines, "run.jsonl")
    replay = player.result()
    assert replay.attempts == 1
    if replay.hidden:
        assert not event.show
        return
    assert (replay.same, replay.changed, replay.factless) == (1, [], 0)
    record = lines[-1]
    processes = {one.id: one for one in lines[:-1]}
    again = judge(policy, attempt_of(record), Replayed(record, processes))
    # Of rules on hidden arguments the decision is certain then, not which of them decides.
    if not event.show and _by_arguments(policy):
        return
    assert again == verdict
    used = {(use.kind, use.rule, use.layer) for use in replay.rules if use.count}
    if verdict.reason is Reason.RULE:
        assert used == {(verdict.decision.value, verdict.rule, verdict.layer)}


def told(event):
    """The event as a person would ask about it, if it can be said."""
    endpoint = event.attempt.endpoint
    if isinstance(endpoint, Unix):
        try:
            return str(endpoint) if endpoint.path.decode() else None
        except UnicodeDecodeError:
            return None
    if isinstance(endpoint, Question):
        return endpoint.name
    (protocol,) = list(event.attempt.protocols)[:1]
    if protocol is Protocol.ICMP:
        return f"icmp://{endpoint.address}"
    return f"{protocol.value}://{endpoint}"


WHENS = {Owner.JAIL: "the jail itself listens there", Owner.NOBODY: "nobody listens there"}


@pytest.mark.timeout(600)  # each example reads files; a busy machine takes its time
@settings(max_examples=50, deadline=None)
@given(policies(), events())
def test_explain_says_what_was_decided(policy, event):
    truth, attempt = event.truth, event.attempt
    dest = told(event)
    if dest is None or len(attempt.protocols) > 1 or dest == "localhost":
        return
    # Explain supposes that no name leads to an address, and where paths lead it looks itself.
    endpoint = attempt.endpoint
    truth.names = (endpoint.name,) if isinstance(endpoint, Question) else ()
    truth.path = b"" if truth.error or not isinstance(endpoint, Unix) else endpoint.path
    local = Local(frozenset({truth.at} if truth.resolver else ()))
    found = explain(policy, parse(dest), Setting(local, who=truth.who))
    steps = [step for step in found.steps if not step.ports]
    if isinstance(endpoint, Question):
        steps = [step for step in steps if step.kind == "look-up"]
        owner = None
    else:
        (owner,) = truth.owners.values()
        main = steps[0]
        here = "a program outside the jail listens there" in found.assumed or main.when
        supposed = {Owner.OUTSIDE} if here else {Owner.REMOTE}
        if Protocol.ICMP in attempt.protocols:
            supposed = {Owner.UNKNOWN} if "icmp" in main.what and here else supposed
        if owner in WHENS and here:
            steps = [s for s in steps if s.when == WHENS[owner]] or steps
        elif owner not in supposed:
            return
        if owner is Owner.NOBODY and isinstance(endpoint, Unix) and not endpoint.abstract:
            truth.error, truth.path = 2, b""
        elif isinstance(endpoint, Unix):
            truth.error, truth.path = 0, b"" if endpoint.abstract else endpoint.path
        if Protocol.ICMP in attempt.protocols:
            attempt = msgspec.structs.replace(attempt, endpoint=Inet(endpoint.address, 0))
    verdict = policy.decide(attempt, truth)
    step = steps[0]
    assert (step.verdict, step.reason, step.rule) == (
        verdict.decision.value,
        verdict.reason.value,
        verdict.rule,
    )
    assert (step.verdict == "deny") >= bool(step.fixes)
    assert Decision(step.verdict) is verdict.decision
