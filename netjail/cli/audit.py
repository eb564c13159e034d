"""``netjail audit``: its help; what it does is in ``jail``."""

from netjail.cli.page import Jail

_HELP = """Run COMMAND; refuse nothing, record everything: trace --audit.

The rules, if there are any, say what would be denied; see netjail trace --help
for what they look like. What no rule can open (ptrace, io_uring) stays shut.
"""

_EXAMPLES = """\b
netjail audit -- npm install
    who talks to whom?
netjail audit -a registry.npmjs.org:443 -- npm install
    what would these rules deny?
netjail audit --events run.jsonl -- make
    and keep every attempt
"""

command = Jail("audit", _HELP, _EXAMPLES)
