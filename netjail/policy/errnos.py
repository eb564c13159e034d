"""The errnos that a denied call can be given, by name: text in, a number out."""

from __future__ import annotations

import errno

from netjail.errors import Place, RuleError, guess

# name: number; errno.errorcode has one name a number, so the other names are added
ERRNOS: dict[str, int] = {name: number for number, name in errno.errorcode.items()} | {
    "EWOULDBLOCK": errno.EWOULDBLOCK,
    "EOPNOTSUPP": errno.EOPNOTSUPP,
    "ENOTSUP": errno.ENOTSUP,
    "EDEADLOCK": errno.EDEADLOCK,
}


def error_named(name: str, place: Place | None = None) -> int:
    """
    The number of an errno, for a denied call.

    :raises RuleError: for a name that errno(3) does not have; a number is refused
        as well: 0 would tell the program that its call was made.
    """
    number = ERRNOS.get(name.upper())
    if number is None:
        hint = guess(name.upper(), _USUAL) + ", and every other name of errno(3)"
        raise RuleError(f"{name!r} is not the name of an errno", hint, place)
    return number


_USUAL = (
    "EACCES",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETDOWN",
    "ENETUNREACH",
    "EPERM",
    "ETIMEDOUT",
)
