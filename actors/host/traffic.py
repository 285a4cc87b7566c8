"""The data plane of one host: what arrives is handed to its number's actor, here or on another host."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, final

from mypy_extensions import mypyc_attr

from actors.host.parts import HostParts
from actors.host.reports import Reports, send_elsewhere
from engine.core.model.records import Address
from engine.core.ports.observing import Observer
from engine.core.ports.outgoing import RemoteSend
from engine.core.routing.decide import NOT_IN_POOL, REBUILDING, STORE_DOWN, resolve, resolve_all
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, Question, ReportOutcome

Told = TypeVar("Told")


class HostTraffic:
    """Implements the ports `FeedPlane` and `EgressPlane`.

    Where another process may become this host, all is answered under the lease; without it the answer is "not ready".
    """

    def __init__(self, parts: HostParts) -> None:
        """Answer not-ready until it `is_open`."""
        self.is_open = False
        """Whether everything is loaded, so that events are decided."""
        self._context = parts.context
        self._lease = parts.context.lease
        self._registry = parts.registry
        self._directory = parts.directory
        self._log = parts.interaction_log
        self._being_changed = parts.recorded.being_changed
        self._accounts = parts.accounts
        self._route_cache = parts.route_cache
        self._node = parts.node
        self._reports = Reports(parts, counted=self._counted, take_here=self.report_here)

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event; `answer` is called once, at once or after the commit, on the event loop."""
        owner = None if self._node is None else self._owner_elsewhere(event.proxy)
        if self._node is None or owner is None:
            self.receive_here(event, answer)
        else:
            self._node.forwarder.receive(owner, event, self._sure(answer, STORE_DOWN))

    def receive_here(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event on a number of this host."""
        if not self.is_open:
            answer(REBUILDING)
            return
        if self._lease is not None:
            answer = self._sure(answer, STORE_DOWN)
        actor = self._directory.find(event.proxy)
        if actor is None or event.account_sid not in (None, actor.account_sid):
            answer(NOT_IN_POOL)
        else:
            actor.receive(event, answer)

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would become of an event now, with nothing recorded."""
        if not self.is_open:
            return REBUILDING
        if self._lease is not None and not self._lease():
            return STORE_DOWN
        actor = self._directory.find(event.proxy)
        if actor is None:
            return NOT_IN_POOL if self._owner_elsewhere(event.proxy) is None else None
        if event.account_sid not in (None, actor.account_sid):
            return NOT_IN_POOL
        if not actor.is_ready:
            return REBUILDING
        return actor.would_decide(event).decision

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Do the same about a number of another host; `answer` is called once, later."""
        owner = self._owner_elsewhere(event.proxy)
        if self._node is None or owner is None:
            answer(self.resolve(event) or NOT_IN_POOL)
        else:
            self._node.forwarder.resolve(owner, event, self._sure(answer, STORE_DOWN))

    def _sure(self, answer: Callable[[Told], None], otherwise: Told) -> Callable[[Told], None]:
        """Have an answer be another one if the lease has run out by then, which it may while something waits."""
        lease = self._lease
        return answer if lease is None else lambda told: answer(told if lease() else otherwise)

    def _owner_elsewhere(self, proxy: Address) -> int | None:
        """Return the host that owns the number reached, None for this one and for a number in no pool."""
        node = self._node
        if node is None or not self.is_open or self._directory.find(proxy) is not None:
            return None
        owner = node.owner_of(proxy)
        return None if owner == node.me else owner

    def route_cache(self) -> RouteCache | None:
        """Return what plain questions can be answered from now; None while nothing may be answered, or without any."""
        if self._route_cache is None or not self.is_open or (self._lease is not None and not self._lease()):
            return None
        return self._route_cache.at(self._context.clock())

    def resolve_all(
        self, questions: Sequence[Question], *, account_sid: str | None, fills_cache: bool = False
    ) -> Resolved | None:
        """Resolve many at once for an account (None = for all); None where another host owns one of the numbers."""
        if not self.is_open:
            return Resolved([REBUILDING] * len(questions), strangers=0, others=len(questions))
        if self._lease is not None and not self._lease():
            return Resolved([STORE_DOWN] * len(questions), strangers=0, others=len(questions))
        now = self._context.clock()
        return resolve_all(
            questions,
            self._directory.by_address,
            account_sid=account_sid,
            now=now,
            otherwise=lambda question: self._foresee(question, account_sid, now),
            fills_cache=fills_cache,
        )

    def _foresee(self, question: Question, account_sid: str | None, now: float) -> Decision | None:
        actor = self._directory.find(question.proxy)
        if actor is None:
            return NOT_IN_POOL if self._owner_elsewhere(question.proxy) is None else None
        if account_sid not in (None, actor.account_sid):
            return NOT_IN_POOL
        if not actor.is_ready:
            return REBUILDING
        return resolve(actor.bindings, question, rules=actor.rules, now=now)

    def settle(self, done: Callable[[], None]) -> None:
        """Call `done` when nothing that was received or reported before this waits for its commit any more."""
        self._context.store.commit((), lambda _: done())

    def report(self, report: LegReport, answer: AnswerReport) -> None:
        """Take a leg's state; `answer` gets None when it could not be taken and the platform should retry."""
        if not self.is_open:
            answer(None)
            return
        if self.report_at_hand(report, answer):
            return
        self._reports.take(report, self._sure(answer, None))

    def report_at_hand(self, report: LegReport, answer: AnswerReport) -> bool:
        """Take a leg's state as `report` does, where that needs no reading; tells whether it does.

        That is where memory has what it is about as it is on disk, and nobody else is to change it now.
        """
        interaction = self._log.at_hand(report) if self.is_open else None
        if interaction is None or interaction.sid in self._being_changed or not self._is_here(interaction.proxy):
            return False
        return self._log.take_at_hand(report, interaction, self._counted(self._sure(answer, None)))

    def report_here(self, report: LegReport, answer: AnswerReport) -> None:
        """Take the state of a leg that this host knows, or that no host does."""
        self._reports.take_here(report, self._sure(answer, None))

    def _counted(self, answer: AnswerReport) -> AnswerReport:
        return _Counted(self._context.observer, answer).answered

    def _is_here(self, proxy: Address) -> bool:
        node = self._node
        return node is None or node.place(proxy) == node.me

    def finish(self) -> Awaitable[None]:
        """Give up the reports that wait for what they are about; platforms retry."""
        return self._reports.finish()

    def signing_tokens(self, proxy: Address) -> tuple[str, ...]:
        """Return the auth tokens of the account that owns a proxy number in a pool; none = it is in no pool."""
        number = self._registry.number_at(proxy)
        return () if number is None or number.service_sid is None else self.account_tokens(number.account_sid)

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Return the auth tokens of an account that are good now, first the one that signs what we send."""
        account = self._accounts.find(account_sid)
        if account is None:
            return ()
        # nearly always there is one, and every webhook asks: without the clock that is half as dear
        return (account.auth_token,) if account.previous_token is None else account.tokens(self._context.clock())

    def owner_of(self, proxy: Address) -> str | None:
        """Return the SID of the account that owns a number, in a pool or not."""
        number = self._registry.number_at(proxy)
        return None if number is None else number.account_sid

    def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> Coroutine[Any, Any, RemoteSend]:
        """Have the host on which a channel is placed send a message through one of its senders, once for each key."""
        return send_elsewhere(self._node, key, message, channel=channel, sender=sender)


@final
@mypyc_attr(acyclic=True)
class _Counted:
    """Who is answered what became of a report, which is counted."""

    __slots__ = ("_answer", "_observer")

    def __init__(self, observer: Observer, answer: AnswerReport) -> None:
        self._observer = observer
        self._answer = answer

    def answered(self, outcome: ReportOutcome | None) -> None:
        if outcome is not None:
            self._observer.reported(outcome)
        self._answer(outcome)
