"""A document's values in words, for a page: what its templates ask for, each a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netjail.formats import visible
from netjail.formats.document import Asker, Destination, Process

# state: (mark, words); the mark is what tells them apart without colours.
STATES = {
    "denied": ("\N{MULTIPLICATION X}", "denied"),
    "would": ("\N{MULTIPLICATION X}", "would be denied"),
    "quiet": ("\N{EN DASH}", "not counted"),
    "allowed": ("\N{CHECK MARK}", "allowed"),
}
# For verdicts that bring no sentence of their own.
_WHY = {
    "rule": "a rule says so",
    "default": "no rule matches",
    "self": "the jail's own",
    "foreign": "it belongs to a program outside this jail",
    "no-listener": "nobody listens there",
    "name-service": "name services outside stay closed",
    "stub": "each question is judged by itself",
    "rebinding": "a public name that gives a private address",
    "ambiguous": "not allowed for every protocol that its socket could have",
    "malformed": "refused as the kernel would",
    "structure": "no rule can open this",
    "internal": "it could not be done safely",
}

_IN_TREE = ("denied", "would", "allowed", "quiet")
_LEFT_OUT = "…"

_SCOPES = {
    "machine": "this machine only",
    "open": "open to the network",
    "local": "programs outside this jail can reach it",
    "refused": "refused",
}


def state(destination: Destination) -> str:
    """A key of ``STATES``."""
    if destination.verdict == "allow":
        return "allowed"
    if not destination.counted:
        return "quiet"
    return "denied" if destination.carried else "would"


def _shown(text: str, width: int = 200) -> str:
    return visible(text, width)


def _command(words: tuple[str, ...], width: int = 600) -> str:
    """As a shell would take it; arguments that were left out are one "…"."""
    from shlex import quote

    # Cut first: quoting a megabyte to show a line of it is slow.
    quoted = [word if word == _LEFT_OUT else quote(word[:width]) for word in words[:width]]
    kept = [
        word
        for word, before in zip(quoted, ["", *quoted], strict=False)
        if (word, before) != (_LEFT_OUT, _LEFT_OUT)
    ]
    return visible(" ".join(kept), width)


def _goals(process: Process, names: dict[int, Destination]) -> list[tuple[Destination, int]]:
    """Where a process went, those that were denied first."""
    order = list(_IN_TREE)
    known = [(names[id], count) for id, count in process.destinations.items() if id in names]
    return sorted(known, key=lambda one: order.index(state(one[0])))


def _chain(names: tuple[str, ...]) -> str:
    """The programs that started it: ``make ← sh``."""
    shown = [visible(name, 40) for name in names[1:6]]
    return " ← ".join([*shown, "…"] if len(names) > 6 else shown)


def _who(asker: Asker) -> str:
    return visible(asker.chain[0], 60) if asker.chain else "?"


def _why(destination: Destination) -> str:
    return visible(destination.why or _WHY.get(destination.reason, destination.reason), 400)


def _when(ts: str, dated: bool) -> str:
    """The time of day of an RFC 3339 time, with its date if *dated*."""
    day, _, rest = ts.partition("T")
    return visible(f"{day} {rest[:8]}" if dated else rest[:8], 30)


def _lasted(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _number(count: int) -> str:
    return f"{count:,}"


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _rule(destination: Destination) -> str:
    """``netjail.toml:3: private``; "" where no rule decided."""
    if not destination.rule:
        return ""
    colon = "" if destination.layer.startswith("-") else ":"
    layer = f"{destination.layer}{colon} " if destination.layer else ""
    return visible(layer + destination.rule, 300)


def _layer(layer: dict[str, object]) -> Iterator[tuple[str, list[str]]]:
    """A layer of a run's policy: what it is, and the rules."""
    for key in ("default", "allow", "deny"):
        value = layer.get(key) or ()
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and texts:
            yield key, [visible(str(text), 300) for text in texts]


FILTERS: dict[str, Callable[..., Any]] = {
    "shown": _shown,
    "command": _command,
    "chain": _chain,
    "goals": _goals,
    "who": _who,
    "why": _why,
    "when": _when,
    "lasted": _lasted,
    "number": _number,
    "calls": _calls,
    "rule": _rule,
    "layer": _layer,
    "state": state,
    "scope": lambda word: _SCOPES.get(word, visible(word)),
}
