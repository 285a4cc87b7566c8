"""A receiver in a thread of its own: a real HTTP server on a real socket that behaves as badly as it is told."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, parse_qsl

import msgspec
from twilio.request_validator import RequestValidator

GIGABYTE = 1 << 30

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close sends a reset."""


class Received(msgspec.Struct, frozen=True):
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    method: str = "POST"
    at: float = 0.0
    """When, in seconds of a clock that only goes forward."""

    @property
    def form(self) -> dict[str, str]:
        """The form, names once."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def lists(self) -> dict[str, list[str]]:
        """The form, names with all their values."""
        return parse_qs(self.body.decode(), keep_blank_values=True)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered."""

    status: int = 200
    headers: tuple[str, ...] = ()
    body: bytes = b""
    hangs: bool = False
    """Read the request, answer nothing."""
    resets: bool = False
    """Read the request, reset the connection without an answer, or behind `raw`."""
    is_endless: bool = False
    """Send a gigabyte, or as much of it as is taken."""
    raw: bytes | None = None
    """Send these bytes instead, and hang up unless `stays`."""
    late: bytes = b""
    """And these behind `raw` once the receiver is released."""
    stays: bool = False
    """Keep the connection open behind `raw`."""


_TURNS_TO_BE_SERVED = 3
"""Turns of the loop from the accepting of a connection to its `_talk`, before which nobody would close its socket."""

_NOT_ALLOWED = Reply(status=405, headers=("Allow: POST",))
Behaviour = Callable[[Received], Reply]


class Receiver:
    """The server: what it got, and how it is to answer."""

    def __init__(self, behaviour: Behaviour, *, methods: Container[str] = ("POST",)) -> None:
        """Answer as told to requests of these methods, and 405 to all others."""
        self.behaviour = behaviour
        self.methods = methods
        self.received: list[Received] = []
        self.hung_up = 0
        """Connections that have ended."""
        self.hung_up_after: list[Received] = []
        """The requests after whose answer it ended the connection of its own accord."""
        self.bytes_sent = 0
        self.connections = 0
        self.most_at_once = 0
        self.port = 0
        self._at_once = 0
        self._loop = asyncio.new_event_loop()
        self._is_listening = threading.Event()
        self._arrival = threading.Condition()
        self._stop = asyncio.Event()
        self._release = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def is_signed(self, request: Received, token: str, *, url: str | None = None) -> bool:
        """Ask the official validator."""
        signature = request.headers.get("x-twilio-signature", "")
        valid: bool = RequestValidator(token).validate(url or f"{self.url}{request.path}", request.form, signature)
        return valid

    async def has_got(self, count: int) -> None:
        """Wait until so many requests have come, ten seconds at most."""
        assert await asyncio.to_thread(self.waits_for, lambda: len(self.received) >= count)

    def waits_for(self, is_so: Callable[[], bool], *, seconds: float = 10.0) -> bool:
        """Wait until something is so that requests bring about; tell whether it came to be in time."""
        with self._arrival:
            return self._arrival.wait_for(is_so, seconds)

    def release(self) -> None:
        """Let the requests that hang be answered."""
        self._loop.call_soon_threadsafe(self._release.set)

    def stop(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def run(self) -> None:
        """Serve until stopped; the thread's whole life."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    def wait_until_it_listens(self) -> None:
        """Return when connections are accepted."""
        assert self._is_listening.wait(10)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, "0.0.0.0", self.port)  # noqa: S104 - all of 127.0.0.0/8
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        await self._stop.wait()
        server.close()
        for _ in range(_TURNS_TO_BE_SERVED):
            await asyncio.sleep(0)
        while talks := asyncio.all_tasks() - {asyncio.current_task()}:  # some begin while others end
            for task in talks:
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
            await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        last: Received | None = None
        try:
            while (request := await _read(reader)) is not None:
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                with self._arrival:
                    self.received.append(request)
                    self._arrival.notify_all()
                try:
                    is_known = request.method in self.methods
                    is_open = await self._answer(writer, self.behaviour(request) if is_known else _NOT_ALLOWED)
                finally:
                    self._at_once -= 1
                if not is_open:
                    last = request
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            with self._arrival:
                self.hung_up += 1
                if last is not None:
                    self.hung_up_after.append(last)
                self._arrival.notify_all()

    async def _answer(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        if reply.hangs:
            await self._release.wait()
        if reply.resets:
            if reply.raw is not None:
                writer.write(reply.raw)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            if reply.late:
                await self._release.wait()
                writer.write(reply.late)
            return reply.stays
        length = GIGABYTE if reply.is_endless else len(reply.body)
        head = [f"HTTP/1.1 {reply.status} Whatever", f"content-length: {length}", *reply.headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + reply.body)
        await writer.drain()
        while reply.is_endless and self.bytes_sent < GIGABYTE:
            writer.write(b"x" * 65_536)
            self.bytes_sent += 65_536
            await writer.drain()
        return True


@contextmanager
def receiving(behaviour: Behaviour = lambda _: Reply(), *, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver; it is gone after the context."""
    receiver = Receiver(behaviour)
    receiver.port = port
    thread = threading.Thread(target=receiver.run, name="receiver")
    thread.start()
    try:
        receiver.wait_until_it_listens()
        yield receiver
    finally:
        receiver.stop()
        thread.join()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ")
    return Received(path, headers, body, method, asyncio.get_running_loop().time())
