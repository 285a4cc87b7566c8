"""The one HTTP client that leaves the house: POST only, guarded addresses, bounded time, bounded answers.

Redirects, cookies, proxies of the environment and compressed answers are not followed, kept, used or unpacked.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import unquote

import httpcore
import httpx
import msgspec

from engine.core.errors import Code, MasklineError
from engine.egress.connections import Connections
from engine.egress.guard import AddressPolicy, AddressRefused, GuardedBackend, Resolve, Resolver
from engine.egress.settings import EgressSettings
from engine.wire.answers import MAX_ANSWER

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FIXED_HEADERS = (
    (b"User-Agent", f"Maskline/{version('maskline')}".encode()),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"identity"),
)


class NotReached(MasklineError):  # noqa: N818 - names how an exchange ended
    """No answer came; the text says why, without phone numbers."""

    def __init__(self, code: Code, problem: str, *, may_be_taken: bool, is_for_good: bool = False) -> None:
        """Say with which debugger code, whether the receiver may have acted, and whether trying again is vain."""
        super().__init__(problem)
        self.code = code
        self.may_be_taken = may_be_taken
        self.is_for_good = is_for_good


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response, its body cut to `MAX_ANSWER` bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    is_cut: bool

    @property
    def is_ok(self) -> bool:
        """Tell a 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def content_type(self) -> str:
        """The header, or empty."""
        return next((value for name, value in self.headers if name == "content-type"), "")


class _Target(msgspec.Struct, frozen=True):
    seen: str
    url: httpcore.URL
    headers: tuple[tuple[bytes, bytes], ...]


class _Body:
    """A request's body that knows whether it was asked for, that is, whether the head has been sent."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.is_asked_for = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_asked_for = True
        yield self.content


class Client:
    """Posts."""

    def __init__(self, settings: EgressSettings, connections: Connections) -> None:
        """Use `guarded_client` to make one."""
        self._settings = settings
        self._connections = connections

    async def post(
        self, url: str, content: bytes, *, headers: Mapping[str, str], timeout_seconds: float | None = None
    ) -> Answer:
        """Post a body and read the answer; raises NotReached. User and password may be in the URL."""
        limit = self._settings.timeout_seconds if timeout_seconds is None else timeout_seconds
        body = _Body(content)
        with _translated(body):
            request = self._request(url, body, headers=headers, limit=limit)
            async with asyncio.timeout(limit), self._connections.to(request.url.origin).connection() as connection:
                response = await connection.handle_async_request(request)
                try:
                    return await _read(response)
                finally:
                    await response.aclose()

    def _request(self, url: str, body: _Body, *, headers: Mapping[str, str], limit: float) -> httpcore.Request:
        target = _target(url)
        lines = [*target.headers, (b"Content-Length", b"%d" % len(body.content))]
        lines += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        connect = min(self._settings.connect_timeout_seconds, limit)
        return httpcore.Request(
            b"POST",
            target.url,
            headers=lines,
            content=body,
            extensions={"timeout": {"connect": connect, "read": limit, "write": limit}},
        )


@asynccontextmanager
async def guarded_client(settings: EgressSettings, *, resolve: Resolve | None = None) -> AsyncIterator[Client]:
    """Make a client whose connections are closed after the context; raises ValueError for a bad allowed network."""
    resolver = Resolver()
    policy = AddressPolicy(settings.allowed_networks)
    backend = GuardedBackend(policy, resolve or resolver, tries=settings.connect_tries)
    connections = Connections(settings, backend, httpx.create_ssl_context(trust_env=False))
    tidying = asyncio.create_task(connections.keep_tidy(), name="connections")
    try:
        yield Client(settings, connections)
    finally:
        tidying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tidying
        await connections.close()
        resolver.close()


def sent_url(url: str) -> str:
    """Return a URL as its receiver sees it: encoded, without user-info and fragment; an unusable one as it is."""
    try:
        return _target(url).seen
    except (httpx.InvalidURL, UnicodeError):
        return url


@lru_cache(maxsize=1024)
def _target(url: str) -> _Target:
    """Read a URL; raises httpx.InvalidURL or UnicodeError."""
    read = httpx.URL(url)
    if read.scheme not in _DEFAULT_PORTS or not read.host:
        raise httpx.InvalidURL("no absolute http or https URL")
    headers = [(b"Host", read.netloc), *_FIXED_HEADERS]
    if read.userinfo:
        headers.append((b"Authorization", b"Basic " + base64.b64encode(unquote(read.userinfo.decode()).encode())))
    port = read.port or _DEFAULT_PORTS[read.scheme]
    address = httpcore.URL(scheme=read.raw_scheme, host=read.raw_host, port=port, target=read.raw_path)
    seen = b"%b://%b%b" % (read.raw_scheme, read.netloc, read.raw_path)
    return _Target(seen.decode("ascii"), address, tuple(headers))


async def _read(response: httpcore.Response) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > MAX_ANSWER:
            break
    return Answer(
        status=response.status,
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers),
        body=bytes(body[:MAX_ANSWER]),
        is_cut=len(body) > MAX_ANSWER,
    )


@contextmanager
def _translated(body: _Body) -> Iterator[None]:
    try:
        yield
    except AddressRefused as problem:
        raise NotReached(Code.WEBHOOK_UNREACHABLE, str(problem), may_be_taken=False, is_for_good=True) from problem
    except (httpx.InvalidURL, UnicodeError) as problem:
        raise NotReached(Code.WEBHOOK_FETCH_FAILED, "no usable URL", may_be_taken=False, is_for_good=True) from problem
    except (TimeoutError, httpcore.TimeoutException) as problem:
        raise _not_reached(body, "no answer in time") from problem
    except (httpcore.NetworkError, httpcore.ProtocolError) as problem:
        raise _not_reached(body, str(problem) or type(problem).__name__) from problem


def _not_reached(body: _Body, problem: str) -> NotReached:
    if body.is_asked_for:
        return NotReached(Code.WEBHOOK_FETCH_FAILED, problem, may_be_taken=True)
    return NotReached(Code.WEBHOOK_UNREACHABLE, f"not connected: {problem}", may_be_taken=False)
