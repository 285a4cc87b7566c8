"""Where we connect: names are resolved, the addresses checked, and only a checked address is connected to.

A name that resolves to a public address when it is checked and to a private one when it is used (DNS rebinding) gains
nothing, since it is resolved once per connection. Source: design section 8.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import cycle, islice

import httpcore

IpAddress = IPv4Address | IPv6Address

Resolve = Callable[[str, int], Awaitable[Sequence[IpAddress]]]
"""Addresses of a host name for a port; raises OSError."""

_FIRST_USED_V6 = IPv6Network("2000::/3")
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4: they carry an IPv4 address of the sender's choice."""
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOKUPS_AT_ONCE = 64
_REMEMBERED_SECONDS = 10.0
_MAX_REMEMBERED = 10_000


class AddressRefused(httpcore.ConnectError):
    """Every address of a host is in a range that is not called."""


class AddressPolicy:
    """Tells which addresses may be called."""

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        """Allow public addresses and these networks (`10.0.0.0/8`); raises ValueError for what is no network."""
        self._allowed: list[IPv4Network | IPv6Network] = [ip_network(text) for text in allowed_networks]

    def permits(self, address: IpAddress) -> bool:
        """Tell whether an address is public, or of an allowed network."""
        address = _unwrapped(address)
        return any(address in network for network in self._allowed) or _is_public(address)


class Resolver:
    """Looks names up in threads of its own: one look-up a name at a time, remembered for some seconds.

    A name server that does not answer so holds one thread, however many effects wait for it.
    """

    def __init__(self) -> None:
        """Start no thread before the first look-up."""
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="resolver")
        self._remembered: dict[tuple[str, int], asyncio.Future[tuple[IpAddress, ...]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[IpAddress]:
        """Return the addresses of a name or literal; raises OSError."""
        found = self._remembered.get((host, port))
        if found is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            loop = asyncio.get_running_loop()
            found = loop.run_in_executor(self._threads, _look_up, host, port)
            self._remembered[host, port] = found
            found.add_done_callback(lambda _: loop.call_later(_REMEMBERED_SECONDS, self._forget, host, port, found))
        return await asyncio.shield(found)

    def close(self) -> None:
        """Let look-ups in flight run out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, host: str, port: int, found: object) -> None:
        if self._remembered.get((host, port)) is found:
            del self._remembered[host, port]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve, *, tries: int) -> None:
        """Check addresses against a policy; try to connect so often, over the permitted addresses in turn."""
        self._policy = policy
        self._resolve = resolve
        self._tries = tries
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(  # noqa: PLR0917 - the interface's
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address that answers, `timeout` a try; raises httpcore.ConnectError."""
        permitted = await self._permitted(host, port, timeout)
        problem: Exception = httpcore.ConnectError("not tried")
        for address in islice(cycle(permitted), self._tries):
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                problem = failure
        raise problem

    async def _permitted(self, host: str, port: int, seconds: float | None) -> list[IpAddress]:
        try:
            async with asyncio.timeout(seconds):
                found = await self._resolve(host, port)
        except TimeoutError as problem:
            raise httpcore.ConnectTimeout("the name was not resolved in time") from problem
        except OSError as problem:
            raise httpcore.ConnectError(f"the name was not resolved: {problem.strerror}") from problem
        permitted = [address for address in found if self._policy.permits(address)]
        if not permitted:
            raise AddressRefused("the host is in a private or reserved network, which is not called")
        return permitted


def _look_up(host: str, port: int) -> tuple[IpAddress, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as problem:
        raise OSError(0, "no host name") from problem
    return tuple(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


def _unwrapped(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside one that only carries it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: IpAddress) -> bool:
    if address.is_multicast or address.is_reserved or address.is_private or not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return True
    return address in _FIRST_USED_V6 and not any(address in tunnel for tunnel in _TUNNELS)
