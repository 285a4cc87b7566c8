"""One request handed to the ASGI application, and its answer: uvicorn's cycle between our reading and our writing.

The cycle writes and closes through `Outlet` and regulates through `Flow`: the connection alone knows what else there is
to read, to write or to wait for.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote

import msgspec
from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from engine.http.framing import Framer, Header, Unreadable, origin_form

MOST_SKIPPED_BYTES = 65_536
"""Of a body that nobody wants: up to there it is read for the sake of the next request, past it the connection ends."""

_log = logging.getLogger("uvicorn.error")


class Target(msgspec.Struct, frozen=True):
    """Where a request goes."""

    path: bytes
    """As it was sent, percent-encoded."""
    query: bytes
    authority: bytes | None = None
    """Of an absolute target; it stands instead of the Host header (RFC 9112 3.2.2)."""

    def absolute(self) -> "Target":
        """Read it as an absolute URL; raises Unreadable."""
        found = origin_form(self.path)
        if found is None:
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        authority, path = found
        return Target(path, self.query, authority)


class Owner(Protocol):
    """The connection, as an exchange needs it."""

    transport: asyncio.Transport

    @property
    def flow(self) -> "Flow":
        """Regulates it."""

    def read_on(self) -> None:
        """Go on with what waits to be read, now that the application wants it."""

    def end(self) -> None:
        """Take no more, and close when what was written has left."""

    def exchanged(self) -> None:
        """Go on: the answer is written."""


class Flow(FlowControl):
    """Pauses and resumes a transport; where the application asks for more, the connection decides."""

    def __init__(self, owner: Owner) -> None:
        """Regulate the transport of a connection."""
        super().__init__(owner.transport)
        self._owner = owner

    def resume_reading(self) -> None:
        """Called by the cycle when the application takes a part of the body."""
        self._owner.read_on()

    def let_read(self, *, may: bool) -> None:
        """Have the transport read, or not."""
        if may:
            super().resume_reading()
        else:
            self.pause_reading()


class Outlet:
    """What the cycle sees of the transport."""

    def __init__(self, owner: Owner) -> None:
        """Write to a connection."""
        self._owner = owner
        self.write: Callable[[bytes], None] = owner.transport.write
        self.is_closing: Callable[[], bool] = owner.transport.is_closing

    def close(self) -> None:
        """Have the connection end."""
        self._owner.end()


class Exchange(RequestResponseCycle):
    """A request under way in the application."""

    def __init__(self, framer: Framer, scope: HTTPScope, *, owner: Owner, outlet: Outlet, state: ServerState) -> None:
        """Take the request whose head the framer has read."""
        super().__init__(
            scope=scope,
            transport=outlet,  # type: ignore[arg-type] # the three methods that the cycle calls
            flow=owner.flow,
            logger=_log,
            access_logger=_log,
            access_log=False,
            default_headers=state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=framer.expects_continue and not framer.unread and not framer.is_whole,
            keep_alive=not framer.is_last,
            on_response=owner.exchanged,
        )
        self._missing = framer.length

    def take(self, body: bytes, *, is_whole: bool) -> None:
        """Hand on what came of the body; behind the answer it is dropped."""
        self._missing -= len(body)
        if self.response_complete:
            return
        self.body += body
        self.more_body = not is_whole
        if body or is_whole:
            self.message_event.set()

    @property
    def is_full(self) -> bool:
        """The application has to take what there is before more is read."""
        return len(self.body) > HIGH_WATER_LIMIT and not self.response_complete

    def abandon(self) -> None:
        """Tell the application that nobody is left to answer."""
        self.disconnected = not self.response_complete
        self.message_event.set()


class WatchedExchange(Exchange):
    """One whose answer needs a second look: the body may be unread when it comes, or the client knows no chunks."""

    def __init__(self, framer: Framer, scope: HTTPScope, *, owner: Owner, outlet: Outlet, state: ServerState) -> None:
        """Take the request whose head the framer has read."""
        super().__init__(framer, scope, owner=owner, outlet=outlet, state=state)
        self._withheld: list[ASGISendEvent] | None = [] if framer.is_1_0 else None

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer; one that leaves too much of the body unread says that the connection ends."""
        if not self.response_started and self.more_body:
            self.keep_alive &= not self.waiting_for_100_continue and self._missing <= MOST_SKIPPED_BYTES
        for ready in (message,) if self._withheld is None else self._measured(message, self._withheld):
            await super().send(ready)

    def _measured(self, message: ASGISendEvent, withheld: list[ASGISendEvent]) -> Iterable[ASGISendEvent]:
        """Withhold an answer until its length is known, for a client of HTTP/1.0, which knows no chunks."""
        withheld.append(message)
        if message["type"] != "http.response.body" or message.get("more_body", False):
            return ()
        self._withheld = None
        head, *parts = withheld
        body = b"".join(part.get("body", b"") for part in parts)  # type: ignore[misc] # parts have bodies
        headers = [*head.get("headers", ())]  # type: ignore[misc] # the first is the head
        if all(name.lower() != b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(body)))
        return (
            {**head, "headers": headers},  # type: ignore[return-value] # a copy of what it was
            {"type": "http.response.body", "body": body, "more_body": False},
        )


def scope_of(framer: Framer, target: Target, around: Mapping[str, Any]) -> HTTPScope:
    """Describe a request to the application, `around` it what the connection knows."""
    headers: list[Header] = [(name.lower(), value.rstrip()) for name, value in framer.headers]
    if target.authority is not None:
        headers = [(name, target.authority if name == b"host" else value) for name, value in headers]
    path = target.path.decode("ascii")
    scope = {
        **around,
        "method": framer.method.decode("ascii"),
        "http_version": "1.0" if framer.is_1_0 else "1.1",
        "path": unquote(path) if "%" in path else path,
        "raw_path": target.path,
        "query_string": target.query,
        "headers": headers,
    }
    return cast("HTTPScope", scope)


class Application:
    """The ASGI application, as one connection hands it requests."""

    def __init__(self, owner: Owner, config: Config, state: ServerState, app_state: dict[str, Any]) -> None:
        """Hand requests of a connection to the application of a server."""
        self._owner = owner
        self._app = config.loaded_app
        self._state = state
        self._app_state = app_state
        self._outlet = Outlet(owner)
        self._around = {
            "type": "http",
            "scheme": "http",
            "asgi": {"version": config.asgi_version, "spec_version": "2.3"},
            "server": get_local_addr(owner.transport),
            "client": get_remote_addr(owner.transport),
            "root_path": config.root_path,
        }

    def begin(self, framer: Framer, target: Target) -> Exchange:
        """Let it answer the request whose head was read, in a task that the server waits for when it stops."""
        around = {**self._around, "state": self._app_state.copy()}
        kind = WatchedExchange if framer.is_1_0 or not framer.is_whole else Exchange
        exchange = kind(
            framer, scope_of(framer, target, around), owner=self._owner, outlet=self._outlet, state=self._state
        )
        if framer.is_whole:
            exchange.take(framer.content, is_whole=True)
        task = asyncio.get_running_loop().create_task(exchange.run_asgi(self._app))
        tasks = self._state.tasks
        task.add_done_callback(tasks.discard)
        tasks.add(task)
        return exchange
