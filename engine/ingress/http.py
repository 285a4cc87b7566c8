"""The HTTP protocol of the one port: answers inbound webhooks below ASGI, hands everything else to the ASGI app.

uvicorn's own protocol class is the base; a webhook never becomes an ASGI scope, a task or a timer. Answers leave in
the order of their requests, those of one readable burst in one write. Webhooks and ASGI requests may alternate on a
connection but not overlap: one that would overtake another is not taken, and the connection ends after what was.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from engine.core.observing import DoorProblem
from engine.ingress.door import BAD_REQUEST, FAILED, HEAD_TOO_LARGE, NOT_POST, TOO_LARGE, UPGRADE, Door, Webhook

_log = logging.getLogger("maskline.ingress")

MAX_HEAD_BYTES = 65_536
"""Largest request line with headers, not counting what its first read brought."""

MAX_WAITING = 256
"""Webhooks of one connection that wait for their commit before no more are read from it."""

LINGER_SECONDS = 2.0
"""How long a peer may go on sending what was refused, so that it comes to read the refusal."""

_END_OF_HEAD = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SIGNATURE, _CONTENT_TYPE, _EXPECT, _CONNECTION = b"x-twilio-signature", b"content-type", b"expect", b"connection"
_WANTED_LENGTHS = frozenset(map(len, (_SIGNATURE, _CONTENT_TYPE, _EXPECT, _CONNECTION)))


class _Slot:
    """The place of one answer in the order of a connection."""

    __slots__ = ("_protocol", "read_at", "response")

    def __init__(self, protocol: "InboundProtocol", *, read_at: float) -> None:
        self.response: bytes | None = None
        self.read_at = read_at
        self._protocol = protocol

    def fill(self, response: bytes) -> None:
        """Take the answer; it leaves when all before it have left."""
        self.response = response
        self._protocol.advance(self)


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
        self._webhook: Webhook | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._is_ignored = False
        self._is_unfinished = False
        self._unfinished_bytes = 0
        self._waiting: deque[_Slot] = deque()
        self._ready: list[bytes] = []
        self._ready_since: list[float] = []
        self._read_at = 0.0
        self._burst = 0
        self._is_feeding = False
        self._is_ending = False
        self._lingers = False
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- reading -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base does
        """Start the one timer that the connection needs for webhooks."""
        super().connection_made(transport)
        self._used_at = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        """Parse what came and write the answers that are ready in one go."""
        if self._is_ending:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._used_at = self.loop.time()
        self._read_at = self.door.monotonic()
        self._burst = 0
        self._is_feeding = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._webhook is None:
                self._unsupported_upgrade_warning()
        except httptools.HttpParserError as problem:
            self._parser_failed(problem)
        if self._is_unfinished:
            self._limit(len(data))
        self._is_feeding = False
        if self._burst:
            self.door.meter.burst(self._burst)
        if self._ready:
            self._flush()
        if len(self._waiting) >= MAX_WAITING:
            self._regulate()

    def _parser_failed(self, problem: httptools.HttpParserError) -> None:
        cause = problem.__context__
        if cause is None or isinstance(cause, httptools.HttpParserError):
            self._turn_away(DoorProblem.MALFORMED, BAD_REQUEST)
        else:
            _log.error("A request could not be read", exc_info=cause)
            self._refuse(FAILED)

    def _limit(self, received: int) -> None:
        """Count what an unfinished request brings after its first read, which may hold others."""
        self._unfinished_bytes = 0 if self._unfinished_bytes < 0 else self._unfinished_bytes + received
        if self._webhook is None and self._unfinished_bytes > MAX_HEAD_BYTES:
            self._turn_away(DoorProblem.TOO_LARGE, HEAD_TOO_LARGE)
        elif self._unfinished_bytes > MAX_HEAD_BYTES + self.door.settings.max_body_bytes:
            self._turn_away(DoorProblem.TOO_LARGE, TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start a request; whose it is shows when its head is complete."""
        self.url = b""
        self.headers = []
        self._webhook = None
        self._is_ignored = False
        self._is_unfinished = True
        self._unfinished_bytes = -1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header as it came."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell a webhook from a request of the ASGI app, and refuse at once what is no POST."""
        if self._is_ending:
            self._ignore()
            return
        path, _, query = self.url.partition(b"?")
        known = self.door.paths.get(path)
        if known is None:
            self._begin_asgi()
        elif self._is_asgi_busy:
            self._end_after_asgi()
        else:
            self._webhook = webhook = Webhook(known, query)
            self._body, self._body_bytes = [], 0
            self._read_headers(webhook)
            method = self.parser.get_method()
            if method != b"POST":
                self._ignore()
                self.door.turn_away(DoorProblem.NOT_POST)
                self._is_ending = webhook.is_last
                self._answer(_head_of(NOT_POST) if method == b"HEAD" else NOT_POST)

    def _read_headers(self, webhook: Webhook) -> None:
        expects, has_connection = False, False
        for name, value in self.headers:
            if len(name) in _WANTED_LENGTHS:
                wanted = name.lower()
                if wanted == _SIGNATURE:
                    webhook.signature = value
                elif wanted == _CONTENT_TYPE:
                    webhook.content_type = value
                elif wanted == _CONNECTION:
                    has_connection = True
                elif wanted == _EXPECT:
                    expects = value.lower() == b"100-continue"
        # HTTP/1.0 would have to be told that the connection stays; as uvicorn does, it does not.
        if not self.parser.should_keep_alive() or (has_connection and self.parser.get_http_version() == "1.0"):
            webhook.is_last = True
        elif expects and not self._waiting and not self._ready:
            self.transport.write(_CONTINUE)

    def _begin_asgi(self) -> None:
        """Let the base class see the head from its start, unless webhooks before it wait."""
        if self._waiting:
            self._ignore()
            self._is_ending = True
            return
        url, headers = self.url, self.headers
        self._is_unfinished = False
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Collect the form."""
        if self._is_ignored:
            return
        if self._webhook is None:
            super().on_body(body)
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self.door.settings.max_body_bytes:
            self._turn_away(DoorProblem.TOO_LARGE, TOO_LARGE)

    def on_message_complete(self) -> None:
        """Hand a complete webhook to the door."""
        if self._is_ignored:
            return
        webhook = self._webhook
        if webhook is None:
            super().on_message_complete()
            return
        self._is_unfinished = False
        if not self._body and self.parser.should_upgrade():  # the parser leaves the body to the other protocol
            self._turn_away(DoorProblem.MALFORMED, UPGRADE)
            return
        self._is_ending = webhook.is_last
        webhook.body = b"".join(self._body)
        slot = _Slot(self, read_at=self._read_at)
        try:
            self.door.answer(webhook, slot.fill)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
            _log.exception("A webhook could not be answered")
            slot.response = FAILED
        self._take(slot)

    # -- refusing ------------------------------------------------------------------------------------------------

    @property
    def _is_asgi_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _ignore(self) -> None:
        self._is_ignored = True
        self._is_unfinished = False

    def _end_after_asgi(self) -> None:
        """Take no more, and let the base class close when it has answered what it has begun."""
        self._ignore()
        self._is_ending = True
        self.cycle.keep_alive = False

    def _turn_away(self, problem: DoorProblem, response: bytes) -> None:
        self.door.turn_away(problem)
        self._refuse(response)

    def _refuse(self, response: bytes) -> None:
        """Answer what cannot be read to its end, and end the connection."""
        if self._is_asgi_busy:
            self._end_after_asgi()
            return
        self._ignore()
        self._is_ending = self._lingers = True
        self._answer(response)

    # -- answering -----------------------------------------------------------------------------------------------

    def _answer(self, response: bytes) -> None:
        slot = _Slot(self, read_at=self._read_at)
        slot.response = response
        self._take(slot)

    def _take(self, slot: _Slot) -> None:
        """Put a slot behind those that wait, or have its answer leave with this burst."""
        self._burst += 1
        if self._waiting or slot.response is None:
            self._waiting.append(slot)
        else:
            self._ready.append(_saying_close(slot.response) if self._is_ending else slot.response)
            self._ready_since.append(slot.read_at)

    def advance(self, slot: _Slot) -> None:
        """Let the answers leave that are next in order, if this one was what they waited for."""
        waiting, ready = self._waiting, self._ready
        if not waiting or waiting[0] is not slot:
            return
        while waiting and (response := waiting[0].response) is not None:
            ready.append(response)
            self._ready_since.append(waiting.popleft().read_at)
        if self._is_ending and not waiting:
            ready[-1] = _saying_close(ready[-1])
        if not self._is_feeding:
            self._flush()

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        since, self._ready_since = self._ready_since, []
        self.server_state.total_requests += len(ready)
        if self.transport.is_closing():
            self.door.meter.lost(len(since))
            return
        self.transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        now = self.door.monotonic()
        for read_at in since:
            self.door.meter.answered(now - read_at)
        if self._is_ending and not self._waiting and not self._is_asgi_busy:
            self._end()
        elif self.flow.read_paused:
            self._regulate()

    def _end(self) -> None:
        """Close; when there may be more to read, go on reading for a while, or the peer's system drops the answer."""
        if not self._lingers or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._set_timer(LINGER_SECONDS, self.transport.close)

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, callback)

    def _close_if_idle(self) -> None:
        """Close a connection that carried nothing for the keep-alive time."""
        left = self._used_at + self.timeout_keep_alive - self.loop.time()
        if left > 0 or self._waiting or self._is_asgi_busy:
            self._set_timer(max(left, 1.0), self._close_if_idle)
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # -- back-pressure -------------------------------------------------------------------------------------------

    def _regulate(self) -> None:
        if len(self._waiting) >= MAX_WAITING or self.flow.write_paused:
            self.flow.pause_reading()
        elif not self.pipeline:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not take its answers."""
        super().pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self._regulate()

    # -- the connection's end ------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Let the webhooks that wait be answered, then close; called by the server."""
        if self._waiting:
            self._is_ending = True
        else:
            super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override] # the base class always closes
        """Stay open towards a peer that has said all it wants and waits for answers."""
        if self._waiting:
            self._is_ending = True
        return bool(self._waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the answers that nobody awaits; what they answer is committed all the same."""
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _forget(self) -> None:
        self.door.meter.lost(len(self._waiting) + len(self._ready))
        self._waiting.clear()
        self._ready.clear()
        self._ready_since.clear()


def _head_of(response: bytes) -> bytes:
    return response[: response.index(_END_OF_HEAD) + len(_END_OF_HEAD)]


def _saying_close(response: bytes) -> bytes:
    return response.replace(_END_OF_HEAD, b"\r\nconnection: close" + _END_OF_HEAD, 1)


def inbound_protocol(door: Door) -> type[InboundProtocol]:
    """Return the protocol class to give to uvicorn (`http=`)."""
    return type("InboundProtocolOfThisServer", (InboundProtocol,), {"door": door})
