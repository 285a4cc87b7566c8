"""What requests of the admin API bring: a JSON body, or a query, as a Struct of the shapes here."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request

from engine.core.model.errors import invalid_parameter
from engine.core.model.texts import check_all
from engine.core.ports.operations import ControlPlane

MAX_BODY_BYTES = 8 * 1024 * 1024

Answer = Callable[[ControlPlane, Request], Awaitable[msgspec.Struct]]
"""Answers one operation."""

Shape = TypeVar("Shape")


async def read_body(request: Request, shape: type[Shape], *, takes_lines: bool = False) -> Shape:
    """Read the body, nothing standing for an empty object; raises ApiError INVALID_PARAMETER.

    Control characters are refused in every text; `takes_lines` lets tabs and ends of lines be, as in documents.
    """
    try:
        given = msgspec.json.decode(await read_bytes(request) or b"{}")
        check_all(given, place="", takes_lines=takes_lines)
        return msgspec.convert(given, shape)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise invalid_parameter("body", str(problem)) from problem


async def read_bytes(request: Request) -> bytes:
    """Read the body as it is; raises ApiError INVALID_PARAMETER when it is too large."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise invalid_parameter("body", f"larger than {MAX_BODY_BYTES} bytes")
    return bytes(content)


def read_query(request: Request, shape: type[Shape]) -> Shape:
    """Read the query; raises ApiError INVALID_PARAMETER."""
    try:
        return msgspec.convert(dict(request.query_params), shape, strict=False)
    except msgspec.MsgspecError as problem:
        raise invalid_parameter("query", str(problem)) from problem
