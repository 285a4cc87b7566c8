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

from engine.api.admin.list_shapes import SidFound
from engine.api.admin.service_shapes import ServiceList
from engine.api.admin.shapes import AccountList
from engine.cli.tree import Refusal, Refused
from engine.core.model.sids import SidKind, is_sid
from engine.formats.responses import ErrorBody
from engine.listeners import admin_socket, short_path
from engine.settings import Settings
from storage.sqlite.layout import has_data, read_layout

Shape = TypeVar("Shape")
Result = TypeVar("Result")

_SECONDS = 60.0
"""How long one request may take: an import of many numbers commits to disk."""


def account_named(text: str) -> "Named":
    """Name an account."""
    return Named(SidKind.ACCOUNT, text)


def service_named(text: str) -> "Named":
    """Name a service."""
    return Named(SidKind.SERVICE, text)


class Named(msgspec.Struct, frozen=True):
    """Something that the operator names by its SID, or by the name that it was given."""

    kind: SidKind
    text: str
    service: str | None = None
    """Of a session: the service in which the name is unique."""


Query = dict[str, str | Named]

_NAMED = {"account_sid": SidKind.ACCOUNT, "service_sid": SidKind.SERVICE, "session_sid": SidKind.SESSION}


class AdminClient:
    """Speaks `engine.api.admin.shapes`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Send through `http`, whose base URL is the admin API."""
        self._http = http

    async def call(
        self, method: str, *path: str | Named, answer: type[Shape], body: object = None, query: Query | None = None
    ) -> Shape:
        """Send a request and read its answer; raises Refused when the engine says no.

        The path is given in pieces; names in it and in the query are replaced by the SIDs that they stand for.
        """
        place = "".join([await self.sid(piece) for piece in path])
        asked = {name: await self.sid(value) for name, value in (query or {}).items()}
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        response = await self._http.request(method, place, content=content, headers=headers, params=asked)
        if response.is_success:
            return msgspec.json.decode(response.content, type=answer)
        raise _refused(response)

    async def sid(self, asked: str | Named) -> str:
        """Return the SID of what is named; raises Refused when there is none of that name, or several."""
        if isinstance(asked, str):
            return asked
        if is_sid(asked.text):
            return asked.text
        query: Query = {"kind": asked.kind.value, "name": asked.text}
        if asked.service is not None:
            query["service_sid"] = Named(SidKind.SERVICE, asked.service)
        return (await self.call("GET", "/sids", answer=SidFound, query=query)).sid


async def the_account(admin: AdminClient, named: str | None) -> str:
    """Return the SID of the account that is named, or of the only one."""
    if named is not None:
        return await admin.sid(account_named(named))
    accounts = (await admin.call("GET", "/accounts", answer=AccountList)).accounts
    if len(accounts) != 1:
        raise Refusal(f"there are {len(accounts)} accounts: say which one is meant with --account")
    return accounts[0].sid


async def the_service(admin: AdminClient, named: str | None) -> str:
    """Return the SID of the service that is named, or of the only one."""
    if named is not None:
        return await admin.sid(service_named(named))
    accounts = (await admin.call("GET", "/accounts", answer=AccountList)).accounts
    services = [
        one.sid
        for account in accounts
        for one in (await admin.call("GET", f"/accounts/{account.sid}/services", answer=ServiceList)).services
    ]
    if len(services) != 1:
        raise Refusal(f"there are {len(services) or 'no'} services: say which one is meant with --service")
    return services[0]


def query_of(asked: msgspec.Struct) -> Query:
    """Write what is given of a query; names of accounts, services and sessions may stand for their SIDs."""
    given = {name: value for name, value in msgspec.to_builtins(asked).items() if value is not None}
    return {name: _written(name, value) for name, value in given.items()}


def _written(field: str, value: object) -> str | Named:
    kind = _NAMED.get(field)
    if kind is not None:
        return Named(kind, str(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_admin(
    settings: Settings, work: Callable[[AdminClient], Awaitable[Result]], *, may_create: bool = False
) -> Result:
    """Run the work against the engine of this data directory, which is made where it `may_create` one."""
    if not may_create:
        demand_data(settings)

    async def run() -> Result:
        async with _transport(settings.data_dir, settings) as transport:
            client = httpx.AsyncClient(transport=transport, base_url="http://maskline", timeout=_SECONDS)
            async with client:
                return await work(AdminClient(client))

    try:
        return asyncio.run(run())
    except httpx.TransportError as problem:
        raise Refusal(f"the server at {admin_socket(settings.data_dir)} went away: {problem}") from problem


def demand_data(settings: Settings) -> None:
    """Refuse to work where there is nothing of ours: neither a file nor a database, nor a server that has one."""
    if is_empty(settings):
        raise Refusal(
            f"there is no Maskline data in {settings.data_dir}; name its directory with --data-dir (maskline serve and "
            "maskline account create make one)"
        )


def is_empty(settings: Settings) -> bool:
    """Tell whether nothing of ours is there yet."""
    return not settings.database_url and not has_data(settings.data_dir) and served_socket(settings.data_dir) is None


def demand_file(settings: Settings, instead: str) -> None:
    """Refuse what is done to the file of a data directory where a database keeps everything; say what to do instead."""
    if settings.database_url:
        raise Refusal(
            f"database_url is set, so that a database keeps everything and this has no file to work on: {instead}"
        )


@asynccontextmanager
async def _transport(data_dir: Path, settings: Settings) -> AsyncIterator[httpx.AsyncBaseTransport]:
    path = served_socket(data_dir)
    if path is not None:
        with short_path(path) as short:
            yield httpx.AsyncHTTPTransport(uds=short)
        return
    if (hosts := _hosts(data_dir)) > 1:
        raise Refusal(f"{data_dir} is laid out for {hosts} hosts and none of them runs here; start the cluster first")
    from engine.app import offline_admin  # noqa: PLC0415 - who asks a server needs none of it

    async with offline_admin(settings) as app:
        yield httpx.ASGITransport(app, raise_app_exceptions=False)


def served_socket(data_dir: Path) -> Path | None:
    """Find the socket of a running host of a data directory."""
    places = (data_dir, *sorted(data_dir.glob("host-*")))
    return next((path for path in map(admin_socket, places) if _is_served(path)), None)


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
