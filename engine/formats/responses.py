"""Whole HTTP responses of webhook endpoints and of the connections under them, in the API's error shape."""

from http import HTTPStatus
from typing import Annotated

import msgspec

from engine.core.model.errors import ApiError, Code, answer_to
from engine.core.ports.observing import Rejection

Url = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
"""An absolute URL."""

_END_OF_HEAD = b"\r\n\r\n"

_encode = msgspec.json.Encoder().encode


def response(status: HTTPStatus, content_type: str, body: bytes, *headers: str) -> bytes:
    """Write a response with a body."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"content-type: {content_type}"]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", *headers])
    return f"{head}\r\n\r\n".encode("latin-1") + body


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused; exactly these four keys."""

    code: int
    message: str
    more_info: Url
    status: int


def error_body(answer: ApiError) -> bytes:
    """Write the body of every refusal over HTTP."""
    url = f"https://www.twilio.com/docs/errors/{answer.code.value}"
    return _encode(ErrorBody(code=answer.code.value, message=answer.message, more_info=url, status=answer.http_status))


def retry_after(answer: ApiError) -> dict[str, str]:
    """Return the header that says when to try again; none where that is of no use."""
    return {} if answer.retry_after_seconds is None else {"retry-after": str(answer.retry_after_seconds)}


def problem(answer: ApiError, *headers: str) -> bytes:
    """Write a response that says what is wrong."""
    again = (f"{name}: {value}" for name, value in retry_after(answer).items())
    return response(HTTPStatus(answer.http_status), "application/json", error_body(answer), *again, *headers)


FAILED = problem(answer_to(Exception()))
NOT_POST = problem(ApiError(Code.METHOD_NOT_ALLOWED, "Webhooks are sent by POST"), "allow: POST")
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
"""Without a body: a dial plan takes what it gets for an answer, whatever its status."""

NO_ROOM = problem(ApiError(Code.UNAVAILABLE, "There are too many connections; try again"))
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

REFUSALS = {
    status: problem(ApiError(Code.INVALID_PARAMETER, text, http_status=status))
    for status, (_, text) in UNREADABLE.items()
}


def head_of(whole: bytes) -> bytes:
    """Leave the body out, as the answer to HEAD."""
    return whole[: whole.index(_END_OF_HEAD) + len(_END_OF_HEAD)]


def saying_close(whole: bytes) -> bytes:
    """Say that the connection ends."""
    return whole.replace(_END_OF_HEAD, b"\r\nconnection: close" + _END_OF_HEAD, 1)
