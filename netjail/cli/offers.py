"""
What can stand where the cursor is: the words of a command line in, offers out.

Every command is asked alike: of trace and its like the options are read from the table in
``options``, of the others from click. What can be a value is in ``SOURCES``, by the name
of the option or argument; to complete another one, add it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import click

from netjail.cli.page import Jail


class Offer(NamedTuple):
    """Something to put in place of the word at the cursor."""

    kind: str
    """``word``; ``open``: a word that goes on; ``file``: a path after *value*; ``command``:
    whatever the shell has for the command that begins at word *value*."""
    value: str
    help: str = ""


Source = Callable[[str], Iterator[Offer]]
"""Gives the offers for a value, of which the user has typed something."""


class _Row(NamedTuple):
    """An option: its flags, what to say of it, and where its values come from."""

    flags: tuple[str, ...]
    help: str
    values: Source | None
    """None: it takes no value."""


def offers(command: click.Command, words: Sequence[str], typed: str) -> list[Offer]:
    """
    What *typed*, the word at the cursor, can become.

    :param words: those before it; the first is netjail's own.
    """
    found, end = _offers(command, words, 1, typed), len(typed)
    return [offer for offer in found if offer.value[:end] == typed or offer.kind not in _WORDS]


_WORDS = ("word", "open")


def _offers(
    command: click.Command, words: Sequence[str], first: int, typed: str
) -> Iterator[Offer]:
    context = click.Context(command)
    rows = _rows(command, context)
    by_flag = {flag: row for row in rows for flag in row.flags}
    place, arguments, asked, ended = first, 0, None, False
    while place < len(words):
        word, asked = words[place], None
        if ended or not word.startswith("-") or word == "-":
            if isinstance(command, Jail):
                return iter([Offer("command", str(place))])
            if isinstance(command, click.Group):
                inner = command.get_command(context, word)
                return _offers(inner, words, place + 1, typed) if inner else iter(())
            arguments += 1
        elif word == "--":
            ended = True
        else:
            asked = _asked(word, by_flag)
        place += 2 if asked else 1
    if asked and place > len(words):
        assert asked.values
        return asked.values(typed)
    if not ended and typed.startswith("-"):
        return _options(rows, by_flag, typed)
    if isinstance(command, Jail):
        return iter([Offer("command", str(place))])
    if isinstance(command, click.Group):
        return _commands(command, context)
    return _argument(command, context, arguments, typed)


def _asked(word: str, by_flag: dict[str, _Row]) -> _Row | None:
    """The option in *word* whose value is the next word."""
    if word.startswith("--"):
        row = by_flag.get(word)
        return row if row and row.values else None
    for place, letter in enumerate(word[1:], 2):
        row = by_flag.get(f"-{letter}")
        if row and row.values:
            return row if place == len(word) else None
    return None


def _options(rows: list[_Row], by_flag: dict[str, _Row], typed: str) -> Iterator[Offer]:
    flag, equals, value = typed.partition("=")
    if equals:
        row = by_flag.get(flag)
        for offer in row.values(value) if row and row.values else ():
            yield offer._replace(value=f"{flag}={offer.value}")
        return
    for row in rows:
        for flag in row.flags:
            # The short ones are for who knows them; the help of the long one names them.
            if flag.startswith("--") or len(row.flags) == 1 or typed == flag:
                yield Offer("word", flag, row.help)


def _commands(group: click.Group, context: click.Context) -> Iterator[Offer]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command and not command.hidden:
            yield Offer("word", name, command.get_short_help_str(100))


def _argument(
    command: click.Command, context: click.Context, index: int, typed: str
) -> Iterator[Offer]:
    found = [each for each in command.params if isinstance(each, click.Argument)]
    # The last one may take any number.
    if found and (index < len(found) or found[-1].nargs == -1):
        yield from _source(found[min(index, len(found) - 1)], context)(typed)


def _rows(command: click.Command, context: click.Context) -> list[_Row]:
    if isinstance(command, Jail):
        return [
            _Row(
                option.flags,
                option.help,
                (_choices(option.choices) or SOURCES.get(option.field, _nothing))
                if option.takes
                else None,
            )
            for option in command.options
        ]
    return [
        _Row(
            (*parameter.opts, *parameter.secondary_opts),
            parameter.help or "",
            None if parameter.is_flag or parameter.count else _source(parameter, context),
        )
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]


def _source(parameter: click.Parameter, context: click.Context) -> Source:
    def clicks(typed: str) -> Iterator[Offer]:
        for item in parameter.shell_complete(context, typed):
            if item.type == "plain":
                yield Offer("word", str(item.value), item.help or "")
            else:
                yield Offer("file", "")

    return SOURCES.get(parameter.name or "", clicks)


# -- Values -------------------------------------------------------------------


def _nothing(typed: str) -> Iterator[Offer]:
    return iter(())


def _files(typed: str) -> Iterator[Offer]:
    yield Offer("file", "")


def _choices(choices: Sequence[str]) -> Source | None:
    return (lambda typed: (Offer("word", choice) for choice in choices)) if choices else None


def _rules(typed: str) -> Iterator[Offer]:
    from netjail.model import Protocol
    from netjail.policy.rules import SCHEMES
    from netjail.policy.words import WORDS

    # Behind a blank there is an exception, a target alone: `private !metadata`.
    *_, last = typed.split(" ")
    head = typed.removesuffix(last)
    scheme, separator, _ = typed.partition("://")
    start = f"{head}!" if head else f"{scheme}://" if separator else ""
    for prefix in (f"{start}@", "unix:"):
        if typed.startswith(prefix):
            yield Offer("file", prefix)
    for word, meaning in WORDS.items():
        yield Offer("word", start + word, meaning.describe)
    if not start:
        for name, protocol in SCHEMES.items():
            if protocol is not Protocol.RAW:
                yield Offer("open", f"{name}://", f"over {name} alone")
        yield Offer("open", "unix:", "a unix socket of a program outside")
        yield Offer("open", "@", "a list in a file")


def _bindings(typed: str) -> Iterator[Offer]:
    from netjail.policy.words import WORDS

    for word, meaning in WORDS.items():
        if not meaning.live:
            yield Offer("word", word, meaning.describe)


def _errnos(typed: str) -> Iterator[Offer]:
    import os

    from netjail.policy.errnos import ERRNOS

    for name, number in ERRNOS.items():
        yield Offer("word", name, os.strerror(number))


def _presets(typed: str) -> Iterator[Offer]:
    from netjail.errors import Place, Source
    from netjail.policy import presets

    for name in presets.names():
        yield Offer("word", name, presets.about(presets.text(name, Source(name, Place(name)))))


def _reports(typed: str) -> Iterator[Offer]:
    from netjail.formats import FORMATS

    path, colon, _ = typed.rpartition(":")
    if not colon:
        yield Offer("file", "")
    for name in FORMATS if colon else ():
        yield Offer("word", f"{path}:{name}")


def _destinations(typed: str) -> Iterator[Offer]:
    from netjail.policy.destination import PROTOCOLS

    if typed.startswith("unix:"):
        yield Offer("file", "unix:")
    for name in PROTOCOLS:
        yield Offer("open", "unix:" if name == "unix" else f"{name}://")


# The name of an option's field, or of an argument: what it can be. Choices and click's own
# types need no row.
SOURCES: dict[str, Source] = {
    "after": _files,
    "before": _files,
    "file": _files,
    "output": _files,
    "allow": _rules,
    "deny": _rules,
    "bind": _bindings,
    "errno": _errnos,
    "policy": _files,
    "preset": _presets,
    "events": _files,
    "report": _reports,
    "files": _files,
    "journals": _files,
    "name": _presets,
    "dest": _destinations,
    "exe": _files,
    "argv": _files,  # of a script, say
    "parent": _files,
}
