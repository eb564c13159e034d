"""
The whole policy: options and files in, verdicts out.

Pure but for reading policy files in :meth:`Policy.load`; the same for a running
jail, for explaining a rule and for replaying a journal.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TypeVar

import msgspec

from netjail.endpoints import Inet, Netlink, Question, Unix, Unspecified
from netjail.errors import Place
from netjail.model import Attempt, Decision, Operation, Pending, Protocol, Reason, Verdict
from netjail.policy import files, rules, wording
from netjail.policy.engine import Engine
from netjail.policy.errnos import error_named
from netjail.policy.facts import Facts
from netjail.policy.files import Entry, Refusal, Sheet
from netjail.policy.query import Query
from netjail.policy.rules import AddressRule

# What could carry an address of the endpoint's kind: on any other socket the kernel
# refuses it. OTHER stays: what is not understood is never waved through.
_CARRIERS: dict[type, frozenset[Protocol]] = {
    Inet: frozenset(Protocol) - {Protocol.UNIX, Protocol.NETLINK},
    Unix: frozenset({Protocol.UNIX, Protocol.OTHER}),
    Netlink: frozenset({Protocol.NETLINK, Protocol.OTHER}),
}
_NETLINK = {Protocol.NETLINK}


class Rules(msgspec.Struct, frozen=True):
    """What the command line says of the policy, as it was written."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    default: Decision | None = None
    errno: str | None = None
    bind: tuple[str, ...] = ()
    search: bool = False
    """Look for a policy file from the working directory upwards, unless *files* are given."""
    audit: bool = False


class Policy(msgspec.Struct, frozen=True):
    """What the jail may do. :meth:`load` makes one."""

    engines: tuple[Engine, ...]
    """Each has to allow: the caller's policy, and the system's where there is one."""
    bind: tuple[tuple[AddressRule, ...], ...]
    """The same of listeners, an entry a policy that speaks of them."""
    warnings: tuple[str, ...]
    refusal: Refusal
    """How a look-up is refused."""
    files: tuple[str, ...]
    """The files it was read from."""
    audit: bool = False

    @classmethod
    def load(cls, given: Rules) -> Policy:
        """
        Compile a policy.

        :raises RuleError: for a rule or file that does not parse or cannot be enforced.
        """
        return _load(given)

    def decide(self, attempt: Attempt, facts: Facts) -> Verdict | Pending:
        """Judge an attempt; the same answer for the same facts, and never an exception."""
        endpoint = attempt.endpoint
        if isinstance(endpoint, Question):
            return _together(engine.decide_name(endpoint, facts) for engine in self.engines)
        if attempt.operation not in (Operation.CONNECT, Operation.SEND):
            return _structure(attempt)
        if not isinstance(endpoint, Inet | Unix):
            return _not_by_rules(attempt)
        protocols = attempt.protocols & _CARRIERS[type(endpoint)]
        if not protocols:
            return wording.fixed(Reason.MALFORMED, "the socket is of another family", errno.EINVAL)
        return _together(self._by(engine, attempt, protocols, facts) for engine in self.engines)

    @property
    def by_name(self) -> bool:
        """Whether a rule speaks of a host name."""
        return any(engine.naming.by_name for engine in self.engines)

    @staticmethod
    def _by(
        engine: Engine, attempt: Attempt, protocols: frozenset[Protocol], facts: Facts
    ) -> Verdict | Pending:
        endpoint = attempt.endpoint
        if isinstance(endpoint, Inet):
            return _for_each(engine, attempt, endpoint, protocols, facts)
        if not isinstance(endpoint, Unix) or Protocol.OTHER in protocols:
            return _structure(attempt)
        if not endpoint.path and not endpoint.abstract:
            return wording.fixed(Reason.MALFORMED, "a unix address without a name", errno.EINVAL)
        return engine.decide_unix(attempt, endpoint, facts)

    def listen(self, endpoint: object, protocol: Protocol) -> bool:
        """Whether a listener may be reached from other machines: ``--bind`` opens it."""
        if self.audit:
            return True
        if not isinstance(endpoint, Inet):
            return False
        # The address as it is, not canonical(): here 0.0.0.0 means every address.
        address = getattr(endpoint.address, "ipv4_mapped", None) or endpoint.address
        return all(
            any(rule.applies(protocol, endpoint.port) and rule.matches(address) for rule in bind)
            for bind in self.bind
        )


