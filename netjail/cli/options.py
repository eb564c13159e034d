"""
The options of the jails (trace, audit, learn, lock) as a table, and the reading of them.

To add an option, add its row to ``OPTIONS`` and its field to :class:`Options`. The
same table makes the help, in ``group``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netjail.errors import UsageError

# Tuples and not dataclasses: making those costs some milliseconds at each start.


class Option(NamedTuple):
    """One option: its spellings, what it takes, and what to say of it."""

    flags: tuple[str, ...]
    section: str
    help: str
    takes: str = ""
    """What the value is called in help; "" if there is none."""
    many: bool = False
    choices: tuple[str, ...] = ()
    numbers: tuple[int, int] | None = None
    """The least and the greatest, for a number."""

    @property
    def field(self) -> str:
        """The field of :class:`Options` that it sets."""
        return self.flags[-1].removeprefix("--").replace("-", "_")


class Options(NamedTuple):
    """What the words before the command say."""

    command: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    bind: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    preset: tuple[str, ...] = ()
    default: str = ""
    errno: str | None = None
    no_config: bool = False
    audit: bool = False
    strict: bool = False
    events: str | None = None
    append: bool = False
    report: tuple[str, ...] = ()
    summary: bool = False
    show_args: bool = False
    fail_on: str = "never"
    exit_code: int = 121
    orphans: str = "wait"
    keep_fd: tuple[int, ...] = ()
    keep_caps: bool = False
    live: bool = False
    color: str = "auto"
    quiet: bool = False
    verbose: bool = False
    help: bool = False
    output: str = "netjail.toml"
    force: bool = False
    file: str = "netjail.lock"
    check: bool = False
    update: bool = False


_RULES, _RECORD, _RUN, _SPEAK = "Rules", "Records", "Running", "Output"

OPTIONS = (
    Option(("-a", "--allow"), _RULES, "Let calls to RULE through.", "RULE", many=True),
    Option(("-d", "--deny"), _RULES, "Refuse calls to RULE; beats --allow.", "RULE", many=True),
    Option(("-p", "--policy"), _RULES, "Read rules from FILE as well.", "FILE", many=True),
    Option(("--preset",), _RULES, "Add the rules of a preset: netjail presets.", "NAME", many=True),
    Option(
        ("--default",),
        _RULES,
        "What happens where no rule matches; deny unless given.",
        "allow|deny",
        choices=("allow", "deny"),
    ),
    Option(("--bind",), _RULES, "Open listeners on RULE to other machines.", "RULE", many=True),
    Option(("--errno",), _RULES, "What a denied call gets; ECONNREFUSED unless given.", "NAME"),
    Option(("--no-config",), _RULES, "Do not look for netjail.toml or pyproject.toml."),
    Option(("--audit",), _RULES, "Refuse nothing, record everything."),
    Option(("--strict",), _RULES, "Refuse unix listeners that outsiders can reach."),
    Option(("--events",), _RECORD, "Write each attempt to FILE, a line of JSON each.", "FILE"),
    Option(("--append",), _RECORD, "Add to that file instead of replacing it."),
    Option(
        ("--report",),
        _RECORD,
        "Write a report to FILE at the end; its suffix or FORMAT says which.",
        "FILE[:FORMAT]",
        many=True,
    ),
    Option(("--summary",), _RECORD, "Add a report to the job's page, $GITHUB_STEP_SUMMARY."),
    Option(("--show-args",), _RECORD, "Write programs' arguments too; they may hold secrets."),
    Option(
        ("--fail-on",),
        _RUN,
        "Fail if the command did not, but had a call denied, made one at all, or one that is "
        "not in netjail.lock.",
        "denied|attempt|new|never",
        choices=("denied", "attempt", "new", "never"),
    ),
    Option(("--exit-code",), _RUN, "Fail with N instead of 121.", "N", numbers=(1, 255)),
    Option(
        ("--orphans",),
        _RUN,
        "Wait for processes that outlive the command, or kill them.",
        "wait|kill",
        choices=("wait", "kill"),
    ),
    Option(
        ("--keep-fd",),
        _RUN,
        "Leave the inherited socket N open.",
        "N",
        many=True,
        numbers=(0, 2**31 - 1),
    ),
    Option(("--keep-caps",), _RUN, "Leave root the capabilities that would undo the jail."),
    Option(("--live",), _SPEAK, "Tell of attempts as they happen, on stderr."),
    Option(
        ("--color",),
        _SPEAK,
        "Colour the summary; NO_COLOR turns auto off.",
        "auto|always|never",
        choices=("auto", "always", "never"),
    ),
    Option(("-q", "--quiet"), _SPEAK, "Print nothing but the error that stops netjail."),
    Option(("-v", "--verbose"), _SPEAK, "Print every destination and how often a rule decided."),
    Option(("-h", "--help"), _SPEAK, "Show this page."),
)

_LEARN, _LOCK = "Learning", "The lock"

# jail: the options that it has beside the others
OWN: dict[str, tuple[Option, ...]] = {
    "learn": (
        Option(("-o", "--output"), _LEARN, "Write to FILE, not netjail.toml; - is stdout.", "FILE"),
        Option(("--force",), _LEARN, "Replace the file if it is there."),
    ),
    "lock": (
        Option(("--check",), _LOCK, "Refuse what the lock has not, and fail with 121."),
        Option(("--update",), _LOCK, "Write it again: add what is new, drop what is gone."),
        Option(("--file",), _LOCK, "The lock is FILE, not netjail.lock.", "FILE"),
    ),
}
# jail: the fields of the others that would mean nothing to it
_WITHOUT = {
    "learn": {"default", "audit", "bind", "errno", "no_config", "strict", "fail_on", "exit_code"},
    "lock": {"default", "fail_on"},
}


def options_of(jail: str) -> tuple[Option, ...]:
    """The options of a jail, its own first."""
    without = _WITHOUT.get(jail, set())
    return OWN.get(jail, ()) + tuple(one for one in OPTIONS if one.field not in without)


_Value = bool | str | int | tuple[str | int, ...]
_Known = dict[str, Option]


def read(words: Sequence[str], jail: str = "trace") -> Options:
    """
    Read a jail's options up to the first word that is none; the rest is the command.

    :raises UsageError: with a guess, for a word that looks like an option and is none.
    """
    values: dict[str, _Value] = {}
    known = {flag: option for option in options_of(jail) for flag in option.flags}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            _long(word, rest, values, known)
        else:
            _short(word, rest, values, known)
    return Options(command=tuple(rest), **values)  # type: ignore[arg-type]


def _long(word: str, rest: list[str], values: dict[str, _Value], known: _Known) -> None:
    flag, equals, value = word.partition("=")
    option = _find(flag, known)
    if not option.takes and equals:
        raise UsageError(f"{flag} takes no value", f"write {flag} alone")
    if option.takes and not equals:
        value = _next(flag, option, rest)
    _set(flag, option, value, values)


def _short(word: str, rest: list[str], values: dict[str, _Value], known: _Known) -> None:
    # -audit would be "-a udit", and let a host through that nobody meant.
    flag = "-" + word.partition("=")[0]
    if len(word) > 2 and flag in known:
        raise UsageError(f"no such option: {flag[1:]}", f"did you mean {flag}?")
    letters = word[1:]
    while letters:
        flag, letters = f"-{letters[0]}", letters[1:]
        option = _find(flag, known)
        value = ""
        if option.takes:
            value = letters or _next(flag, option, rest)
            letters = ""
        _set(flag, option, value, values)


def _find(flag: str, known: _Known) -> Option:
    if option := known.get(flag):
        return option
    from difflib import get_close_matches

    close = get_close_matches(flag, known, 1)
    guess = f"did you mean {close[0]}?" if close else "--help shows them all"
    raise UsageError(f"no such option: {flag}", guess)


def _next(flag: str, option: Option, rest: list[str]) -> str:
    if not rest or (rest[0].startswith("-") and rest[0] != "-"):
        hint = f"write {flag} {option.takes}"
        if rest and rest[0] != "--":
            hint += f", or {option.flags[-1]}={rest[0]} if that is meant"
        raise UsageError(f"{flag} needs a value", hint)
    return rest.pop(0)


def _set(flag: str, option: Option, text: str, values: dict[str, _Value]) -> None:
    if not option.takes:
        values[option.field] = True
        return
    value = _number(flag, option.numbers, text) if option.numbers else text
    if option.choices and text not in option.choices:
        raise UsageError(f"{flag}: {text!r} is unknown", f"one of {', '.join(option.choices)}")
    if not option.many:
        values[option.field] = value
        return
    earlier = values.get(option.field, ())
    assert isinstance(earlier, tuple)
    values[option.field] = (*earlier, value)


def _number(flag: str, limits: tuple[int, int], text: str) -> int:
    least, greatest = limits
    # isdecimal, and not int alone: that one takes "1_0" and " 1" as well.
    if not (text.isascii() and text.isdecimal() and least <= int(text[:20]) <= greatest):
        raise UsageError(f"{flag}: {text!r} is no number from {least} to {greatest}")
    return int(text)
