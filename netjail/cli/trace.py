"""``netjail trace``: its help; what it does is in ``jail``."""

from netjail.cli.page import Jail

_HELP = """Run COMMAND; let its network calls through as the rules say.

Without rules everything is refused but what the jail's own programs listen on.
Options end at the first word that is not one: what follows is the command.

A RULE is [tcp://|udp://|icmp://]TARGET[:PORTS], where TARGET is an address, a
network, a host name, *.NAME for what is below it, .NAME for both, @FILE for a
list of names, or a word (any, self, loopback, private, link-local, metadata,
multicast, public, resolver); or it is unix:PATH, or unix:@NAME.

The exit status is the command's own. 121: it was 0, and --fail-on matched.
125: netjail failed. 126, 127: the command cannot be run, or was not found.
"""

_EXAMPLES = """\b
netjail trace -- make test
    nothing but what the jail's own programs listen on
netjail trace -a example.org:443 -a files.example.org -- pip install x
    one host on one port, another on all
netjail trace -a private -d metadata --events run.jsonl -- ./server
    the local network, without the cloud's keys; every attempt in a file
netjail trace --keep-fd 3 -- ./server
    descriptor 3 is a socket that was handed over; it stays open
netjail trace --fail-on denied -q -- pytest
    exit status 121 if the tests pass but wanted out
netjail trace -a public --fail-on new -- npm ci
    121 if it went, or tried to go, where netjail.lock has no line
"""

command = Jail("trace", _HELP, _EXAMPLES)