def _structure(attempt: Attempt) -> Verdict:
    family = attempt.operation in (Operation.SOCKET, Operation.CONNECT, Operation.SEND)
    error = errno.EAFNOSUPPORT if family else errno.EPERM
    return wording.fixed(Reason.STRUCTURE, f"{attempt.endpoint} is not for a jail", error)


def _not_by_rules(attempt: Attempt) -> Verdict:
    endpoint = attempt.endpoint
    if isinstance(endpoint, Unspecified) and attempt.operation is Operation.CONNECT:
        # connect(2): it dissolves the association, and reaches nobody.
        return wording.fixed(Reason.DEFAULT, "it disconnects")
    if isinstance(endpoint, Netlink) and attempt.protocols & _CARRIERS[Netlink] == _NETLINK:
        if endpoint == Netlink(0, 0):
            return wording.fixed(Reason.DEFAULT, "it asks the kernel")
        why = "netlink to other programs cannot be allowed"
        return wording.fixed(Reason.STRUCTURE, why, errno.ECONNREFUSED)
    return _structure(attempt)


# A descriptor that another thread can replace may be any of several kinds; the call
# runs only if each of them may.
def _for_each(
    engine: Engine, attempt: Attempt, endpoint: Inet, protocols: frozenset[Protocol], facts: Facts
) -> Verdict | Pending:
    verdicts: dict[Protocol, Verdict] = {}
    pending: set[str] = set()
    for protocol in sorted(protocols, key=lambda member: member.value):
        query = Query(attempt, protocol, endpoint, facts)
        verdict = engine.decide_inet(query)
        if isinstance(verdict, Pending):
            pending |= verdict.names
        else:
            verdicts[protocol] = verdict
    allowed = [p for p, v in verdicts.items() if v.decision is Decision.ALLOW]
    denied = [p for p, v in verdicts.items() if v.decision is Decision.DENY]
    # Nobody is there over the other protocol: whatever the descriptor is, the call
    # reaches only what is allowed. Else no program with threads could reach itself.
    if allowed and all(verdicts[p].reason is Reason.NO_LISTENER for p in denied):
        denied = []
    # The stub is where it goes then, whatever the descriptor is; it answers no ping.
    stubbed = next((v for v in verdicts.values() if v.reason is Reason.STUB), None)
    if stubbed and protocols - {Protocol.ICMP} <= set(allowed):
        return stubbed
    if pending and not denied:
        return Pending(frozenset(pending))
    if not denied:
        verdict = verdicts[allowed[0]]
        return msgspec.structs.replace(
            verdict, cacheable=all(one.cacheable for one in verdicts.values())
        )
    if not allowed:
        return verdicts[denied[0]]
    fix = verdicts[denied[0]].fix
    words = (allowed[0].value, denied[0].value)
    return wording.ambiguous(verdicts[allowed[0]], verdicts[denied[0]], words, fix)


def _together(verdicts: Iterable[Verdict | Pending]) -> Verdict | Pending:
    return reduce(_stricter, verdicts)


def _stricter(one: Verdict | Pending, other: Verdict | Pending) -> Verdict | Pending:
    for verdict in (one, other):
        if isinstance(verdict, Verdict) and verdict.decision is Decision.DENY:
            return verdict
    if isinstance(one, Pending) and isinstance(other, Pending):
        return Pending(one.names | other.names)
    if isinstance(one, Verdict) and isinstance(other, Verdict):
        return one if (one.cacheable, _direct(one)) <= (other.cacheable, _direct(other)) else other
    return one if isinstance(one, Pending) else other


