"""
A report as Markdown, as GitHub and GitLab read it: for the summary of a job, a pull request.

What a program chose is in code spans: there nothing is a link, a mention or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from netjail.formats import visible
from netjail.formats.compose import audited
from netjail.formats.document import Asker, Destination, Document, RuleUse
from netjail.formats.results import outcome

# GitHub takes a summary of one MiB; nobody reads more rows than this.
ROOM = 100
_MARKS = {"ok": "✅", "failed": "❌", "unknown": "❔"}
# What means something inside a line, makes a link of what follows, or begins a block.
_SPECIAL = re.compile(
    r"[\\`*_{}\[\]<>#|~&!@]|:(?=//)|(?<=www)\.|^[-+=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"
)


def render(document: Document) -> str:
    """Headings, tables and lists; only what there is something to say of."""
    blocks = [
        f"## netjail: {_words(outcome(document.totals, audited(document)))}",
        _runs(document),
        *_denied(document),
        *_allowed(document),
        *_listening(document),
        *_doors(document),
        *_rules(document),
        *_warnings(document),
        f"<sub>{_words(document.generator)}, {_words(document.generated)}</sub>",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _runs(document: Document) -> str:
    rows = []
    for run in document.runs[:ROOM]:
        command = " ".join(run.command) or "an unknown command"
        lasted = f"{run.duration:.1f} s" if run.duration is not None else ""
        results = [
            f"{_MARKS[result.state]} {_words(result.text)}"
            for result in (run.program, run.policy, run.supervisor)
        ]
        rows.append((str(run.id), code(command), *results, lasted))
    left = _left(len(document.runs) - ROOM, "runs")
    table = _table(("run", "command", "program", "policy", "netjail", "took"), rows)
    return table + (f"\n\n{left}" if left else "")


def _denied(document: Document) -> Iterator[str]:
    found = [one for one in document.destinations if one.verdict == "deny" and one.counted]
    if not found:
        return
    yield "### Would be denied" if audited(document) else "### Denied"
    rows = (
        (str(one.count), _where(one), _who(one), _words(one.why) + _failed(one), _fix(one.fix))
        for one in found[:ROOM]
    )
    yield _table(("calls", "destination", "asked by", "why", "to allow it"), rows)
    yield _crowd(len(found) - ROOM, document.omitted.get("attempts_denied", 0))


def _allowed(document: Document) -> Iterator[str]:
    found = [one for one in document.destinations if one.verdict == "allow"]
    quiet = [one for one in document.destinations if one.verdict == "deny" and not one.counted]
    for title, some in (("Allowed", found), ("Refused, but not counted", quiet)):
        if some:
            rows = ((str(one.count), _where(one), _who(one), _ruled(one)) for one in some[:ROOM])
            yield f"<details><summary>{title}: {len(some)}</summary>"
            yield _table(("calls", "destination", "asked by", "rule"), rows)
            yield _left(len(some) - ROOM, "destinations")
            yield "</details>"
    yield _crowd(0, document.omitted.get("attempts_allowed", 0))


def _listening(document: Document) -> Iterator[str]:
    if document.listeners:
        yield "### Listening"
        rows = (
            (code(one.shown), code(" <- ".join(one.chain)), _words(one.scope), _fix(one.fix))
            for one in document.listeners[:ROOM]
        )
        yield _table(("where", "who", "reached from", "to open it"), rows)
        lost = document.omitted.get("listeners", 0)
        yield _left(len(document.listeners) - ROOM + lost, "listeners")


def _doors(document: Document) -> Iterator[str]:
    if document.doors:
        yield "### Always shut"
        yield _list(
            f"{code(one.syscall)}, {one.count} times, by {_askers(one.askers)}: {_words(one.why)}"
            for one in document.doors[:ROOM]
        )


def _rules(document: Document) -> Iterator[str]:
    unused = [one for one in document.rules if not one.count]
    if unused:
        yield "### Rules that decided nothing"
        yield _list(_rule(one) for one in unused[:ROOM])
        yield _left(len(unused) - ROOM, "rules")


def _warnings(document: Document) -> Iterator[str]:
    if document.warnings:
        yield "### Warnings"
        yield _list(_words(one.text) for one in document.warnings)


def _where(one: Destination) -> str:
    places = [place for place in one.places if one.name and place not in one.shown]
    first = f" ({code(places[0])}" if places else ""
    more = f", {len(places) - 1} more" if len(places) > 1 else ""
    owner = f", {one.owner}" if one.owner else ""
    return f"{code(one.shown)}{first}{more}{')' if places else ''} {_words(one.proto)}{owner}"


def _who(one: Destination) -> str:
    others = f", others ({one.others})" if one.others else ""
    return _askers(one.askers) + others


def _askers(askers: Sequence[Asker]) -> str:
    shown = [code(" <- ".join(asker.chain[:6])) for asker in askers[:3]]
    return ", ".join(shown) + (f", {len(askers) - 3} more" if len(askers) > 3 else "")


def _ruled(one: Destination) -> str:
    led = f", led to {code(one.redirect)}" if one.redirect else ""
    return (_by(one.layer, one.rule) or one.reason) + led + _failed(one)


def _failed(one: Destination) -> str:
    return f"; failed: {_words(one.failure)}" if one.failure else ""


def _rule(one: RuleUse) -> str:
    return _by(one.layer, one.rule)


def _by(layer: str, rule: str) -> str:
    """``--deny private`` of an option, ``netjail.toml:3: private`` of a file."""
    if not rule:
        return ""
    return code(f"{layer}{'' if layer.startswith('-') else ':'} {rule}" if layer else rule)


def _fix(text: str) -> str:
    return code(text) if text else ""


def _crowd(places: int, calls: int) -> str:
    if calls:
        return f"*And {calls} calls at other destinations.*"
    return _left(places, "destinations")


def _left(count: int, what: str) -> str:
    return f"*And {count} more {what}.*" if count > 0 else ""


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    """*text* as code, fit for a cell of a table."""
    text = visible(text, 1000)
    if "|" in text or not text.strip():
        # A bar ends a cell even in a code span, and parsers differ on the backslash before it.
        plain = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in text)
        return f"<code>{plain}</code>"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # One space on either side is taken off again where both are there.
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _words(text: str) -> str:
    """A sentence with words of a program's own in it."""
    text = " ".join(visible(text, 1000).split())
    return _SPECIAL.sub(lambda found: "&#124;" if found[0] == "|" else f"\\{found[0]}", text)
