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
from engine.console.http import LOGIN_COOKIE, BadForm, path_below, redirect
from engine.console.pages import page
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnavailable, not_stored
from engine.core.model.logins import LoginSession
from engine.core.numbers.masking import masked

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
        except ApiError as problem:
            response = _of_api_error(request, problem)
        except BadForm as problem:
            response = refusal(request, problem.status, str(problem))
        except PeerUnavailable as problem:
            response = refusal(request, 503, f"A host that is needed for this cannot be asked: {problem}.")
        except StoreUnavailable:
            response = refusal(request, not_stored().http_status, "The disk does not answer.")
        except Exception:  # noqa: BLE001 - the boundary of the listener's task: logged and answered
            _log.exception("unforeseen failure of %s in the console", request.method)
            response = refusal(request, 500, "An error of the server's; its log has it.")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            response = refusal(request, 405, "That cannot be done here.")
            response.headers["allow"] = ", ".join(
                sorted({*self._handlers, *(("HEAD",) if "GET" in self._handlers else ())})
            )
            return response
        if not self._context.is_ready():
            response = refusal(request, 503, "The engine is starting; try again in a moment.")
            response.headers["retry-after"] = "1"
            return response
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
            response = refusal(request, 429, "That was too much at a time; wait a moment.")
            response.headers["retry-after"] = str(math.ceil(verdict.retry_after_seconds))
            return response
        return await handler(context, request, login)

    return answer


def refusal(request: Request, status: int, why: str) -> Response:
    """Answer with a page that says what is wrong."""
    title = HTTPStatus(status).phrase
    return page(request, "error.html", {"title": title, "why": why}, login=None, status=status)


def _of_api_error(request: Request, problem: ApiError) -> Response:
    if problem.code is Code.NOT_FOUND:
        return refusal(request, 404, "There is no such thing here, or it is another account's.")
    return refusal(request, problem.http_status, masked(problem.message))
