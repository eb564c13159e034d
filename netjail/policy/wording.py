"""
Verdicts with their words: why, and what to add to let it through.

Every denial says who decided and which option changes it, quoted for a shell.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterable

from netjail.endpoints import Address, Inet, Question, Unix
from netjail.model import Decision, Protocol, Reason, Verdict
from netjail.policy import presets
from netjail.policy.addresses import AddressSet
from netjail.policy.paths import PathRule, escape
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.targets import near_word


def fixed(reason: Reason, why: str, error: int = 0) -> Verdict:
    """The verdict on what no rule is asked about: an allow without *error*."""
    decision = Decision.DENY if error else Decision.ALLOW
    return Verdict(decision, reason, why=why, error=error, cacheable=True)


def allowed(rule: Rule, name: str = "", cacheable: bool = False) -> Verdict:
    """A rule lets it through."""
    return Verdict(
        Decision.ALLOW,
        Reason.RULE,
        rule.text,
        rule.layer,
        _said(f"allowed by {rule.text}", rule),
        cacheable=cacheable,
        name=name,
    )


def led(rule: AddressRule, name: str = "") -> Verdict:
    """A rule leads it elsewhere."""
    redirect = rule.terms.redirect
    why = _said(f"led to {redirect} by {rule.text} ({rule.layer})", rule)
    return Verdict(
        Decision.ALLOW, Reason.RULE, rule.text, rule.layer, why, name=name, redirect=redirect
    )


def nowhere(protocol: Protocol, name: str, port: int, error: int) -> Verdict:
    """A name that was never looked up for real: no rule speaks of it at this port."""
    why = f"no rule allows {protocol.value} to {name}:{port}, which rules lead elsewhere alone"
    fix = to_allow_name(name, port)
    return Verdict(Decision.DENY, Reason.DEFAULT, why=why, fix=fix, error=error, name=name)


def nowhere_at_all(name: str, error: int) -> Verdict:
    """What stands in for a name is no place to go to."""
    why = f"{name} was not looked up for real, and no rule leads this call elsewhere"
    return Verdict(Decision.DENY, Reason.DEFAULT, why=why, error=error, name=name)


def torn(verdict: Verdict, error: int) -> Verdict:
    """An allowed call that would be led to one place or another."""
    why = "it would be led to different places, by the protocol or by the policy"
    return Verdict(Decision.DENY, Reason.AMBIGUOUS, verdict.rule, verdict.layer, why, error=error)


def open_by_default(name: str = "", cacheable: bool = False) -> Verdict:
    """No rule speaks of it, and what no rule speaks of may be."""
    why = "allowed by default"
    return Verdict(Decision.ALLOW, Reason.DEFAULT, why=why, cacheable=cacheable, name=name)


def refused(rule: Rule, spared: str, error: int, cacheable: bool, name: str = "") -> Verdict:
    """A deny rule matches; *spared* is the exception that would let this one through."""
    return Verdict(
        Decision.DENY,
        Reason.RULE,
        rule.text,
        rule.layer,
        _said(f"denied by {rule.text} ({rule.layer})", rule),
        _excepted(rule, spared),
        rule.terms.error or error,
        cacheable,
        name,
    )


def _said(why: str, rule: Rule) -> str:
    """With what the user said of the rule: its name, and the reason for it."""
    terms = rule.terms
    named = f'{why} "{terms.name}"' if terms.name else why
    return f"{named}: {terms.reason}" if terms.reason else named


def _excepted(rule: Rule, spared: str) -> str:
    preset = presets.of(rule.layer)
    option = (
        "deny" if preset else rule.layer if rule.layer.startswith("-") else f"{rule.layer}: deny"
    )
    if isinstance(rule, PathRule):
        exact = rule.text.removeprefix("unix:") == spared
    else:
        hosts, addresses = rule.target.hosts, rule.target.addresses
        single = addresses == _only(spared) if addresses else not hosts or bool(hosts.single)
        exact = single and not (addresses and hosts)
    changed = f"{option} {shlex.quote(f'{rule.text} !{spared}')}"
    if preset:
        # What comes with netjail is not there to be edited.
        without = f"do without the preset {preset} (extends or --preset)"
        return without if exact else f"{without}, or write its rules with {changed}"
    return f"remove {option} {shlex.quote(rule.text)}" if exact else changed


def _only(spared: str) -> AddressSet | None:
    try:
        return AddressSet.of([spared.strip("[]")])
    except ValueError:
        return None


def host(address: Address) -> str:
    """An address as a rule writes it."""
    return f"[{address}]" if address.version == 6 else str(address)


def to_allow(protocol: Protocol, addresses: Iterable[Address], port: int) -> str:
    """The options that let *addresses* through."""
    if protocol is Protocol.ICMP:
        rules = [f"icmp://{host(address)}" for address in addresses]
    else:
        ending = f":{port}" if port else ""
        rules = [host(address) + ending for address in addresses]
    return " ".join(f"--allow {shlex.quote(rule)}" for rule in rules)


def path(endpoint: Unix) -> str:
    """A unix endpoint as a rule writes it, without the scheme."""
    return ("@" if endpoint.abstract else "") + escape(os.fsdecode(endpoint.path))


def named(name: str) -> str:
    """A host name as a rule writes it: with a dot behind it where it would be a word."""
    return f"{name}." if "." not in name and near_word(name) else name


def to_allow_name(name: str, port: int = 0) -> str:
    """The option that lets a host through."""
    host = named(name)
    return f"--allow {shlex.quote(f'{host}:{port}' if port else host)}"


def by_default(
    protocol: Protocol, endpoint: Inet, fix: str, error: int, cacheable: bool, name: str = ""
) -> Verdict:
    """No rule speaks of it; *name* is a host that leads there."""
    where = endpoint.address if protocol is Protocol.ICMP else endpoint
    why = f"no rule allows {protocol.value} to {name or where}"
    return Verdict(Decision.DENY, Reason.DEFAULT, "", "", why, fix, error, cacheable, name)


def unnamed(name: str) -> Verdict:
    """No rule speaks of a name that is looked up."""
    why = f"no rule allows looking up {name or 'the root'}"
    fix = to_allow_name(name) if name and "\\" not in name else ""
    return Verdict(Decision.DENY, Reason.DEFAULT, why=why, fix=fix, name=name)


def unknown_kind(question: Question) -> Verdict:
    """A type that no program needs; with enough of them a name could carry anything."""
    why = f"records of type {question.kind} are not asked for"
    return Verdict(Decision.DENY, Reason.STRUCTURE, why=why, name=question.name)


def no_question() -> Verdict:
    """What was sent to a name server is nothing that could be asked."""
    why = "it is no question that could be asked"
    return Verdict(Decision.DENY, Reason.STRUCTURE, why=why)


def local(name: str) -> Verdict:
    """A name that means this machine, everywhere."""
    return Verdict(Decision.ALLOW, Reason.SELF, why=f"{name} is this machine", name=name)


def stub(endpoint: Inet) -> Verdict:
    """A name server of this machine's: what it is asked is judged name by name."""
    why = f"netjail answers for {endpoint} and judges each name"
    return Verdict(Decision.ALLOW, Reason.STUB, why=why)


