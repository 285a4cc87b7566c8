"""The connections of an HTTP port: inbound webhooks are answered here, everything else by the ASGI application.

A connection frames its requests itself (`engine.http.framing`). A webhook never becomes an ASGI scope, a task or a
timer; many of one connection may wait for their commits, and their answers leave in the order of their requests, those
of one readable burst in one write. Everything else is handed to the application, one request at a time and in its place
among the webhooks. What cannot be taken yet waits as bytes, and no more are read. Compiled by mypyc.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, final

from uvicorn.config import Config
from uvicorn.server import ServerState

from engine.channels.base import Webhook
from engine.core.ports.observing import Rejection
from engine.formats.responses import (
    FAILED,
    NO_ROOM,
    NOT_POST,
    NOT_READY,
    OPTIONS,
    REFUSALS,
    UNREADABLE,
    head_of,
    saying_close,
)
from engine.http.exchange import MOST_SKIPPED_BYTES, Application, Exchange, Flow, Target
from engine.http.framing import Framer, Unreadable
from engine.http.port import HttpPort

_log = logging.getLogger("maskline.ingress")

MAX_WAITING = 256
"""Webhooks of one connection that wait for their commit before no more are read from it."""

LINGER_SECONDS = 2.0
"""How long a peer may go on sending what was refused, so that it comes to read the refusal."""

MOST_LINGERING_BYTES = 16_777_216
"""And how much of it."""

MOST_REJECTED = 64
"""Connections beyond the limit that are told so at a time; more are just closed."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@final
class _Slot:
    """The place of one answer in the order of a connection."""

    def __init__(self, protocol: "InboundProtocol", *, read_at: float) -> None:
        self.response: bytes | None = None
        self.read_at = read_at
        self._protocol = protocol

    def fill(self, response: bytes) -> None:
        """Take the answer; it leaves when all before it have left."""
        self.response = response
        self._protocol.advance(self)


