"""The rules of a policy, for the journal and the report: as they were written, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netjail.records import RuleRecord, rule_record

if TYPE_CHECKING:
    from netjail.policy import Policy


def rules_of(policy: Policy) -> list[RuleRecord]:
    """Each rule once; a rule on several protocols is one."""
    found: dict[tuple[str, str], RuleRecord] = {}
    for engine in policy.engines:
        for kind, rules in (("allow", engine.book.allow), ("deny", engine.book.deny)):
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
                "default": book.default.value,
                "allow": sorted({rule.text for rule in book.allow}),
                "deny": sorted({rule.text for rule in book.deny}),
            }
            for book in (engine.book for engine in policy.engines)
        ],
    }
