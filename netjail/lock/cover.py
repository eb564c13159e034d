"""
What was wanted in, rules that let it through out: by name where a name is known.

Rules on names do for look-ups as well, so that only those names are added which no
rule covers yet: the policy itself is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Unix, canonical
from netjail.errors import Place, RuleError
from netjail.lock.wants import Want, question
from netjail.model import Decision, Protocol, Reason, Verdict
from netjail.policy import Policy, Rules, wording
from netjail.policy.rules import parse
from netjail.policy.words import inner
from netjail.records import Replayed, attempt_of

if TYPE_CHECKING:
    from netjail.endpoints import Address
    from netjail.records import AttemptRecord

VAIN = "nobody listened"
"""The note of what was tried, and could have been refused as well."""
_ANY = "any"
"""TCP and UDP: what a rule without a scheme means."""


class Target(msgspec.Struct, frozen=True, order=True):
    """One line of a lock: a host, a port and a protocol; or a unix socket."""

    rank: int
    """Names, then addresses, then paths."""
    host: str
    """As a rule writes it."""
    port: int
    """0: every port."""
    proto: str

    @property
    def rule(self) -> str:
        """The rule that allows it."""
        if self.proto == Protocol.UNIX.value:
            return f"unix:{self.host}"
        scheme = "" if self.proto == _ANY else f"{self.proto}://"
        ports = f":{self.port}" if self.port and self.proto != Protocol.ICMP.value else ""
        return f"{scheme}{self.host}{ports}"


class Use(msgspec.Struct):
    """How a target was used."""

    program: str
    """Who wanted it first."""
    record: AttemptRecord
    """How it did."""
    count: int = 0
    note: str = ""
    verdicts: set[str] = msgspec.field(default_factory=set)


class Cover(msgspec.Struct):
    """The targets that let something through, and what no rule can."""

    targets: dict[Target, Use] = msgspec.field(default_factory=dict)
    left: dict[str, Use] = msgspec.field(default_factory=dict)
    """What is still denied under all of them, in words."""

    def add(self, target: Target, want: Want, note: str = "", count: int | None = None) -> None:
        """Count *want* for *target*."""
        use = self.targets.setdefault(target, Use(want.program, want.record, note=note))
        use.verdicts.add(want.record.verdict)
        use.count += want.count if count is None else count


def cover(wants: Iterable[Want], given: Rules) -> Cover:
    """
    What lets *wants* through.

    :param given: the rules that there are already.
    """
    found = Cover()
    called, vain, asked = _sorted(wants)
    names = {want.record.dest.name for want in asked}
    for want in called:
        for target in _targets(want, names):
            found.add(target, want)
    policy = _policy(found, given)
    for want in asked:
        if not allows(policy, want):
            _add_name(found, want, called)
    policy = _policy(found, given)
    for want in (*called, *asked):
        if not allows(policy, want):
            found.left[_describe(want)] = Use(want.program, want.record, want.count)
    known = set(found.targets)
    for want in vain:
        for target in set(_targets(want, names)) - known:
            found.add(target, want, VAIN)
    _drop_what_is_no_rule(found)
    _join(found)
    return found


# To see which of a name's addresses it would use, a resolver connects by UDP where its
# program then does by TCP: as soon as the name has two. And which of them a socket is
# cannot always be told.
def _join(found: Cover) -> None:
    for tcp in [target for target in found.targets if target.proto == "tcp"]:
        udp = msgspec.structs.replace(tcp, proto="udp")
        if tcp.rank and udp not in found.targets:
            continue
        first, last = found.targets.pop(tcp), found.targets.pop(udp, None)
        if last and first.note == VAIN:
            first, last = last, first
        if last:
            first.count += last.count
            first.verdicts |= last.verdicts
        found.targets[msgspec.structs.replace(tcp, proto=_ANY)] = first


def _sorted(wants: Iterable[Want]) -> tuple[list[Want], list[Want], list[Want]]:
    """Calls, calls where nobody listened, and look-ups."""
    called: list[Want] = []
    vain: list[Want] = []
    asked: list[Want] = []
    for want in wants:
        empty = want.reason is Reason.NO_LISTENER
        (asked if want.looked_up else vain if empty else called).append(want)
    return called, vain, sorted(asked, key=lambda want: want.record.dest.name)


def _policy(found: Cover, given: Rules) -> Policy:
    """The policy that *given* and the targets come to."""
    _drop_what_is_no_rule(found)
    rules = tuple(target.rule for target in found.targets)
    allow = (*given.allow, *rules)
    return Policy.load(msgspec.structs.replace(given, allow=allow, default=Decision.DENY))


def _drop_what_is_no_rule(found: Cover) -> None:
    for target in list(found.targets):
        try:
            parse(target.rule, Place(target.rule), "")
        except RuleError:
            del found.targets[target]


def allows(policy: Policy, want: Want) -> bool:
    """What *policy* says of an attempt, of the world as it was then."""
    verdict = policy.decide(attempt_of(want.record), Replayed(want.record))
    return isinstance(verdict, Verdict) and verdict.decision is Decision.ALLOW


def _targets(want: Want, asked: set[str]) -> Iterator[Target]:
    record = want.record
    if record.dest.unix:
        yield _unix(want)
        return
    if not record.dest.ip:
        return
    address = ip_address(record.dest.ip)
    forms = [Target(address.version, wording.host(form), 0, "") for form in canonical(address)]
    names = sorted(asked.intersection(record.seen.names)) or [record.dest.name]
    hosts = [Target(0, wording.named(name), 0, "") for name in names[:1] if name]
    if not hosts or _turns_inwards(want, names[0], address):
        hosts += forms
    for host in hosts:
        yield from _carried(host, record)


def _carried(host: Target, record: AttemptRecord) -> Iterator[Target]:
    """*host* by each protocol that the socket could have; others no rule can allow."""
    for proto in record.proto.split("+"):
        if proto in ("tcp", "udp", "icmp"):
            port = 0 if proto == "icmp" else record.dest.port or 0
            yield msgspec.structs.replace(host, port=port, proto=proto)


# A name from outside may lead inside only where the address is allowed as well.
def _turns_inwards(want: Want, name: str, address: Address) -> bool:
    if "." not in name or name in want.record.seen.trusted:
        return False
    return any(form in inner() for form in canonical(address))


def _unix(want: Want) -> Target:
    attempt = attempt_of(want.record)
    endpoint = attempt.endpoint
    assert isinstance(endpoint, Unix)
    reached = b"" if endpoint.abstract else Replayed(want.record).resolved(attempt)
    path = wording.path(Unix(reached) if reached else endpoint)
    return Target(7, path, 0, Protocol.UNIX.value)


_GUESS = re.compile(r"--allow '?[^ :]+:(\d+)'?")


def _add_name(found: Cover, want: Want, called: list[Want]) -> None:
    """A rule for a name that was looked up, if there has to be one for it alone."""
    asked = question(want)
    if asked is None or not asked.name or "\\" in asked.name:
        return
    name = wording.named(asked.name)
    # Several names lead to one address: the call may have been for this one.
    there = [other for other in called if asked.name in other.record.seen.names]
    for other in there:
        for target in _carried(Target(0, name, 0, ""), other.record):
            found.add(target, want, count=other.count)
    if there:
        return
    guess = _GUESS.fullmatch(want.record.fix)
    if want.refused or guess:
        port = int(guess[1]) if guess else 0
        note = "" if guess else "its port is not known: the look-up was refused"
        found.add(Target(0, name, port, _ANY), want, note)
        return
    # The narrowest rule on a name: it can be looked up, and sent pings.
    found.add(Target(0, name, 0, "icmp"), want, "looked up, never called")


def _describe(want: Want) -> str:
    record = want.record
    if want.looked_up:
        return f"look-up of {record.dest.name or 'the root'}"
    place = attempt_of(record).endpoint
    return f"{place} ({record.proto})"
