"""Where we connect: names are resolved, the addresses checked, and only a checked address is connected to.

A name that resolves to a public address when it is checked and to a private one when it is used (DNS rebinding) gains
nothing, since it is resolved once per connection.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import cycle, islice

from engine.outbound.connections import Origin
from engine.outbound.exchange import Connection
from engine.outbound.special_ranges import is_public, unwrapped

IpAddress = IPv4Address | IPv6Address

Resolve = Callable[[Origin], Awaitable[Sequence[IpAddress]]]
"""Addresses of an origin's host, looked up on its account's behalf; raises OSError."""

LOOKUPS_OF_AN_ACCOUNT = 16
"""Look-ups of one account at a time; its others wait, and nobody else's."""
_LOOKUPS_AT_ONCE = 1024
_REMEMBERED_SECONDS = 10.0
_MAX_REMEMBERED = 10_000


class AddressRefused(OSError):  # noqa: N818 - names what was decided
    """Every address of a host is in a range that is not called."""


class AddressPolicy:
    """Tells which addresses may be called."""

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        """Allow public addresses and these networks (`10.0.0.0/8`); raises ValueError for what is no network."""
        self._allowed: list[IPv4Network | IPv6Network] = [ip_network(text) for text in allowed_networks]

    def permits(self, address: IpAddress) -> bool:
        """Tell whether an address is public, or of an allowed network."""
        address = unwrapped(address)
        return any(address in network for network in self._allowed) or is_public(address)


class Resolver:
    """Looks names up in threads of its own: one look-up a name and account at a time, remembered for some seconds.

    A name server that does not answer so holds one thread a name, and of an account's names no more than its share.
    """

    def __init__(self, look_up: Callable[[str, int], tuple[IpAddress, ...]] | None = None) -> None:
        """Start no thread before the first look-up; `look_up` is the system's unless given, and raises OSError."""
        self._look_up = look_up or _look_up
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="resolver")
        self._remembered: dict[Origin, asyncio.Task[tuple[IpAddress, ...]]] = {}
        self._shares: dict[str, asyncio.Semaphore] = {}

    async def __call__(self, origin: Origin) -> Sequence[IpAddress]:
        """Return the addresses of a name or literal; raises OSError."""
        found = self._remembered.get(origin)
        if found is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            found = asyncio.create_task(self._found(origin), name="look-up")
            self._remembered[origin] = found
            found.add_done_callback(lambda done: self._forget_in_time(origin, done))
        return await asyncio.shield(found)

    def close(self) -> None:
        """Let look-ups in flight run out."""
        for task in self._remembered.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _found(self, origin: Origin) -> tuple[IpAddress, ...]:
        share = self._shares.setdefault(origin.account_sid, asyncio.Semaphore(LOOKUPS_OF_AN_ACCOUNT))
        async with share:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._look_up, origin.host, origin.port)

    def _forget_in_time(self, origin: Origin, task: asyncio.Task[tuple[IpAddress, ...]]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waited has been told
            asyncio.get_running_loop().call_later(_REMEMBERED_SECONDS, self._forget, origin, task)

    def _forget(self, origin: Origin, task: object) -> None:
        if self._remembered.get(origin) is task:
            del self._remembered[origin]


class Connector:
    """Connects to checked addresses only."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve, *, tls: ssl.SSLContext, tries: int) -> None:
        """Check addresses against a policy; try to connect so often, over the permitted addresses in turn."""
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._tries = tries

    async def __call__(self, origin: Origin, seconds: float) -> Connection:
        """Connect to the first permitted address that answers, in `seconds` a try; raises OSError."""
        permitted = await self._permitted(origin, seconds)
        problem = OSError(0, "not tried")
        for address in islice(cycle(permitted), self._tries):
            try:
                async with asyncio.timeout(seconds):
                    return await self._connected(origin, address)
            except TimeoutError:
                problem = OSError(0, "no connection in time")
            except OSError as failure:
                problem = failure
        raise problem

    async def _connected(self, origin: Origin, address: IpAddress) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection,
            str(address),
            origin.port,
            ssl=self._tls if origin.is_secure else None,
            server_hostname=origin.host.rstrip(".") if origin.is_secure else None,
        )
        return connection

    async def _permitted(self, origin: Origin, seconds: float) -> list[IpAddress]:
        try:
            async with asyncio.timeout(seconds):
                found = await self._resolve(origin)
        except TimeoutError as problem:
            raise OSError(0, "the name was not resolved in time") from problem
        except OSError as problem:
            raise OSError(0, f"the name was not resolved: {problem.strerror}") from problem
        permitted = [address for address in found if self._policy.permits(address)]
        if not permitted:
            raise AddressRefused(0, "the host is in a private or reserved network, which is not called")
        return permitted


def _look_up(host: str, port: int) -> tuple[IpAddress, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as problem:
        raise OSError(0, "no host name") from problem
    return tuple(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))
