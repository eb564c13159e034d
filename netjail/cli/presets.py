"""``netjail presets``: what policies come with netjail."""

from __future__ import annotations

import click

from netjail.cli.page import Page

_EXAMPLES = """\b
netjail presets
    what there is
netjail presets show pypi
    the rules of one
netjail presets show pypi > netjail.toml
    as a file to begin with
netjail trace --preset pypi --preset no-metadata -- pip install flask
    the rules of both, and those of a netjail.toml
"""


class _Presets(Page, click.Group):
    """A page with a command below it."""


@click.group(
    "presets",
    cls=_Presets,
    epilog=_EXAMPLES,
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the policies that come with netjail; show one.

    They are added to other rules by --preset NAME, or by a policy file that
    says: extends = ["NAME"].
    """
    if ctx.invoked_subcommand is None:
        from netjail.policy import presets

        rows = [(name, presets.about(presets.read(name))) for name in presets.names()]
        formatter = ctx.make_formatter()
        formatter.write_dl(rows)
        click.echo(formatter.getvalue(), nl=False)


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print the preset NAME: a policy file."""
    from netjail.errors import Place, Source
    from netjail.policy import presets

    click.echo(presets.text(name, Source(name, Place("presets show"))), nl=False)
