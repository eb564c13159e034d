"""
Why a call would be allowed or denied: a policy and a destination in, an explanation out.

It is the policy itself that judges. What it has to ask of the world is supposed, and the
explanation says what: where a name leads, whose socket would receive.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from ipaddress import ip_address
from itertools import pairwise
from shutil import which
from typing import Literal

import msgspec

from netjail.endpoints import Address, Endpoint, Inet, Question, Unix, canonical
from netjail.errors import UsageError
from netjail.model import Attempt, Operation, Owner, Protocol
from netjail.policy import wording
from netjail.policy.destination import Destination
from netjail.policy.explanation import (
    Explanation,
    Step,
    alike,
    counts,
    exceptions,
    shown_ports,
    weigh,
)
from netjail.policy.facts import UNKNOWN, Caller
from netjail.policy.judging import step
from netjail.policy.policy import Policy
from netjail.policy.rules import AddressRule
from netjail.policy.supposed import Local, Supposed, is_localhost, unnamed_address
from netjail.stops import Descriptor

_LOOPBACK = ip_address("127.0.0.1")

# Whose socket receives on this machine cannot be known beforehand: (whose, in words)
_OTHERWISE = (
    (Owner.JAIL, "the jail itself listens there"),
    (Owner.NOBODY, "nobody listens there"),
)


class Setting(msgspec.Struct, frozen=True):
    """What an explanation may ask of this machine."""

    local: Local = Local()
    ask: Callable[[str], frozenset[Address]] | None = None
    """Looks a name up; None: it is supposed to lead to an address that no rule names."""
    who: Caller = UNKNOWN
    """Who calls."""


def explain(
    policy: Policy, destination: Destination, setting: Setting | None = None
) -> Explanation:
    """Judge *destination*, and say why."""
    return _Case(policy, destination, setting or Setting()).explain()


class _Case(msgspec.Struct):
    policy: Policy
    dest: Destination
    setting: Setting
    assumed: list[str] = msgspec.field(default_factory=list)
    supposed: Address | None = None
    """Stands for an address that nobody knows."""

    def explain(self) -> Explanation:
        steps = tuple(self._steps())
        self.assumed += _unknown(self.policy, self.setting.who)
        decisive = weigh(steps)
        counted = [step for step in steps if counts(step) and step.verdict == "deny"]
        fixes = dict.fromkeys(fix for step in counted for fix in step.fixes)
        return Explanation(
            dest=str(self.dest),
            proto=self.dest.protocol.value,
            verdict=decisive.verdict,
            exceptions=exceptions(steps, decisive),
            decisive=decisive,
            steps=steps,
            fixes=tuple(fixes) if decisive.verdict == "deny" else (),
            assumed=tuple(self.assumed),
            files=self.policy.files,
            warnings=self.policy.warnings,
        )

    def _steps(self) -> Iterator[Step]:
        if self.dest.unix:
            yield from self._unix(self.dest.unix)
            return
        places = self._places()
        if self.dest.name and not self._is_local(self.dest.name):
            yield self._look_up(places)
        for place in places:
            yield from self._calls(place, f" ({place})" if len(places) > 1 else "", places)

    # ---- names ----

    def _is_local(self, name: str) -> bool:
        return name in self.setting.local.hosts or is_localhost(name)

    def _places(self) -> list[Address]:
        name, local = self.dest.name, self.setting.local
        if not name:
            assert self.dest.address
            return [self.dest.address]
        if is_localhost(name):
            return [_LOOPBACK]
        if name in local.hosts:
            self.assumed.append(f"{name} leads where the hosts file says, and nobody is asked")
            return sorted(local.hosts[name], key=str)
        found = sorted(self.setting.ask(name), key=str) if self.setting.ask else []
        if found:
            return found
        self.supposed = unnamed_address(self.policy)
        leads = "does not resolve; it is judged as if it led" if self.setting.ask else "leads"
        self.assumed.append(f"{name} {leads} to a public address that no rule names")
        return [self.supposed]

    def _look_up(self, places: list[Address]) -> Step:
        local, name = self.setting.local, self.dest.name
        asked = local.aliases(name)[-1] if local.search else name
        server = Inet(min(local.resolvers, key=str, default=_LOOPBACK), 53)
        question = Question(asked, "A", server)
        attempt = _attempt(Operation.RESOLVE, Protocol.UDP, question)
        return self._step("look-up", attempt, self._facts(Owner.REMOTE, places), str(question))

    def _to_allow(self, port: int) -> str:
        if self.dest.protocol is Protocol.ICMP:
            return wording.to_allow_name(f"icmp://{self.dest.name}")
        return wording.to_allow_name(self.dest.name, port)

    def _facts(self, owner: Owner, places: list[Address]) -> Supposed:
        name, setting = self.dest.name, self.setting
        asked = setting.local.aliases(name) if name else ()
        leads = {one: frozenset(places) for one in asked}
        return Supposed(owner, leads, asked, who=setting.who, local=setting.local, ask=setting.ask)

    # ---- calls ----

    def _calls(self, address: Address, shown: str, places: list[Address]) -> Iterator[Step]:
        here = any(form.is_loopback for form in canonical(address))
        portless = self.dest.protocol is Protocol.ICMP
        owner = Owner.JAIL if self.dest.own else Owner.OUTSIDE if here else Owner.REMOTE
        if owner is Owner.OUTSIDE and portless:
            owner = Owner.UNKNOWN
        if owner is Owner.REMOTE and not self.dest.name:
            self.assumed.append(f"{address} is an address of another machine")

        main = self._call(address, owner, self.dest.port, shown, places)
        yield main
        if owner is Owner.OUTSIDE:
            self.assumed.append("a program outside the jail listens there")
            for other, when in _OTHERWISE:
                step = self._call(address, other, self.dest.port, shown, places)
                if not alike(step, main):
                    yield msgspec.structs.replace(step, when=when)
        if not self.dest.port and not portless:
            yield from self._by_port(main, address, owner, shown, places)

    def _by_port(
        self, main: Step, address: Address, owner: Owner, shown: str, places: list[Address]
    ) -> Iterator[Step]:
        found: dict[Hashable, tuple[Step, list[tuple[int, int]]]] = {}
        for first, last in self._ranges(address):
            step = self._call(address, owner, first, shown, places)
            if step.verdict != main.verdict:
                key = (step.reason, step.rule, step.layer)
                found.setdefault(key, (step, []))[1].append((first, last))
        for step, ranges in found.values():
            yield msgspec.structs.replace(step, ports=shown_ports(ranges))

    def _ranges(self, address: Address) -> Iterator[tuple[int, int]]:
        """The ports that rules speak of, cut where any of them begins or ends."""
        spoken = {
            pair
            for rule in self.policy.rules
            if isinstance(rule, AddressRule) and self.dest.protocol in rule.protocols
            for pair in rule.ports
        }
        if any(form in self.setting.local.resolvers for form in canonical(address)):
            spoken.add((53, 53))
        cuts = sorted({edge for first, last in spoken for edge in (first, last + 1)})
        for first, end in pairwise(cuts):
            if any(low <= first <= high for low, high in spoken):
                yield first, end - 1

    def _call(
        self, address: Address, owner: Owner, port: int, shown: str, places: list[Address]
    ) -> Step:
        attempt = _attempt(Operation.CONNECT, self.dest.protocol, Inet(address, port))
        host = wording.host(address) if self.dest.address else self.dest.name
        where = f"{host}:{port}" if port and self.dest.protocol is not Protocol.ICMP else host
        what = f"{self.dest.protocol.value} to {where}{shown}"
        return self._step("call", attempt, self._facts(owner, places), what)

    def _unix(self, endpoint: Unix) -> Iterator[Step]:
        attempt = _attempt(Operation.CONNECT, Protocol.UNIX, endpoint)
        path = b"" if endpoint.abstract else os.path.realpath(endpoint.path)
        what = str(endpoint)
        who = self.setting.who
        main = self._step("call", attempt, Supposed(Owner.OUTSIDE, path=path, who=who), what)
        self.assumed.append("a program outside the jail listens there")
        yield main
        there = 0 if endpoint.abstract else errno.ENOENT
        for owner, when in _OTHERWISE:
            gone = there if owner is Owner.NOBODY else 0
            facts = Supposed(owner, path=b"" if gone else path, error=gone, who=who)
            step = self._step("call", attempt, facts, what)
            if not alike(step, main):
                yield msgspec.structs.replace(step, when=when)

    # ---- verdicts ----

    def _step(
        self,
        kind: Literal["look-up", "call"],
        attempt: Attempt,
        facts: Supposed,
        what: str,
    ) -> Step:
        say = self._words(attempt.endpoint)
        return step(self.policy, attempt, facts, kind, what, say)

    def _words(self, endpoint: Endpoint) -> Callable[[str], str]:
        """Puts a text right that speaks of what was only supposed, or of port 0."""
        if isinstance(endpoint, Question):
            bare = wording.to_allow_name(endpoint.name)
            return lambda text: self._to_allow(self.dest.port) if text == bare else text
        if not isinstance(endpoint, Inet):
            return str
        host = wording.host(endpoint.address)
        name = self.dest.name if endpoint.address == self.supposed else host
        portless = f"{host}:{endpoint.port}" if not endpoint.port else host
        return lambda text: text.replace(portless, host).replace(host, name)


def _attempt(operation: Operation, protocol: Protocol, endpoint: Endpoint) -> Attempt:
    return Attempt(0, 0, "connect", operation, frozenset({protocol}), endpoint, Descriptor(0))


def program(
    exe: str | None = None, argv: Sequence[str] = (), parents: Sequence[str] = ()
) -> Caller:
    """
    A caller of whom this much is known; links are followed, as in rules.

    :raises UsageError: for a program without its absolute path.
    """
    path, above = ("" if exe is None else _real("exe", exe)), [_real("parent", p) for p in parents]
    return Caller(path, tuple(argv), bool(argv), tuple(above), bool(parents))


def _real(what: str, path: str) -> str:
    if not os.path.isabs(path):
        found = which(path) if "/" not in path else os.path.abspath(path)
        hint = f"did you mean {found}?" if found else "such as /usr/bin/curl"
        raise UsageError(f"{what}: {path!r} is no absolute path", hint)
    return os.path.realpath(path)


def _unknown(policy: Policy, who: Caller) -> Iterator[str]:
    """What is not known of the caller though rules ask for it."""
    asked = {
        key
        for rule in policy.rules
        if rule.terms.who
        for key in ("exe", "argv", "parent")
        if getattr(rule.terms.who, key)
    }
    known = {"exe": who.exe, "argv": who.argv, "parent": who.ancestors}
    for key, value in known.items():
        if key in asked and not value:
            yield f"--{key} is not given: of rules that ask for it only denials match"
