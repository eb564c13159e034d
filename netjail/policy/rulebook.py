"""One policy's rules as they were given, and what holds where none of them speaks."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netjail.model import Decision
from netjail.policy.callers import Callers
from netjail.policy.paths import PathRule
from netjail.policy.rules import AddressRule, Rule


class Rulebook(msgspec.Struct, frozen=True):
    """What an engine and its parts are compiled from."""

    allow: tuple[Rule, ...]
    """Every rule that allows, in the order in which they were given."""
    deny: tuple[Rule, ...]
    default: Decision
    error: int
    """The errno of a denied call."""
    allow_callers: Callers
    deny_callers: Callers

    @classmethod
    def of(
        cls, allow: Iterable[Rule], deny: Iterable[Rule], default: Decision, error: int
    ) -> Rulebook:
        """Take rules in; their conditions on callers are compiled."""
        allows, denies = tuple(allow), tuple(deny)
        welcome = Callers.of(allows, unknown=False)
        return cls(allows, denies, default, error, welcome, Callers.of(denies, unknown=True))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All of them, those that allow first."""
        return self.allow + self.deny

    @property
    def by_caller(self) -> bool:
        """Whether a rule asks who calls."""
        return bool(self.allow_callers.conditions or self.deny_callers.conditions)


def addressed(rules: Iterable[Rule]) -> tuple[AddressRule, ...]:
    """Those of *rules* on IP destinations."""
    return tuple(rule for rule in rules if isinstance(rule, AddressRule))


def on_paths(rules: Iterable[Rule]) -> tuple[PathRule, ...]:
    """Those of *rules* on unix sockets."""
    return tuple(rule for rule in rules if isinstance(rule, PathRule))
