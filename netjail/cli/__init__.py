"""
The command line: words in, an exit status out; nothing below prints or exits.

``trace`` and ``audit`` start from ``options`` without click, which would cost a
quarter of the time that a short command may take; click does what can wait: help,
versions, every other command.
"""

from __future__ import annotations

import sys

_JAILS = ("trace", "audit")


def main(args: list[str] | None = None) -> None:
    """Run netjail with *args*, as found on its command line; does not return."""
    args = sys.argv[1:] if args is None else args
    if args and args[0] in _JAILS:
        from netjail.cli.jail import jail

        if not jail(args[0], args[1:]):
            return
    from netjail.cli.group import group

    group.main(args, prog_name="netjail")
