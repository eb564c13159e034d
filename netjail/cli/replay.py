"""``netjail replay``: what another policy would have done with a recorded run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from netjail.cli.page import Page
from netjail.cli.paint import color_option, painter
from netjail.cli.rules import rule_options, rules_given
from netjail.formats import pretty

if TYPE_CHECKING:
    from netjail.replay import Replay

_EXAMPLES = """\b
netjail trace --events run.jsonl -- make test
netjail replay run.jsonl -p stricter.toml
    what would stricter.toml have done?
netjail replay run.jsonl -a pypi.org:443 --no-config
    is that enough?
netjail replay --json *.jsonl | jq -r '.rules[] | select(.count == 0).rule'
    the rules that none of these runs needs
"""


@click.command(
    "replay",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.argument("journals", nargs=-1, required=True, metavar="JOURNAL...")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/replay/1.")
@rule_options
@color_option
def command(journals: tuple[str, ...], as_json: bool, color: str, **given: Any) -> None:
    """
    Judge the calls in each JOURNAL, a file of trace --events, by this policy.

    Verdicts that change come first, then what stays denied and the rules that would not
    have been used. The facts are those of the run: whose sockets there were, where names
    led, who called. What a program would have done after a call that was denied then is
    in no journal. Rules on arguments need a journal made with --show-args.

    The exit status is 0 whatever comes of it, 2 for wrong usage.
    """
    replay = _replay(journals, given)
    if as_json:
        click.echo(pretty(replay))
        return
    from netjail.formats.replay import render

    click.echo(render(replay, painter(color)), nl=False, color=True)


def _replay(journals: tuple[str, ...], given: dict[str, Any]) -> Replay:
    from netjail.journal.reading import read_journal
    from netjail.policy import Policy
    from netjail.replay import Player

    player = Player(Policy.load(rules_given(given)))
    for journal in journals:
        player.take(read_journal(journal), journal)
    return player.result()
