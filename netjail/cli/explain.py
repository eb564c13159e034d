"""``netjail explain``: what a policy says of a destination, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from netjail.cli.page import Page
from netjail.cli.paint import color_option, painter, width
from netjail.cli.rules import rule_options, rules_given
from netjail.formats import pretty
from netjail.policy.destination import PROTOCOLS

if TYPE_CHECKING:
    from netjail.policy.explanation import Explanation

_EXAMPLES = """\b
netjail explain pypi.org:443
    what the policy of this directory says, and what to add
netjail explain -a private -d metadata 169.254.169.254:80
    rules are given as to netjail trace
netjail explain --resolve example.org:443
    look the name up, and judge each of its addresses
netjail explain --exe /usr/bin/curl pypi.org:443
    what it says of one program
netjail explain --json unix:/run/docker.sock | jq -r .verdict
    for a program
"""


@click.command(
    "explain",
    cls=Page,
    epilog=_EXAMPLES,
)
@click.argument("dest")
@click.option("--proto", type=click.Choice(PROTOCOLS), help="What carries it; tcp unless given.")
@click.option("--exe", metavar="PATH", help="The program that calls.")
@click.option("--argv", multiple=True, metavar="WORD", help="A word of its command line.")
@click.option("--parent", multiple=True, metavar="PATH", help="A program that started it.")
@click.option("--resolve", is_flag=True, help="Look names up, as a run would.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, netjail/explain/1.")
@rule_options
@color_option
def command(dest: str, proto: str | None, as_json: bool, color: str, **given: Any) -> None:
    """
    Say whether the policy lets calls to DEST through, and why.

    DEST is host:port, an address and a port, [v6]:port, udp://host:port, icmp://host,
    unix:/path, unix:@name, or a host alone, which means every port. A URL will do.
    The first word that is printed is allow or deny, then come the rule that decides, those
    that lost, and what to add.

    Nothing is sent to the network without --resolve: a name is then supposed to lead
    to a public address that no rule names, a local port to be another program's.

    The exit status is 0 whatever the verdict, 2 for wrong usage.
    """
    explanation = _explain(dest, proto or "", given)
    if as_json:
        click.echo(pretty(explanation))
        return
    from netjail.formats.explanation import render

    click.echo(render(explanation, painter(color), width()), nl=False, color=True)


def _explain(dest: str, proto: str, given: dict[str, Any]) -> Explanation:
    from netjail.names.machine import Machine
    from netjail.policy import Policy
    from netjail.policy.destination import parse
    from netjail.policy.explain import Setting, explain, program

    machine = Machine()
    who = program(given["exe"], given["argv"], given["parent"])
    setting = Setting(machine.local(), machine.ask if given["resolve"] else None, who)
    return explain(Policy.load(rules_given(given)), parse(dest, proto), setting)
