"""The bytes of HTTP around an operation: reading a limited body and credentials, answering JSON; over bare ASGI.

Starlette's request object and form parser are left out: they cost more than everything else an operation does.
"""

import base64
import binascii
from collections.abc import AsyncIterator

import msgspec
from starlette.types import Receive, Scope, Send

from engine.core.model.errors import ApiError, Code, MasklineError
from engine.formats.responses import error_body, retry_after

_FORM = "application/x-www-form-urlencoded"

CLIENT_LEFT = 499
"""Status under which a request is counted whose client left before it was whole; nobody is sent it."""

Headers = tuple[tuple[bytes, bytes], ...]

encode = msgspec.json.Encoder().encode


class Disconnected(MasklineError):  # noqa: N818 - nobody is left to answer
    """The caller left before the request was whole."""


class Reply(msgspec.Struct, frozen=True):
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Headers = ()
    media_type: str = "application/json"
    """Of a body."""
    parts: AsyncIterator[bytes] | None = None
    """The body, when it is sent in parts."""


def refusal(answer: ApiError, headers: Headers = ()) -> Reply:
    """Answer with the error body, and when to try again."""
    again = ((name.encode(), value.encode()) for name, value in retry_after(answer).items())
    return Reply(answer.http_status, error_body(answer), (*again, *headers))


async def send_reply(reply: Reply, send: Send) -> None:
    """Send a reply; one without a body has no content type."""
    headers = [*reply.headers]
    if reply.body or reply.parts is not None:
        headers.append((b"content-type", reply.media_type.encode()))
    if reply.body:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.parts is not None:
        async for part in reply.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": reply.body})


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Read the whole body; raises ApiError as soon as it is certainly too large, and Disconnected."""
    too_large = f"The request body is larger than {limit} bytes"
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise ApiError(Code.INVALID_PARAMETER, too_large, http_status=413)
    message = await receive()
    parts: list[bytes] = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body", False) and size <= limit:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] == "http.disconnect":
        raise Disconnected
    if size > limit:
        raise ApiError(Code.INVALID_PARAMETER, too_large, http_status=413)
    return b"".join(parts)


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first header of a (lower-case) name, empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def media_type(scope: Scope) -> str:
    """Return what the body claims to be, without parameters; empty when it does not say."""
    return header(scope, b"content-type").partition(b";")[0].strip().lower().decode("latin-1")


def is_form(claimed: str) -> bool:
    """Tell whether a media type is that of an urlencoded form; no type is one."""
    return claimed in {"", _FORM}


def credentials(scope: Scope) -> tuple[str, str] | None:
    """Read HTTP Basic credentials; None when there are none that can be read."""
    scheme, _, encoded = header(scope, b"authorization").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        username, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (username, password) if colon else None


def raw_path(scope: Scope) -> str:
    """Return the path as it was sent, percent-encoded, so that a `%2F` in a name is no separator."""
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")
