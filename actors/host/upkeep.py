"""What a host does by itself: it closes what has come to its end, and erases what is old."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from actors.control.alerts import AlertBook
from actors.control.batch import erase_old_keys
from actors.control.erasures import Erasures
from actors.control.exchanges import ExchangeBook
from actors.control.history import TrafficHistory
from actors.control.notes import erase_expired_notes
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.expiry import ExpiryQueue
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.recorded import RecordedInteractions
from engine.core.model.errors import PeerUnavailable, StoreUnavailable
from engine.core.routing.traffic import ReportOutcome
from engine.core.sessions.bindings import ActiveSession

SWEEP_CHUNK = 1_000
"""Sessions that are closed side by side; they share group commits."""

_log = logging.getLogger("maskline.host")


class Background:
    """Tasks that nobody waits for; what fails is logged, and tried again by who tries."""

    def __init__(self) -> None:
        """Run nothing yet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends, or all are stopped."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    async def guarded(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for it; log why it failed."""
        try:
            await work()
        except StoreUnavailable:  # the store has said why, once, and says when it is over
            _log.debug("The store cannot commit; sessions stay as they are until it can")
        except PeerUnavailable as problem:
            _log.warning("Another host does not answer; sessions stay as they are until it does: %s", problem)
        except Exception:  # noqa: BLE001 - the loop of an actor: the unforeseen is logged, the next turn goes on
            _log.exception("A sweep failed")


class Upkeep:
    """The sweeps of one host: in short intervals what ends, in long ones what is kept no longer."""

    def __init__(
        self,
        context: HostContext,
        *,
        services: ServiceRegister,
        expiries: ExpiryQueue,
        interaction_log: InteractionLog,
        recorded: RecordedInteractions,
        erasures: Erasures,
        alerts: AlertBook,
        history: TrafficHistory,
        exchanges: ExchangeBook,
        erases_kept: bool,
    ) -> None:
        """Sweep what these know; `erases_kept`: debugger events, idempotency keys and notes are for this host."""
        self._context = context
        self._services = services
        self._expiries = expiries
        self._interaction_log = interaction_log
        self._recorded = recorded
        self._erasures = erasures
        self._alerts = alerts
        self._history = history
        self._exchanges = exchanges
        self._erases_kept = erases_kept

    def begin(self, background: Background) -> None:
        """Sweep from now on."""
        background.spawn(self._sweep())
        background.spawn(self._retain())

    async def sweep(self) -> None:
        """Close every session whose end has come."""
        due = list(self._expiries.due(self._context.sure_now()))
        for start in range(0, len(due), SWEEP_CHUNK):
            await asyncio.gather(*(self._expire(session) for session in due[start : start + SWEEP_CHUNK]))

    async def sweep_alerts(self) -> None:
        """Keep the debugger events that were raised since the last time, and the exchanges with applications."""
        await self._alerts.flush()
        await self._exchanges.flush()

    async def note_traffic(self) -> None:
        """Keep the figures of the minute that has ended, if one has."""
        await self._history.note()

    async def erase_old(self) -> None:
        """Erase the sessions that closed longer ago than they are kept."""
        context = self._context
        before = context.sure_now() - context.settings.retention_seconds
        while True:
            old = await context.store.sessions_closed_before(before, limit=SWEEP_CHUNK)
            erased = await asyncio.gather(*(self._erase(session_sid, before) for session_sid in old))
            context.observer.retained(erased=sum(erased), is_up_to_date=not any(erased))
            if not any(erased):
                return

    async def end_untold_calls(self) -> None:
        """End the calls that are older than any should be: nobody tells their end any more."""
        context, log = self._context, self._interaction_log
        longest = context.settings.longest_call_seconds
        is_progress = longest > 0
        while is_progress:
            open_calls = log.open_calls
            await self._recorded.end_untold(before=context.sure_now() - longest, most=SWEEP_CHUNK)
            await context.store.write(())
            is_progress = log.open_calls < open_calls
            for _ in range(open_calls - log.open_calls):
                context.observer.reported(ReportOutcome.NEVER_TOLD)

    async def _expire(self, session: ActiveSession) -> None:
        coordinator = self._services.find(session.service_sid)
        if coordinator is not None:
            await coordinator.expire(session)

    async def _erase(self, session_sid: str, before: float) -> bool:
        session = await self._context.store.session(session_sid)
        coordinator = None if session is None else self._services.find(session.service_sid)
        return coordinator is not None and await coordinator.erase_if_closed(session_sid, before=before)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._context.settings.sweep_interval_seconds)
            await Background.guarded(self.sweep)
            await Background.guarded(self._erasures.pay)
            await Background.guarded(self.sweep_alerts)
            await Background.guarded(self.note_traffic)

    async def _retain(self) -> None:
        while True:
            await Background.guarded(self.end_untold_calls)
            await Background.guarded(self.erase_old)
            if self._erases_kept:
                await Background.guarded(self._alerts.erase_old)
                await Background.guarded(partial(erase_old_keys, self._context))
                await Background.guarded(partial(erase_expired_notes, self._context))
            await asyncio.sleep(self._context.settings.retention_interval_seconds)
