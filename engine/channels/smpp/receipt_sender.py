"""Sends one peer the receipts that we owe it, over whichever connection it has, until it has taken them."""

import asyncio
import contextlib
import logging
from typing import Final

from engine.channels.base import ChannelContext
from engine.channels.smpp.awaiting import submit
from engine.channels.smpp.links import Links, Stopping
from engine.channels.smpp.owed import Due
from engine.channels.smpp.sender import asks_for_less, is_temporary
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.observing import SmppCount

_log = logging.getLogger("maskline.smpp")


class ReceiptSender:
    """Sends while its peer is bound; the rest waits on disk."""

    def __init__(self, links: Links, context: ChannelContext) -> None:
        """Send from now on."""
        self._links = links
        self._owed = links.inbound.owed
        self._count = context.observer.smpp
        self._lease = context.lease
        self._room = asyncio.Semaphore(links.peer.window * links.peer.connections)
        self._under_way: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._send_all(), name="smpp-receipts")

    def stop(self) -> None:
        """Send no more; what has no answer is sent again after the next start."""
        for task in (self._task, *self._under_way):
            task.cancel()

    async def _send_all(self) -> None:
        while True:
            await self._room.acquire()
            try:
                due = await self._next()
            except StoreUnavailable:
                self._room.release()
                await asyncio.sleep(_LONGEST_PAUSE)
                continue
            task = asyncio.create_task(self._send(due))
            self._under_way.add(task)
            task.add_done_callback(self._sent)

    async def _next(self) -> Due:
        while True:
            self._owed.come.clear()
            due = await self._owed.next()
            if due is not None:
                return due
            await self._owed.come.wait()

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._room.release()

    async def _send(self, due: Due) -> None:
        """Send a receipt until the peer has taken it, or refused it for good, or it is too old."""
        pause = _SHORTEST_PAUSE
        with contextlib.suppress(Stopping):
            while self._owed.owes(due) and not await self._try(due):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _try(self, due: Due) -> bool:
        """Send a receipt; tells whether it is over with it."""
        if self._lease is not None and not self._lease():
            return False
        response = await submit(self._links, due.message, lane=due.message_id, account_sid="")
        if response is None:
            return False
        status, peer = response[0], self._links.peer
        if asks_for_less(status, peer):
            self._count(SmppCount.THROTTLED)
            self._links.complained()
            return False
        if is_temporary(status, peer):
            return False
        self._count(SmppCount.RECEIPT_REFUSED if status else SmppCount.RECEIPT_SENT)
        if status:
            _log.warning("%s refuses a receipt with status 0x%02x", peer.name, status)
        self._owed.settle(due)
        return True


_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
