"""The one HTTP client that leaves the house: POST only, guarded addresses, bounded time, bounded answers.

Redirects, cookies, proxies of the environment and compressed answers are not followed, kept, used or unpacked.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import version
from urllib.parse import unquote

import h11
import httpx
import msgspec

from engine.core.model.errors import Code, MasklineError
from engine.outbound.connections import Connections, Destination, Origin
from engine.outbound.exchange import Answer, Connection, NeedsBody, Unanswered
from engine.outbound.guard import AddressPolicy, AddressRefused, Connector, Resolve, Resolver
from engine.outbound.settings import EgressSettings

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


class _Target(msgspec.Struct, frozen=True):
    seen: str
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    is_secure: bool
    host: str
    port: int

    def origin(self, account_sid: str) -> Origin:
        return Origin(self.is_secure, self.host, self.port, account_sid)


def no_body(status: int) -> bool:
    """Say that only the status of an answer counts."""
    del status
    return False


def body_of_success(status: int) -> bool:
    """Say that a 2xx is read for its content."""
    return 200 <= status < 300  # noqa: PLR2004 - the class of successes


def any_body(status: int) -> bool:
    """Say that every answer is read for its content."""
    del status
    return True


class Client:
    """Posts, to addresses that are not refused, within bounds of time and size."""

    def __init__(self, settings: EgressSettings, connections: Connections) -> None:
        """Use `guarded_client` to make one."""
        self._settings = settings
        self._connections = connections

    async def post(
        self,
        url: str,
        content: bytes,
        *,
        headers: Mapping[str, str],
        account_sid: str,
        timeout_seconds: float | None = None,
        needs_body: NeedsBody = no_body,
        may_repeat: bool = False,
    ) -> Answer:
        """Post a body on an account's behalf and return the answer; raises NotReached.

        User and password may be in the URL. `needs_body` tells for a status whether the body is read for its content;
        any other is waited for only briefly. With `may_repeat` the receiver knows a repeat (by a token in the headers),
        so that a request that met the end of a kept connection is made once more, on a new one.
        """
        seconds = self._settings.webhook_timeout_seconds if timeout_seconds is None else timeout_seconds
        ends_at = asyncio.get_running_loop().time() + seconds
        try:
            target = _target(url)
        except (httpx.InvalidURL, UnicodeError) as problem:
            raise NotReached(
                Code.WEBHOOK_FETCH_FAILED, "no usable URL", may_be_taken=False, is_for_good=True
            ) from problem
        question = _Question(target, content, headers=headers, needs_body=needs_body, ends_at=ends_at)
        destination = self._connections.to(target.origin(account_sid))
        try:
            async with asyncio.timeout_at(question.ends_at) as limit, destination.turn():
                connection = await destination.connection()
                limit.reschedule(None)  # the connection keeps the time: a status that has come by then counts
                is_kept = connection.has_answered
                try:
                    return await _ask(question, connection, destination)
                except Unanswered as problem:
                    if not (is_kept and may_repeat and problem.is_lost):
                        raise
                limit.reschedule(question.ends_at)
                connection = await destination.new_connection()
                limit.reschedule(None)
                return await _ask(question, connection, destination)
        except AddressRefused as problem:
            raise NotReached(
                Code.WEBHOOK_UNREACHABLE, str(problem.strerror), may_be_taken=False, is_for_good=True
            ) from problem
        except Unanswered as problem:
            raise NotReached(Code.WEBHOOK_FETCH_FAILED, str(problem), may_be_taken=True) from problem
        except TimeoutError as problem:
            raise question.not_reached("no answer in time") from problem
        except OSError as problem:
            raise question.not_reached(problem.strerror or type(problem).__name__) from problem


class _Question:
    """A request, and whether it has been sent."""

    def __init__(
        self, target: _Target, content: bytes, *, headers: Mapping[str, str], needs_body: NeedsBody, ends_at: float
    ) -> None:
        lines = [*target.headers, (b"Content-Length", b"%d" % len(content))]
        lines += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        self.request = h11.Request(method=b"POST", target=target.path, headers=lines)
        self.content = content
        self.needs_body = needs_body
        self.ends_at = ends_at
        self.is_sent = False

    def not_reached(self, problem: str) -> NotReached:
        if self.is_sent:
            return NotReached(Code.WEBHOOK_FETCH_FAILED, problem, may_be_taken=True)
        return NotReached(Code.WEBHOOK_UNREACHABLE, f"not connected: {problem}", may_be_taken=False)


async def _ask(question: _Question, connection: Connection, destination: Destination) -> Answer:
    question.is_sent = True
    try:
        return await connection.ask(
            question.request, question.content, needs_body=question.needs_body, ends_at=question.ends_at
        )
    finally:
        destination.put_back(connection)


@asynccontextmanager
async def guarded_client(settings: EgressSettings, *, resolve: Resolve | None = None) -> AsyncIterator[Client]:
    """Make a client whose connections are closed after the context; raises ValueError for a bad allowed network."""
    resolver = Resolver()
    policy = AddressPolicy(settings.outgoing_allow)
    tls = httpx.create_ssl_context(trust_env=False)
    tls.set_alpn_protocols(["http/1.1"])
    connections = Connections(settings, Connector(policy, resolve or resolver, tls=tls, tries=settings.connect_tries))
    tidying = asyncio.create_task(connections.keep_tidy(), name="connections")
    try:
        yield Client(settings, connections)
    finally:
        tidying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tidying
        connections.close()
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
    path = read.raw_path if read.query else read.raw_path.removesuffix(b"?")  # most receivers do not see it
    return _Target(
        seen=(b"%b://%b%b" % (read.raw_scheme, read.netloc, path)).decode("ascii"),
        path=path,
        headers=tuple(headers),
        is_secure=read.scheme == "https",
        host=read.raw_host.decode("ascii"),
        port=read.port or _DEFAULT_PORTS[read.scheme],
    )
