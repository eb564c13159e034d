"""
Attempts and verdicts in, a :class:`Report` out: grouped, counted, ordered; no formatting.

It is fed by a live run (``supervisor.book``) or by journals (``reading``); ``formats``
makes a document of it. Memory is bounded whatever a program does: what finds no room is
counted, not kept.
"""

from netjail.report.groups import GROUPS, Chain, Group, Listener, Scope
from netjail.report.report import Report, Run, exit_status

__all__ = [
    "GROUPS",
    "Chain",
    "Group",
    "Listener",
    "Report",
    "Run",
    "Scope",
    "exit_status",
]
