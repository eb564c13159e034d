"""
The command line: words in, an exit status out; nothing below prints or exits.

The jails start from ``options`` without click, which would cost a
quarter of the time that a short command may take; click does what can wait: help,
versions, every other command.
"""

from __future__ import annotations

import sys

_JAILS = ("trace", "audit", "learn", "lock")


def main(args: list[str] | None = None) -> None:
    """Run netjail with *args*, as found on its command line; does not return."""
    try:
        _main(sys.argv[1:] if args is None else args)
    except KeyboardInterrupt:
        _interrupted()
    except Exception as error:
        _failed(error)


def _main(args: list[str]) -> None:
    if args and args[0] in _JAILS:
        from netjail.cli.jail import jail

        if not jail(args[0], args[1:]):
            return
    from netjail.cli.group import group

    group.main(args, prog_name="netjail")


def _failed(error: Exception) -> None:
    from netjail.cli.jail import FAILED
    from netjail.cli.terminal import complain, write
    from netjail.errors import limited

    known = limited(error)
    if known:
        complain(known)
    else:
        from traceback import format_exc  # where no file can be opened any more, neither can this

        write(format_exc())
    sys.exit(FAILED)


def _interrupted() -> None:
    import os
    import signal

    # By the signal and not by a status: a shell's loop shall end with us.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
