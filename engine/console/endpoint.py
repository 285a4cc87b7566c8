"""One path of the console: finds who looks on, calls what answers, turns whatever goes wrong into a page.

The order of the checks: method, readiness, login session, its rate, then the page.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from engine.console.context import ConsoleContext
from engine.console.http import LOGIN_COOKIE, path_below, redirect
from engine.console.pages import page
from engine.core.model.errors import ApiError, Code, answer_to, not_ready
from engine.core.model.logins import LoginSession
from engine.core.numbers.masking import mask_text
from engine.formats.responses import retry_after

Public = Callable[[ConsoleContext, Request], Awaitable[Response]]
"""Answers anybody."""

Private = Callable[[ConsoleContext, Request, LoginSession], Awaitable[Response]]
"""Answers somebody who is logged in."""

LIVE = "live"
"""What the overview's script asks for: answered with a bare refusal and not with another page."""

_MOST_TOKEN = 200

_log = logging.getLogger("maskline.console")


class ConsoleEndpoint:
    """The ASGI application of one path that anybody may ask for."""

    def __init__(self, context: ConsoleContext, handlers: Mapping[str, Public]) -> None:
        """Answer these methods; HEAD goes with GET."""
        self._context = context
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except Exception as problem:  # noqa: BLE001 - the boundary of the listener's task: logged and answered
            answer = answer_to(problem)
            if answer is not problem:
                _log.error("%s in the console failed: %s", request.method, problem, exc_info=answer.is_unforeseen)
            response = refusal(request, answer)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            response = refusal(request, ApiError(Code.METHOD_NOT_ALLOWED, "That cannot be done here."))
            response.headers["allow"] = ", ".join(
                sorted({*self._handlers, *(("HEAD",) if "GET" in self._handlers else ())})
            )
            return response
        if not self._context.is_ready():
            raise not_ready()
        return await handler(self._context, request)


def admitted(handler: Private) -> Public:
    """Let a handler answer only those who are logged in; the others are sent to log in."""

    async def answer(context: ConsoleContext, request: Request) -> Response:
        token = request.cookies.get(LOGIN_COOKIE, "")[:_MOST_TOKEN]
        is_script = path_below(request.scope) == LIVE
        is_active = not is_script and "auto" not in request.query_params
        login = await context.plane.find_login(token, is_active=is_active) if token else None
        if login is None or not context.is_good(login):
            return PlainTextResponse("log in again\n", 401) if is_script else redirect(request, "login")
        verdict = context.limit.take(login.token, now=context.monotonic())
        if not verdict.is_allowed:
            wait = math.ceil(verdict.retry_after_seconds)
            raise ApiError(
                Code.TOO_MANY_REQUESTS, "That was too much at a time; wait a moment", retry_after_seconds=wait
            )
        return await handler(context, request, login)

    return answer


def refusal(request: Request, answer: ApiError) -> Response:
    """Answer with a page that says what is wrong, and when to try again."""
    status = answer.http_status
    is_hidden = answer.code is Code.NOT_FOUND
    why = "There is no such thing here, or it is another account's" if is_hidden else mask_text(answer.message)
    response = page(request, "error.html", {"title": HTTPStatus(status).phrase, "why": why}, login=None, status=status)
    response.headers.update(retry_after(answer))
    return response
