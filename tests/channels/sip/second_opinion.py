"""What the package `sipmessage` makes of a SIP message, to be held against what we make of it."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import sipmessage

from engine.channels.sip.addresses import number_in, read_address
from engine.channels.sip.requests import Request


class Reading(NamedTuple):
    """What is answered, decided and tagged by."""

    method: str
    number: str | None
    """The global number of the Request-URI; None where it has none."""
    caller: str | None
    """That of From."""
    cseq: tuple[int, str]
    call_id: str
    from_tag: str
    to_tag: str
    via: tuple[str, str]
    """Host and branch of the topmost hop."""


def theirs(data: bytes) -> Reading | None:
    """Return the package's reading; None where it reads none, or knows less of SIP than it takes."""
    try:
        if any(one.isspace() and one not in " \t\r\n" for one in data.decode()):
            return None  # it takes more characters for blanks than SIP has
        message = sipmessage.Message.parse(data)
        names = message.headers.keys()
        if not isinstance(message, sipmessage.Request) or any(name != name.strip() for name in names):
            return None  # a line that goes on in the next one, or a blank before a colon
        sender = sipmessage.Address.parse(message.headers["From"])
        to = sipmessage.Address.parse(message.headers["To"])
        cseq = sipmessage.CSeq.parse(message.headers["CSeq"])
        via = sipmessage.Via.parse_many(message.headers["Via"])[0]
        return Reading(
            message.method,
            _number(message.uri),
            _number(sender.uri),
            (cseq.sequence, cseq.method),
            message.headers["Call-ID"],
            _parameter(sender.parameters, "tag"),
            _parameter(to.parameters, "tag"),
            (via.host, _parameter(via.parameters, "branch")),
        )
    except (ValueError, KeyError, IndexError) as problem:
        problem.__traceback__ = None  # it raises the same objects again and again, which would keep every frame
        return None


def ours(request: Request) -> Reading:
    """Return our reading in the same form."""
    echo = request.echo
    assert echo.via is not None
    return Reading(
        _text(request.method),
        _global(request.uri),
        _global(read_address(echo.sender, "From").uri),
        (request.cseq_number, _text(echo.cseq.split()[1])),
        _text(echo.call_id),
        unquote(_text(request.from_tag)),
        unquote(_text(request.to_tag)),
        (_text(echo.via.host), unquote(_text(echo.via.branch))),
    )


def _parameter(parameters: Mapping[str, str | None], name: str) -> str:
    """Return the value of a parameter, whose name may be written in letters of either case; empty where it has none."""
    return {one.lower(): value for one, value in parameters.items()}.get(name) or ""


def _number(uri: sipmessage.URI) -> str | None:
    """Return the number that it found, if that is all there is before the parameters of the user part."""
    number = (uri.global_phone_number or "").partition(";")[0]
    return number if _NUMBER(number) else None


def _global(uri: bytes) -> str | None:
    number = number_in(uri)
    return number if _NUMBER(number) else None  # what has * or # is handed on too, and is nobody's number


_NUMBER = re.compile(r"\+[0-9]{1,64}").fullmatch
"""How long a number may be for us."""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
