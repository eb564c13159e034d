"""
The trapped syscalls, one row each; a stop at one of them in, an attempt out.

To trap a syscall, add its row to ``ROWS`` in ``table``: ``filter`` computes the seccomp
program from it and the C core reads from it where the arguments are.
"""

from netjail.syscalls.decode import decode, unread
from netjail.syscalls.rows import (
    ALLOW,
    TRACE,
    Action,
    Clause,
    Compare,
    Condition,
    Kind,
    Row,
    Shape,
)
from netjail.syscalls.table import NOTIFY_NUMBERS, ROWS, VAULT_BASE, VAULT_END, VAULT_SIZE

__all__ = [
    "ALLOW",
    "NOTIFY_NUMBERS",
    "ROWS",
    "TRACE",
    "VAULT_BASE",
    "VAULT_END",
    "VAULT_SIZE",
    "Action",
    "Clause",
    "Compare",
    "Condition",
    "Kind",
    "Row",
    "Shape",
    "decode",
    "unread",
]
