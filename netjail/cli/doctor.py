"""``netjail doctor``: look at this host, attack a jail on it, say what held."""

from __future__ import annotations

import os
import sys

import click

from netjail.cli.page import Page
from netjail.cli.paint import color_option, painter, width
from netjail.cli.terminal import complain, write
from netjail.formats import pretty

_EXAMPLES = """\b
netjail doctor
    what this host offers, and whether the jail holds on it
netjail doctor --color always | less -R
    the same, to read at leisure
netjail doctor --json | jq -r '.doors[] | select(.status == "open").title'
    only what is open
"""


@click.command(
    "doctor",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/doctor/1.")
@color_option
def command(as_json: bool, color: str) -> None:
    """
    Attack netjail's own jail on this host, and say what held.

    Some ninety probes try to reach canaries on loopback: first unguarded, to know that the
    attack works here, then in a jail. It takes about 15 seconds, needs no compiler and no
    root, and leaves the machine alone. As root it can try a few more.

    The exit status is 0 if every door that could be tried held, 1 if something was found,
    2 for wrong usage.
    """
    from netjail.doctor import examine
    from netjail.doctor.result import document
    from netjail.doctor.text import render
    from netjail.errors import NetjailError

    try:
        examination = examine(progress=_progress)
    except NetjailError as error:
        _clear()
        complain(error)
        sys.exit(1)
    _clear()
    if as_json:
        click.echo(pretty(document(examination)))
    else:
        click.echo(render(examination, painter(color), width()), nl=False, color=True)
    sys.exit(0 if examination.fine else 1)


def _progress(title: str) -> None:
    if os.isatty(2):
        write(f"\r\033[Ktrying {title}")


def _clear() -> None:
    if os.isatty(2):
        write("\r\033[K")
