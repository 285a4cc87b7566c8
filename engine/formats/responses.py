"""Whole HTTP responses of webhook endpoints and of the connections under them, in the API's error shape."""

from http import HTTPStatus

import msgspec

from engine.core.model.errors import Code
from engine.core.ports.observing import Rejection

_END_OF_HEAD = b"\r\n\r\n"


def response(status: HTTPStatus, content_type: str, body: bytes, *headers: str) -> bytes:
    """Write a response with a body."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"content-type: {content_type}"]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", *headers])
    return f"{head}\r\n\r\n".encode("latin-1") + body


def problem(status: HTTPStatus, code: Code, text: str, *headers: str) -> bytes:
    """Write a response that says what is wrong."""
    url = f"https://www.twilio.com/docs/errors/{int(code)}"
    body = msgspec.json.encode({"code": int(code), "message": text, "more_info": url, "status": status.value})
    return response(status, "application/json", body, *headers)


def _refusal(status: HTTPStatus, text: str) -> bytes:
    return problem(status, Code.INVALID_PARAMETER, text)


FAILED = problem(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL_ERROR, "An error of ours; it is logged")
NOT_POST = problem(HTTPStatus.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED, "Webhooks are sent by POST", "allow: POST")
NO_ROOM = problem(
    HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE, "There are too many connections; try again", "retry-after: 1"
)
OPTIONS = b"HTTP/1.1 204 No Content\r\nallow: GET, HEAD, POST, DELETE, OPTIONS\r\n\r\n"

UNREADABLE = {
    HTTPStatus.BAD_REQUEST: (Rejection.MALFORMED, "This is no HTTP/1.1 request"),
    HTTPStatus.REQUEST_TIMEOUT: (Rejection.TOO_SLOW, "The request did not come in time"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (Rejection.TOO_LARGE, "What is sent is too large"),
    HTTPStatus.REQUEST_URI_TOO_LONG: (Rejection.TOO_LARGE, "The URL is too long"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (Rejection.TOO_LARGE, "The headers are too large"),
    HTTPStatus.NOT_IMPLEMENTED: (Rejection.MALFORMED, "The method or the transfer coding is not known here"),
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: (Rejection.MALFORMED, "HTTP/1.1 is spoken here"),
}
"""What is told of a request that cannot be read to its end, behind which the connection ends."""

REFUSALS = {status: _refusal(status, text) for status, (_, text) in UNREADABLE.items()}


def head_of(whole: bytes) -> bytes:
    """Leave the body out, as the answer to HEAD."""
    return whole[: whole.index(_END_OF_HEAD) + len(_END_OF_HEAD)]


def saying_close(whole: bytes) -> bytes:
    """Say that the connection ends."""
    return whole.replace(_END_OF_HEAD, b"\r\nconnection: close" + _END_OF_HEAD, 1)
