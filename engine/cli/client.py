"""The admin API as commands call it: through the socket of a running host, or in this process when none runs."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from engine.app import admin_socket, offline_admin
from engine.cli.tree import Refusal, Refused
from engine.listeners import short_path
from engine.settings import Settings
from engine.wire.rest_shapes import ErrorBody
from storage.layout import host_dir, read_layout

Shape = TypeVar("Shape")
Result = TypeVar("Result")

_SECONDS = 60.0
"""How long one request may take: an import of many numbers commits to disk."""


class AdminClient:
    """Speaks `engine.wire.admin`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Send through `http`, whose base URL is the admin API."""
        self._http = http

    async def call(
        self, method: str, path: str, *, answer: type[Shape], body: object = None, query: dict[str, str] | None = None
    ) -> Shape:
        """Send a request and read its answer; raises Refused when the engine says no."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        response = await self._http.request(method, path, content=content, headers=headers, params=query)
        if response.is_success:
            return msgspec.json.decode(response.content, type=answer)
        raise _refused(response)


def with_admin(settings: Settings, work: Callable[[AdminClient], Awaitable[Result]]) -> Result:
    """Run the work against the engine of this data directory."""

    async def run() -> Result:
        async with _transport(settings.data_dir, settings) as transport:
            client = httpx.AsyncClient(transport=transport, base_url="http://maskline", timeout=_SECONDS)
            async with client:
                return await work(AdminClient(client))

    try:
        return asyncio.run(run())
    except httpx.TransportError as problem:
        raise Refusal(f"the server at {admin_socket(settings.data_dir)} went away: {problem}") from problem


@asynccontextmanager
async def _transport(data_dir: Path, settings: Settings) -> AsyncIterator[httpx.AsyncBaseTransport]:
    path = served_socket(data_dir)
    if path is not None:
        with short_path(path) as short:
            yield httpx.AsyncHTTPTransport(uds=short)
        return
    if (hosts := _hosts(data_dir)) > 1:
        raise Refusal(f"{data_dir} is laid out for {hosts} hosts and none of them runs here; start the cluster first")
    async with offline_admin(settings) as app:
        yield httpx.ASGITransport(app, raise_app_exceptions=False)


def served_socket(data_dir: Path) -> Path | None:
    """Find the socket of a running host of a data directory."""
    hosts = _hosts(data_dir)
    places = (admin_socket(host_dir(data_dir, place, hosts)) for place in range(hosts))
    return next((path for path in places if _is_served(path)), None)


def _hosts(data_dir: Path) -> int:
    layout = read_layout(data_dir)
    return 1 if layout is None else layout.hosts


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            with short_path(path) as short:
                probe.connect(short)
        except OSError as problem:
            if problem.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
                return False
            raise Refusal(f"cannot reach the server at {path}: {problem.strerror}") from problem
    return True


def _refused(response: httpx.Response) -> Refused:
    try:
        error = msgspec.json.decode(response.content, type=ErrorBody)
    except msgspec.DecodeError:
        return Refused(f"the server answered {response.status_code} without saying why")
    return Refused(f"{error.message} (code {error.code})")
