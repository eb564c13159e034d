"""The ``netjail`` command as click knows it: help, versions, and what is not urgent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from netjail import __version__
from netjail.cli.jail import FAILED
from netjail.cli.page import Page
from netjail.cli.terminal import complain
from netjail.errors import NetjailError, UsageError

_EXAMPLES = """\b
netjail trace -- make test
netjail trace -a example.org:443 -- pip install flask
netjail learn -- npm install
netjail explain example.org:443
"""


# Each is a module here, with its click command called `command`: (its name, how wrong
# usage leaves it). With a jail a 2 would pass for the command's own.
COMMANDS = {
    "trace": FAILED,
    "audit": FAILED,
    "learn": FAILED,
    "lock": FAILED,
    "diff": 2,
    "explain": 2,
    "check": 2,
    "report": 2,
    "replay": 2,
    "presets": 2,
    "doctor": 2,
    "completion": 2,
}


class Group(Page, click.Group):
    """netjail's commands, and how wrong usage ends."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command that *args* name, and exit."""
        extra["standalone_mode"] = False
        try:
            sys.exit(super().main(args, *rest, **extra) or 0)
        except click.ClickException as error:
            complain(_usage(error))
            sys.exit(_status(error))
        except OSError as error:
            if error.filename is not None:
                raise
            complain(NetjailError(f"cannot write to stdout: {error.strerror}"))
            sys.exit(FAILED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order that help shows."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command when it is wanted: each pays for itself alone."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"netjail.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or guess what was meant."""
        if self.get_command(ctx, args[0]) is None:
            raise click.UsageError(_guess(args[0], self.list_commands(ctx), args))
        return super().resolve_command(ctx, args)


def _guess(word: str, names: list[str], args: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"netjail trace -- {' '.join(args)}"
    if word == "help":
        hint = f"netjail {' '.join([*args[1:2], '--help'])}"
    return f"no such command: {word}\n{hint}"


def _status(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path.split() if context else []  # netjail presets show
    return COMMANDS.get(path[1], FAILED) if len(path) > 1 else FAILED


def _usage(error: click.ClickException) -> UsageError:
    if isinstance(error, click.NoSuchOption):
        # A jail's options come after the jail: `netjail -q trace` is not understood.
        hint = "netjail trace [OPTIONS] -- COMMAND...; or netjail --help"
        if error.ctx and error.ctx.parent:
            hint = f"{error.ctx.command_path} --help shows what there is"
        return UsageError(f"no such option: {error.option_name}", hint)
    message, _, hint = error.format_message().partition("\n")
    if type(error) is not click.UsageError:  # click's own may have lines; ours have a hint
        message, hint = " ".join(error.format_message().split()), ""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "netjail"
    return UsageError(message, hint or f"{command} --help shows what there is")


@click.group(
    "netjail",
    cls=Group,
    epilog=_EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="netjail %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Run a command, and everything it starts, under a network policy."""
    if ctx.invoked_subcommand is None:
        raise click.UsageError("no command given\nnetjail trace -- COMMAND...; or netjail --help")
