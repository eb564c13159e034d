"""
Sets of host names: what a rule names in, "is this name one of them" out.

``example.org`` is one name, ``*.example.org`` all below it, ``.example.org`` both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from netjail.errors import Source


class Hosts(msgspec.Struct, frozen=True):
    """Names in lower case and punycode, without a dot at the end."""

    exact: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()
    """Domains all of whose sub-domains are meant, but not themselves."""

    def matches(self, name: str) -> bool:
        """Whether *name* is one of them."""
        return name in self.exact or any(parent in self.below for parent in parents(name))

    @property
    def single(self) -> str:
        """The one name that is meant, "" if it could be several."""
        return next(iter(self.exact)) if len(self.exact) == 1 and not self.below else ""

    def __bool__(self) -> bool:
        return bool(self.exact or self.below)


def parents(name: str) -> Iterator[str]:
    """``a.b.c``: ``b.c``, ``c``."""
    while name := name.partition(".")[2]:
        yield name


_KINDS = "a name is example.org, *.example.org for what is below it, .example.org for both"


def parse(text: str, source: Source, hint: str = _KINDS) -> Hosts:
    """
    Read one entry: a name, ``*.name`` or ``.name``.

    :param hint: what else could have been meant.
    :raises RuleError: if it is none.
    """
    head, body = _head(text)
    name = _host(body, text, source, hint)
    if not head:
        return Hosts(frozenset({name}))
    return Hosts(frozenset({name} if head == "." else ()), frozenset({name}))


def _head(text: str) -> tuple[str, str]:
    for head in ("*.", "."):
        if text.startswith(head):
            return head, text[len(head) :]
    return "", text


# RFC 1035 with the underscore that service names have; RFC 5891 for hyphens at the ends.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# What IDNA 2003 maps away and IDNA 2008 keeps (RFC 5891): libraries differ in which.
_SPELLED_TWICE = frozenset("ßς\u200c\u200d")


def _host(body: str, text: str, source: Source, hint: str) -> str:
    name = _punycode(body, text, source).removesuffix(".").lower()
    labels = name.split(".")
    # A host name never ends in a number (RFC 3696, 2), but inet_aton(3) takes 127.1, 0x7f000001.
    if _NUMBER.fullmatch(labels[-1]):
        numbers = "an address is 192.0.2.1 or [2001:db8::1]; a port alone is :443"
        raise source.error(f"{text!r} is not an IP address", numbers, text)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise source.error(f"{text!r} is not a host name", hint, text)
    return name


def _punycode(body: str, text: str, source: Source) -> str:
    if body.isascii():
        return body
    odd = next((c for c in body.lower() if c in _SPELLED_TWICE), "")
    if odd:
        hint = "write the name as the program asks for it, in its xn-- form"
        raise source.error(f"{text!r}: {odd!r} has two spellings in DNS", hint, text)
    try:
        return body.encode("idna").decode("ascii")
    except UnicodeError as error:
        reason = str(error).rpartition(": ")[2]
        raise source.error(f"{text!r} is not a host name: {reason}", word=text) from None
