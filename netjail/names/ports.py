"""Which port a program may want of a host: its arguments in."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PORTS = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "git": 9418, "ws": 80, "wss": 443}


def port_wanted(argv: Sequence[str], name: str) -> int:
    """The port that a URL or ``host:port`` among the arguments means; 0: none is named."""
    host = re.escape(name)
    url = re.compile(rf"(?i)\b([a-z]+)://(?:[^/@\s]*@)?{host}\.?(?::(\d+))?(?:[/?#]|$)")
    pair = re.compile(rf"(?i)(?:^|[@=]){host}\.?:(\d+)$")
    for word in argv:
        found = url.search(word)
        if found:
            port = int(found[2] or _PORTS.get(found[1].lower(), 0))
        else:
            plain = pair.search(word)
            port = int(plain[1]) if plain else 0
        if 0 < port < 65536:
            return port
    return 0
