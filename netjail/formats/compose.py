"""
A report in, a document out: ordered, in plain text, with every time as the journal has it.

This is the one place that knows both; each format is made of the document alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from netjail import __version__
from netjail.actions import choose
from netjail.endpoints import Endpoint, Inet, Question, Unix, canonical
from netjail.formats import document as doc
from netjail.formats.results import outcome, run_of
from netjail.model import QUIET, Decision, Reason
from netjail.policy.words import addresses
from netjail.records import error_name, now, plain, proto, stamp
from netjail.report import Group, Report
from netjail.report.processes import Known

_NAMED = 3  # destinations in the headline
# An address is called by the first that has it; what none has is "special".
_OWNERS = ("loopback", "metadata", "private", "link-local", "multicast", "public")
_KINDS: dict[type, str] = {Inet: "inet", Unix: "unix", Question: "lookup"}


def compose(report: Report) -> doc.Document:
    """The document of one run, or of several."""
    groups = sorted(report.groups.values(), key=_order)
    ids = {group.number: number for number, group in enumerate(groups, 1)}
    destinations = tuple(_destination(group, ids[group.number]) for group in groups)
    totals = doc.Totals(report.attempted, report.allowed, report.denied, report.quiet)
    runs = tuple(map(run_of, report.runs))
    return doc.Document(
        headline=_headline(totals, runs, destinations),
        state=_state(totals, runs),
        generated=now(),
        generator=f"netjail {__version__}",
        totals=totals,
        runs=runs,
        destinations=destinations,
        processes=tuple(_processes(report, ids)),
        listeners=tuple(
            doc.Listener(
                shown(one.endpoint),
                one.protocol.value,
                one.scope.value,
                _chain(one.chain),
                plain(one.fix),
                count,
            )
            for one, count in report.listeners.items()
        ),
        doors=tuple(
            doc.Door(group.syscall, group.count, plain(group.verdict.why), _askers(group))
            for group in report.doors.values()
        ),
        rules=tuple(_rules(report)),
        warnings=tuple(doc.Notice(plain(text), count) for text, count in report.warnings.items()),
        timeline=tuple(_timeline(report, ids)),
        omitted=_omitted(report),
    )


def audited(document: doc.Document) -> bool:
    """Whether nothing was refused because nobody wanted it to be."""
    return bool(document.runs) and all(run.mode == "audit" for run in document.runs)


def shown(endpoint: Endpoint, name: str = "") -> str:
    """A destination as a person reads it."""
    if name and isinstance(endpoint, Inet):
        return plain(f"{name}:{endpoint.port}")
    return plain(str(endpoint))


def _order(group: Group) -> tuple[int, bool, int]:
    verdict = group.verdict
    rank = 0 if verdict.denied else 1 if verdict.decision is Decision.ALLOW else 2
    # A name server in trouble explains the most; that a name is not there is everyday.
    silent = isinstance(group.endpoint, Question) and group.results.keys() & {"SERVFAIL", "gone"}
    return rank, not silent, -group.count


def _headline(
    totals: doc.Totals, runs: tuple[doc.Run, ...], destinations: Iterable[doc.Destination]
) -> str:
    denied = [one.shown for one in destinations if one.verdict == "deny" and one.counted]
    audit = bool(runs) and all(run.mode == "audit" for run in runs)
    text = ("audit, " if audit else "") + outcome(totals, audit)
    if len(runs) > 1:
        text = f"{len(runs)} runs: {text}"
    if denied:
        text += ": " + ", ".join(denied[:_NAMED]) + (", …" if len(denied) > _NAMED else "")
    lost = [run for run in runs if run.supervisor.state != "ok"]
    return f"{text}; {lost[0].supervisor.text}" if lost else text


def _state(totals: doc.Totals, runs: tuple[doc.Run, ...]) -> doc.State:
    if totals.denied:
        return "denied"
    return "ok" if all(run.supervisor.state == "ok" for run in runs) else "unknown"


def _destination(group: Group, number: int) -> doc.Destination:
    verdict, endpoint = group.verdict, group.endpoint
    action = choose(verdict, group.audit)
    # A look-up is answered: what its rule leads is the call that follows.
    leads = action.leads and not isinstance(endpoint, Question)
    return doc.Destination(
        id=number,
        shown=shown(endpoint, verdict.name),
        kind=_KINDS.get(type(endpoint), "other"),  # type: ignore[arg-type]
        verdict=verdict.decision.value,
        reason=verdict.reason.value,
        counted=verdict.reason not in QUIET,
        carried=action.runs == (verdict.decision is Decision.ALLOW),
        owner=owner(endpoint),
        proto=proto(group.protocols),
        name=plain(verdict.name),
        names=tuple(map(plain, group.names)),
        known=group.known,
        places=tuple(_place(one) for one in group.places),
        port=_port(endpoint),
        lookup=" ".join(map(plain, group.kinds)),
        syscall=plain(group.syscall),
        rule=plain(verdict.rule),
        layer=plain(verdict.layer),
        why=plain(verdict.why),
        fix=plain(verdict.fix),
        errno=error_name(verdict.error) if verdict.error else "",
        redirect=str(verdict.redirect) if leads else "",
        count=group.count,
        first=stamp(group.span.first),
        last=stamp(group.span.last),
        results=dict(group.results),
        failure=_failure(group),
        askers=_askers(group),
        others=group.others,
        runs=tuple(group.runs),
    )


def _failure(group: Group) -> str:
    answers = group.results.total()
    failed = answers - group.results["ok"]
    if not failed or not isinstance(group.endpoint, Question):
        return ""
    why = plain(group.why) or ", ".join(result for result in group.results if result != "ok")
    return why if failed == answers else f"{why} ({failed} of {answers} answers)"


def owner(endpoint: Endpoint) -> str:
    """What kind of address it is, "" for what is none."""
    place = endpoint.server if isinstance(endpoint, Question) else endpoint
    if not isinstance(place, Inet):
        return ""
    form = canonical(place.address)[0]
    return next((word for word in _OWNERS if form in addresses(word)), "special")


def _place(endpoint: Endpoint) -> str:
    return str(endpoint.address) if isinstance(endpoint, Inet) else shown(endpoint)


def _port(endpoint: Endpoint) -> int | None:
    return endpoint.port if isinstance(endpoint, Inet) else None


def _chain(chain: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(plain, chain))


def _askers(group: Group) -> tuple[doc.Asker, ...]:
    found = sorted(group.askers.items(), key=lambda item: -item[1].count)
    return tuple(
        doc.Asker(_chain(chain), asker.count, tuple(asker.processes)) for chain, asker in found
    )


def _rules(report: Report) -> Iterable[doc.RuleUse]:
    kinds = {(g.verdict.layer, g.verdict.rule): _kind(g) for g in report.groups.values()}
    for layer, rule, use in report.uses():
        known = report.known_rules.get((layer, rule))
        yield doc.RuleUse(
            plain(rule),
            plain(layer),
            known.kind if known else kinds.get((layer, rule), "allow"),  # type: ignore[arg-type]
            use.count,
            stamp(use.span.first),
            stamp(use.span.last),
            known.reason if known else "",
        )


def _kind(group: Group) -> str:
    verdict = group.verdict
    if verdict.reason is Reason.SELF:
        return "self"
    # What is ambiguous, or a name that leads inside, was refused by want of another rule.
    allowing = verdict.reason in (Reason.REBINDING, Reason.AMBIGUOUS)
    return "allow" if allowing else verdict.decision.value


def _processes(report: Report, ids: dict[int, int]) -> Iterable[doc.Process]:
    if report.processes is None:
        return
    table = report.processes.table
    for (run, number), known in table.items():
        one = known.record
        if _is_fork(table, run, known):
            continue
        parent = table.get((run, one.parent))
        while parent and _is_fork(table, run, parent):
            parent = table.get((run, parent.record.parent))
        yield doc.Process(
            run=run,
            id=number,
            parent=parent.record.id if parent else 0,
            pid=one.pid,
            name=_name(one.exe, one.argv),
            exe=one.exe,
            argv=one.argv,
            cwd=one.cwd,
            uid=one.uid,
            start=one.ts,
            destinations={ids[group]: count for group, count in known.counts.items()},
        )


def _is_fork(table: dict[tuple[int, int], Known], run: int, known: Known) -> bool:
    """Whether it is its parent over again, and asked for nothing."""
    one = known.record
    parent = table.get((run, one.parent))
    if parent is None or known.counts or parent is known:
        return False
    return (one.exe, one.argv) == (parent.record.exe, parent.record.argv)


def _name(exe: str, argv: tuple[str, ...]) -> str:
    path = exe.removesuffix(" (deleted)") or (argv[0] if argv else "")
    return path.rpartition("/")[2] or "?"


def _timeline(report: Report, ids: dict[int, int]) -> Iterable[doc.Moment]:
    if report.timeline is None:
        return
    width = report.timeline.width
    for (when, group, run), count in sorted(report.timeline.counts.items()):
        yield doc.Moment(stamp(when * width), ids[group], count, run)


def _omitted(report: Report) -> dict[str, int]:
    counts = {
        "attempts_denied": report.crowded[Decision.DENY],
        "attempts_allowed": report.crowded[Decision.ALLOW],
        "processes": report.processes.lost if report.processes else 0,
        "moments": report.timeline.lost if report.timeline else 0,
        **report.lost,
    }
    return {what: count for what, count in counts.items() if count}
