"""What the policy could ask of the world, as a record keeps it."""

from __future__ import annotations

from netjail.endpoints import Endpoint, Unix
from netjail.policy.facts import UNKNOWN, Seen
from netjail.records.lines import Seen as SeenRecord
from netjail.records.text import error_name, plain


def seen_record(endpoint: Endpoint, seen: Seen) -> SeenRecord:
    """What the facts said of an attempt at *endpoint*."""
    missing = error_name(seen.missing) if seen.missing else ""
    who = seen.caller or UNKNOWN
    return SeenRecord(
        owners={protocol.value: owner.value for protocol, owner in seen.owners.items()},
        names=tuple(map(plain, seen.names)),
        trusted=tuple(map(plain, seen.trusted)),
        resolver=seen.resolver,
        search=tuple(map(plain, seen.search)),
        missing=missing,
        path=plain(seen.path),
        raw=_raw_of(endpoint) if isinstance(endpoint, Unix) else "",
        raw_path=_raw(seen.path),
        who=seen.caller is not None,
        program=plain(who.exe),
        ancestors=tuple(map(plain, who.ancestors)),
        rooted=who.rooted,
    )


def _raw_of(endpoint: Unix) -> str:
    looks_abstract = endpoint.path.startswith(b"@") and not endpoint.abstract
    return endpoint.path.hex() if looks_abstract else _raw(endpoint.path)


def _raw(path: bytes) -> str:
    """Hexadecimal, where ``plain`` would not give *path* back byte for byte."""
    return "" if plain(path).encode() == path and b"\\x" not in path else path.hex()
