"""``netjail report``: journals in, a report out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from netjail.cli.page import Page
from netjail.cli.paint import color_option
from netjail.errors import NetjailError
from netjail.formats import FORMATS

if TYPE_CHECKING:
    from netjail.formats.document import Document

_EXAMPLES = """\b
netjail report run.jsonl
    what happened, in the terminal
netjail report run.jsonl -o run.html
    the same as a page
netjail report hosts/*.jsonl.gz -f json | jq -r '.destinations[].shown'
    where a whole fleet went
"""

_LONG = 32 << 20  # bytes: what is longer takes some seconds


@click.command(
    "report",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.option("-f", "--format", type=click.Choice(list(FORMATS)), help="Else by FILE's suffix.")
@click.option("-o", "--output", metavar="FILE", default="-", help="Write it there; - is stdout.")
@click.option("--summary", is_flag=True, help="Add it to $GITHUB_STEP_SUMMARY as well.")
@click.option("-v", "--verbose", is_flag=True, help="In text, every destination and process.")
@color_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of -f json, and end.")
@click.argument("journals", nargs=-1, metavar="JOURNAL...", type=click.Path())
def command(
    format: str | None,
    output: str,
    summary: bool,
    verbose: bool,
    color: str,
    schema: bool,
    journals: tuple[str, ...],
) -> None:
    """
    Make a report of one JOURNAL, or of many: --events wrote them.

    Several runs are kept apart and their destinations put together. A journal may be
    compressed with gzip; of one that was cut off, what is there is used. The exit status
    is 0 whatever the verdicts, 2 for wrong usage.
    """
    if schema:
        from netjail.formats.as_json import SHIPPED

        click.echo(SHIPPED.read_text(), nl=False)
        return
    try:
        _report(format, output, summary, verbose, color, journals)
    except (BrokenPipeError, NetjailError) as error:
        if not isinstance(error.__cause__ or error, BrokenPipeError):
            raise
        # Its reader has seen enough: what is still to be flushed goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report(
    format: str | None,
    output: str,
    summary: bool,
    verbose: bool,
    color: str,
    journals: tuple[str, ...],
) -> None:
    from netjail.cli.files import STDOUT
    from netjail.cli.target import parse, step_summary
    from netjail.errors import UsageError

    if not journals:
        raise UsageError("no journal given", "netjail report JOURNAL...; --events writes one")
    target = parse(f"{output}:{format}" if format else output, "--output")
    targets = [target] + ([step_summary()] if summary else [])
    for one in targets:
        one.check()
    document = _read(journals)
    for one in targets:
        if one.path == STDOUT and one.format == "text":
            _show(document, verbose, color)
        else:
            one.write(document)


def _show(document: Document, verbose: bool, color: str) -> None:
    from netjail.cli.terminal import coloured, width
    from netjail.formats.as_text import render

    text = render(document, coloured(color, 1), width(1), verbose)
    click.echo(text, nl=False, color=True)


def _read(journals: tuple[str, ...]) -> Document:
    from netjail.api import make_report

    with _progress(journals) as tell:
        return make_report(*journals, tell=tell)


@contextmanager
def _progress(journals: tuple[str, ...]) -> Iterator[Callable[[int], None] | None]:
    """Show how far it is, on a terminal, where it takes time; gives what is to be told."""
    size = sum(os.path.getsize(path) for path in journals if os.path.isfile(path))
    if size < _LONG or not os.isatty(2):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=size)

        def tell(more: int) -> None:
            progress.update(task, advance=more)

        yield tell
