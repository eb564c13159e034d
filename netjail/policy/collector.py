"""Readers that complain in, what they could read out, and every complaint at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from netjail.errors import Place, RuleError, raise_all

_T = TypeVar("_T")

_MOST = 1000
"""Complaints after which no more is read: each can take a file of its own to find."""


class Collector:
    """Calls readers, and keeps their complaints for the end."""

    def __init__(self) -> None:
        self.errors: list[RuleError] = []

    def take(self, reader: Callable[..., _T], *args: Any) -> _T | None:
        """What *reader* gives, None where it complains."""
        try:
            return reader(*args)
        except RuleError as error:
            self.errors.extend(error.errors)
            return None

    def all(self, reader: Callable[..., _T], entries: Iterable[Sequence[Any]]) -> tuple[_T, ...]:
        """What *reader* gives of each of *entries*."""
        found = (self.take(reader, *entry) for entry in entries if len(self.errors) < _MOST)
        return tuple(each for each in found if each is not None)

    def finish(self) -> None:
        """Raise what was collected, in the order in which it stands."""
        sources = list(dict.fromkeys(e.place.source if e.place else "" for e in self.errors))

        def key(error: RuleError) -> tuple[int, int, int]:
            place = error.place or Place("")
            return sources.index(place.source), place.line, place.column

        raise_all(sorted(self.errors, key=key))
