"""
netjail runs a command, and every process it starts, under a network policy.

Programs can read its journals and reports, see docs/api.md: the names below come from
``netjail.api``, when one is first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from netjail.api import (
        JournalError,
        NetjailError,
        Record,
        Report,
        Torn,
        make_report,
        read_journal,
        read_report,
        render,
    )

__all__ = [
    "JournalError",
    "NetjailError",
    "Record",
    "Report",
    "Torn",
    "__version__",
    "make_report",
    "read_journal",
    "read_report",
    "render",
]


def __getattr__(name: str) -> object:
    # Starting a jail imports this package: what few ask for is not to cost it anything.
    if name not in __all__:
        raise AttributeError(f"module 'netjail' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("netjail.api"), name)
