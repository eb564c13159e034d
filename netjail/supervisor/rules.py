"""The rules of a policy, for the journal and the report: as they were written, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from netjail.model import Protocol
from netjail.records import RuleRecord, rule_record

if TYPE_CHECKING:
    from netjail.policy import Policy
    from netjail.policy.engine import Group
    from netjail.policy.paths import PathRule
    from netjail.policy.rules import Rule


def rules_of(policy: Policy) -> list[RuleRecord]:
    """Each rule once; a rule on several protocols is one."""
    found: dict[tuple[str, str], RuleRecord] = {}
    for engine in policy.engines:
        for kind, rules in (
            ("allow", _all(engine.allow, engine.allow_paths)),
            ("deny", _all(engine.deny, engine.deny_paths)),
        ):
            for rule in rules:
                if (rule.layer, rule.text) not in found:
                    record = rule_record(rule.text, rule.layer, kind, rule.terms.reason)
                    found[rule.layer, rule.text] = record
    return list(found.values())


def written(policy: Policy) -> dict[str, object]:
    """The rules as they were written: to judge the run's attempts again, elsewhere."""
    return {
        "files": list(policy.files),
        "layers": [
            {
                "default": engine.default.value,
                "allow": sorted({r.text for r in _all(engine.allow, engine.allow_paths)}),
                "deny": sorted({r.text for r in _all(engine.deny, engine.deny_paths)}),
            }
            for engine in policy.engines
        ],
    }


def _all(groups: Mapping[Protocol, Group], paths: Iterable[PathRule]) -> Iterator[Rule]:
    for group in groups.values():
        yield from chain(group.fixed, group.live)
    yield from paths
