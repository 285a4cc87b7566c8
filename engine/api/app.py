"""The REST control plane as one ASGI application: routes from the table of operations, plus the OpenAPI document."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api import (
    accounts,
    alerts,
    batch,
    interactions,
    owned,
    participants,
    pool,
    services,
    sessions,
    short_codes,
)
from engine.api.endpoint import KNOWN_METHODS, ApiContext, Endpoint, count_request
from engine.api.http import Reply, encode, raw_path, refusal, send_reply
from engine.api.openapi import openapi_document
from engine.api.operations import AnyOperation, Batch
from engine.api.settings import ApiSettings
from engine.core.model.errors import ApiError, Code, not_found
from engine.core.numbers.masking import mask_text
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.rate import SlidingWindow
from engine.formats.values import OwnHost

OPERATIONS: tuple[AnyOperation, ...] = (
    *services.OPERATIONS,
    *batch.OPERATIONS,
    *sessions.OPERATIONS,
    *participants.OPERATIONS,
    *interactions.OPERATIONS,
    *pool.OPERATIONS,
    *accounts.OPERATIONS,
    *owned.OPERATIONS,
    *short_codes.OPERATIONS,
    *alerts.OPERATIONS,
)
"""Everything that is served, in the order of the document."""


def create_app(
    control: ControlPlane,
    *,
    settings: ApiSettings,
    clock: Clock,
    observer: Observer,
    monotonic: Clock = time.perf_counter,
    is_ready: Callable[[], bool] | None = None,
    extra_routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Make the application; `extra_routes` are served beside it, without authentication and rate limit."""
    context = ApiContext(
        control=control,
        settings=settings,
        clock=clock,
        monotonic=monotonic,
        observer=observer,
        is_ready=is_ready,
        own_host=OwnHost(settings.base),
        limit=SlidingWindow(
            rate_per_second=settings.rate_limit_per_second, window_seconds=settings.rate_limit_window_seconds
        ),
        batches=Counter(),
    )
    by_path: dict[str, dict[str, AnyOperation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes = [_route(path, operations, context) for path, operations in by_path.items()]
    document = Route("/openapi.json", _Document(settings))
    served = [*routes, document, *extra_routes]
    router = Router(served, redirect_slashes=False, default=_unknown(observer))
    tops = {route.path.split("/")[1] for route in served if isinstance(route, Route | Mount) and route.path}
    return _undecoded(router, urlsplit(settings.base).path.rstrip("/"), frozenset(tops))


def _route(path: str, operations: dict[str, AnyOperation], context: ApiContext) -> Route:
    # A session may be named as the path of a batch ends: reading it is left to the next route.
    is_batch = any(isinstance(operation.reads, Batch) for operation in operations.values())
    methods = [*KNOWN_METHODS - {"GET", "HEAD"}] if is_batch else None
    return Route(path, Endpoint(path, operations, context), methods=methods)


def _undecoded(app: ASGIApp, prefix: str, tops: frozenset[str]) -> ASGIApp:
    """Route by the path as it came; a proxy may leave the public URL's prefix, which our own links have, or not."""

    async def route_by_raw_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = raw_path(scope)
            rest = path.removeprefix(prefix)
            if prefix and path.startswith(f"{prefix}/") and rest.split("/", 2)[1] in tops:
                path = rest
                scope = {**scope, "raw_path": path.encode("latin-1")}
            scope = {**scope, "path": path}
        await app(scope, receive, send)

    return route_by_raw_path


class _Document:
    """Answers with the OpenAPI document; a class, because the router takes functions for something else."""

    def __init__(self, settings: ApiSettings) -> None:
        self._reply = Reply(200, encode(openapi_document(OPERATIONS, settings.base)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        if scope["method"] in {"GET", "HEAD"}:
            await send_reply(self._reply, send)
            return
        message = f"{scope['method']} is not allowed on /openapi.json"
        headers = ((b"allow", b"GET, HEAD"),)
        await send_reply(refusal(ApiError(Code.METHOD_NOT_ALLOWED, message), headers), send)


def _unknown(observer: Observer) -> ASGIApp:
    async def unknown(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's form
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        count_request(observer, scope, "unknown", 404, seconds=0.0)
        await send_reply(refusal(not_found(mask_text(raw_path(scope)))), send)

    return unknown
