"""
A destination as a person writes it: ``example.org:443``, ``unix:/run/x``, a URL.

What rules say in general, a destination says of one call.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import msgspec

from netjail.endpoints import Address, Inet, Unix
from netjail.errors import Place, RuleError, Source, UsageError
from netjail.model import Protocol
from netjail.policy import hosts
from netjail.policy.words import WORDS

_PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "icmp": Protocol.ICMP}
PROTOCOLS = (*_PROTOCOLS, "unix")
"""What ``--proto`` takes."""
# URLs are what people paste: (scheme, the port meant where the URL names none)
_URLS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ssh": 22, "git": 9418, "ftp": 21}
_KINDS = "write host:port, 192.0.2.1:443, [2001:db8::1]:443, udp://host:53, unix:/path, unix:@name"


class Destination(msgspec.Struct, frozen=True):
    """Where one call goes, or a few that differ in nothing but what is left out."""

    text: str
    """As it was written."""
    protocol: Protocol
    name: str = ""
    """A host, as names are compared; else *address* or *unix* is there."""
    address: Address | None = None
    port: int = 0
    """0: none is named."""
    unix: Unix | None = None
    own: bool = False
    """It was written ``self``: what the jail itself listens on."""

    def __str__(self) -> str:
        if self.unix:
            return str(self.unix)
        if self.address and self.port:
            return str(Inet(self.address, self.port))
        host = str(self.address) if self.address else self.name
        return f"{host}:{self.port}" if self.port else host


def parse(text: str, protocol: str = "") -> Destination:
    """
    Read a destination.

    :param protocol: what the user asks for beside it, ``tcp`` where nothing else says so.
    :raises UsageError: saying what could be written.
    """
    try:
        return _parse(text, protocol)
    except RuleError as error:
        raise UsageError(str(error).removeprefix(": "), error.hint or _KINDS) from None


def _parse(text: str, protocol: str) -> Destination:
    body = text.strip()
    if body.lower().startswith("unix:"):
        if protocol not in ("", "unix"):
            raise UsageError(f"{text!r} goes over no {protocol}", "leave --proto out")
        return Destination(text, Protocol.UNIX, unix=_unix(text, body[5:]))
    scheme, separator, rest = body.partition("://")
    port = 0
    if separator:
        scheme, body, port = _scheme(text, scheme.lower(), rest)
    if protocol and separator and scheme != protocol:
        raise UsageError(f"{text!r} goes over {scheme}, not {protocol}", "leave --proto out")
    if protocol == "unix":
        raise UsageError(f"{text!r} is no unix socket", "write unix:/path, unix:@name")
    carrier = _PROTOCOLS[protocol or scheme if separator else protocol or "tcp"]
    host, named = _split(text, body)
    if carrier is Protocol.ICMP and named:
        raise UsageError(f"{text!r}: icmp has no ports", f"write {host}")
    return _inet(text, carrier, host, named or port)


def _scheme(text: str, scheme: str, rest: str) -> tuple[str, str, int]:
    if scheme in _PROTOCOLS:
        return scheme, rest, 0
    if scheme not in _URLS:
        raise UsageError(f"{text!r}: unknown scheme {scheme!r}", _KINDS)
    host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
    return "tcp", host, _URLS[scheme]


def _unix(text: str, path: str) -> Unix:
    import os

    path = re.sub(r"^//(?=/)", "", path)
    if path.startswith("@") and len(path) > 1:
        return Unix(os.fsencode(path[1:]), abstract=True)
    if not path.startswith("/"):
        raise UsageError(f"{text!r}: not an absolute path", "write unix:/run/app.sock, unix:@name")
    return Unix(os.fsencode(path))


def _split(text: str, body: str) -> tuple[str, int]:
    found = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", body)
    if found:
        host, port = found[1], found[2]
    elif body.count(":") > 1:
        host, port = body, None
    else:
        host, colon, rest = body.partition(":")
        port = rest if colon else None
    if port is None:
        return host, 0
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= 65535):
        raise UsageError(f"{text!r}: {port!r} is no port", "a port is a number from 1 to 65535")
    return host, int(port)


def _inet(text: str, protocol: Protocol, host: str, port: int) -> Destination:
    if not host:
        raise UsageError(f"{text!r} names no host", _KINDS)
    if host.lower() == "self":
        return Destination(text, protocol, "", ip_address("127.0.0.1"), port, own=True)
    if host.lower() in WORDS and host.lower() != "localhost":
        hint = f"write a host or an address of it; for a host of that name '{host}.'"
        raise UsageError(f"{text!r}: {host} is a word of rules, not a destination", hint)
    try:
        return Destination(text, protocol, "", ip_address(host), port)
    except ValueError:
        pass
    name = hosts.parse(host, Source(host, Place("")), _KINDS).single
    if not name:
        raise UsageError(f"{text!r} means many hosts", "write one of them")
    return Destination(text, protocol, name, None, port)
