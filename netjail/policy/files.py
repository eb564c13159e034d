"""
Policy files: which are read and trusted, and what they extend.

``netjail.toml``, or ``[tool.netjail]`` of a ``pyproject.toml``; what may stand in them
is in ``document``, what it comes to in ``sheets``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

import msgspec

from netjail.errors import Place, RuleError, Source
from netjail.policy import presets, sheets
from netjail.policy.collector import Collector
from netjail.policy.sheets import Entry, Sheet

if TYPE_CHECKING:
    from datetime import date

SYSTEM = "/etc/netjail/netjail.toml"
"""A second policy, where it exists: both must allow."""

NAMES = ("netjail.toml", "pyproject.toml")
"""What is looked for, in this order in each folder."""

DEPTH = 8
"""How many files a chain of ``extends`` may have."""

_SIZE = 1 << 22  # characters: some 40,000 rules


class Found(msgspec.Struct, frozen=True):
    """What the search for a policy file came to."""

    path: str = ""
    sheet: Sheet | None = None
    warning: str = ""


class Shelf:
    """
    The files and presets of one policy: each is read once, however often it is named.

    Complaints go to *collector*, so that all of them are known in the end.
    """

    def __init__(self, collector: Collector, today: date | None = None) -> None:
        self._collector = collector
        self._today = today
        self._seen: set[str] = set()

    # Paths are strings: pathlib costs some milliseconds at each start.
    def read(self, path: str) -> Sheet:
        """A file that was asked for, with what it extends."""
        return self._collector.take(self._asked, path) or Sheet()

    def _asked(self, path: str) -> Sheet:
        text = _text(path, Place(path))
        if not _ours(text, path):
            raise RuleError("has no table [tool.netjail]", place=Place(path))
        return self._once(path, (), text, trust=False)

    def preset(self, entry: Entry) -> Sheet:
        """A preset, by its name."""
        return self._collector.take(self._preset, entry) or Sheet()

    def _preset(self, entry: Entry) -> Sheet:
        name = entry.text
        if name in self._seen:
            return Sheet()
        text = presets.text(name, Source(name, entry.place))
        self._seen.add(name)
        return sheets.parse(
            text, f"{presets.PREFIX}{name}", layer=f"{presets.PREFIX}{name}", today=self._today
        )

    def found(self, start: str) -> Found:
        """
        Look for a policy file from *start* upwards.

        It ends at the root of the repository and at a folder that cannot be read: what
        lies above either is not about this project. A file that somebody else could have
        written is not used, and ends the search as well: it hides what lies above it.
        """
        for folder in _upwards(start):
            if not os.access(folder, os.R_OK | os.X_OK):
                break
            for name in NAMES:
                found = self._use(os.path.join(folder, name), start)
                if found:
                    return found
            if os.path.exists(os.path.join(folder, ".git")):
                break
        return Found()

    def _use(self, path: str, start: str) -> Found | None:
        try:
            text, doubt = _trusted(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Found(warning=f"{path} is not used: {error.strerror}")
        if text is None or not _ours(text, path):
            return None
        if doubt:
            return Found(warning=f"{path} is not used: {doubt}")
        shown = os.path.basename(path) if os.path.dirname(path) == start else path
        sheet = self._collector.take(self._once, shown, (), text, True)
        return Found(path, sheet or Sheet())

    def _once(self, path: str, chain: tuple[str, ...], text: str, trust: bool) -> Sheet:
        real = os.path.realpath(path)
        if real in self._seen:
            return Sheet()
        self._seen.add(real)
        doubt = _doubt if trust else None
        table = table_of(path)
        sheet = sheets.parse(text, path, table, "", self._today, doubt, self._collector)
        below = [self._extended(entry, path, (*chain, real), trust) for entry in sheet.extends]
        return sheet.over(Sheet.together(below))

    def _extended(self, entry: Entry, path: str, chain: tuple[str, ...], trust: bool) -> Sheet:
        if "/" not in entry.text and not entry.text.endswith(".toml"):
            return self.preset(entry)
        other = os.path.join(os.path.dirname(path), entry.text.removeprefix("./"))
        return self._collector.take(self._beside, entry, other, chain, trust) or Sheet()

    def _beside(self, entry: Entry, path: str, chain: tuple[str, ...], trust: bool) -> Sheet:
        source = Source(entry.text, entry.place)
        if not entry.text.isprintable():
            raise source.error(f"{entry.text!r} is no file")
        real = os.path.realpath(path)
        if real in chain:
            circle = " extends ".join(map(os.path.basename, (*chain[chain.index(real) :], real)))
            raise source.error(f"a circle: {circle}", "one of them has to do without")
        if len(chain) >= DEPTH:
            raise source.error(f"more than {DEPTH} files extend each other", "name it in the first")
        if not trust:
            return self._once(path, chain, _text(path, entry.place, f"{path} "), trust)
        try:
            text, doubt = _trusted(path)
        except OSError as error:
            raise source.error(f"{path} cannot be read: {error.strerror}") from None
        if doubt or text is None:
            raise source.error(f"{path} cannot be trusted: {doubt or 'it is no file'}")
        return self._once(path, chain, text, trust)


def _text(path: str, place: Place, subject: str = "") -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _all(file)
    except OSError as error:
        raise RuleError(f"{subject}cannot be read: {error.strerror}", place=place) from None
    except UnicodeDecodeError:
        raise RuleError(f"{subject}is not UTF-8", place=place) from None


def table_of(path: str) -> tuple[str, ...]:
    """Where in a file the policy starts."""
    return ("tool", "netjail") if os.path.basename(path) == "pyproject.toml" else ()


def writable(paths: Iterable[str]) -> list[str]:
    """Those of a policy's files that are the user's own."""
    return [path for path in dict.fromkeys(paths) if path != SYSTEM]


def rule_table(path: str) -> str:
    """The header under which a rule can be added at the end of a file, whatever it holds."""
    return f"[[{'.'.join((*table_of(path), 'rule'))}]]"


def _ours(text: str, path: str) -> bool:
    """Whether a file speaks of netjail; one that cannot be understood may."""
    data: object = {}
    if table_of(path) and "netjail" not in text:
        return False
    if table_of(path):
        from netjail.policy import toml

        try:
            data = toml.loads(text)
        except (ValueError, RecursionError):
            return True
    for key in table_of(path):
        data = data.get(key) if isinstance(data, dict) else None
    return data is not None


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while (parent := os.path.dirname(folder)) != folder:
        yield parent
        folder = parent


def _trusted(path: str) -> tuple[str | None, str]:
    """The text of a file, None if it is no file; and why it cannot be trusted, if so."""
    # O_NONBLOCK: a pipe of that name must not hold us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8-sig", errors="replace") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None, ""
        return _all(file), _doubt(path, status)


# Whoever can make a file where it is looked for can make it as long as a disk.
def _all(file: TextIO) -> str:
    text = file.read(_SIZE + 1)
    if len(text) > _SIZE:
        raise OSError(errno.EFBIG, f"it has more than {_SIZE >> 20} MiB")
    return text


def _doubt(path: str, status: os.stat_result) -> str:
    # Whoever made a link chose the file.
    others = _owner(status) or _owner(os.lstat(path))
    if not others and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner can write it (chmod go-w)"
    return others


def _owner(status: os.stat_result) -> str:
    trusted = status.st_uid in (0, os.geteuid())
    return "" if trusted else f"it belongs to uid {status.st_uid}"
