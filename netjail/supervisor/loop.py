"""The supervisor's side: stops out of the core, answers into it, the book in between."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, ClassVar

from msgspec import structs

from netjail.actions import choose
from netjail.endpoints import Netlink, Unspecified
from netjail.errors import TraceeGone
from netjail.kernel.links import Links
from netjail.kernel.owners import Owners
from netjail.kernel.tracee import Cache, Event, Jail, Kind, supervise_alone, timer
from netjail.model import Attempt, Decision, Pending, Protocol, Reason, Verdict
from netjail.report import Scope, exit_status
from netjail.sockets import certain, unmade
from netjail.supervisor import listening
from netjail.supervisor.book import Book
from netjail.supervisor.desk import Desk
from netjail.supervisor.elsewhere import redirect
from netjail.supervisor.ending import not_started, still_there, unpinned
from netjail.supervisor.pin import by_path, pin
from netjail.supervisor.world import World
from netjail.syscalls import ROWS, Shape, decode, unread
from netjail.tree import Tree

if TYPE_CHECKING:
    from netjail.supervisor import Plan
    from netjail.supervisor.setting import Setting

_SECOND = 1000
_SOON = 5  # milliseconds between looks at a name's look-up
_PATIENCE = 2.0  # seconds until it is said who is waited for

# Ping sockets are let through; what they send is judged.
_LET = frozenset({Protocol.ICMP})
# What any program makes without being noticed.
_EVERYWHERE = frozenset({Protocol.TCP, Protocol.UDP})
_FOREIGN = frozenset({Protocol.ICMP, Protocol.RAW, Protocol.OTHER})


class Supervisor:
    """One run of a plan, in the supervisor process."""

    def __init__(self, plan: Plan, setting: Setting, links: Links) -> None:
        self._plan = plan
        self._setting = setting
        self._links = links
        self._shared = links.shared
        self._book = Book(plan, setting)
        self._rare = setting.inherited.rare
        self._waiting: list[Event] = []
        self._status: int | None = None
        self._ended_at = 0.0
        self._said_waiting = False
        self._flushed = time.monotonic()

    def run(self, program: bytes, key: int) -> None:
        """
        Supervise until the last process has ended; the shared page then says how.

        :raises NetjailError: where netjail cannot go on; the jail ends with this process.
        """
        owners, links = Owners(), self._links
        jail = Jail(program, key, links, owners, self._plan.policy.by_caller)
        supervise_alone(links.front)
        self._jail = jail
        self._tree = Tree(jail.ancestor)
        self._world = World(owners, self._plan.policy.by_name, jail.caller)
        self._book.look = self._world.seen
        self._desk = Desk(self._plan, self._book, self._world, jail)
        jail.attach(links.front)
        os.write(links.attached, b"1")
        os.close(links.attached)
        timer(_SECOND)
        self._book.begin()
        while self._step(jail.next()):
            pass
        self._finish()

    def _step(self, event: Event) -> bool:
        """Deal with one event; False: the jail is at its end."""
        if event.kind is Kind.DONE:
            return False
        if event.kind is Kind.NOT_STARTED:
            self._not_started(event)
            return True
        try:
            handler = self._HANDLERS.get(event.kind)
            if handler:
                handler(self, event)
        except TraceeGone as error:  # killed between its stop and our answer
            self._jail.check_gone(event.stop, error)
        over = self._status is not None and self._plan.orphans == "kill"
        return not (self._shared.give_up or over)

    # ---- events ----

    def _on_call(self, event: Event) -> None:
        stop = event.stop
        assert stop is not None
        shape = ROWS[stop.row].shape
        outcome = decode(stop, self._rare)
        if isinstance(outcome, Verdict):
            self._carry_out(event, unread(stop), outcome, named=False)
        elif shape is Shape.LISTEN:
            self._on_listen(event, outcome)
        elif shape is Shape.SOCKET:
            self._on_socket(event, outcome)
        elif shape in (Shape.SHUT, Shape.MAP, Shape.BIND):
            self._on_shut(event, outcome)
        else:
            self._judge(event, outcome)

    def _judge(self, event: Event, attempt: Attempt) -> None:
        self._meet(attempt)
        self._world.begin(attempt)
        verdict = self._plan.policy.decide(attempt, self._world)
        if isinstance(verdict, Pending):
            if not self._waiting:
                timer(_SOON)
            self._waiting.append(event)
            return
        # The kernel itself, and nobody at all, are no destinations.
        named = not isinstance(attempt.endpoint, Netlink | Unspecified)
        self._carry_out(event, attempt, verdict, named)

    def _meet(self, attempt: Attempt) -> None:
        """Remember sockets that the jail did not make: any descriptor could be one."""
        if attempt.descriptor.domain not in (AF_INET, AF_INET6) or not certain(attempt.descriptor):
            return
        if not attempt.protocols & _FOREIGN <= self._rare:
            self._rare |= attempt.protocols & _FOREIGN
            self._jail.forget_any()

    def _carry_out(
        self, event: Event, attempt: Attempt, verdict: Verdict, named: bool = True
    ) -> None:
        runs = choose(verdict, self._plan.audit).runs
        led = runs and self._desk.answers(attempt, verdict)
        cache = self._lasting(attempt, verdict) if named and not led else Cache.NOT
        failed = self._steer(event, attempt, verdict, led) if runs else None
        if failed:
            verdict, runs, cache = failed, False, Cache.NOT
        token = 0
        if not event.again and (named or verdict.decision is Decision.DENY):
            verdict, names = self._world.named(attempt, verdict)
            who = self._tree.of(event.tid, attempt.process)
            token = self._book.note(attempt, verdict, who, runs, names)
        if cache:
            known = self._book.cache(attempt, verdict)
            cache, token = cache if known else Cache.NOT, token or known
            if self._book.crowded:
                self._count()
        if runs:
            self._jail.allow(event.tid, token, cache)
        else:
            self._jail.deny(event.tid, verdict.error or errno.EPERM, token, cache)

    def _steer(self, event: Event, attempt: Attempt, verdict: Verdict, led: bool) -> Verdict | None:
        """Lead a call that runs to where it may go; or why that cannot be."""
        assert event.stop is not None
        if led:
            return self._desk.lead(event.stop, attempt, self._tree.of(event.tid, attempt.process))
        if verdict.redirect and not self._plan.audit:
            return redirect(self._jail, event.stop, verdict.redirect)
        if not self._plan.audit and by_path(self._plan.policy, attempt, verdict):
            found = self._world.unix(attempt)
            return pin(self._jail, event.tid, found, self._book.report.warn)
        return None

    def _lasting(self, attempt: Attempt, verdict: Verdict) -> Cache:
        """Whether the core may repeat *verdict*, and without looking at the descriptor."""
        if not verdict.cacheable:
            return Cache.NOT
        every = attempt.protocols | _EVERYWHERE | self._rare
        other = self._plan.policy.decide(structs.replace(attempt, protocols=every), self._world)
        same = (
            isinstance(other, Verdict)
            and other.cacheable
            and other.reason is not Reason.AMBIGUOUS
            and (other.decision, other.error) == (verdict.decision, verdict.error)
        )
        return Cache.ANY if same else Cache.KIND

    def _on_socket(self, event: Event, attempt: Attempt) -> None:
        if attempt.protocols <= _LET:
            self._rare |= attempt.protocols
            self._jail.forget_any()
            self._jail.let(event.tid)
            return
        error, why = unmade(attempt.protocols)
        verdict = Verdict(Decision.DENY, Reason.STRUCTURE, why=why, error=error)
        self._carry_out(event, attempt, verdict)

    def _on_shut(self, event: Event, attempt: Attempt) -> None:
        row = ROWS[event.stop.row] if event.stop else ROWS[0]
        verdict = Verdict(Decision.DENY, Reason.STRUCTURE, why=row.hint, error=row.error)
        self._carry_out(event, attempt, verdict)

    def _on_listen(self, event: Event, attempt: Attempt) -> None:
        plan, before = self._plan, self._setting.inherited.listening
        who = self._tree.of(event.tid, attempt.process)
        listener, shut = listening.judge(attempt, plan.policy, plan.strict, before, who.chain)
        failed = 0
        if listener.scope is Scope.LOCAL and not attempt.descriptor.shared:
            self._jail.let(event.tid)
        elif listener.scope is not Scope.REFUSED:
            failed = self._jail.listen(event.tid, shut)
        if not failed:
            self._book.listener(listener, who, event.tid, "")
        if listener.scope is Scope.REFUSED:
            self._jail.deny(event.tid, errno.EPERM, 0, Cache.NOT)

    def _on_result(self, event: Event) -> None:
        self._book.result(event.token, event.result)

    def _on_tick(self, event: Event) -> None:
        now = time.monotonic()
        self._desk.serve()
        if self._waiting and self._world.poll():
            self._ask_again()
        if now - self._flushed >= 1:
            self._flushed = now
            self._flush()
        if self._status is not None and now - self._ended_at >= _PATIENCE:
            self._say_waiting()

    def _ask_again(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            assert event.stop is not None
            # Killed or replaced by an exec: what waits there now is another call.
            if not self._jail.waits(event.stop):
                continue
            try:
                self._on_call(event)
            except TraceeGone as error:
                self._jail.check_gone(event.stop, error)
        if not self._waiting:
            timer(_SECOND)

    def _on_exited(self, event: Event) -> None:
        self._status = event.status
        self._ended_at = time.monotonic()

    _HANDLERS: ClassVar[dict[Kind, Callable[[Supervisor, Event], None]]] = {
        Kind.CALL: _on_call,
        Kind.RESULT: _on_result,
        Kind.TICK: _on_tick,
        Kind.EXITED: _on_exited,
    }

    # ---- the end ----

    def _not_started(self, event: Event) -> None:
        error, code = not_started(self._plan.command[0], event.status, event.result)
        self._plan.complain(error)
        self._status = code << 8

    def _flush(self) -> None:
        self._count()
        self._book.flush()

    def _count(self) -> None:
        for token, cause in self._jail.gone():
            self._book.result(token, -errno.ENOBUFS if cause else None)
            if cause:
                self._book.report.warn(unpinned(cause))
        for token, count, forgotten in self._jail.drain():
            self._book.count(token, count, forgotten)

    def _say_waiting(self) -> None:
        if self._said_waiting:
            return
        self._said_waiting = True
        self._plan.say(still_there(self._jail.ancestor, self._jail.living()))

    def _finish(self) -> None:
        self._desk.end()
        self._flush()
        status = self._status or 0
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        report, plan = self._book.report, self._plan
        code = exit_status(os.waitstatus_to_exitcode(status), plan.fail_on, report, plan.exit_code)
        for warning in (*self._setting.warnings, *self._world.warnings):
            report.warn(warning)
        ended = (0 if signal else code, signal)
        try:
            self._book.end(*ended, os.waitstatus_to_exitcode(status))
        finally:
            own = plan.finish(report)
        self._shared.end(*(ended if own is None else (own, 0)))
