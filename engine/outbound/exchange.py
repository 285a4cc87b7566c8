"""One HTTP/1.1 connection to a receiver: requests one after the other, what came of each, and whether it may be kept.

A status line that arrived whole is the answer, whatever becomes of the rest: a body that is cut short, malformed,
stalled or reset is only marked. h11 reads the messages; redirects and compressed bodies are not followed or unpacked.
Source: RFC 9112.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import cast

import h11
import msgspec

from engine.formats.answers import MAX_ANSWER

BODY_GRACE_SECONDS = 1.0
"""How long a body that nobody needs is waited for, so that the connection can be kept and a trace can show it."""

_MAX_HEAD = 100 * 1024
"""Bytes of a response's head."""
_MAX_INTERIM = 16
"""Interim responses (1xx) before the final one."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([2-5][0-9]{2})(?: [^\r\n]*)?\r?\n")

Headers = Sequence[tuple[bytes, bytes]]


class Unanswered(Exception):  # noqa: N818 - names how an exchange ended
    """No status line came."""

    def __init__(self, problem: str, *, is_lost: bool) -> None:
        """Say why, without phone numbers, and whether the connection was lost before a byte of an answer came."""
        super().__init__(problem)
        self.is_lost = is_lost


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response, its body cut to `MAX_ANSWER` bytes."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case; empty where the head did not arrive whole."""
    body: bytes = b""
    is_cut: bool = False
    """It is longer, and the rest was not read."""
    problem: str = ""
    """Why head or body did not arrive whole; empty = they did, or the body is cut."""

    @property
    def is_ok(self) -> bool:
        """Tell a 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def header(self, name: str) -> str:
        """Return the first header of a name in lower case, or empty."""
        return next((value for known, value in self.headers if known == name), "")


NeedsBody = Callable[[int], bool]
"""Whether the body of an answer with that status is read for its content."""


class Connection(asyncio.Protocol):
    """A connection; ask one question at a time."""

    def __init__(self) -> None:
        """Connect with `loop.create_connection`."""
        self.has_answered = False
        """It is kept from an earlier question."""
        self.idle_since = 0.0
        """When the last answer was complete, on the loop's clock."""
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0
        self._needs_body: NeedsBody = bool
        self._response: h11.Response | None = None
        self._head = bytearray()
        self._body = bytearray()
        self._interim = 0

    @property
    def is_open(self) -> bool:
        """Tell that it can take a question: neither side has closed it, and nothing came that was not asked for."""
        return self._transport is not None and not self._transport.is_closing() and self._asked is None

    async def ask(self, request: h11.Request, content: bytes, *, needs_body: NeedsBody, ends_at: float) -> Answer:
        """Send a request and wait for its answer until `ends_at` on the loop's clock; raises Unanswered."""
        if self._transport is None or not self.is_open:
            raise Unanswered("the connection is closed", is_lost=True)
        asked: asyncio.Future[Answer] = self._loop.create_future()
        self._asked = asked
        self._needs_body, self._response, self._interim = needs_body, None, 0
        self._head.clear()
        self._body.clear()
        self._ends_at = ends_at
        self._set_timer(ends_at, "no answer in time")
        events = (request, h11.Data(data=content), h11.EndOfMessage())
        self._transport.write(b"".join([self._http.send(event) or b"" for event in events]))
        try:
            return await asked
        finally:
            if self._asked is asked:  # cancelled
                self._finish(None)
                self.close()

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()

    # -- what the loop calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Read on; bytes that nobody asked for end the connection."""
        if self._asked is None:
            self.close()
            return
        if self._response is None:
            self._head += data
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        """End what is read until the end; the transport closes itself."""
        if self._asked is not None:
            self._http.receive_data(b"")
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the question under way."""
        self._transport = None
        self._break("the connection was closed" if exc is None else "the connection was reset", is_lost=True)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while self._asked is not None:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return
                self._take(event)
        except h11.RemoteProtocolError:
            self._break("the answer is no HTTP/1.1", is_lost=True)

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> None:
        if isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise h11.RemoteProtocolError("interim responses without end")
            self._head = bytearray(self._http.trailing_data[0])
        elif isinstance(event, h11.Response):
            self._response = event
            if not self._needs_body(event.status_code):
                ends_at = min(self._ends_at, self._loop.time() + BODY_GRACE_SECONDS)
                self._set_timer(ends_at, "the body did not come in time")
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > MAX_ANSWER:
                self._answer(is_cut=True)
                self.close()
        elif isinstance(event, h11.EndOfMessage):
            self._complete()
        else:
            self._break("the connection was closed", is_lost=True)

    def _complete(self) -> None:
        """Answer; the connection is kept if both sides are done and no byte is left over."""
        http = self._http
        if http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0]:
            http.start_next_cycle()
            self.has_answered = True
            self.idle_since = self._loop.time()
        else:
            self.close()
        self._answer()

    def _break(self, problem: str, *, is_lost: bool) -> None:
        """End the question with what has come: the answer if its status line has, or none."""
        if self._asked is None:
            return
        line = _STATUS_LINE.match(self._head)
        if self._response is not None:
            self._answer(problem=problem)
        elif line is not None:
            self._finish(Answer(status=int(line[1]), problem=problem))
        else:
            is_silent = bytes(self._head[:1]) in {b"", b"\r", b"\n"}  # a blank line belongs to the answer before it
            self._finish(Unanswered(problem, is_lost=is_lost and is_silent))
        self.close()

    def _answer(self, *, is_cut: bool = False, problem: str = "") -> None:
        response = self._response
        if response is None:
            return
        self._finish(
            Answer(
                status=response.status_code,
                headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers),
                body=bytes(self._body[:MAX_ANSWER]),
                is_cut=is_cut,
                problem=problem,
            )
        )

    def _finish(self, outcome: Answer | Unanswered | None) -> None:
        asked, self._asked = self._asked, None
        if self._timer is not None:
            self._timer.cancel()
        if asked is None or asked.done():
            return
        if isinstance(outcome, Answer):
            asked.set_result(outcome)
        elif outcome is not None:
            asked.set_exception(outcome)

    def _set_timer(self, at: float, problem: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, lambda: self._break(problem, is_lost=False))
