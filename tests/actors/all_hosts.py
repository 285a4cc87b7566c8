"""All hosts of a test's world as if they were one."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle

from actors.host.host import Host
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.records import Address, DebuggerEvent
from engine.core.ports.operations import ControlPlane
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, ReportOutcome


class Hosts:
    """All hosts of a world, as if they were one: whatever arrives, arrives at each in turn."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.all = hosts
        self._turns = cycle(hosts)

    @property
    def control(self) -> ControlPlane:
        """The control plane of the next host."""
        return next(self._turns).control

    @property
    def is_ready(self) -> bool:
        """Whether all are."""
        return all(host.is_ready and not host.unheard for host in self.all)

    @property
    def active_sessions(self) -> int:
        """Count the sessions that route."""
        return sum(host.active_sessions for host in self.all)

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return sum(host.open_calls for host in self.all)

    @property
    def bindings(self) -> int:
        """Count the active pairs."""
        return sum(host.bindings for host in self.all)

    @property
    def waiting_events(self) -> int:
        """Count the events that wait for webhooks of applications."""
        return sum(host.waiting_events for host in self.all)

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Hand an event to the next host."""
        next(self._turns).traffic.receive(event, answer)

    async def resolve(self, event: InboundEvent) -> Decision:
        """Ask the next host what would become of an event."""
        host, waiting = next(self._turns), asyncio.get_running_loop().create_future()
        decision = host.traffic.resolve(event)
        if decision is not None:
            return decision
        host.traffic.resolve_elsewhere(event, waiting.set_result)
        told: Decision = await waiting
        return told

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Hand a report to the next host."""
        next(self._turns).traffic.report(report, answer)

    def signing_tokens(self, proxy: Address) -> tuple[str, ...]:
        """Ask the next host."""
        return next(self._turns).traffic.signing_tokens(proxy)

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Ask the next host."""
        return next(self._turns).traffic.account_tokens(account_sid)

    def owner_of(self, proxy: Address) -> str | None:
        """Ask the next host."""
        return next(self._turns).traffic.owner_of(proxy)

    def keep_event(self, event: DebuggerEvent) -> None:
        """Have the next host keep a debugger event."""
        next(self._turns).keep_event(event)

    def keep_exchange(self, exchange: WebhookExchange) -> None:
        """Have the next host keep an exchange with an application."""
        next(self._turns).keep_exchange(exchange)

    async def end_untold_calls(self) -> None:
        """End calls whose end nobody has told."""
        for host in self.all:
            await host.parts.upkeep.end_untold_calls()

    async def sweep(self) -> None:
        """Close every session whose end has come."""
        for host in self.all:
            await host.parts.upkeep.sweep()

    async def sweep_alerts(self) -> None:
        """Keep the debugger events that were raised since the last time."""
        for host in self.all:
            await host.parts.upkeep.sweep_alerts()

    async def erase_old(self) -> None:
        """Erase the sessions that closed longer ago than they are kept."""
        for host in self.all:
            await host.parts.upkeep.erase_old()

    async def stop(self) -> None:
        """Stop all at once."""
        await asyncio.gather(*(host.stop() for host in self.all))