def _direct(verdict: Verdict) -> bool:
    return verdict.reason is not Reason.STUB


def _load(given: Rules) -> Policy:
    sheets = [_options(given)]
    paths = list(given.files)
    warnings: list[str] = []
    sheets += [files.read(path) for path in paths]
    if given.search and not paths:
        found = files.search(os.getcwd())
        if found.path and found.sheet:
            paths.append(found.path)
            sheets.append(found.sheet)
        if found.warning:
            warnings.append(found.warning)
    parts = [_Part.of(sheets, given.audit)]
    if os.path.exists(files.SYSTEM):
        paths.append(files.SYSTEM)
        parts.append(_Part.of([files.read(files.SYSTEM)], audit=False))
    return Policy(
        tuple(part.engine for part in parts),
        # A system policy that is silent about listening leaves it to the caller's.
        tuple(part.bind for part in parts if part.binds or part is parts[0]),
        (*warnings, *(warning for part in parts for warning in part.warnings)),
        next((part.refusal for part in parts if part.refusal), Refusal.NXDOMAIN),
        tuple(paths),
        given.audit,
    )


def _options(given: Rules) -> Sheet:
    def entries(option: str, texts: Iterable[str]) -> tuple[Entry, ...]:
        return tuple(Entry(text, Place(f"{option} {shlex.quote(text)}"), option) for text in texts)

    return Sheet(
        given.default,
        entries("--allow", given.allow),
        entries("--deny", given.deny),
        next(iter(entries("--errno", [given.errno])), None) if given.errno is not None else None,
        entries("--bind", given.bind),
    )


class _Part(msgspec.Struct, frozen=True):
    """What the sheets of one policy come to: their lists add up."""

    engine: Engine
    bind: tuple[AddressRule, ...]
    binds: bool
    refusal: Refusal | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, sheets: list[Sheet], audit: bool) -> _Part:
        allow = _read(rules.parse, (entry for sheet in sheets for entry in sheet.allow))
        deny = _read(rules.parse, (entry for sheet in sheets for entry in sheet.deny))
        bind = _read(rules.parse_bind, (entry for sheet in sheets for entry in sheet.bind or ()))
        default = _default(sheets)
        warnings: tuple[str, ...] = ()
        if deny and not allow and default is None and not audit:
            warnings = (
                "only --deny is given: the rest is denied as well; to allow it: --default allow",
            )
        if audit and not allow and not deny:
            default = default or Decision.ALLOW
        # A flag comes first and wins; of several files the last.
        said = [sheet.errno for sheet in sheets if sheet.errno]
        entry = sheets[0].errno or (said[-1] if said else None)
        error = error_named(entry.text, entry.place) if entry else errno.ECONNREFUSED
        engine = Engine.of(allow, deny, default or Decision.DENY, error)
        refusal = next((sheet.refusal for sheet in sheets if sheet.refusal), None)
        binds = any(sheet.bind is not None for sheet in sheets)
        if engine.allow_paths:
            from netjail.policy import brokers

            warnings += tuple(brokers.warnings(engine.allow_paths, engine.deny_paths))
        return cls(engine, tuple(bind), binds, refusal, warnings)


# The options' word is final; files that disagree add up to the stricter one.
def _default(sheets: list[Sheet]) -> Decision | None:
    if sheets[0].default:
        return sheets[0].default
    said = {sheet.default for sheet in sheets if sheet.default}
    return Decision.DENY if Decision.DENY in said else next(iter(said), None)


_R = TypeVar("_R")


def _read(reader: Callable[[str, Place, str], _R], entries: Iterable[Entry]) -> list[_R]:
    return [reader(entry.text, entry.place, entry.layer) for entry in entries]
