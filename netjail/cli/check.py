"""``netjail check``: what is wrong with a policy, for people and for CI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from netjail.cli.page import Page
from netjail.cli.paint import color_option, painter
from netjail.cli.rules import rule_options, rules_given
from netjail.errors import RuleError, UsageError
from netjail.formats import pretty, visible

if TYPE_CHECKING:
    from netjail.policy import Rules
    from netjail.policy.check import Finding
    from netjail.policy.policy import Policy

_EXAMPLES = """\b
netjail check
    the netjail.toml or pyproject.toml that trace would find here
netjail check ci/netjail.toml
    that file
netjail check --schema > netjail.schema.json
    for editors: "#:schema ./netjail.schema.json" as the file's first line
netjail check --json | jq -r '.findings[].message'
    for a program
"""


@click.command(
    "check",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/check/1.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of policy files, and no more.")
@rule_options
@color_option
def command(files: tuple[str, ...], as_json: bool, schema: bool, color: str, **given: Any) -> None:
    """
    Look for mistakes in the policy of FILE, or in the one that is found, and run its tests.

    Each finding is a line, FILE:LINE:COLUMN: KIND: MESSAGE. An error is not understood or
    cannot be enforced. A test is a [[test]] that the policy fails. The others are about
    rules: unreachable (all denied), conflict, duplicate, shadowed by others, broad (every
    host, every socket) and broker (acts for others). A broad rule or a broker's
    is no finding if it is a [[rule]] with a reason.

    The tests are judged as by netjail explain, and nothing is sent to the network.

    The exit status is 0 if there is nothing to say, 1 if there is, 2 for wrong usage.
    """
    if schema:
        from netjail.policy.schema import text

        click.echo(text(), nl=False)
        return
    given["policy"] = (*given["policy"], *files)
    found, policy = _check(rules_given(given))
    files = policy.files if policy else given["policy"] or _sources(found)
    if as_json:
        click.echo(_json(found, files, policy))
    else:
        for line in _lines(found, ", ".join(files), policy, painter(color)):
            click.echo(line, color=True)
    sys.exit(1 if found else 0)


def _check(rules: Rules) -> tuple[list[Finding], Policy | None]:
    import msgspec

    from netjail.policy import Policy
    from netjail.policy.check import check, complaints

    try:
        policy = Policy.load(msgspec.structs.replace(rules, expired_fails=True))
    except RuleError as error:
        return complaints(error), None
    if not (policy.files or policy.warnings or rules.allow or rules.deny or rules.presets):
        raise UsageError("no policy is found here", "netjail check FILE")
    return check(policy), policy


def _sources(found: list[Finding]) -> tuple[str, ...]:
    """The files that were found, where they are not right."""
    return tuple(dict.fromkeys(finding.place.source for finding in found if finding.place.line))


def _lines(found: list[Finding], shown: str, policy: Policy | None, paint: Any) -> Iterator[str]:
    for finding in found:
        style = "bad" if finding.kind in ("error", "test") else "title"
        place = f"{visible(str(finding.place), 1000)}: " if finding.place.source else ""
        yield f"{place}{paint(finding.kind, style)}: {visible(finding.message, 1000)}"
        if finding.hint:
            yield paint(f"  hint: {visible(finding.hint, 1000)}", "faint")
    tests = _count(len(policy.tests), "test") if policy else "rules and tests not looked at"
    count = _count(len(found), "finding") if found else paint("nothing found", "good")
    yield f"{visible(shown, 1000) or 'no policy file'}: {count}, {tests}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _json(found: list[Finding], files: tuple[str, ...], policy: Policy | None) -> str:
    findings = [
        {
            "file": finding.place.source,
            "line": finding.place.line,
            "column": finding.place.column,
            "kind": finding.kind,
            "message": finding.message,
            "hint": finding.hint,
        }
        for finding in found
    ]
    document = {
        "schema": "netjail/check/1",
        "files": list(files),
        "tests": len(policy.tests) if policy else None,
        "findings": findings,
    }
    return pretty(document)