@final
class InboundProtocol:
    """One connection, with the methods of `asyncio.Protocol`: what is compiled has no base that is not."""

    transport: asyncio.Transport
    flow: Flow

    def __init__(
        self,
        port: HttpPort,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take a connection over, as uvicorn makes its protocols."""
        self.port = port
        self.config = config
        self.server_state = server_state
        self.loop = _loop or asyncio.get_running_loop()
        self._app_state = app_state
        self._source = ""
        self._framer = Framer()
        self._paths = port.paths
        self._most_body_bytes = port.most_body_bytes
        # the request that is being read
        self._is_in_body = False
        self._webhook: Webhook | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._skipped_bytes = 0
        self._owes_continue = False
        # what waits for its answer
        self._waiting: deque[_Slot] = deque()
        self._due: Target | None = None
        self._application: Application | None = None
        self._exchange: Exchange | None = None
        # what is ready to be written
        self._ready: list[bytes] = []
        self._ready_since: list[float] = []
        self._read_at = 0.0
        self._burst = 0
        # how the connection stands
        self._is_pumping = False
        self._is_ending = False
        self._is_over = False
        self._lingers = False
        self._lingering_bytes = 0
        self._has_eof = False
        # the timer
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = 0.0
        self._began_at = 0.0
        self._received_bytes = 0
        self._unsent_bytes = 0
        self._unsent_since = 0.0
        self._over_at = 0.0

    # -- reading -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Let the connection in if there is room, and start its one timer."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._source = peer[0] if isinstance(peer, tuple) else ""
        self.flow = Flow(self)
        self.server_state.connections.add(self)  # type: ignore[arg-type] # all that it asks is shutdown()
        self._used_at = self.loop.time()
        port = self.port
        if len(port.open) < port.settings.max_http_connections:
            port.open.add(self)
            self._set_timer(self._tick_seconds)
            return
        port.observer.rejected(Rejection.TOO_MANY_CONNECTIONS)
        if len(port.rejected) >= MOST_REJECTED:
            transport.abort()
            return
        port.rejected.add(self)
        self._lingers = True
        transport.write(saying_close(NO_ROOM))
        self.end()

    def data_received(self, data: bytes) -> None:
        """Read what came and write the answers that are ready in one go."""
        if self._is_over:
            self._lingering_bytes += len(data)
            if self._lingering_bytes > MOST_LINGERING_BYTES:
                self.transport.abort()
            return
        self._used_at = self.loop.time()
        self._received_bytes += len(data)
        self._framer.feed(data)
        self._pump()

    def _pump(self) -> None:
        """Read as far as there is something to read and it may be taken."""
        if self._is_pumping or self._is_over:
            return
        self._is_pumping = True
        endpoint = self.port.endpoint
        if endpoint is not None:
            self._read_at = endpoint.monotonic()
        framer = self._framer
        try:
            while self._read() and framer.unread:
                pass
        except Unreadable as problem:
            self._refuse(problem.status)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
            _log.exception("A request could not be read")
            self._reject(FAILED)
        self._is_pumping = False
        burst, self._burst = self._burst, 0
        if burst and endpoint is not None:
            endpoint.meter.burst(burst)
        if self._ready:
            self._flush()
        if (
            self._is_in_body
            or self._is_ending
            or self._has_eof
            or framer.unread
            or self._exchange is not None
            or self.flow.read_paused
        ):
            self._settle()

    def _read(self) -> bool:
        """Read a head, or what there is of a body; False when no more can be read now."""
        framer = self._framer
        if self._is_in_body:
            return self._read_body()
        if self._due is not None:
            return self._begin_exchange(self._due)
        if (
            self._is_ending
            or self._exchange is not None
            or len(self._waiting) >= MAX_WAITING
            or self.flow.write_paused
            or not framer.head()
        ):
            return False
        self._began_at = 0.0
        path, _, query = framer.target.partition(b"?")
        known = self._paths.get(path)
        if known is None:
            return self._route(Target(path, query))
        self._begin_webhook(known, query)
        return True

    def _route(self, target: Target) -> bool:
        """Find out whose a request is whose target is not simply a path of webhooks."""
        if target.path[:1] != b"/" and target.path != b"*":
            target = target.absolute()
            known = self._paths.get(target.path)
            if known is not None:
                self._begin_webhook(known, target.query)
                return True
        if b"#" in target.path or b"#" in target.query or (target.path == b"*" and self._framer.method != b"OPTIONS"):
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        return self._begin_exchange(target)

    def _begin_webhook(self, path: bytes, query: bytes) -> None:
        framer = self._framer
        if framer.method != b"POST":
            self.port.observer.rejected(Rejection.NOT_POST)
            self._answer_unread(head_of(NOT_POST) if framer.method == b"HEAD" else NOT_POST)
            return
        if framer.length > self._most_body_bytes:
            raise Unreadable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        webhook = Webhook(
            path,
            query,
            framer.signature,
            framer.content_type,
            framer.content,
            framer.is_last,
            framer.headers,
            self._source,
        )
        if framer.is_whole:
            self._hand_over(webhook)
            return
        self._webhook, self._is_in_body = webhook, True
        self._body, self._body_bytes = [], 0
        self._owes_continue = framer.expects_continue and not framer.unread

    def _begin_exchange(self, target: Target) -> bool:
        """Hand a request to the application, when all webhooks before it are answered."""
        if self._waiting:
            self._due = target
            return False
        self._due = None
        framer = self._framer
        if target.path == b"*":
            self._answer_unread(OPTIONS)
            return True
        if self._application is None:
            self._application = Application(self, self.config, self.server_state, self._app_state)
        self._exchange = exchange = self._application.begin(framer, target)
        self._is_ending = self._is_ending or framer.is_last
        exchange.keep_alive = not self._is_ending
        self._is_in_body = not framer.is_whole
        return True

    def _read_body(self) -> bool:
        exchange, webhook = self._exchange, self._webhook
        if exchange is not None and exchange.is_full:
            return False
        framer = self._framer
        part = framer.body()
        self._is_in_body = not framer.is_whole
        self._owes_continue = self._owes_continue and not part and self._is_in_body
        if exchange is not None:
            exchange.take(part, is_whole=framer.is_whole)
        elif webhook is None:
            self._skip(len(part))
        else:
            self._body.append(part)
            self._body_bytes += len(part)
            if self._body_bytes > self._most_body_bytes:
                raise Unreadable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if framer.is_whole:
                webhook.body = part if len(self._body) == 1 else b"".join(self._body)
                self._webhook = None
                self._hand_over(webhook)
        return framer.is_whole

    def _skip(self, count: int) -> None:
        """Read past a body that was answered without it."""
        self._skipped_bytes += count
        if self._skipped_bytes > MOST_SKIPPED_BYTES:
            self._is_in_body = False
            self._is_ending = self._lingers = True

    def _hand_over(self, webhook: Webhook) -> None:
        """Hand a whole webhook to the endpoint."""
        self._is_ending = self._is_ending or webhook.is_last
        self._began_at = 0.0
        slot = _Slot(self, read_at=self._read_at)
        endpoint = self.port.endpoint
        assert endpoint is not None  # noqa: S101 - only an endpoint has paths
        try:
            endpoint.answer(webhook, slot.fill)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
            _log.exception("A webhook could not be answered")
            slot.response = FAILED
        self._take(slot)

    # -- refusing ------------------------------------------------------------------------------------------------

    def _answer_unread(self, response: bytes) -> None:
        """Answer a request without its body, which is skipped if it is small."""
        framer = self._framer
        self._is_ending = self._is_ending or framer.is_last
        self._skipped_bytes = 0
        self._is_in_body = not framer.is_whole
        if self._is_in_body and (framer.expects_continue or framer.length > MOST_SKIPPED_BYTES):
            self._is_in_body = False
            self._is_ending = self._lingers = True
        self._answer(response)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer what cannot be read to its end."""
        self.port.observer.rejected(UNREADABLE[status][0])
        self._reject(REFUSALS[status])

    def _reject(self, response: bytes) -> None:
        """Answer, and end the connection."""
        self._webhook, self._due = None, None
        self._is_in_body = self._owes_continue = False
        self._is_ending = self._lingers = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
            if exchange.response_started:
                return
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
            self._ready.append(saying_close(slot.response) if self._is_ending else slot.response)
            self._ready_since.append(slot.read_at)

    def advance(self, slot: _Slot) -> None:
        """Let the answers leave that are next in order, if this one was what they waited for."""
        waiting, ready = self._waiting, self._ready
        if not waiting or waiting[0] is not slot:
            return
        while waiting and (response := waiting[0].response) is not None:
            ready.append(response)
            self._ready_since.append(waiting.popleft().read_at)
        if self._is_ending and not waiting and self._due is None:
            ready[-1] = saying_close(ready[-1])
        if self._is_pumping:
            return
        self._used_at = self.loop.time()
        self._flush()
        if self._due is not None or self._framer.unread:
            self._pump()
        else:
            self._settle()

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        since, self._ready_since = self._ready_since, []
        state, endpoint = self.server_state, self.port.endpoint
        state.total_requests += len(ready)
        if self.transport.is_closing():
            if endpoint is not None:
                endpoint.meter.lost(len(since))
            return
        if self.port.lease is not None and not self.port.lease():  # some may have waited for those before them
            ready = [NOT_READY] * len(ready)
            if self._is_ending:
                ready[-1] = saying_close(NOT_READY)
        line_end = self.port.line_end(state)
        dated = [one.replace(b"\r\n", line_end, 1) for one in ready]
        self.transport.write(dated[0] if len(dated) == 1 else b"".join(dated))
        if endpoint is not None:
            now = endpoint.monotonic()
            for read_at in since:
                endpoint.meter.answered(now - read_at)

    def exchanged(self) -> None:
        """Go on behind an answer of the application's; what is left of its request's body is skipped."""
        self.server_state.total_requests += 1
        self._exchange = None
        self._skipped_bytes = 0
        self._used_at = self.loop.time()
        if not self.transport.is_closing():
            self._pump()

    def read_on(self) -> None:
        """Hand the application what waits, now that it wants it."""
        if self._is_in_body and not self._is_over:
            self._pump()

    # -- between two reads ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """End if nothing more can come of it; otherwise say whether to read, and since when the client lets us wait."""
        if self._is_over:
            return
        exchange, waits = self._exchange, bool(self._waiting) or self._due is not None
        if self._has_eof and self._is_in_body and exchange is not None and not exchange.is_full:
            exchange.abandon()
            self._exchange = exchange = None
        if (self._is_ending or self._has_eof) and not waits and exchange is None:
            self.end()
            return
        if self._owes_continue and not waits:
            self._owes_continue = False
            self.transport.write(_CONTINUE)
        unread = self._framer.unread
        if unread or self._is_in_body:
            self._wait_for_rest(is_held=self._is_held(unread))
        elif self.flow.read_paused or self.flow.write_paused:
            self.flow.let_read(may=not self.flow.write_paused)

    def _is_held(self, unread: int) -> bool:
        """Tell whether bytes are not read because of us, or of answers that the client does not take."""
        if self.flow.write_paused:
            return True
        if self._is_in_body:
            return self._exchange is not None and self._exchange.is_full
        is_blocked = self._exchange is not None or self._due is not None or len(self._waiting) >= MAX_WAITING
        return bool(unread) and (is_blocked or self._is_ending)

    def _wait_for_rest(self, *, is_held: bool) -> None:
        self.flow.let_read(may=not is_held)
        if is_held:
            self._began_at = 0.0
        elif not self._began_at:
            self._began_at = self._used_at
            self._received_bytes = 0

    def pause_writing(self) -> None:
        """Read no more from a peer that does not take its answers."""
        self.flow.pause_writing()
        self.flow.let_read(may=False)

    def resume_writing(self) -> None:
        """Read again."""
        self.flow.resume_writing()
        if not self._is_over:
            self._pump()

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def _tick_seconds(self) -> float:
        return min(self.port.settings.tick_seconds, self.config.timeout_keep_alive)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._look_at_clock)

    def _look_at_clock(self) -> None:
        """End what takes too long: a head, a body, answers that nobody takes, an idle connection, a farewell."""
        now = self.loop.time()
        lingered = self._is_over and now >= self._over_at + LINGER_SECONDS
        if self._is_unsent(now) or (lingered and not self._unsent_bytes):
            self.transport.abort()
            return
        self._set_timer(self._tick_seconds)
        if self._is_over:
            return
        if self._waiting or self._due is not None or (self._exchange is not None and not self._is_in_body):
            return
        settings = self.port.settings
        if self._began_at:
            seconds = settings.head_seconds
            if self._is_in_body:
                seconds = settings.body_seconds + self._received_bytes / settings.body_rate
            if now >= self._began_at + seconds:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
                self._pump()
        elif not self._is_in_body and now >= self._used_at + self.config.timeout_keep_alive:
            self.end()

    def _is_unsent(self, now: float) -> bool:
        """Tell whether the client has taken nothing for the keep-alive time although there is something to take."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or not self._unsent_since or unsent < self._unsent_bytes:
            self._unsent_since = now if unsent else 0.0
        self._unsent_bytes = unsent
        return bool(unsent) and now >= self._unsent_since + self.config.timeout_keep_alive

    # -- the connection's end ------------------------------------------------------------------------------------

    def end(self, *, may_linger: bool = True) -> None:
        """Close; when there may be more to read, go on reading for a while, or the peer's system drops the answer."""
        if self._is_over:
            return
        exchange = self._exchange
        lingers = self._lingers or self._is_in_body or bool(self._framer.unread)
        self._is_over = self._is_ending = True
        self._over_at = self.loop.time()
        self._note_leaving()
        if exchange is not None and not exchange.response_complete:
            exchange.abandon()
        if not (lingers and may_linger) or self._has_eof or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.let_read(may=True)
        self._set_timer(LINGER_SECONDS)

    def _note_leaving(self) -> None:
        """Count a client that left in the middle of a webhook or of a head; the application counts its own."""
        if self._has_eof and (self._webhook is not None or self._framer.unread):
            _log.debug("A client left in the middle of its request")
            self.port.observer.rejected(Rejection.CLIENT_LEFT)

    def shutdown(self) -> None:
        """Let what was taken be answered, then close; called by the server."""
        if self._waiting or self._due is not None:
            self._is_ending = True
        elif self._exchange is not None:
            self._is_ending = True
            self._exchange.keep_alive = False
        else:
            self.end(may_linger=False)

    def eof_received(self) -> bool:
        """Stay open towards a peer that has said all it wants and waits for answers."""
        self._has_eof = True
        if self._is_over:
            return False
        self._pump()
        return not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        """Forget the answers that nobody awaits; what they answer is committed all the same."""
        self.server_state.connections.discard(self)
        self.port.open.discard(self)
        self.port.rejected.discard(self)
        if self.port.endpoint is not None:
            self.port.endpoint.meter.lost(len(self._waiting) + len(self._ready))
        self._waiting.clear()
        self._ready.clear()
        self._ready_since.clear()
        if not self._is_over:
            self._has_eof = self._is_over = True
            self._note_leaving()
        if self._exchange is not None:
            self._exchange.abandon()
        self.flow.resume_writing()
        if self._timer is not None:
            self._timer.cancel()
        self._framer.close()


def inbound_protocol(port: HttpPort) -> Callable[..., InboundProtocol]:
    """Return what makes the protocol of each connection, to give to uvicorn (`http=`)."""
    return partial(InboundProtocol, port)
