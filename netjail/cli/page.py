"""What the commands have in common; the jails' help, made of the table of their options."""

from __future__ import annotations

import sys
from typing import Any

import click

from netjail.cli.jail import jail
from netjail.cli.options import Option, options_of
from netjail.cli.terminal import complain
from netjail.errors import NetjailError


class Page(click.Command):
    """A command whose help ends with examples, and that says what it could not do."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; 2 is for what it was given."""
        try:
            return super().invoke(ctx)
        except NetjailError as error:
            complain(error)
            sys.exit(2)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as click takes them: ``\\b`` before fixed lines."""
        with formatter.section("Examples"):
            formatter.write_text(self.epilog or "")


class Jail(Page):
    """A command whose options ``options.read`` reads; this class shows their help."""

    def __init__(self, name: str, help: str, examples: str) -> None:
        super().__init__(name, help=help, epilog=examples, add_help_option=False)

    @property
    def options(self) -> list[Option]:
        """Those that are worth telling of."""
        return [option for option in options_of(self.name or "") if option.field != self.name]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave all of them to ``jail``."""
        ctx.args = args
        return args

    def invoke(self, ctx: click.Context) -> None:
        """Run the jail, or show the help."""
        assert self.name
        if jail(self.name, ctx.args):
            click.echo(self.get_help(ctx))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What follows the name in the usage line."""
        return ["[OPTIONS] [--] COMMAND..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, a section each."""
        for section in dict.fromkeys(option.section for option in self.options):
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (f"{', '.join(option.flags)} {option.takes}".rstrip(), option.help)
                        for option in self.options
                        if option.section == section
                    ],
                    col_max=36,
                )
