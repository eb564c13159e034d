"""
What one file, or the options of one run, say: text in, a sheet of rules out.

The keys are those of ``document``; here is what they come to.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from netjail.errors import Place, RuleError
from netjail.model import Decision, Protocol
from netjail.policy import rules
from netjail.policy.collector import Collector
from netjail.policy.errnos import error_named
from netjail.policy.rules import AddressRule, Rule
from netjail.policy.terms import Terms

if TYPE_CHECKING:
    from datetime import date

    from netjail.policy.document import Document
    from netjail.policy.places import Page, Trust
    from netjail.policy.tables import Tables


class Refusal(enum.Enum):
    """How a look-up is refused: its value is what a policy file says."""

    NXDOMAIN = "nxdomain"  # there is no such name: every resolver ends at once
    REFUSED = "refused"  # more honest, but musl's waits for a better answer


class Mode(enum.Enum):
    """Whether the rules are held; the words are those of the journal."""

    ENFORCE = "enforce"
    AUDIT = "audit"  # refuse nothing, record what would be


class Entry(msgspec.Struct, frozen=True):
    """A string of a file or an option, and where it stands."""

    text: str
    place: Place
    layer: str
    """How verdicts name that place: ``--allow``, ``netjail.toml:3``, ``preset pypi``."""


class Test(msgspec.Struct, frozen=True):
    """A ``[[test]]`` table: what the policy has to say of a destination."""

    __test__ = False

    dest: str
    expect: Decision
    place: Place
    """Of *dest*."""
    layer: str
    exe: str = ""
    protocol: Protocol | None = None
    name: str = ""


class Sheet(msgspec.Struct, frozen=True):
    """What one file, or the options of one run, say."""

    extends: tuple[Entry, ...] = ()
    default: Decision | None = None
    mode: Mode | None = None
    error: int | None = None
    """The errno of a denied call."""
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    bind: tuple[AddressRule, ...] | None = None
    refusal: Refusal | None = None
    tests: tuple[Test, ...] = ()
    expired: tuple[RuleError, ...] = ()
    """Rules that hold no longer, and are not among the others."""
    warnings: tuple[str, ...] = ()

    @staticmethod
    def together(sheets: Sequence[Sheet]) -> Sheet:
        """Sheets of one rank: lists add up, of other words the last or the stricter counts."""

        def said(field: str) -> list[Any]:
            return [one for sheet in sheets if (one := getattr(sheet, field)) is not None]

        def added(field: str) -> Any:
            return tuple(one for several in said(field) for one in several)

        defaults, modes = said("default"), said("mode")
        return Sheet(
            default=Decision.DENY if Decision.DENY in defaults else next(iter(defaults), None),
            mode=next((mode for mode in modes if mode.value == "enforce"), next(iter(modes), None)),
            error=next(reversed(said("error")), None),
            bind=added("bind") if said("bind") else None,
            refusal=next(reversed(said("refusal")), None),
            **{field: added(field) for field in _LISTS},
        )

    def over(self, below: Sheet) -> Sheet:
        """This sheet with one that it goes before: its own words win, lists add up."""
        both = Sheet.together((self, below))
        own = {field: getattr(self, field) for field in ("default", "mode", "error", "refusal")}
        won = {field: value for field, value in own.items() if value is not None}
        return msgspec.structs.replace(both, **won)


_LISTS = ("allow", "deny", "tests", "expired", "warnings")


def parse(
    text: str,
    name: str,
    table: tuple[str, ...] = (),
    layer: str = "",
    today: date | None = None,
    trust: Trust | None = None,
    collector: Collector | None = None,
) -> Sheet:
    """
    Read the text of a policy file called *name*.

    :param table: where the policy starts: ``("tool", "netjail")`` in a pyproject.toml.
    :param layer: what verdicts say instead of the file and its line.
    :param today: for rules that hold until a day; None: as UTC has it.
    :param trust: what to ask of the lists that it names; None: they are trusted.
    :param collector: where complaints go; what is right is given all the same.
    :raises RuleError: with every mistake, if there are any and nobody collects them.
    """
    data, page = _toml(text, name, trust)
    for key in table:
        data = data.get(key, {}) if isinstance(data, dict) else {}
    reader = Reader(page, table, layer, today)
    sheet = reader.sheet(reader.document(data))
    if collector is None:
        reader.collector.finish()
    else:
        collector.errors += reader.collector.errors
    return sheet


def _toml(text: str, name: str, trust: Trust | None) -> tuple[Any, Page]:
    from netjail.policy import toml
    from netjail.policy.places import Page, syntax

    try:
        return toml.loads(text), Page(text, name, trust).read()
    except RecursionError:
        raise RuleError("is nested too deeply", place=Place(name)) from None
    except ValueError as error:  # a number of too many digits too
        raise syntax(text, name, error) from None


class Reader:
    """Reads a document, and knows where each of its values stands."""

    def __init__(self, page: Page, table: tuple[str, ...], layer: str, today: date | None) -> None:
        self.page = page
        self.collector = Collector()
        self._table = table
        self._layer = layer
        self._today = today

    def document(self, data: Any) -> Document:
        """The data as a document; what is wrong in it is left out, and complained about."""
        from netjail.policy.document import Document

        try:
            return msgspec.convert(data, Document)
        except msgspec.ValidationError:
            from netjail.policy.mistakes import Sieve

            sieve = Sieve(self.page, self._table)
            left = sieve.sift(data)
            self.collector.errors += sieve.errors
            return msgspec.convert(left, Document)

    def sheet(self, document: Document) -> Sheet:
        """What the document says."""
        said = {
            key: value
            for key in ("default", "mode", "errno", "bind", "dns_refusal")
            if (value := getattr(document, key)) is not msgspec.UNSET
        }
        tables = self._tables(document)
        return Sheet(
            extends=tuple(self._entries(document.extends, "extends")),
            default=Decision(said["default"]) if "default" in said else None,
            mode=Mode(said["mode"]) if "mode" in said else None,
            error=self._error(said["errno"], "errno") if "errno" in said else None,
            allow=(
                *self._rules(document.allow, "allow"),
                *self._unix(document.unix),
                *tables.allow,
            ),
            deny=(*self._rules(document.deny, "deny"), *tables.deny),
            bind=self._binds(said["bind"]) if "bind" in said else None,
            refusal=Refusal(said["dns_refusal"]) if "dns_refusal" in said else None,
            tests=self._tests(document),
            expired=tables.expired,
            warnings=tables.warnings,
        )

    def _entries(self, texts: Iterable[str], *path: str | int) -> Iterable[Entry]:
        for index, text in enumerate(texts):
            place = self.page.at(*self._table, *path, index)
            yield Entry(text, place, self._named(place))

    def _named(self, place: Place) -> str:
        return self._layer or f"{place.source}:{place.line}"

    def _rules(self, texts: Iterable[str], *path: str | int) -> tuple[Rule, ...]:
        entries = self._entries(texts, *path)
        return self.collector.all(rules.parse, ((e.text, e.place, e.layer) for e in entries))

    def _unix(self, texts: Iterable[str]) -> tuple[Rule, ...]:
        entries = (prefixed(entry) for entry in self._entries(texts, "unix"))
        return self.collector.all(rules.parse, ((e.text, e.place, e.layer) for e in entries))

    def _binds(self, texts: Iterable[str]) -> tuple[AddressRule, ...]:
        entries = self._entries(texts, "bind")
        return self.collector.all(rules.parse_bind, ((e.text, e.place, e.layer) for e in entries))

    def _error(self, name: str, *path: str | int) -> int | None:
        return self.collector.take(error_named, name, self.page.at(*self._table, *path))

    def _tables(self, document: Document) -> Tables:
        from netjail.policy.tables import read

        return read(document.rule, self, self._today)

    def one(self, text: str, terms: Terms, *path: str | int) -> Rule | None:
        """The rule that is the string at *path*."""
        place = self.at(*path)
        return self.collector.take(rules.parse, text, place, self._named(place), terms)

    def at(self, *path: str | int) -> Place:
        """The place of the value at *path* of the document."""
        return self.page.at(*self._table, *path)

    def _tests(self, document: Document) -> tuple[Test, ...]:
        found = []
        for index, test in enumerate(document.test):
            place = self.at("test", index, "dest")
            protocol = None if test.proto is msgspec.UNSET else Protocol(test.proto)
            expect = Decision(test.expect)
            layer = self._named(place)
            if test.exe and not test.exe.startswith("/"):
                message = f"test.exe: {test.exe!r} is no absolute path"
                where = self.at("test", index, "exe")
                self.collector.errors.append(RuleError(message, "write /usr/bin/curl", where))
            found.append(Test(test.dest, expect, place, layer, test.exe, protocol, test.name))
        return tuple(found)


def prefixed(entry: Entry) -> Entry:
    """An entry of ``unix`` as a rule."""
    if entry.text.lower().startswith("unix:"):
        return entry
    from netjail.policy.places import Quoted

    place = entry.place
    if isinstance(place, Quoted):
        place = place.behind("unix:")
    return Entry(f"unix:{entry.text}", place, entry.layer)
