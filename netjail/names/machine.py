"""What this machine says of names, for those who explain: its files, and its name servers."""

from __future__ import annotations

import time

from netjail.endpoints import Address
from netjail.names.configuration import HOSTS, File, read_hosts
from netjail.names.truth import Names
from netjail.policy.supposed import Local

_AGAIN = 0.01  # seconds


class Machine:
    """
    Names as a jail on this machine would find them.

    :param names: what looks them up.
    :param hosts: the hosts file.
    """

    def __init__(self, names: Names | None = None, hosts: File | None = None) -> None:
        self._hosts = hosts or File(HOSTS)
        self._names = names or Names()

    def local(self) -> Local:
        """What its files say; nobody is asked."""
        names, hosts = self._names, self._hosts
        hosts.changed()
        return Local(names.resolvers(), names.search(), read_hosts(hosts.lines()))

    def ask(self, name: str) -> frozenset[Address]:
        """The addresses of *name*, as the supervisor looks them up; empty: it has none."""
        while (found := self._names.addresses(name)) is None:
            time.sleep(_AGAIN)
        return found
