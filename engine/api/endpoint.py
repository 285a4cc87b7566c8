"""One path of the REST interface: from a request to the operation's handler and back, every refusal in one shape.

The order of the checks: method, readiness, credentials, rate, path, body, form, then the control plane. Source:
behaviour 2.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec
from starlette.types import Receive, Scope, Send

from engine.api.batch_shapes import BatchForm
from engine.api.http import (
    CLIENT_LEFT,
    Disconnected,
    Headers,
    Reply,
    credentials,
    encode,
    is_form,
    media_type,
    raw_path,
    read_body,
    refusal,
    send_reply,
)
from engine.api.operations import PARENT_KINDS, AnyOperation, Batch, Call, Stream
from engine.api.settings import ApiSettings
from engine.core.model.errors import ApiError, Code, answer_to, invalid_parameter, not_found, not_ready
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.masking import mask_text
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.rate import SlidingWindow
from engine.formats.values import OwnHost, path_segment

_log = logging.getLogger("maskline.api")

_CHALLENGE: Headers = ((b"www-authenticate", b'Basic realm="Twilio API"'),)
KNOWN_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
"""Methods that are told apart when requests are counted."""


BATCHES_AT_ONCE = 8
"""Batches of one account that are read, carried out or answered at a time: each may hold megabytes."""


class ApiContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all paths share."""

    control: ControlPlane
    settings: ApiSettings
    clock: Clock
    monotonic: Clock
    """Measures durations."""
    observer: Observer
    is_ready: Callable[[], bool] | None
    own_host: OwnHost
    limit: SlidingWindow
    batches: Counter[str]
    """Batches under way, by account."""


