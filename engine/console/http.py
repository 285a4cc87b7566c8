"""The bytes of HTTP around a page: limited forms, cookies, and the headers that every answer carries.

Links and redirects are relative to the page, and cookies have no path of their own, so that a proxy may serve the
console below any prefix.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.console.settings import MAX_FIELDS, MAX_FORM_BYTES
from engine.core.model.errors import ApiError, Code

PREFIX: Final = "/console"
"""Where the console is, below whatever a proxy puts before it."""

LOGIN_COOKIE: Final = "maskline_console"
FORM_COOKIE: Final = "maskline_console_form"

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
}
"""Of every answer."""


def bad_form(message: str, status: int = 400) -> ApiError:
    """Return the answer for a form that is not taken."""
    return ApiError(Code.INVALID_PARAMETER, message, http_status=status)


def guarded(app: ASGIApp, *, answered: Callable[[int], None]) -> ASGIApp:
    """Add the headers to every answer of an application, and tell its status."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
                answered(message["status"])
            await send(message)

        await app(scope, receive, send_guarded)

    return answer


async def read_form(request: Request) -> Mapping[str, str]:
    """Read a form of a page of ours; raises ApiError."""
    claimed = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if claimed != "application/x-www-form-urlencoded":
        raise bad_form("That is not a form of this console", 415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise bad_form("That is too much for a form", 413)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise bad_form("That form cannot be read") from None
    return dict(fields)


def path_below(scope: Scope) -> str:
    """Return the path below the console: "" for the overview, "events" and so on."""
    path: str = scope["path"]
    return path.removeprefix(PREFIX).removeprefix("/")


def root_of(scope: Scope) -> str:
    """Return the relative reference from a page to what is below the console, without a slash at its end."""
    path: str = scope["path"]
    depth = path.count("/") - 1
    return PREFIX.removeprefix("/") if depth == 0 else "." if depth == 1 else "/".join([".."] * (depth - 1))


def home_of(scope: Scope) -> str:
    """Return the relative reference from a page to the overview."""
    path: str = scope["path"]
    return "../" * (path.count("/") - 1) + PREFIX.removeprefix("/")


def redirect(request: Request, to: str = "") -> Response:
    """Send the browser on to a page below the console, or to the overview."""
    where = f"{root_of(request.scope)}/{to}" if to else home_of(request.scope)
    return Response(status_code=303, headers={"location": where})


def keep(response: Response, name: str, value: str, *, is_secure: bool) -> None:
    """Have the browser keep a secret until it is closed, and send it back to the console alone."""
    response.headers.append("set-cookie", _cookie(name, value, is_secure=is_secure))


def forget(response: Response, name: str, *, is_secure: bool) -> None:
    """Have the browser forget one."""
    response.headers.append("set-cookie", f"{_cookie(name, '', is_secure=is_secure)}; Max-Age=0")


def _cookie(name: str, value: str, *, is_secure: bool) -> str:
    return f"{name}={value}; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"
