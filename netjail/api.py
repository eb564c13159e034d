"""
What programs may use of netjail: journals and reports as typed values.

``netjail`` itself has these names; see docs/api.md. They stay as they are as long as the
schemas ``netjail/event/1`` and ``netjail/report/1`` do: fields may be added.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath

import msgspec

from netjail.errors import JournalError, NetjailError
from netjail.formats import render
from netjail.formats.compose import compose
from netjail.formats.document import Document as Report
from netjail.journal.reading import Torn, read_journal
from netjail.records import Record

__all__ = [
    "JournalError",
    "NetjailError",
    "Record",
    "Report",
    "Torn",
    "make_report",
    "read_journal",
    "read_report",
    "render",
]


def make_report(
    *journals: str | PathLike[str], tell: Callable[[int], None] | None = None
) -> Report:
    """
    Make a report of journals, one or many, of one run each or of several.

    :param tell: called now and then with how many bytes more were read.
    :raises JournalError: naming file and line, if one cannot be read or is no journal.
    """
    from netjail.report import Report as Counts
    from netjail.report.reading import Reader

    counts = Counts()
    counts.keep_details()
    reader = Reader(counts)
    for journal in journals:
        path = fspath(journal)
        reader.take(read_journal(path, tell), path)
    return compose(counts)


def read_report(path: str | PathLike[str]) -> Report:
    """
    Read back what ``netjail report -f json`` or ``--report FILE.json`` wrote.

    :raises NetjailError: if it cannot be read or is no such report.
    """
    path = fspath(path)
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Report)
    except OSError as error:
        raise NetjailError(f"cannot read the report {path}: {error.strerror}") from error
    except ValueError as error:
        hint = "netjail report -f json makes one"
        raise NetjailError(f"{path}: not a report: {error}", hint) from error
