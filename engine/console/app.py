"""The console as one ASGI application: its paths, and who may ask for them. Source: docs/console.md."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.console import exports, interactions, lists, login, overview, peers, search, traffic
from engine.console.context import ConsoleContext
from engine.console.endpoint import LIVE, ConsoleEndpoint, Private, Public, admitted, refusal
from engine.console.http import PREFIX, guarded, redirect
from engine.console.limits import FailedLogins
from engine.console.monitor import Monitor
from engine.console.pages import STATIC
from engine.console.settings import ConsoleSettings
from engine.core.model.errors import not_found
from engine.core.model.overview import ConsolePlane
from engine.core.ports.observing import ConsoleObserver
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.rate import SlidingWindow

LINK_PATH = f"{PREFIX}/open"
"""Where the operator's link leads; its code is the query's `code`."""

PUBLIC: Mapping[str, Mapping[str, Public]] = {
    "/login": {"GET": login.show_login, "POST": login.login},
    "/open": {"GET": login.show_link, "POST": login.follow_link},
}
"""What anybody may ask for, by path and method."""

PRIVATE: Mapping[str, Mapping[str, Private]] = {
    "": {"GET": overview.show},
    f"/{LIVE}": {"GET": overview.show_live},
    "/traffic": {"GET": traffic.show_traffic},
    "/peers": {"GET": peers.show_peers},
    "/search": {"GET": search.show_search, "POST": search.search},
    "/explain": {"GET": search.show_explain, "POST": search.explain},
    "/services/{sid}": {"GET": lists.show_service},
    "/services/{sid}/unused": {"GET": lists.show_unused},
    "/sessions/{sid}": {"GET": lists.show_session},
    "/interactions/{sid}": {"GET": interactions.show_interaction, "POST": interactions.explain_interaction},
    "/events": {"GET": lists.show_events},
    "/events/{sid}": {"GET": lists.show_event},
    "/outbox": {"GET": lists.show_outbox},
    "/exports/events.csv": {"GET": exports.export_events},
    "/exports/events.ndjson": {"GET": exports.export_events},
    "/exports/outbox.csv": {"GET": exports.export_outbox},
    "/exports/outbox.ndjson": {"GET": exports.export_outbox},
    "/logout": {"POST": login.logout},
}
"""What only those may ask for who are logged in."""

_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create_console(
    control: ControlPlane,
    plane: ConsolePlane,
    *,
    settings: ConsoleSettings,
    observer: ConsoleObserver,
    clock: Clock,
    is_ready: Callable[[], bool],
    monotonic: Clock = time.monotonic,
    monitor: Monitor | None = None,
) -> ASGIApp:
    """Make the application; it answers `/console` and all below it, and shows since when `monitor` has seen things."""
    context = ConsoleContext(
        control=control,
        plane=plane,
        settings=settings,
        observer=observer,
        clock=clock,
        monotonic=monotonic,
        is_ready=is_ready,
        monitor=monitor or Monitor(control, plane, clock=clock, monotonic=monotonic),
        failed_logins=FailedLogins(
            of_source=settings.failed_logins,
            in_all=settings.failed_logins_in_all,
            window_seconds=settings.login_window_seconds,
        ),
        limit=SlidingWindow(rate_per_second=settings.requests_per_second, window_seconds=settings.window_seconds),
    )
    private = {
        path: {method: admitted(handler) for method, handler in handlers.items()} for path, handlers in PRIVATE.items()
    }
    endpoints = {**PUBLIC, **private, "/": {"GET": _go_home}, **dict(map(_static, sorted(STATIC.iterdir())))}
    routes = [Route(PREFIX + path, ConsoleEndpoint(context, handlers)) for path, handlers in endpoints.items()]
    return guarded(Router(routes, redirect_slashes=False, default=_nothing_here), answered=observer.console_answered)


def console_routes(console: ASGIApp) -> list[BaseRoute]:
    """Return the routes by which another application hands its requests to the console."""
    handed = _Handed(console)
    return [Route(PREFIX, handed), Route(f"{PREFIX}/{{below:path}}", handed), _FromBrowser("/", _go_there)]


class _FromBrowser(Route):
    """A route for those who look at pages; for all others it is not there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a GET that accepts HTML."""
        looks = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        is_browser = looks and "text/html" in Headers(scope=scope).get("accept", "")
        return super().matches(scope) if is_browser else (Match.NONE, {})


async def _go_there(request: Request) -> Response:
    return redirect(request)


class _Handed:
    """An application as an object, because the router takes functions for something else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _go_home(_: ConsoleContext, request: Request) -> Response:
    return redirect(request)


def _static(path: Path) -> tuple[str, Mapping[str, Public]]:
    content, media_type = path.read_bytes(), _MEDIA_TYPES[path.suffix]

    async def answer(_: ConsoleContext, __: Request) -> Response:
        return Response(content, media_type=media_type)

    return f"/static/{path.name}", {"GET": answer}


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    response = refusal(Request(scope, receive), not_found(""))
    await response(scope, receive, send)
