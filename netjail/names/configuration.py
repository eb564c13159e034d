"""The files of resolver(5): text in; servers, search list and local names out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from netjail.endpoints import Address

LOOPBACK: frozenset[Address] = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})
RESOLV_CONF, HOSTS = "/etc/resolv.conf", "/etc/hosts"


class Configuration(msgspec.Struct, frozen=True):
    """What resolv.conf(5) says that matters here."""

    servers: tuple[str, ...]
    """As written: an IPv6 one may have a scope id."""
    search: tuple[str, ...] = ()
    ndots: int = 1

    def candidates(self, name: str) -> Iterator[str]:
        """What a resolver asks for, one after the other, when a program says *name*."""
        whole = name.count(".") >= self.ndots
        if whole:
            yield name
        yield from (f"{name}.{domain}" for domain in self.search)
        if not whole:
            yield name


class File:
    """
    A file of the system's.

    :param text: what it held before the jail began, where the jail could change it;
        else it is read, and read again when it changed.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        self._path = path
        self._fixed = text is not None
        self._text = text or ""
        self._stamp: tuple[int, ...] | None = None

    def changed(self) -> bool:
        """Whether it holds something else than at the last call; the first one says so too."""
        stamp = (0,) if self._fixed else self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        if not self._fixed:
            self._text = ""
            with suppress(OSError), open(self._path, encoding="utf-8", errors="replace") as file:
                self._text = file.read()
        return True

    def _look(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)
        except OSError:
            return (0,)
        return (status.st_mtime_ns, status.st_ino, status.st_size)

    def lines(self) -> list[str]:
        """Its lines at the last look; none if it cannot be read."""
        return self._text.splitlines()


def read_configuration(lines: list[str]) -> Configuration:
    """Read resolv.conf; one that is missing or empty means a server on this machine."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    for line in lines:
        words = re.split("[#;]", line)[0].split()
        if words[:1] == ["nameserver"] and words[1:] and literal(words[1]):
            servers.append(words[1])
        elif words[:1] in (["search"], ["domain"]):
            search = [plain(word) for word in words[1:]]  # the last one counts
        elif words[:1] == ["options"]:
            found = [word[6:] for word in words if re.fullmatch(r"ndots:\d+", word)]
            ndots = min(int(found[-1]), 15) if found else ndots
    return Configuration(
        tuple(servers) or ("127.0.0.1",), tuple(word for word in search if word), ndots
    )


def read_hosts(lines: list[str]) -> dict[str, frozenset[Address]]:
    """Read hosts(5): every name of it with all its addresses."""
    found: dict[str, set[Address]] = {}
    for line in lines:
        first, *names = line.partition("#")[0].split() or [""]
        address = literal(first)
        for name in names if address else ():
            found.setdefault(plain(name), set()).update({address} if address else ())
    return {name: frozenset(addresses) for name, addresses in found.items()}


def plain(name: str) -> str:
    """*name* as it is compared."""
    return name.removesuffix(".").lower()


def literal(text: str) -> Address | None:
    """The address that *text* is, if it is one."""
    try:
        return ip_address(text)
    except ValueError:
        return None
