"""The HTTP protocol of the one port: answers inbound webhooks below ASGI, hands everything else to the ASGI app.

uvicorn's own protocol class is the base; a webhook never becomes an ASGI scope, a task or a timer. Answers leave in
the order of their requests, those of one readable burst in one write.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from engine.core.ports import DoorProblem
from engine.ingress.door import FAILED, NOT_POST, PATHS, TOO_LARGE, Door, Webhook

_log = logging.getLogger("maskline.ingress")

_PREFIX = b"/inbound/"
_INTERNED = {path: path for path in PATHS}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SIGNATURE, _CONTENT_TYPE, _EXPECT = b"x-twilio-signature", b"content-type", b"expect"
_WANTED_LENGTHS = frozenset({len(_SIGNATURE), len(_CONTENT_TYPE), len(_EXPECT)})

MAX_WAITING = 256
"""Webhooks of one connection that wait for their commit before no more are read from it."""


class _Slot:
    """The place of one answer in the order of a connection."""

    __slots__ = ("closes", "response")

    def __init__(self, *, closes: bool) -> None:
        self.response: bytes | None = None
        self.closes = closes


class InboundProtocol(HttpToolsProtocol):
    """One connection; `door` is set by `inbound_protocol`."""

    door: Door

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take a connection over, as uvicorn makes its protocols."""
        super().__init__(config, server_state, app_state, _loop)
        self._path: bytes | None = None
        self._is_head_open = False
        self._query = b""
        self._signature = b""
        self._content_type = b""
        self._body = b""
        self._is_turned_away = False
        self._waiting: deque[_Slot] = deque()
        self._ready: list[bytes] = []
        self._is_feeding = False
        self._closes = False
        self._is_reading_paused = False
        self._used_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    # -- reading -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came and write the answers that are ready in one go."""
        self._is_feeding = True
        try:
            super().data_received(data)
        finally:
            self._is_feeding = False
            if self._ready:
                self._flush()

    def on_message_begin(self) -> None:
        """Start a request; its scope is made only when it turns out to be the ASGI app's."""
        self.url = b""
        self._path = None
        self._is_head_open = True

    def _begin(self) -> None:
        """Look at the complete URL: ours, or the ASGI app's."""
        self._is_head_open = False
        url = self.url
        if url.startswith(_PREFIX):
            path, _, query = url.partition(b"?")
            self._path = _INTERNED.get(path)
            if self._path is not None:
                self._query = query
                self._signature = self._content_type = self._body = b""
                self._is_turned_away = False
                return
        super().on_message_begin()
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the headers that a webhook needs."""
        if self._is_head_open:
            self._begin()
        if self._path is None:
            super().on_header(name, value)
        elif len(name) in _WANTED_LENGTHS:
            name = name.lower()
            if name == _SIGNATURE:
                self._signature = value
            elif name == _CONTENT_TYPE:
                self._content_type = value
            elif name == _EXPECT and value.lower() == b"100-continue":
                self.transport.write(_CONTINUE)

    def on_headers_complete(self) -> None:
        """Refuse what is no POST; an ASGI request while webhooks wait would overtake them, so the line is cut."""
        if self._is_head_open:
            self._begin()
        if self._path is None:
            if self._waiting:
                self.transport.close()
            else:
                super().on_headers_complete()
        elif self._is_asgi_busy:
            self.transport.close()
        elif self.parser.get_method() != b"POST":
            self._turn_away(DoorProblem.NOT_POST, NOT_POST)

    def on_body(self, body: bytes) -> None:
        """Collect the form."""
        if self._path is None:
            if self.cycle is not None:
                super().on_body(body)
        elif not self._is_turned_away:
            self._body = self._body + body if self._body else body
            if len(self._body) > self.door.settings.max_body_bytes:
                self._turn_away(DoorProblem.TOO_LARGE, TOO_LARGE, closes=True)

    def on_message_complete(self) -> None:
        """Hand a complete webhook to the door."""
        if self._path is None:
            if self.cycle is not None:
                super().on_message_complete()
            return
        if self._is_turned_away or self.transport.is_closing():
            return
        slot = self._slot(closes=not self.parser.should_keep_alive())
        webhook = Webhook(self._path, self._query, self._signature, self._content_type, self._body)
        try:
            self.door.answer(webhook, lambda response: self._fill(slot, response))
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
            _log.exception("A webhook could not be answered")
            self._fill(slot, FAILED)

    @property
    def _is_asgi_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _turn_away(self, problem: DoorProblem, response: bytes, *, closes: bool = False) -> None:
        self._is_turned_away = True
        self.door.turn_away(problem)
        self._fill(self._slot(closes=closes or not self.parser.should_keep_alive()), response)

    # -- answering -----------------------------------------------------------------------------------------------

    def _slot(self, *, closes: bool) -> _Slot:
        slot = _Slot(closes=closes)
        self._waiting.append(slot)
        if len(self._waiting) >= MAX_WAITING and not self._is_reading_paused:
            self._is_reading_paused = True
            self.flow.pause_reading()
        return slot

    def _fill(self, slot: _Slot, response: bytes) -> None:
        slot.response = response
        waiting = self._waiting
        while waiting and waiting[0].response is not None:
            first = waiting.popleft()
            self._ready.append(first.response or b"")
            self.server_state.total_requests += 1
            if first.closes:
                self._closes = True
                waiting.clear()
        if self._ready and not self._is_feeding:
            self._flush()

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        if self.transport.is_closing():
            return
        self.transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if self._closes and not self._waiting:
            self.transport.close()
            return
        if self._is_reading_paused and len(self._waiting) < MAX_WAITING:
            self._is_reading_paused = False
            self.flow.resume_reading()
        self._used_at = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close a connection that carried nothing for the keep-alive time; one timer serves all its webhooks."""
        left = self._used_at + self.timeout_keep_alive - self.loop.time()
        if left > 0 or self._waiting or self._is_asgi_busy:
            self._idle_timer = self.loop.call_later(max(left, 1.0), self._close_if_idle)
        elif not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not take its answers."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        if not self._is_reading_paused:
            self.flow.resume_reading()

    # -- the connection's end ------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Let the webhooks that wait be answered, then close; called by the server."""
        if self._waiting:
            self._closes = True
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the answers that nobody awaits; what they answer is committed all the same."""
        self._waiting.clear()
        self._ready.clear()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)


def inbound_protocol(door: Door) -> type[InboundProtocol]:
    """Return the protocol class to give to uvicorn (`http=`)."""
    return type("InboundProtocolOfThisServer", (InboundProtocol,), {"door": door})
