"""The host: carries the number actors and coordinators of one process, loads them, sweeps what expires.

It decides nothing about masking. `Host.control` is the control plane; the host itself is the data plane.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from actors.accounts import AccountRegister
from actors.alerts import AlertBook
from actors.control import Control
from actors.coordinator import ServiceCoordinator
from actors.directory import Directory
from actors.expiry import ExpiryQueue
from actors.hooked import HookedEvents
from actors.ledger import Ledger
from actors.number import NumberActor
from actors.numbers import NumberRegister
from actors.parts import Egress, HostSettings, Parts
from actors.registry import Registry
from actors.reload import reload_answers
from actors.roster import Roster
from actors.services import ServiceRegister
from engine.core.allocation import session_wanted
from engine.core.errors import StoreUnavailable, not_found
from engine.core.pool import PoolState
from engine.core.ports import Clock, Observer, Store
from engine.core.records import Address, DebuggerEvent, Interaction, Service
from engine.core.routing import NOT_IN_POOL, REBUILDING, ActiveSession
from engine.core.sids import Mint
from engine.core.traffic import Decision, InboundEvent, LegReport, ReportOutcome, SessionWanted

SWEEP_CHUNK = 1_000
"""Sessions that are closed side by side; they share group commits."""

_log = logging.getLogger("maskline.host")


class Host:
    """Implements the port `DataPlane`; one per process or per Ray actor."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        mint: Mint,
        pick: Callable[[int], int],
        observer: Observer,
        settings: HostSettings | None = None,
        egress: Egress | None = None,
    ) -> None:
        """Carry actors over a store; `pick` returns a random index below n; without egress, what is owed waits."""
        parts = Parts(store, clock, mint, pick, observer, settings or HostSettings(), egress or Egress())
        self._parts = parts
        self._expiries = ExpiryQueue()
        self._ledger = Ledger(parts, active=self._active_session, ended=self._call_ended, service_of=self._service_of)
        self._hooked = HookedEvents(parts, self._ledger, make_session=self._make_session)
        self._registry = Registry(store)
        self._directory = Directory(parts, self._registry, self._ledger, self._hooked, expired=self._found_expired)
        self._accounts = AccountRegister(parts, self._registry)
        self._alerts = AlertBook(parts, account=self._accounts.find)
        self._numbers = NumberRegister(parts, self._registry)
        self._services = ServiceRegister(parts, self._registry, make=self._coordinator, is_ours=lambda _: True)
        self._roster = Roster(self._registry, self._directory, self._services)
        self._is_loaded = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.control = Control(
            parts,
            accounts=self._accounts,
            numbers=self._numbers,
            services=self._services,
            directory=self._directory,
        )

    @property
    def is_loaded(self) -> bool:
        """Whether requests can be looked at; changes fail while the store cannot commit."""
        return self._is_loaded

    @property
    def is_ready(self) -> bool:
        """Whether traffic is answered: everything is loaded and the store can commit."""
        return self._is_loaded and self._parts.store.is_writable

    @property
    def active_sessions(self) -> int:
        """Count the sessions that route."""
        return sum(coordinator.active_sessions for coordinator in self._services)

    def pools(self) -> Iterator[tuple[Service, PoolState, int]]:
        """Walk the services that are coordinated here: how full the pool is, and how many sessions route."""
        for coordinator in self._services:
            yield coordinator.service, coordinator.pool_state, coordinator.active_sessions

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return self._ledger.open_calls

    @property
    def bindings(self) -> int:
        """Count the active pairs."""
        return sum(len(actor.bindings) for actor in self._directory)

    async def start(self) -> None:
        """Load what the store holds, then begin to sweep; until then traffic is told to come again."""
        gc.disable()  # nothing that is loaded is garbage
        try:
            self._load()
            gc.freeze()
        finally:
            gc.enable()
        self._is_loaded = True
        self._spawn(self._sweep())
        self._spawn(self._retain())

    async def stop(self) -> None:
        """End the sweeps and wait for the changes under way; the store is the caller's to close."""
        self._is_loaded = False
        await self._hooked.finish()
        await self.control.finish()
        await self._guarded(self.sweep_alerts)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def waiting_events(self) -> int:
        """Count the events that wait for webhooks of applications."""
        return self._hooked.waiting

    def keep_event(self, event: DebuggerEvent) -> None:
        """Keep a debugger event for its account's list and webhook."""
        self._alerts.keep(event)

    # -- data plane ----------------------------------------------------------------------------------------------

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event; `answer` is called once, at once or after the commit, on the event loop."""
        if not self._is_loaded:
            answer(REBUILDING)
            return
        actor = self._directory.find(event.proxy)
        if actor is None:
            answer(NOT_IN_POOL)
        else:
            actor.receive(event, answer)

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would become of an event now, with nothing recorded."""
        if not self._is_loaded:
            return REBUILDING
        actor = self._directory.find(event.proxy)
        return NOT_IN_POOL if actor is None else actor.would_decide(event).decision

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Do the same about a number of another host; there is none."""
        answer(self.resolve(event) or NOT_IN_POOL)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a leg's state; `answer` gets None when it could not be taken and the platform should retry."""
        if not self._is_loaded:
            answer(None)
            return

        def counted(outcome: ReportOutcome | None) -> None:
            if outcome is not None:
                self._parts.observer.reported(outcome)
            answer(outcome)

        self._ledger.report(report, counted)

    def signing_token(self, proxy: Address) -> str | None:
        """Return the auth token of the account that owns a proxy number in a pool."""
        number = self._registry.number_at(proxy)
        return None if number is None or number.service_sid is None else self.account_token(number.account_sid)

    def account_token(self, account_sid: str) -> str | None:
        """Return the auth token of an account."""
        account = self._accounts.find(account_sid)
        return None if account is None else account.auth_token

    # -- loading -------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        store = self._parts.store
        self._registry.load(store.registry())
        self._roster.load()
        for session, participants in store.active_sessions():
            coordinator = self._services.find(session.service_sid)
            if coordinator is not None:
                coordinator.reload(session, participants)
        reload_answers(self._parts, self._ledger, self._directory, active=self._active_session)

    def _coordinator(self, service: Service) -> ServiceCoordinator:
        return ServiceCoordinator(
            service,
            parts=self._parts,
            registry=self._registry,
            owns=lambda named: self._numbers.owns(service.account_sid, named),
            directory=self._directory,
            watch=self._watch,
            unwatch=self._expiries.forget,
            calls_of=self._ledger.calls_of,
        )

    # -- expiry and retention ------------------------------------------------------------------------------------

    def _active_session(self, interaction: Interaction) -> ActiveSession | None:
        coordinator = self._services.find(interaction.service_sid)
        return None if coordinator is None else coordinator.active_session(interaction.session_sid)

    def _service_of(self, service_sid: str) -> Service | None:
        return self._registry.services.get(service_sid)

    def _call_ended(self, interaction: Interaction) -> None:
        coordinator = self._services.find(interaction.service_sid)
        if coordinator is not None and coordinator.service.options.closes_after_first_call:
            self._spawn(self._guarded(partial(coordinator.close_after_call, interaction)))

    async def _make_session(self, actor: NumberActor, event: InboundEvent, wanted: SessionWanted) -> None:
        coordinator = self._services.find(actor.service_sid)
        if coordinator is None:
            raise not_found(f"/Services/{actor.service_sid}")
        await coordinator.create_session(session_wanted(wanted, event, coordinator.number_at(actor.address)))

    def _watch(self, session: ActiveSession, at: float | None) -> None:
        if at is None:
            self._expiries.watch(session)
        else:
            self._expiries.look_again(session, at=at)

    def _found_expired(self, session: ActiveSession) -> None:
        if not session.is_ending:
            session.is_ending = True
            self._spawn(self._expire(session))

    async def _expire(self, session: ActiveSession) -> None:
        coordinator = self._services.find(session.service_sid)
        if coordinator is not None:
            await coordinator.expire(session)

    async def sweep(self) -> None:
        """Close every session whose end has come."""
        due = list(self._expiries.due(self._parts.clock()))
        for start in range(0, len(due), SWEEP_CHUNK):
            await asyncio.gather(*(self._expire(session) for session in due[start : start + SWEEP_CHUNK]))

    async def sweep_alerts(self) -> None:
        """Keep the debugger events that were raised since the last time."""
        await self._alerts.flush()

    async def erase_old(self) -> None:
        """Erase the sessions that closed longer ago than they are kept."""
        parts = self._parts
        before = parts.clock() - parts.settings.retention_seconds
        while True:
            old = await parts.store.sessions_closed_before(before, limit=SWEEP_CHUNK)
            erased = await asyncio.gather(*(self._erase(session_sid, before) for session_sid in old))
            parts.observer.retained(erased=sum(erased), is_up_to_date=not any(erased))
            if not any(erased):
                return

    async def _erase(self, session_sid: str, before: float) -> bool:
        session = self._parts.store.session(session_sid)
        coordinator = None if session is None else self._services.find(session.service_sid)
        return coordinator is not None and await coordinator.erase_if_closed(session_sid, before=before)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.sweep_interval_seconds)
            await self._guarded(self.sweep)
            await self._guarded(self.sweep_alerts)

    async def _retain(self) -> None:
        while True:
            await self._guarded(self.erase_old)
            await self._guarded(self._alerts.erase_old)
            await asyncio.sleep(self._parts.settings.retention_interval_seconds)

    async def _guarded(self, sweep: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await sweep()
        except StoreUnavailable:
            _log.warning("The store cannot commit; sessions stay as they are until it can")
        except Exception:  # noqa: BLE001 - the loop of an actor: the unforeseen is logged, the next turn goes on
            _log.exception("A sweep failed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
