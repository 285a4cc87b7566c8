"""Keep-alive connections, kept apart by account and destination: what is slow or dead holds up nobody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from engine.outbound.exchange import Connection
from engine.outbound.settings import EgressSettings


class Origin(msgspec.Struct, frozen=True):
    """Where connections go to, and on whose behalf."""

    is_secure: bool
    """TLS."""
    host: str
    """Name in ASCII or address, IPv6 without brackets."""
    port: int
    account_sid: str
    """Accounts share no connection and no limit."""


Connect = Callable[[Origin, float], Awaitable[Connection]]
"""Make a connection, each try within n seconds."""


class Destination:
    """The connections of one account to one scheme, host and port."""

    __slots__ = ("_connect", "_idle", "_origin", "_settings", "_slots", "in_flight")

    def __init__(self, origin: Origin, *, settings: EgressSettings, connect: Connect) -> None:
        """Connect when there is something to send."""
        self.in_flight = 0
        self._origin = origin
        self._settings = settings
        self._connect = connect
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(settings.connections_per_destination)

    @property
    def is_unused(self) -> bool:
        """Tell that it holds nothing worth keeping."""
        return not self.in_flight and not self._idle

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it; whoever holds one may have a connection at a time."""
        self.in_flight += 1
        try:
            async with self._slots:
                yield
        finally:
            self.in_flight -= 1

    async def connection(self) -> Connection:
        """Return the latest used connection that still lives, or a new one; raises OSError and AddressRefused."""
        oldest = asyncio.get_running_loop().time() - self._settings.keep_alive_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since >= oldest:
                return connection
            connection.close()
        return await self.new_connection()

    async def new_connection(self) -> Connection:
        """Connect; raises OSError and AddressRefused."""
        return await self._connect(self._origin, self._settings.connect_timeout_seconds)

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it can take one."""
        if connection.is_open:
            self._idle.append(connection)

    def reap(self, oldest: float) -> None:
        """Close what has been idle since before `oldest`."""
        expired = [one for one in self._idle if one.idle_since < oldest or not one.is_open]
        self._idle = [one for one in self._idle if one not in expired]
        for connection in expired:
            connection.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()


class Connections:
    """The destinations of a client."""

    def __init__(self, settings: EgressSettings, connect: Connect) -> None:
        """Connect with `connect`."""
        self._settings = settings
        self._connect = connect
        self._destinations: dict[Origin, Destination] = {}

    def to(self, origin: Origin) -> Destination:
        """Return the destination of that account, scheme, host and port."""
        destination = self._destinations.get(origin)
        if destination is None:
            destination = Destination(origin, settings=self._settings, connect=self._connect)
            self._destinations[origin] = destination
        return destination

    async def keep_tidy(self) -> None:
        """Close what has been idle too long, for ever."""
        while True:
            await asyncio.sleep(self._settings.keep_alive_seconds)
            oldest = asyncio.get_running_loop().time() - self._settings.keep_alive_seconds
            for origin, destination in list(self._destinations.items()):
                destination.reap(oldest)
                if destination.is_unused:
                    self._destinations.pop(origin, None)

    def close(self) -> None:
        """Close every idle connection."""
        for destination in self._destinations.values():
            destination.close()
