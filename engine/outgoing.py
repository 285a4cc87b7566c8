"""The wiring of what leaves: guarded client, hooks, worker, carriers, and the gauges of the outbox.

Host and egress need each other: egress asks for a host's tokens and reports legs to it, so it is given the host after
both are made.
"""

import asyncio
import logging
from collections.abc import Callable

from actors.kernel.context import Egress
from engine.channels.base import SendsMessages
from engine.channels.clients import CarrierClients, CarrierRoutes
from engine.channels.served import Channels
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.lists import OutboxDepth
from engine.core.ports.operations import Clock, EgressPlane
from engine.core.ports.store import Lease, Store
from engine.core.routing.traffic import AnswerReport, LegReport
from engine.outbound.client import Client
from engine.remote_senders import RemoteSender, send_here
from engine.runtime import clock
from engine.settings import Settings
from engine.telemetry.logs import ROOT
from engine.telemetry.observer import Telemetry
from engine.webhooks.hooks import WebHooks
from engine.webhooks.worker import OutboxWorker

GAUGE_SECONDS = 5.0
"""How often the outbox is counted."""

_RELEASE = "no callback, message or hang-up leaves until `maskline outbox release`"

_log = logging.getLogger(f"{ROOT}.engine")


class Outgoing:
    """Everything that leaves one engine."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        client: Client,
        telemetry: Telemetry,
        channels: Channels,
        sure_clock: Clock,
        held: Callable[[], bool] = lambda: False,
        lease: Lease | None = None,
    ) -> None:
        """Wire it; no delivery is made while all are `held`, or without the lease. Raises MasklineError for bad routes.

        The channels are bound: which of their senders are on this host is known.
        """
        self._senders = channels.senders
        elsewhere = channels.senders_elsewhere.items()
        remote = {name: RemoteSender(name, channel, lambda: self._plane) for name, channel in elsewhere}
        everywhere: dict[str, SendsMessages] = {**self._senders, **remote}
        routes = CarrierRoutes(everywhere, settings.carrier_routes)
        carriers = CarrierClients(
            everywhere,
            report=self._report,
            report_at_hand=self._report_at_hand,
            observer=telemetry,
            clock=clock,
            sure_clock=sure_clock,
        )
        self._worker = OutboxWorker(
            store=store,
            client=client,
            tokens=self._token,
            carriers=carriers,
            observer=telemetry,
            clock=clock,
            settings=settings,
            deliveries_to=deliveries_to(channels, settings.window_per_destination),
            lease=lease,
        )
        self._store = store
        self._held = held
        self.is_held = False
        """Whether nothing leaves, until the operator releases it."""
        self._plane: EgressPlane | None = None
        self.depth = OutboxDepth(0, 0, None)
        """The outbox at the last count."""
        self._counting: asyncio.Task[None] | None = None
        hooks = WebHooks(client=client, tokens=self._token, observer=telemetry, clock=clock)
        self.egress = Egress(hooks=hooks, outbox=self._worker, carriers=routes, local_senders=self)

    async def send_here(self, sender: str, message: bytes) -> bytes:
        """Send a message of another host."""
        return await send_here(self._senders, sender, message)

    async def start(self, plane: EgressPlane) -> None:
        """Deliver from now on for a host that has started, beginning with what the outbox held before."""
        self._plane = plane
        self.is_held = self._held()
        if self.is_held:
            _log.warning("DELIVERIES ARE HELD, since this is a backup that was restored: %s", _RELEASE)
        else:
            await self._worker.start()
        self._counting = asyncio.create_task(self._count(), name="outbox-gauges")

    async def stop(self, grace_seconds: float) -> None:
        """Let deliveries under way end, but no longer than that; the others stay on disk."""
        if self._counting is not None:
            self._counting.cancel()
        await self._worker.stop(grace_seconds / 2)  # once for the requests, once for their endings

    @property
    def held(self) -> int:
        """Count the deliveries in memory."""
        return self._worker.held

    def oldest_seconds(self) -> float:
        """Return the age of the oldest delivery that was pending at the last count."""
        return 0.0 if self.depth.oldest is None else max(0.0, clock() - self.depth.oldest)

    def oldest_seconds_of(self) -> dict[str, float]:
        """Return the same by service, of those whose delivery was the oldest of a queue."""
        now = clock()
        return {service_sid: max(0.0, now - oldest) for service_sid, oldest in self.depth.oldest_of.items()}

    async def _count(self) -> None:
        is_counted = True
        while True:
            was_counted, is_counted = is_counted, True
            try:
                self.depth = await self._store.outbox_depth()
                if self.is_held and not self._held():
                    await self._worker.start()
                    self.is_held = False
                    _log.warning("deliveries were released: %d are owed", self.depth.pending)
            except StoreUnavailable:
                is_counted = False
                if was_counted:
                    _log.warning("the outbox cannot be counted; its gauges stay as they are until it can")
            await asyncio.sleep(GAUGE_SECONDS)

    def _token(self, account_sid: str) -> str | None:
        tokens = () if self._plane is None else self._plane.account_tokens(account_sid)
        return tokens[0] if tokens else None

    def _report(self, report: LegReport, answer: AnswerReport) -> None:
        if self._plane is None:
            answer(None)
        else:
            self._plane.report(report, answer)

    def _report_at_hand(self, report: LegReport, answer: AnswerReport) -> bool:
        return self._plane is not None and self._plane.report_at_hand(report, answer)


def deliveries_to(channels: Channels, least: int) -> dict[str, int]:
    """Say how many messages may be in work at a time where a sender bounds by itself what is under way.

    Those whose end is being committed hold back no others. Another host is handed no more than is under way there: when
    it ends, nobody knows which of them it had sent.
    """
    elsewhere = channels.senders_elsewhere
    return {
        f"carrier:{name}": window if name in elsewhere else max(least, window)
        for name, window in channels.windows.items()
    }
