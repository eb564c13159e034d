"""What a denial says of the rules that would have let another caller through."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netjail.endpoints import Inet, Question, Unix, canonical
from netjail.model import Attempt, Reason, Verdict
from netjail.policy.engine import Engine
from netjail.policy.facts import Facts
from netjail.policy.naming import means
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.terms import Who

_UNMATCHED = (Reason.DEFAULT, Reason.FOREIGN, Reason.NAME_SERVICE)


def with_others(
    verdict: Verdict, engines: Iterable[Engine], attempt: Attempt, facts: Facts
) -> Verdict:
    """*verdict*, and whom a rule allows what it denies; no look-up is made for that."""
    if verdict.reason not in _UNMATCHED:
        return verdict
    for engine in engines:
        for rule in engine.book.allow if engine.book.by_caller else ():
            if (
                engine.book.allow_callers.speaks(rule, lambda: facts.caller(attempt))
                or not rule.terms.who
            ):
                continue
            if _speaks(rule, attempt, facts):
                why = f"{verdict.why}; {rule.layer} allows it to {_whom(rule.terms.who)} alone"
                return msgspec.structs.replace(verdict, why=why)
    return verdict


def _speaks(rule: Rule, attempt: Attempt, facts: Facts) -> bool:
    endpoint = attempt.endpoint
    if isinstance(endpoint, Unix):
        return not isinstance(rule, AddressRule) and rule.matches(endpoint)
    if not isinstance(rule, AddressRule):
        return False
    if isinstance(endpoint, Question):
        return means(rule, endpoint.name, facts.search())
    if not isinstance(endpoint, Inet):
        return False
    if not any(rule.applies(protocol, endpoint.port) for protocol in attempt.protocols):
        return False
    forms = canonical(endpoint.address)
    if rule.literal and any(map(rule.matches, forms)):
        return True
    hosts = rule.target.hosts
    names = {name for form in forms for name in facts.known(form).names} if hosts else ()
    return any(means(rule, name, facts.search()) for name in names)


def _whom(who: Who) -> str:
    said = (
        " or ".join(who.exe) or "programs",
        f"with {' or '.join(who.argv)}" if who.argv else "",
        f"below {' or '.join(who.parent)}" if who.parent else "",
    )
    return " ".join(part for part in said if part)
