"""The options that say what the policy is, for every command that is no jail but judges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from netjail.cli.jail import rules_of
from netjail.cli.options import OPTIONS, Options
from netjail.policy import Rules

_F = TypeVar("_F", bound=Callable[..., Any])

# These say how a jail is run, not what its policy is.
_OF_JAILS = ("audit", "strict")
RULES = tuple(one for one in OPTIONS if one.section == "Rules" and one.field not in _OF_JAILS)


def rule_options(command: _F) -> _F:
    """Give a command the options of trace that say what the policy is."""
    for option in reversed(RULES):
        command = click.option(
            *option.flags,
            option.field,
            multiple=option.many,
            is_flag=not option.takes,
            type=click.Choice(option.choices) if option.choices else None,
            metavar=option.takes or None,
            help=option.help,
        )(command)
    return command


def rules_given(given: dict[str, Any]) -> Rules:
    """What such options came to."""
    fields = (option.field for option in RULES)
    named = {field: given[field] for field in fields if given[field] is not None}
    return rules_of(Options(**named), audit=False)
