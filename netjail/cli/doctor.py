"""``netjail doctor``: look at this host, attack a jail on it, say what held."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import click

from netjail.cli.page import Page

_EXAMPLES = """\b
netjail doctor
    what this host offers, and whether the jail holds on it
netjail doctor --color always | less -R
    the same, to read at leisure
netjail doctor --json | jq -r '.doors[] | select(.status == "open").title'
    only what is open
"""

_STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "title": {"bold": True},
    "faint": {"dim": True},
}


@click.command(
    "doctor",
    cls=Page,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/doctor/1.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colour the table; NO_COLOR turns auto off.",
)
def command(as_json: bool, color: str) -> None:
    """
    Attack netjail's own jail on this host, and say what held.

    Some eighty probes try to reach canaries on loopback: first unguarded, to know that the
    attack works here, then in a jail. It takes about 15 seconds, needs no compiler and no
    root, and leaves the machine alone. As root it can try a few more.

    The exit status is 0 if every door that could be tried held, 1 if something was found,
    2 for wrong usage.
    """
    from netjail.doctor import examine
    from netjail.doctor.result import document
    from netjail.doctor.text import plain, render
    from netjail.errors import NetjailError

    try:
        examination = examine(progress=_progress)
    except NetjailError as error:
        _clear()
        click.echo(f"netjail doctor: {error}\n  hint: {error.hint}", err=True)
        sys.exit(1)
    _clear()
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(document(examination)), indent=2))
    else:
        width = min(shutil.get_terminal_size().columns, 100)
        paint = _paint if _coloured(color) else plain
        click.echo(render(examination, paint, width), nl=False, color=True)
    sys.exit(0 if examination.fine else 1)


def _paint(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style])


def _coloured(color: str) -> bool:
    if color != "auto":
        return color == "always"
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return False
    return sys.stdout.isatty()


def _progress(title: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[Ktrying {title}", nl=False, err=True)


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
