"""
``netjail completion``: a shell's script, and the answers that the script asks for.

The scripts are in ``shells``; each hands over the words before the cursor and turns the
offers, a line each, into what its shell wants.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import split_arg_string

from netjail.cli.offers import Offer, offers
from netjail.cli.page import Page

_EXAMPLES = """\b
netjail completion bash > ~/.local/share/bash-completion/completions/netjail
    where the package bash-completion is; else see above
netjail completion zsh > ~/.zfunc/_netjail
    for a folder of $fpath
netjail completion fish > ~/.config/fish/completions/netjail.fish
    for fish
"""

_SCRIPTS = os.path.join(os.path.dirname(__file__), "shells")
SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.option("--offer", is_flag=True, hidden=True)
@click.argument("shell", type=click.Choice(SHELLS))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.pass_context
def command(context: click.Context, shell: str, words: tuple[str, ...], offer: bool) -> None:
    """
    Print the script that completes netjail's command lines in a shell.

    In ~/.bashrc, or in ~/.zshrc after compinit: eval "$(netjail completion bash)", or zsh.

    It completes commands, options, rule words, presets, errnos and files, and leaves the
    command that netjail shall run, with its arguments, to the shell.
    """
    if not offer:
        with open(os.path.join(_SCRIPTS, f"netjail.{shell}"), encoding="utf-8") as file:
            click.echo(file.read(), nl=False)
        return
    group = context.find_root().command
    found = _in_bash(group, *words) if shell == "bash" else offers(group, words[:-1], words[-1])
    for each in found:
        # Lines and tabs mean something to the scripts.
        click.echo("\t".join(" ".join(field.split("\n")) for field in each))


def _in_bash(
    group: click.Command, line: str = "", replaced: str = "", *parts: str
) -> Iterator[Offer]:
    """
    As ``offers``, in bash's terms.

    bash splits words at ``:``, ``=`` and ``@`` as well: only *replaced*, the end of the
    word at the cursor, makes room for what is offered, and *parts* are what it counts.
    """
    *words, last = split_arg_string(f"{line}x")
    typed = last[:-1]
    plain = "".join(split_arg_string(replaced)) if "\\" in replaced else replaced
    kept = len(typed) - len(plain) if typed.endswith(plain) else 0
    text = str if plain == replaced else _escape
    for offer in offers(group, words, typed):
        value = _place(words, parts, int(offer.value)) if offer.kind == "command" else ""
        yield offer._replace(value=value or text(offer.value[kept:]))


def _escape(text: str) -> str:
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", text)


def _place(words: Sequence[str], parts: Sequence[str], index: int) -> str:
    """Where the word *index* is among bash's parts of words."""
    place = 0
    for word in words[:index]:
        seen = ""
        while place < len(parts):
            seen += "".join(split_arg_string(parts[place]))
            place += 1
            if seen == word:
                break
    return str(place)
