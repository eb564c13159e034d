"""
Whose calls a rule speaks of.

Paths are globs: ``*`` and ``?`` stop at ``/``, ``**`` does not, ``[…]`` is a class.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from netjail.policy.facts import Caller
from netjail.policy.paths import PathRule
from netjail.policy.rules import AddressRule
from netjail.policy.terms import Who

Patterns = tuple[re.Pattern[str], ...]
_R = TypeVar("_R", AddressRule, PathRule)


class Condition(msgspec.Struct, frozen=True):
    """A rule's ``Who``, compiled."""

    exe: Patterns
    argv: Patterns
    parent: Patterns

    @classmethod
    def of(cls, who: Who) -> Condition:
        """Compile; links in the fixed part of a path are followed now."""
        return cls(
            tuple(map(path_pattern, who.exe)),
            tuple(re.compile(fnmatch.translate(glob)) for glob in who.argv),
            tuple(map(path_pattern, who.parent)),
        )

    def holds(self, caller: Caller) -> bool | None:
        """Whether *caller* is meant; None: that is not known."""
        said = (
            _any(self.exe, (caller.exe,), bool(caller.exe)),
            _any(self.argv, caller.argv, caller.whole),
            _any(self.parent, caller.ancestors, caller.rooted and all(caller.ancestors)),
        )
        if False in said:
            return False
        return None if None in said else True


def _any(patterns: Patterns, texts: Iterable[str], known: bool) -> bool | None:
    if not patterns or any(one.match(text) for text in texts for one in patterns):
        return True
    return False if known else None


class Callers(msgspec.Struct, frozen=True):
    """Whose calls the rules of one kind speak of."""

    conditions: dict[Who, Condition]
    """Of the rules that have one."""
    unknown: bool
    """Whether a rule speaks of a caller of whom that is not known: a denial does."""

    @classmethod
    def of(cls, rules: Iterable[AddressRule | PathRule], unknown: bool) -> Callers:
        """Compile the conditions of *rules*."""
        found = {rule.terms.who for rule in rules}
        return cls({who: Condition.of(who) for who in found if who}, unknown)

    def heeded(self, rules: Sequence[_R], caller: Callable[[], Caller]) -> Sequence[_R]:
        """The rules that speak of the caller, who is asked for only where one has terms."""
        if not self.conditions:
            return rules
        return [rule for rule in rules if self.speaks(rule, caller)]

    def speaks(self, rule: AddressRule | PathRule, caller: Callable[[], Caller]) -> bool:
        """Whether *rule* speaks of the caller."""
        if rule.terms.who is None:
            return True
        holds = self.conditions[rule.terms.who].holds(caller())
        return self.unknown if holds is None else holds


def path_pattern(glob: str) -> re.Pattern[str]:
    """What matches the true paths that *glob* means."""
    fixed = re.split(r"[*?\[]", glob)[0]
    if fixed != glob:
        fixed = fixed[: fixed.rfind("/") + 1]
    true = os.path.realpath(fixed) if fixed else ""
    slash = "/" if fixed.endswith("/") and true != "/" else ""
    # What is not known, "", is no path that a glob could mean.
    text = "(?=/)" + re.escape(true + slash) + _translate(glob[len(fixed) :])
    return re.compile(text + r"\Z", re.DOTALL)


_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _translate(glob: str) -> str:
    return "".join(_WILD.get(part) or _piece(part) for part in _PARTS.findall(glob))


def _piece(part: str) -> str:
    if len(part) == 1:
        return re.escape(part)
    # As fnmatch has it; a class never means the slash.
    return "(?!/)" + fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
