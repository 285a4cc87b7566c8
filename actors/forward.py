"""Events that arrived at a host which does not own their number, on their way to the one that does and back.

All that one turn of the loop gathers for a host travels in one message. An event whose decision waits for a webhook
does not hold up the others: it is asked about again, alone, as a carrier's redelivery would be.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from actors.mesh import Mesh
from actors.parts import Parts
from actors.sides import NumberSide
from engine.core.errors import MasklineError
from engine.core.routing import NOT_IN_POOL, REBUILDING
from engine.core.traffic import Decision, InboundEvent, LegReport, ReportOutcome

Answer = Callable[[Decision], None]
Ask = Callable[[NumberSide, tuple[InboundEvent, ...]], Coroutine[Any, Any, tuple[Decision | None, ...]]]

DECIDE_SECONDS = 0.25
"""How long the decisions of a message wait for each other, a group commit included."""

_Waiting = tuple[InboundEvent, Answer]


class Forwarder:
    """Hands events to the hosts that own their numbers."""

    def __init__(self, mesh: Mesh, parts: Parts) -> None:
        """Forward through a mesh."""
        self.forwarded = 0
        """Events that were handed on."""
        self._mesh = mesh
        self._parts = parts
        self._gathered: dict[tuple[int, Ask], list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, host: int, event: InboundEvent, answer: Answer) -> None:
        """Have a host decide about an event; REBUILDING when it does not answer."""
        self._gather(host, NumberSide.decide, event, answer)

    def resolve(self, host: int, event: InboundEvent, answer: Answer) -> None:
        """Have a host tell what would become of an event."""
        self._gather(host, NumberSide.resolve, event, answer)

    def report(
        self, report: LegReport, answer: Callable[[ReportOutcome | None], None], here: Callable[[], None]
    ) -> None:
        """Have the host that knows a leg take its state; `here` takes it when no host does."""
        self._spawn(self._report(report, answer, here))

    async def finish(self) -> None:
        """Give up what is under way; carriers come again."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _gather(self, host: int, ask: Ask, event: InboundEvent, answer: Answer) -> None:
        gathered = self._gathered.get((host, ask))
        if gathered is None:
            gathered = self._gathered[host, ask] = []
            asyncio.get_running_loop().call_soon(self._flush, host, ask)
        gathered.append((event, answer))

    def _flush(self, host: int, ask: Ask) -> None:
        gathered = self._gathered.pop((host, ask))
        self.forwarded += len(gathered)
        self._spawn(self._send(host, ask, gathered))

    async def _send(self, host: int, ask: Ask, gathered: Sequence[_Waiting]) -> None:
        decisions: Sequence[Decision | None]
        try:
            decisions = await self._mesh.ask(host, ask, tuple(event for event, _ in gathered))
        except (MasklineError, asyncio.CancelledError):
            decisions = (REBUILDING,) * len(gathered)
            self._parts.observer.forwarded(len(gathered), is_answered=False)
        else:
            self._parts.observer.forwarded(len(gathered), is_answered=True)
        for (event, answer), decision in zip(gathered, decisions, strict=True):
            if decision is not None:
                answer(decision)
            elif ask is NumberSide.resolve:
                answer(NOT_IN_POOL)
            else:
                self._spawn(self._wait(host, event, answer))

    async def _wait(self, host: int, event: InboundEvent, answer: Answer) -> None:
        """Ask again about an event that waits for a webhook, until the carrier will not wait any longer."""
        decision: Decision | None = None
        deadline = self._parts.clock() + self._parts.settings.carrier_deadline_seconds
        try:
            while decision is None and self._parts.clock() < deadline:
                (decision,) = await self._mesh.ask(host, NumberSide.decide, (event,))
        except (MasklineError, asyncio.CancelledError):
            decision = None
        answer(decision or REBUILDING)

    async def _report(
        self, report: LegReport, answer: Callable[[ReportOutcome | None], None], here: Callable[[], None]
    ) -> None:
        try:
            for host in self._mesh.others:
                if await self._mesh.ask_quickly(host, NumberSide.knows, report):
                    answer(await self._mesh.ask_quickly(host, NumberSide.report, report))
                    return
        except (MasklineError, asyncio.CancelledError):
            answer(None)  # a host that may know it does not answer: the platform is to come again
            return
        here()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def decide_soon(
    events: Sequence[InboundEvent], receive: Callable[[InboundEvent, Answer], None]
) -> tuple[Decision | None, ...]:
    """Have events decided; None for one that takes longer than the others need wait for."""
    decisions: list[Decision | None] = [None] * len(events)
    left = len(events)
    all_decided = asyncio.Event()

    def answer_to(place: int) -> Answer:
        def answer(decision: Decision) -> None:
            nonlocal left
            decisions[place] = decision
            left -= 1
            if not left:
                all_decided.set()

        return answer

    for place, event in enumerate(events):
        receive(event, answer_to(place))
    if left:
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                await all_decided.wait()
        except TimeoutError:
            pass
    return tuple(decisions)