class Endpoint:
    """The ASGI application of one path."""

    def __init__(self, route: str, operations: dict[str, AnyOperation], context: ApiContext) -> None:
        """Serve the operations, by method, of a path template."""
        self._route = route
        self._operations = operations
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = self._context.monotonic()
        with ExitStack() as until_sent:
            try:
                reply = await self._reply(scope, receive, until_sent)
            except Disconnected:
                took = self._context.monotonic() - began
                _log.debug("the client of %s %s left in the middle of its request", scope["method"], self._route)
                count_request(self._context.observer, scope, self._route, CLIENT_LEFT, seconds=took)
                return
            took = self._context.monotonic() - began
            count_request(self._context.observer, scope, self._route, reply.status, seconds=took)
            await send_reply(reply, send)

    async def _reply(self, scope: Scope, receive: Receive, until_sent: ExitStack) -> Reply:
        try:
            return await self._operate(scope, receive, until_sent)
        except Disconnected:
            raise
        except Exception as problem:  # noqa: BLE001 - the boundary of the listener's task: logged and answered
            answer = answer_to(problem)
            if answer is not problem:
                _log.error("%s %s failed: %s", scope["method"], self._route, problem, exc_info=answer.is_unforeseen)
            if answer.code is Code.NOT_FOUND:
                answer = not_found(mask_text(raw_path(scope)))
            return refusal(answer, self._headers(answer.code, scope["method"]))

    def _headers(self, code: Code, method: str) -> Headers:
        if code is Code.PERMISSION_DENIED:
            return _CHALLENGE
        if code is Code.METHOD_NOT_ALLOWED:
            return _allow({*self._operations} - {method})
        return ()

    async def _operate(self, scope: Scope, receive: Receive, until_sent: ExitStack) -> Reply:
        method = scope["method"]
        operation = self._operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise ApiError(Code.METHOD_NOT_ALLOWED, f"{method} is not allowed on {mask_text(raw_path(scope))}")
        self._demand_ready()
        account_sid = self._authenticated(scope)
        names = {name: path_segment(value) for name, value in scope["path_params"].items()}
        self._check_rate(operation, account_sid, names)
        call = self._call(scope, operation, account_sid, names)
        if isinstance(operation.reads, Batch):
            if self._context.batches[account_sid] >= BATCHES_AT_ONCE:
                message = f"{BATCHES_AT_ONCE} batches of the account are under way; wait for the answer to one of them"
                raise ApiError(Code.TOO_MANY_REQUESTS, message)
            until_sent.enter_context(self._under_way(account_sid))
        body = await self._body(scope, receive, operation, call.media_type)
        shape = await operation.handler(call, operation.reads.read(scope["query_string"], body))
        if operation.method == "GET":
            self._demand_ready()  # what was read is told by whoever is still the host
        if isinstance(shape, Stream):
            return Reply(operation.status, media_type=shape.media_type, parts=shape.parts)
        return Reply(operation.status, b"" if shape is None else encode(shape))

    def _demand_ready(self) -> None:
        if self._context.is_ready is not None and not self._context.is_ready():
            raise not_ready()

    @contextmanager
    def _under_way(self, account_sid: str) -> Iterator[None]:
        batches = self._context.batches
        batches[account_sid] += 1
        try:
            yield
        finally:
            batches[account_sid] -= 1
            if not batches[account_sid]:
                del batches[account_sid]

    def _authenticated(self, scope: Scope) -> str:
        given = credentials(scope)
        account = None if given is None else self._context.control.authenticate(*given)
        if account is None or scope["path_params"].get("AccountSid", account.sid) != account.sid:
            raise ApiError(
                Code.PERMISSION_DENIED,
                "Authenticate with the account SID and its auth token, or with an API key and its secret; "
                "an account that is disabled has no access",
            )
        return account.sid

    def _check_rate(self, operation: AnyOperation, account_sid: str, names: dict[str, str | None]) -> None:
        context = self._context
        service_sid = names.get("ServiceSid") or (names.get("Sid") if self._route == "/v1/Services/{Sid}" else None)
        now = context.clock()
        verdict = context.limit.take((account_sid, service_sid, operation.name), now=now)
        if verdict.is_allowed:
            return
        most = context.settings.rate_limit_per_second
        message = f"{operation.method} {self._route} is limited to {most} requests a second per service"
        if verdict.is_first_refusal:
            is_known = service_sid is not None and is_sid(service_sid, SidKind.SERVICE)
            context.observer.debugger(
                DebuggerEvent(
                    code=Code.RATE_LIMITED,
                    account_sid=account_sid,
                    service_sid=service_sid if is_known else None,
                    message=message,
                    at=now,
                )
            )
        wait = math.ceil(verdict.retry_after_seconds)
        raise ApiError(Code.TOO_MANY_REQUESTS, message, retry_after_seconds=wait)

    def _call(self, scope: Scope, operation: AnyOperation, account_sid: str, names: dict[str, str | None]) -> Call:
        path = raw_path(scope)
        checked: dict[str, str] = {}
        for name, value in names.items():
            kind = PARENT_KINDS.get(name, operation.sid)
            if not value or (kind is not None and not is_sid(value, kind)):
                raise not_found(path)
            checked[name] = value
        return Call(
            control=self._context.control,
            account_sid=account_sid,
            base=self._context.settings.base,
            own_host=self._context.own_host,
            path=path,
            media_type=media_type(scope),
            names=checked,
        )

    async def _body(self, scope: Scope, receive: Receive, operation: AnyOperation, claimed: str) -> bytes:
        settings = self._context.settings
        if not operation.takes_body:
            return b""
        if isinstance(operation.reads, Batch):
            if claimed not in set(BatchForm):
                problem = f"Send a batch with Content-Type {' or '.join(BatchForm)}"
                raise ApiError(Code.INVALID_PARAMETER, problem, http_status=415)
            return await read_body(scope, receive, limit=settings.max_batch_body_bytes)
        body = await read_body(scope, receive, limit=settings.max_api_body_bytes)
        if body and not is_form(claimed):
            raise invalid_parameter("body", "send an application/x-www-form-urlencoded form")
        return body


def _allow(methods: Iterable[str]) -> Headers:
    found = {*methods}
    return ((b"allow", ", ".join(sorted({*found, "HEAD"} if "GET" in found else found)).encode()),)


def count_request(observer: Observer, scope: Scope, route: str, status: int, *, seconds: float) -> None:
    """Count a request under a closed set of methods."""
    method = scope["method"]
    method = method if method in KNOWN_METHODS else "OTHER"
    observer.requested(method=method, route=route, status=status, seconds=seconds)
