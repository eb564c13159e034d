"""
What ``explain`` says, as data: what its JSON holds, ``netjail/explain/1``.

How it comes about is in ``explain``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Word = Literal["allow", "deny"]


class Match(msgspec.Struct, frozen=True):
    """A rule that speaks of the destination but does not decide."""

    kind: Word
    rule: str
    layer: str
    why: str
    """Why it does not decide."""


class Fix(msgspec.Struct, frozen=True):
    """What lets the destination through."""

    option: str
    """For the command line, or where in which file to change what."""
    file: str = ""
    """The policy file that *entry* can be written to instead; "" if there is none."""
    entry: str = ""
    """``allow = ["example.org:443"]``"""
    table: str = ""
    """``[[rule]]``, the header that *entry* needs at the end of a file that is there already."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a program does on its way, judged."""

    kind: Literal["look-up", "call"]
    what: str
    """``look-up of example.org``, ``tcp to example.org:443``."""
    when: str = ""
    """What has to hold, beside what the explanation as a whole assumes."""
    ports: str = ""
    """The ports it is true of, where no port was named; "": those that no rule names."""
    verdict: Word
    reason: str
    """A ``model.Reason``."""
    rule: str = ""
    layer: str = ""
    note: str = ""
    """What the rule gives as its reason."""
    why: str
    errno: str = ""
    matched: tuple[Match, ...] = ()
    fixes: tuple[Fix, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy says of a destination, and why."""

    schema: Literal["netjail/explain/1"] = "netjail/explain/1"
    dest: str
    proto: str
    verdict: Word
    exceptions: tuple[str, ...] = ()
    """What the verdict is not true of: ``port 443``."""
    decisive: Step
    steps: tuple[Step, ...]
    """All of them, the decisive one too."""
    fixes: tuple[Fix, ...] = ()
    """What lets the destination through, all of it together."""
    assumed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """The policy's files."""
    warnings: tuple[str, ...] = ()
    """What is doubtful about the policy: a file that is not used, a rule that ends soon."""


def alike(one: Step, other: Step) -> bool:
    """Whether two steps come out the same way."""
    return (one.verdict, one.reason, one.rule) == (other.verdict, other.reason, other.rule)


def counts(step: Step) -> bool:
    """Whether the verdict as a whole hangs on it."""
    return not step.when and not step.ports


def weigh(steps: tuple[Step, ...]) -> Step:
    """The step that decides: a look-up that is refused, else the first that is let through."""
    counted = [step for step in steps if counts(step)]
    refused = (s for s in counted if s.kind == "look-up" and s.verdict == "deny")
    calls = [step for step in counted if step.kind == "call"]
    allowed = (step for step in calls if step.verdict == "allow")
    return next(refused, None) or next(allowed, None) or calls[0]


def exceptions(steps: tuple[Step, ...], decisive: Step) -> tuple[str, ...]:
    """What *decisive* is not true of."""
    if decisive.kind == "look-up":
        return ()
    others = [step for step in steps if not step.when and step.kind == "call"]
    return tuple(
        f"port {step.ports}" if step.ports else step.what
        for step in others
        if step.verdict != decisive.verdict
    )


def shown_ports(ranges: list[tuple[int, int]]) -> str:
    """``80, 8000-8010``."""
    joined: list[list[int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] + 1 == first:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in joined)
