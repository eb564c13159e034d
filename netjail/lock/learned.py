"""A policy that was learned, as the text of its file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from itertools import groupby

from netjail.lock.cover import VAIN, Cover, Target, Use
from netjail.lock.wants import Ports, Wants, calls, shown


def write(wants: Wants, cover: Cover, ephemeral: Ports) -> str:
    """The smallest policy that lets through what was wanted, with a comment on each line."""
    command = shown(" ".join(wants.command), 200)
    lines = [
        f"# What `{command}` wanted of the network, as netjail learn saw it.",
        "# What stands here is allowed: look whether it should be.",
        *_list("allow", _rules(cover)),
        *_list("bind", _listeners(wants, ephemeral)),
    ]
    remarks = list(_remarks(wants, cover, ephemeral))
    if remarks:
        lines += ["", "# Not in these rules:", *(f"#   {remark}" for remark in remarks)]
    return "".join(f"{line}\n" for line in lines)


def quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _list(key: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"    {quoted(rule)},  # {comment}" for rule, comment in entries]
    return [f"{key} = [", *lines, "]"] if lines else [f"{key} = []"] if key == "allow" else []


def _rules(cover: Cover) -> Iterator[tuple[str, str]]:
    """One line a host: its ports together, without a scheme where TCP is meant."""
    known = {target: use for target, use in cover.targets.items() if not _vain(use)}
    for (_, host), group in groupby(sorted(known), key=lambda one: (one.rank, one.host)):
        targets = list(group)
        if targets[0].proto == "unix":
            yield targets[0].rule, _comment([known[targets[0]]])
            continue
        for scheme, some in _by_scheme(targets):
            ports = sorted({one.port for one in some})
            ending = "" if 0 in ports else ":" + ",".join(map(str, ports))
            yield f"{scheme}{host}{ending}", _comment([known[one] for one in some])


def _vain(use: Use) -> bool:
    return use.note == VAIN


# A rule without a scheme is for UDP as well: it does for what a host gets by both.
def _by_scheme(targets: list[Target]) -> list[tuple[str, list[Target]]]:
    plain = [one for one in targets if one.proto in ("tcp", "any")]
    ports = {one.port for one in plain}
    covered = [one for one in targets if one.proto == "udp" and ports & {0, one.port}]
    udp = [one for one in targets if one.proto == "udp" and one not in covered]
    icmp = [one for one in targets if one.proto == "icmp"]
    sorts = (("", plain + covered), ("udp://", udp), ("icmp://", icmp))
    return [(scheme, some) for scheme, some in sorts if some]


def _comment(uses: list[Use]) -> str:
    count = sum(use.count for use in uses)
    programs = ", ".join(dict.fromkeys(use.program for use in uses))
    notes = "".join(f"; {note}" for note in dict.fromkeys(use.note for use in uses) if note)
    return f"{calls(count)}: {programs}{notes}"


def _listeners(wants: Wants, ephemeral: Ports) -> Iterator[tuple[str, str]]:
    """Who could be reached from other machines; ports of the moment are said in words."""
    found: dict[str, list[str]] = {}
    for (ip, port, scope), program in wants.listeners.items():
        if scope == "open" and int(port) not in ephemeral:
            found.setdefault(_bind(ip, port), []).append(program)
    for rule, programs in sorted(found.items(), key=lambda one: _natural(one[0])):
        yield rule, f"listener: {', '.join(dict.fromkeys(programs))}"


def _bind(ip: str, port: str) -> str:
    address = ip_address(ip)
    if address.is_unspecified:
        return f":{port}"
    return f"[{ip.partition('%')[0]}]:{port}" if address.version == 6 else f"{ip}:{port}"


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part or 0) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", text)]


def _remarks(wants: Wants, cover: Cover, ephemeral: Ports) -> Iterator[str]:
    for target, use in sorted(cover.targets.items()):
        if _vain(use):
            yield f"{quoted(target.rule)},  nobody listened there: {use.program}"
    for text, use in sorted(cover.left.items()):
        yield f"{shown(text, 300)}: no rule can say it: {use.program}"
    for text, count in sorted(wants.closed.items()):
        yield f"{shown(text, 300)}: {calls(count)}, refused whatever the rules say"
    moment = {
        program
        for (ip, port, scope), program in wants.listeners.items()
        if scope == "open" and int(port) in ephemeral
    }
    for program in sorted(moment):
        yield f"{program} listened on a port of the moment: this machine only, without a rule"
    if wants.end and (wants.end.code or wants.end.signal):
        how = f"signal {wants.end.signal}" if wants.end.signal else f"status {wants.end.code}"
        yield f"what the command would have done after it failed: {how}"
