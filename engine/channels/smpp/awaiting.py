"""What waits on the connections of a peer: for a response, for what is due, for the end.

Apart from `links`, which is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

import asyncio
import contextlib
import logging
from typing import Final

from engine.channels.smpp.connection import Response
from engine.channels.smpp.inbound import Inbound
from engine.channels.smpp.links import Links
from engine.channels.smpp.pdu import ShortMessage, write_message
from engine.channels.smpp.turns import Overdue, Waiting

_log = logging.getLogger("maskline.smpp")


async def submit(
    links: Links, message: ShortMessage, *, lane: str, account_sid: str, within_seconds: float | None = None
) -> Response | None:
    """Send a message as `Links.put` does; return its response, None = it may have been taken.

    Raises:
        Stopping: nothing is sent any more.
        Overdue: it could not be sent within so many seconds.
    """
    if within_seconds is not None and within_seconds <= 0:
        raise Overdue
    awaited = _Awaited()
    waiting = Waiting(account_sid, lane, write_message(message), awaited)
    links.put(waiting)
    giving_up = None
    if within_seconds is not None:
        giving_up = asyncio.get_running_loop().call_later(within_seconds, waiting.unsent, Overdue())
    try:
        return await awaited.response
    finally:
        waiting.is_over = True
        if giving_up is not None:
            giving_up.cancel()


class _Awaited:
    """Has a task hear of a message; implements `Hears`."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

    def answered(self, response: Response | None) -> None:
        """Take the response."""
        if not self.response.done():
            self.response.set_result(response)

    def unsent(self, why: Exception) -> None:
        """Take that it is not sent."""
        if not self.response.done():
            self.response.set_exception(why)


async def sweep(inbound: Inbound, peer: str) -> None:
    """Do what is due with what a peer sent, for ever."""
    while True:
        try:
            await inbound.sweep()
        except Exception:  # noqa: BLE001 - around the loop: it must go on
            _log.exception("What waits for %s could not be looked through", peer)
        await asyncio.sleep(_SWEEP_SECONDS)


async def stop(links: Links, grace_seconds: float) -> None:
    """Answer what was taken and hear the answers that are due, within the grace; then unbind.

    When it returns, all that had no answer has been told so.
    """
    bound = links.connections
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_seconds):
            await asyncio.gather(*(one.is_idle.wait() for one in bound))
            while any(one.session.unanswered for one in links.connections):
                links.has_heard.clear()
                await links.has_heard.wait()
    leaving = links.connections
    for one in leaving:
        one.unbind()
    if leaving:
        await asyncio.wait([one.ended for one in leaving], timeout=min(grace_seconds, _UNBIND_SECONDS))
    await links.inbound.finish()
    for one in leaving:
        one.abort()
    await asyncio.gather(*(one.ended for one in leaving))


_SWEEP_SECONDS: Final = 5.0
_UNBIND_SECONDS: Final = 1.0
"""What a side is given to answer, beyond the grace: who is silent must not make a stop break its promise."""
