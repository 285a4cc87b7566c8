"""Events that arrived at a host which does not own their number, on their way to the one that does and back.

All that one turn of the loop gathers for a host travels in one message. An event whose decision waits for a webhook
does not hold up the others: it is asked about again, alone, as a carrier's redelivery would be.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from actors.cluster.between_hosts import HostNumbers
from actors.cluster.rpc import HostRpc
from actors.kernel.context import HostContext
from engine.core.model.errors import MasklineError
from engine.core.routing.decide import NOT_IN_POOL, REBUILDING
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, ReportOutcome

Answer = Callable[[Decision], None]
TakeReport = Callable[[LegReport, AnswerReport], None]

PROMPT_SECONDS = 0.25
"""How long the decisions of a message wait for each other, a group commit included."""

PATIENT_SECONDS = 1.0
"""The same for events that are known to wait for a webhook."""

_Waiting = tuple[InboundEvent, Answer]


class Forwarder:
    """Hands events to the hosts that own their numbers."""

    def __init__(self, rpc: HostRpc, context: HostContext) -> None:
        """Forward by RPC."""
        self._rpc = rpc
        self._context = context
        self._asked: dict[int, list[_Waiting]] = {}
        self._resolved: dict[int, list[_Waiting]] = {}
        self._late: dict[int, list[tuple[float, InboundEvent, Answer]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, host: int, event: InboundEvent, answer: Answer) -> None:
        """Have a host decide about an event; REBUILDING when it does not answer."""
        self._gather(self._asked, host, (event, answer), self._ask)

    def resolve(self, host: int, event: InboundEvent, answer: Answer) -> None:
        """Have a host tell what would become of an event."""
        self._gather(self._resolved, host, (event, answer), self._resolve)

    def report(
        self,
        report: LegReport,
        named: tuple[str, ...],
        answer: AnswerReport,
        here: TakeReport,
        *,
        owner: int | None = None,
    ) -> None:
        """Have the host that knows a leg take its state, which is `owner` if that is known; `here` when no host does.

        `named` are the interactions of this host of which a vague report may be.
        """
        self._spawn(self._report(report, named, answer, here) if owner is None else self._hand(owner, report, answer))

    async def finish(self) -> None:
        """Give up what is under way; carriers retry."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _gather(
        self,
        by_host: dict[int, list[_Waiting]],
        host: int,
        waiting: _Waiting,
        send: Callable[[int, list[_Waiting]], Coroutine[Any, Any, None]],
    ) -> None:
        gathered = by_host.get(host)
        if gathered is None:
            gathered = by_host[host] = []
            asyncio.get_running_loop().call_soon(lambda: self._spawn(send(host, by_host.pop(host))))
        gathered.append(waiting)

    async def _ask(self, host: int, gathered: list[_Waiting]) -> None:
        decisions: Sequence[Decision | None]
        events = tuple(event for event, _ in gathered)
        try:
            decisions = await self._rpc.ask(host, HostNumbers.decide, events, PROMPT_SECONDS)
        except (MasklineError, asyncio.CancelledError):
            decisions = (REBUILDING,) * len(gathered)
            self._context.observer.forwarded(len(gathered), is_answered=False)
        else:
            self._context.observer.forwarded(len(gathered), is_answered=True)
        deadline = self._context.monotonic() + self._context.settings.carrier_deadline_seconds
        for (event, answer), decision in zip(gathered, decisions, strict=True):
            if decision is None:
                self._wait(host, deadline, event, answer)
            else:
                answer(decision)

    def _wait(self, host: int, deadline: float, event: InboundEvent, answer: Answer) -> None:
        late = self._late.get(host)
        if late is None:
            late = self._late[host] = []
            self._spawn(self._ask_again(host, late))
        late.append((deadline, event, answer))

    async def _ask_again(self, host: int, late: list[tuple[float, InboundEvent, Answer]]) -> None:
        """Ask again about events that wait for webhooks, until their carriers will not wait any longer."""
        while late:
            asked, late[:] = tuple(late), ()
            decisions: Sequence[Decision | None]
            try:
                events = tuple(event for _, event, _ in asked)
                decisions = await self._rpc.ask(host, HostNumbers.decide, events, PATIENT_SECONDS)
            except (MasklineError, asyncio.CancelledError):
                decisions = (REBUILDING,) * len(asked)
            for (deadline, event, answer), decision in zip(asked, decisions, strict=True):
                if decision is not None or deadline < self._context.monotonic():
                    answer(decision or REBUILDING)
                else:
                    late.append((deadline, event, answer))
        del self._late[host]

    async def _resolve(self, host: int, gathered: list[_Waiting]) -> None:
        decisions: Sequence[Decision | None]
        try:
            decisions = await self._rpc.ask(host, HostNumbers.resolve, tuple(event for event, _ in gathered))
        except (MasklineError, asyncio.CancelledError):
            decisions = (REBUILDING,) * len(gathered)
        for (_, answer), decision in zip(gathered, decisions, strict=True):
            answer(decision or NOT_IN_POOL)

    async def _report(self, report: LegReport, named: tuple[str, ...], answer: AnswerReport, here: TakeReport) -> None:
        try:
            if report.is_vague:
                found = {*named, *(sid for some in await self._rpc.ask_all(HostNumbers.named, report) for sid in some)}
                if len(found) > 1:
                    self._context.observer.reported(ReportOutcome.AMBIGUOUS)
                    answer(ReportOutcome.AMBIGUOUS)
                    return
                report = msgspec.structs.replace(report, interaction_sid=next(iter(found), None))
            if not report.is_vague and report.interaction_sid not in named:
                for host in self._rpc.others:
                    if await self._rpc.ask_quickly(host, HostNumbers.knows, report):
                        answer(await self._rpc.ask_quickly(host, HostNumbers.report, report))
                        return
            here(report, answer)
        except (MasklineError, asyncio.CancelledError):
            answer(None)  # a host that may know it does not answer: the platform has to retry

    async def _hand(self, owner: int, report: LegReport, answer: AnswerReport) -> None:
        try:
            answer(await self._rpc.ask_quickly(owner, HostNumbers.report, report))
        except (MasklineError, asyncio.CancelledError):
            answer(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def decided(
    events: Sequence[InboundEvent], receive: Callable[[InboundEvent, Answer], None], *, patience_seconds: float
) -> tuple[Decision | None, ...]:
    """Have events decided; None for one that takes longer than that."""
    decisions: list[Decision | None] = [None] * len(events)
    left = len(events)
    is_done = asyncio.Event()

    def answer_to(place: int) -> Answer:
        def answer(decision: Decision) -> None:
            nonlocal left
            decisions[place] = decision
            left -= 1
            if not left:
                is_done.set()

        return answer

    for place, event in enumerate(events):
        receive(event, answer_to(place))
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_seconds):
            if left:
                await is_done.wait()
    return tuple(decisions)
