"""What the webhook is measured beside: servers that do no more than look the pair up in a dict and answer.

Each runs in a process of its own (`serving`) on one uvloop loop.
"""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import parse_qsl

import httptools
import msgspec
import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response

from engine.channels.twiml.answers import REJECT, dial
from engine.channels.twiml.forms import parse_form

Routes = dict[tuple[str, str], str]
"""(sender, proxy number) → whom to dial."""

Serve = Callable[[Connection, Routes], Coroutine[None, None, None]]
"""Listens, sends `Ready` through the connection, serves until `until_told`."""


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/xml; charset=utf-8\r\ncontent-length: "


class Ready(msgspec.Struct, frozen=True):
    """What a server tells when it answers."""

    port: int
    """Where on 127.0.0.1."""
    account_sid: str = ""
    """AC… of the account that owns the numbers."""
    token: str = ""
    """What its webhooks are signed with."""
    in_session: tuple[tuple[str, str], ...] = ()
    """Pairs (identifier, proxy number) whose calls are routed."""
    wrong_mode: tuple[tuple[str, str], ...] = ()
    """Pairs whose calls are refused because of their session's mode."""


class Serving(msgspec.Struct, frozen=True):
    """A server in a process of its own."""

    ready: Ready
    """What it told."""
    pid: int
    """Its process."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.ready.port

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        return cpu_of(self.pid)


def cpu_of(pid: int) -> float:
    """Return the processor time of a process, all its threads (Linux: see clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


@contextmanager
def serving(serve: Serve, routes: Routes) -> Iterator[Serving]:
    """Run a server in a fresh process while the context lasts."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(serve, theirs, routes))
    process.start()
    theirs.close()
    try:
        ready = ours.recv()
        assert process.pid is not None
        yield Serving(ready, process.pid)
    finally:
        ours.close()
        process.join()


def _run(serve: Serve, told: Connection, routes: Routes) -> None:
    uvloop.run(serve(told, routes))


async def until_told(told: Connection) -> None:
    """Wait until the benchmark is done with this server."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(told.fileno(), stop.set)
    await stop.wait()
    loop.remove_reader(told.fileno())


class _Bare(asyncio.Protocol):
    """uvloop and httptools, a form, a dict, a constant answer: no headers, no checks, no order, no limits."""

    transport: asyncio.Transport

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a stream's is one
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body = body

    def on_message_complete(self) -> None:
        if self._url != b"/inbound/voice":
            self.transport.close()
            return
        fields = parse_form(self._body).fields
        to = self._routes.get((fields["From"], fields["To"]))
        document = REJECT if to is None else dial(to=to, caller_id=fields["To"], status_url="")
        self.transport.write(b"%b%d\r\n\r\n%b" % (_HEAD, len(document), document))


async def serve_bare(told: Connection, routes: Routes) -> None:
    """Serve with a bare protocol."""
    server = await asyncio.get_running_loop().create_server(lambda: _Bare(routes), "127.0.0.1", 0)
    told.send(Ready(server.sockets[0].getsockname()[1]))
    await until_told(told)
    server.close()


async def serve_fastapi(told: Connection, routes: Routes) -> None:
    """Serve with FastAPI on uvicorn, uvloop and httptools."""
    app = FastAPI()

    @app.post("/inbound/voice")
    async def voice(request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode()))
        to = routes.get((fields["From"], fields["To"]))
        document = REJECT if to is None else dial(to=to, caller_id=fields["To"], status_url="")
        return Response(document, media_type="text/xml")

    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    told.send(Ready(bound.getsockname()[1]))
    await until_told(told)
    server.should_exit = True
    await task
