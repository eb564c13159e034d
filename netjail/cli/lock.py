"""``netjail lock``: its help; what it does is in ``locking``."""

from netjail.cli.page import Jail

_HELP = """Run COMMAND, and write where it goes to netjail.lock; or hold it to that.

The lock has a line a destination: host, port, protocol, and who wanted it first. Keep it
with the code, and read it when it changes. With --check what the lock has not is refused
and named, a patch is printed, and the exit status is 121 whatever the command's was.
What is gone is told, and fails nothing.

--allow lets a destination through beside the lock. Policy files and --deny are rules of
their own, and both must allow.

The exit status is the command's own. 121: --check found something new. 125: netjail
failed.
"""

_EXAMPLES = """\b
netjail lock -- npm ci
    write netjail.lock
netjail lock --check -- npm ci
    in CI: fail when a dependency begins to call somebody else
netjail lock --check --audit -- npm ci
    the same, but let it through, to see all that is new at once
netjail lock --update -- npm ci
    write it again
"""

command = Jail("lock", _HELP, _EXAMPLES)
