"""``netjail diff``: what changed between two locks, or what two runs wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from netjail.cli.page import Page
from netjail.formats import pretty

if TYPE_CHECKING:
    from netjail.lock.changes import Changes, Entry

_EXAMPLES = """\b
netjail diff netjail.lock run.jsonl
    what a run did that the lock has not, and the other way round
netjail diff monday.jsonl tuesday.jsonl
    what is new today?
netjail diff --json old.lock new.lock | jq -r '.added[].rule'
    for a script
"""


@click.command(
    "diff",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/diff/1.")
def command(before: str, after: str, as_json: bool) -> None:
    """
    Compare two locks or journals, or one with the other.

    + is in B alone, - in A alone, and ~ in both, but by another program or with another
    verdict.

    The exit status is 0 if there is no difference, 1 if there is, 2 for wrong usage.
    """
    from netjail.lock.changes import compare

    changes = compare(_entries(before), _entries(after), (before, after))
    if as_json:
        click.echo(pretty(changes))
    else:
        _print(changes)
    sys.exit(1 if changes else 0)


def _entries(path: str) -> list[Entry]:
    from netjail.lock import changes, files

    if files.is_lock(path):
        return changes.entries(files.read(path))
    from netjail.journal.reading import read_journal

    return changes.observed(read_journal(path))


def _print(changes: Changes) -> None:
    from netjail.formats import visible

    for sign, entries in (("-", changes.removed), ("+", changes.added)):
        for entry in entries:
            click.echo(f"{sign} {visible(entry.rule)}  {visible(entry.program)}".rstrip())
    for one in changes.changed:
        shown = f"{one.field} {visible(one.before)} -> {visible(one.after)}"
        click.echo(f"~ {visible(one.rule)}  {shown}")
