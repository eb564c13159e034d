"""
Look-ups in: calls to a name server are led to the stub, and what the stub is asked is
judged here, in the loop, like any other attempt.

The stub has a thread of its own. It hands a question in and waits for the ruling; the
loop is woken by the signal that its timer sends.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from netjail.actions import choose
from netjail.endpoints import Inet, Question
from netjail.errors import KernelError, TraceeGone
from netjail.model import QUIET, Attempt, Decision, Operation, Protocol, Reason, Verdict
from netjail.policy import wording
from netjail.policy.facts import UNKNOWN, Caller
from netjail.policy.query import leads_to
from netjail.policy.sheets import Refusal
from netjail.stops import Descriptor
from netjail.supervisor.elsewhere import sockaddr
from netjail.tree import Lineage

if TYPE_CHECKING:
    from netjail.kernel.tracee import Jail
    from netjail.names.rulings import Asker, Request, Ruling
    from netjail.names.stub import Stub
    from netjail.stops import Stop
    from netjail.supervisor import Plan
    from netjail.supervisor.book import Book
    from netjail.supervisor.world import World

_AGAIN = 0.005  # seconds until the loop is woken once more: it may have been about to sleep
_CARRIES = (Protocol.TCP, Protocol.UDP)


class Desk:
    """The look-ups of one run. Its methods are the loop's, but for those of the stub."""

    def __init__(self, plan: Plan, book: Book, world: World, jail: Jail) -> None:
        self._plan = plan
        self._book = book
        self._world = world
        self._jail = jail
        self._by_caller = plan.policy.by_caller
        self._stub: Stub | None = None
        self._loop = 0
        self._requests: deque[Request] = deque()
        self._results: deque[tuple[int, str, str]] = deque()
        self._open: set[int] = set()

    def answers(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Whether the stub stands in for what *attempt* wants to reach."""
        if verdict.reason is Reason.STUB:
            return True
        # Audit lets through what is denied, but not out of sight.
        denied = verdict.decision is Decision.DENY and verdict.reason not in QUIET
        if not denied or getattr(attempt.endpoint, "port", 0) != 53:
            return False
        return bool(leads_to(self._world.resolvers(), attempt.endpoint))

    def lead(self, stop: Stop, attempt: Attempt, who: Lineage) -> Verdict | None:
        """Lead the call, which is about to run, to the stub; or say why it cannot be."""
        endpoint, descriptor = attempt.endpoint, attempt.descriptor
        assert isinstance(endpoint, Inet)
        if not self._world.at_home(descriptor):
            return _failed("the socket is in a network namespace of the program's own")
        try:
            means = Inet(leads_to(self._world.resolvers(), endpoint)[0], endpoint.port)
            place = self._stands_in().lead(means)
            port = self._port(stop.tid)
            self._jail.lead(stop.tid, sockaddr(place, stop.name or b""))
        except TraceeGone:
            raise
        except (OSError, RuntimeError, LookupError, KernelError) as error:
            # No address, thread or descriptor to be had; or resolv.conf has changed.
            return _failed(str(error))
        # Without a port it is not known whose questions arrive.
        caller = self._world.caller(attempt) if self._by_caller and port is not None else UNKNOWN
        asker = self._asker(attempt, who, caller)
        for protocol in _CARRIES:
            if protocol in attempt.protocols:
                self._stands_in().admit(protocol, place, port, asker)
        self._jail.source(place, _as_written(means, endpoint))
        return None

    def _port(self, tid: int) -> int | None:
        try:
            return self._jail.local_port(tid)
        except KernelError as error:
            if error.error in (errno.EPERM, errno.ENOSYS):
                return None  # containers forbid pidfd_getfd: then anyone gets an answer
            raise

    @staticmethod
    def _asker(attempt: Attempt, who: Lineage, caller: Caller) -> Asker:
        from netjail.names.rulings import Asker

        return Asker(attempt.process, attempt.tid, attempt.syscall, who, caller)

    def _stands_in(self) -> Stub:
        if self._stub is None:
            from threading import get_ident

            from netjail.names.stub import Stub

            self._loop = get_ident()
            self._stub = Stub(self._world.names, self._judge, self._done)
        return self._stub

    # ---- in the stub's thread ----

    def _judge(self, asker: Asker, protocol: Protocol, means: Inet, name: str, kind: str) -> Ruling:
        attempt = Attempt(
            asker.process,
            asker.tid,
            asker.syscall,
            Operation.RESOLVE,
            frozenset({protocol}),
            Question(name, kind, means),
            Descriptor(0),
        )
        from signal import SIGALRM, pthread_kill

        from netjail.names.rulings import Request

        request = Request(attempt, asker)
        self._requests.append(request)
        while request.ruling is None:
            pthread_kill(self._loop, SIGALRM)
            request.ruled.wait(_AGAIN)
        return request.ruling

    def _done(self, token: int, result: str, why: str) -> None:
        self._results.append((token, result, why))

    # ---- in the loop ----

    def serve(self) -> None:
        """Rule on what the stub was asked, and take in what it answered."""
        while self._requests:
            request = self._requests.popleft()
            request.ruling = self._rule(request.attempt, request.asker)
            request.ruled.set()
        while self._results:
            token, result, why = self._results.popleft()
            self._open.discard(token)
            self._book.answered(token, result, why)

    def _rule(self, attempt: Attempt, asker: Asker) -> Ruling:
        from netjail.names.ports import port_wanted
        from netjail.names.questions import KINDS
        from netjail.names.rulings import Ruling

        question, who = attempt.endpoint, asker.who
        assert isinstance(question, Question)
        assert isinstance(who, Lineage)
        self._world.begin(attempt, asker.caller)
        verdict = self._plan.policy.decide(attempt, self._world)
        assert isinstance(verdict, Verdict)
        if not question.kind:
            verdict = wording.no_question()
        elif verdict.decision is Decision.ALLOW and question.kind not in KINDS:
            if not self._plan.audit:
                verdict = wording.unknown_kind(question)
        elif verdict.reason is Reason.DEFAULT and verdict.fix:
            port = port_wanted(who.process.argv, question.name)
            fix = wording.to_allow_name(question.name, port)
            verdict = msgspec.structs.replace(verdict, fix=fix)
        action = choose(verdict, self._plan.audit)
        token = self._book.note(attempt, verdict, who, action.runs)
        if action.runs:
            self._open |= {token} if token else set()
            return Ruling(None, "", token, stand_in=action.leads)
        return Ruling(self._code(question.name), verdict.why, token)

    def _code(self, name: str) -> int:
        # A resolver stops at REFUSED; behind a variant of the search list the name that
        # was meant may yet come.
        searched = any(name.endswith(f".{domain}") for domain in self._world.search())
        refused = self._plan.policy.refusal is Refusal.REFUSED and not searched
        return 5 if refused else 3

    def end(self) -> None:
        """The run is over: what was asked is written down, though nobody hears the answer."""
        drained = self._stub.drain() if self._stub else None
        while drained and self._stub and self._stub.alive and not drained.wait(_AGAIN):
            self.serve()
        self.serve()
        if self._stub and self._stub.trouble:
            self._book.report.warn(f"look-ups: internal error: {self._stub.trouble}")
        for token in self._open:
            self._book.answered(token, "gone", "no answer before the jail ended")


def _failed(why: str) -> Verdict:
    text = f"names cannot be looked up here: {why}"
    return Verdict(Decision.DENY, Reason.INTERNAL, why=text, error=errno.ECONNREFUSED)


def _as_written(means: Inet, endpoint: Inet) -> Inet:
    """With the scope id that the program gave: its resolver compares that too."""
    scoped = getattr(endpoint.address, "scope_id", None)
    return endpoint if scoped else means
