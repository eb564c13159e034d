"""``[[rule]]`` tables: who has to call, until when, and what the rule does; rules out."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from netjail.endpoints import Inet
from netjail.errors import Place, RuleError, Source
from netjail.policy.document import RuleTable
from netjail.policy.errnos import error_named
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.terms import Terms, Who

if TYPE_CHECKING:
    from netjail.policy.sheets import Reader

SOON = datetime.timedelta(days=14)
"""How long before its end a rule begins to be warned about."""


class Tables(msgspec.Struct, frozen=True):
    """What the ``[[rule]]`` tables of a file come to."""

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    expired: tuple[RuleError, ...] = ()
    warnings: tuple[str, ...] = ()


def read(tables: list[RuleTable], reader: Reader, today: datetime.date | None) -> Tables:
    """Read the tables; complaints go to the *reader*'s collector."""
    day = today or datetime.datetime.now(datetime.UTC).date()
    found: dict[str, list[Rule]] = {"allow": [], "deny": []}
    expired: list[RuleError] = []
    warnings: list[str] = []
    for index, table in enumerate(tables):
        one = _Table(table, reader, index)
        kind = one.kind()
        some = list(one.rules(kind)) if kind else []
        if table.until is msgspec.UNSET or not kind:
            found.setdefault(kind, []).extend(some)
        elif table.until < day:
            expired.append(one.expired(kind))
        else:
            found[kind].extend(some)
            if table.until - day <= SOON:
                warnings.append(one.soon(kind, table.until))
    return Tables(tuple(found["allow"]), tuple(found["deny"]), tuple(expired), tuple(warnings))


class _Table:
    def __init__(self, table: RuleTable, reader: Reader, index: int) -> None:
        self._table = table
        self._reader = reader
        self._index = index

    def _at(self, *path: str | int) -> Place:
        return self._reader.at("rule", self._index, *path)

    def _complain(self, message: str, hint: str, *path: str | int) -> None:
        self._reader.collector.errors.append(RuleError(message, hint, self._at(*path)))

    def kind(self) -> str:
        """``allow`` or ``deny``, "" for a table that is neither."""
        said = [key for key in ("allow", "deny") if getattr(self._table, key) is not msgspec.UNSET]
        if len(said) == 1:
            return said[0]
        message = (
            "[[rule]] has both allow and deny" if said else "[[rule]] has no allow and no deny"
        )
        self._complain(message, "exactly one of them; write two tables for both", *said[1:])
        return ""

    def rules(self, kind: str) -> Iterator[Rule]:
        """The rules, each with the terms of the table."""
        terms = self._terms(kind)
        said = getattr(self._table, kind)
        if said == []:
            self._complain(f"[[rule]]: {kind} is empty", "name a destination", kind)
        for path, text in _each(said, kind):
            rule = self._reader.one(text, terms, "rule", self._index, *path)
            if terms.redirect and rule and not isinstance(rule, AddressRule):
                hint = "it takes a destination of an address or a name"
                self._complain("redirect: a unix socket cannot be redirected", hint, "redirect")
            if rule:
                yield rule

    def _terms(self, kind: str) -> Terms:
        table = self._table
        return Terms(
            name=table.name,
            reason=table.reason,
            who=self._who(),
            error=self._errno(kind),
            redirect=self._redirect(kind),
        )

    def _who(self) -> Who | None:
        who = Who(*(tuple(self._globs(key)) for key in ("exe", "argv", "parent")))
        return who if who != Who() else None

    def _globs(self, key: str) -> Iterator[str]:
        said = getattr(self._table, key)
        if said == []:
            self._complain(f"{key}: an empty list", "leave the key out for any", key)
        for path, text in _each(said, key):
            if not text:
                self._complain(f"{key}: an empty glob", "leave the key out for any", *path)
            elif not text.isprintable():
                self._complain(f"{key}: {text!r} cannot be printed", "a ? is any one", *path)
            elif key != "argv" and not text.startswith(("/", "**/")):
                hint = f'write "**/{text.lstrip("./*")}" for it in every folder, or its whole path'
                self._complain(f"{key}: {text!r} is no absolute path", hint, *path)
            else:
                yield text

    def _errno(self, kind: str) -> int:
        name = self._table.errno
        if name is msgspec.UNSET:
            return 0
        if kind == "allow":
            self._complain("errno: an allowed call gets none", "it goes with deny", "errno")
            return 0
        return self._reader.collector.take(error_named, name, self._at("errno")) or 0

    def _redirect(self, kind: str) -> Inet | None:
        text = self._table.redirect
        if text is msgspec.UNSET:
            return None
        if kind == "deny":
            self._complain("redirect: a denied call goes nowhere", "it goes with allow", "redirect")
            return None
        return self._reader.collector.take(_inet, Source(text, self._at("redirect")))

    def expired(self, kind: str) -> RuleError:
        """The complaint about a rule whose last day is over."""
        message = f"{self._named(kind)} held until {self._table.until}, and is not used"
        return RuleError(message, "remove it, or give it a later day", self._at("until"))

    def soon(self, kind: str, day: datetime.date) -> str:
        """The warning before that."""
        return f"{self._at('until')}: {self._named(kind)} holds until {day}"

    def _named(self, kind: str) -> str:
        first = next(_each(getattr(self._table, kind), kind), ((), ""))[1]
        return f"rule {self._table.name!r}" if self._table.name else f"{kind} {first!r}"


def _each(said: object, key: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each string of a key that may be one or a list, and the path that leads to it."""
    if isinstance(said, str):
        yield (key,), said
    elif isinstance(said, list):
        for index, text in enumerate(said):
            yield (key, index), text


def _inet(source: Source) -> Inet:
    host, _, port = source.text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1] if ":" in host else ""
    elif ":" in host:
        host = ""
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if address is None or "%" in host or not 1 <= number <= 65535:
        hint = "write an address and a port: 127.0.0.1:8080, [::1]:8080"
        raise source.error(f"redirect: {source.text!r} is not where a call could go", hint)
    return Inet(address, number)
