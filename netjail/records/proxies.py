"""The proxies that the environment names: programs that heed them talk to nobody else."""

from __future__ import annotations

from collections.abc import Mapping

# Programs read either spelling of them, see curl(1), "Environment".
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")


def read_proxies(environment: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """The proxies that programs are told to use; and whether credentials were left out."""
    found, secret = {}, False
    for name in (spelt for one in _PROXIES for spelt in (one, one.upper())):
        if value := environment.get(name):
            # As programs take it apart: whatever is before the last @ may be a password.
            scheme, separator, rest = value.rpartition("://")
            credentials, _, place = rest.rpartition("@")
            secret |= bool(credentials)
            found[name] = scheme + separator + place
    return found, secret
