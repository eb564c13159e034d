"""
What stops netjail itself, as types: each carries a cause and a hint.

A verdict is never an error: a refused connect is netjail at work. These are the
failures that end netjail with exit status 125 (see ``cli``), and the two that a
dying or hostile tracee causes, which the layers above turn into a refusal.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import os


class NetjailError(Exception):
    """netjail cannot do what was asked; its text is one line, *hint* says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(NetjailError):
    """An option or argument that does not make sense."""


class HostError(NetjailError):
    """This host cannot enforce what was asked: too old, forbidden, already traced."""


class JournalError(NetjailError):
    """The journal cannot be written, or was altered meanwhile."""


class Place(msgspec.Struct, frozen=True):
    """Where a rule was written: a file or an option; *line* and *column* count from 1."""

    source: str
    line: int = 0
    column: int = 0
    """In characters; of an option, in its *excerpt*."""
    excerpt: str = ""
    """The line as it stands in the file, or the option as it was given."""
    width: int = 0
    """How many characters of it are meant, from *column* on."""

    def __str__(self) -> str:
        position = (self.line, self.column) if self.line else ()
        return ":".join(str(part) for part in (self.source, *position) if part)

    def within(self, text: str, word: str) -> Place:
        """The place of *word* in *text*, which stands here; of all of it for a stranger."""
        offset = max(text.rfind(word), 0) if word else 0
        width = len(word) if word and word in text else len(text)
        return Place(self.source, self.line, self.column + offset, self.excerpt, width)

    def doubt(self, path: str, status: os.stat_result) -> str:
        """Why a file that is named here cannot be trusted; "" if it can, or was asked for."""
        return ""


class RuleError(NetjailError):
    """A rule, word, key or prefix that does not parse or cannot be enforced."""

    def __init__(self, message: str, hint: str = "", place: Place | None = None) -> None:
        super().__init__(f"{place}: {message}" if place else message, hint)
        self.place = place

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Every mistake that was found; see :class:`RuleErrors`."""
        return (self,)


class RuleErrors(RuleError):
    """Several mistakes at once, in the order in which they stand."""

    def __init__(self, errors: Iterable[RuleError]) -> None:
        self._errors = tuple(error for each in errors for error in each.errors)
        super().__init__("\n".join(map(str, self._errors)))
        self.hint = "\n".join(dict.fromkeys(error.hint for error in self._errors if error.hint))
        self.place = self._errors[0].place

    @property
    def errors(self) -> tuple[RuleError, ...]:
        """Each of them."""
        return self._errors


def raise_all(errors: list[RuleError]) -> None:
    """Raise what was collected: nothing, the one, or all of them."""
    if len(errors) == 1 and len(errors[0].errors) == 1:
        raise errors[0]
    if errors:
        raise RuleErrors(errors)


class Source(msgspec.Struct, frozen=True):
    """A rule as it was written, so that a complaint can point at the word."""

    text: str
    place: Place

    def error(self, message: str, hint: str = "", word: str = "") -> RuleError:
        """The error to raise; *word* is what the column points at."""
        return RuleError(message, hint, self.place.within(self.text, word))


class DecodeError(NetjailError):
    """Bytes of a tracee that the kernel would refuse; *error* is the errno it gives."""

    def __init__(self, message: str, error: int) -> None:
        super().__init__(message)
        self.error = error


# What stopped us is a limit, and who set it can raise it.
_LIMITS = {
    errno.EAGAIN: "a limit on processes or memory: ulimit -u, ulimit -v, a container's own",
    errno.EMFILE: "the limit on open files is too low for netjail itself: ulimit -n",
    errno.ENFILE: "this machine has too many files open: sysctl fs.file-max",
    errno.ENOMEM: "a limit on memory: ulimit -v, ulimit -d, a container's own",
}


class KernelError(NetjailError):
    """A kernel call of ours failed; *error* is its errno."""

    def __init__(self, operation: str, error: int) -> None:
        import os

        super().__init__(f"{operation}: {os.strerror(error)}", _LIMITS.get(error, ""))
        self.operation = operation
        self.error = error


class TraceeGone(KernelError):
    """The thread died while we looked at it: ESRCH, see ptrace(2)."""


def limited(error: Exception) -> NetjailError | None:
    """What to say of *error* if a limit of the host led to it, and no mistake of ours."""
    if isinstance(error, MemoryError):
        return KernelError("netjail itself", errno.ENOMEM)
    # Not EAGAIN: it may as well mean that nothing is to be read yet.
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return KernelError("netjail itself", error.errno)
    return None


def guess(word: str, allowed: Iterable[str]) -> str:
    """The hint for a mistyped *word*: a guess if one is near, and what is allowed."""
    import difflib

    choices = sorted(allowed)
    near = difflib.get_close_matches(word, choices, 1, 0.6)
    near += [one for one in choices if sorted(one) == sorted(word)]  # letters swapped: pipy
    listed = ", ".join(choices)
    return f"did you mean {near[0]!r}? allowed: {listed}" if near else f"allowed: {listed}"