def foreign(endpoint: Inet | Unix, fix: str, error: int, known: bool = True) -> Verdict:
    """Somebody else's listener on this machine; not *known*: it cannot be told whose."""
    whose = "belongs to a program outside this jail" if known else "is not known to be this jail's"
    why = f"{str(endpoint).removeprefix('unix:')} {whose}"
    return Verdict(Decision.DENY, Reason.FOREIGN, why=why, fix=fix, error=error)


def name_service(endpoint: Unix, fix: str, error: int) -> Verdict:
    """A name service or log outside, which every C library tries."""
    why = f"{str(endpoint).removeprefix('unix:')} is a service of this machine, outside this jail"
    return Verdict(Decision.DENY, Reason.NAME_SERVICE, why=why, fix=fix, error=error)


def nobody(endpoint: Inet | Unix, error: int) -> Verdict:
    """Nobody is there; answered as the kernel would."""
    shown = str(endpoint).removeprefix("unix:")
    why = f"{shown} does not exist" if error == errno.ENOENT else f"nobody listens on {shown}"
    return Verdict(Decision.DENY, Reason.NO_LISTENER, why=why, error=error)


def own(endpoint: Inet | Unix) -> Verdict:
    """The jail's own listener."""
    why = f"{str(endpoint).removeprefix('unix:')} is this jail's own"
    return Verdict(Decision.ALLOW, Reason.SELF, "self", why=why)


def rebinding(rule: AddressRule, name: str, address: Address, fix: str, error: int) -> Verdict:
    """A name from outside that gave an address inside."""
    why = f"{name} resolves to {address}, which is not a public address"
    return Verdict(
        Decision.DENY, Reason.REBINDING, rule.text, rule.layer, why, fix, error, name=name
    )


def ambiguous(allow: Verdict, deny: Verdict, protocols: tuple[str, str], fix: str) -> Verdict:
    """Allowed for one protocol that the descriptor could be, not for another."""
    why = f"allowed for {protocols[0]}, not for {protocols[1]}, and the socket could be either"
    ruled = deny.reason is Reason.RULE
    return Verdict(
        Decision.DENY,
        Reason.AMBIGUOUS,
        deny.rule if ruled else allow.rule,
        deny.layer if ruled else allow.layer,
        why,
        deny.fix if ruled else fix,
        deny.error,
        allow.cacheable and deny.cacheable,
    )


def to_allow_unix(endpoint: Unix) -> str:
    """The option that lets a unix destination through."""
    return f"--allow {shlex.quote('unix:' + path(endpoint))}"
