"""``netjail learn``: its help; what it does is in ``learning``."""

from netjail.cli.page import Jail

_HELP = """Run COMMAND, refuse nothing, and write the smallest policy that lets it do the same.

A line a host: its name where one is known, its ports, and who wanted it. The jail's own
listeners need no line. Under the policy the same command is denied nothing; what no rule
can say stands in a comment. Rules that are given count as there already.

Nothing is written over another file without --force. The exit status is the command's
own; 125: netjail failed.
"""

_EXAMPLES = """\b
netjail learn -- make test
    writes netjail.toml, which netjail trace -- make test finds by itself
netjail learn -o - -- npm install > registry.toml
    to stdout, behind what the command prints there
netjail learn -p base.toml -o extra.toml -- ./deploy
    what base.toml does not allow yet
"""

command = Jail("learn", _HELP, _EXAMPLES)
