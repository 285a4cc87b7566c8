"""The two requests that we make of a carrier's 2010 API, and its answers: send a message, end a call; sans-IO.

Any server of the shape `POST /2010-04-01/Accounts/{AC}/Messages.json` will do. Source: the platform's pages on the
Message and Call resources.
"""

import base64
from collections.abc import Sequence
from urllib.parse import quote, urlencode

import msgspec

from engine.core.model.records import Kind, LegStatus
from engine.core.routing.legs import read_status
from engine.formats.values import API_VERSION

CALL_NOT_IN_PROGRESS = 21220
"""The platform's code when the call to be ended has ended."""


class CarrierAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is of use in an answer; what is missing or malformed reads None."""

    sid: str | None = None
    """SM… or MM…, or whatever the carrier calls it."""
    status: LegStatus | None = None
    """State of the message."""
    code: int | None = None
    """The platform's error code."""
    message: str = ""
    """Its explanation; may hold phone numbers."""


class _Body(msgspec.Struct):
    sid: object = None
    status: object = None
    code: object = None
    error_code: object = None
    message: object = None


def messages_url(base: str, account_sid: str) -> str:
    """Return where messages are sent."""
    return f"{base.rstrip('/')}/{API_VERSION}/Accounts/{quote(account_sid, safe='')}/Messages.json"


def call_url(base: str, account_sid: str, call_sid: str) -> str:
    """Return where a call is updated."""
    account = f"{base.rstrip('/')}/{API_VERSION}/Accounts/{quote(account_sid, safe='')}"
    return f"{account}/Calls/{quote(call_sid, safe='')}.json"


def authorization(account_sid: str, auth_token: str) -> str:
    """Return the value of the Authorization header."""
    return "Basic " + base64.b64encode(f"{account_sid}:{auth_token}".encode()).decode()


def message_form(*, to: str, sender: str, body: str, media: Sequence[str], status_url: str) -> bytes:
    """Write the form that sends a message; a text is left out when there is only media."""
    pairs = [("From", sender), ("To", to)]
    if body or not media:
        pairs.append(("Body", body))
    pairs += [("MediaUrl", url) for url in media]
    pairs.append(("StatusCallback", status_url))
    return urlencode(pairs, errors="replace").encode()


HANG_UP_FORM = b"Status=completed"
"""Ends a call that rings or is in progress."""


def carrier_answer(body: bytes) -> CarrierAnswer:
    """Read an answer; one that is no JSON object of this shape says nothing."""
    try:
        read = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return CarrierAnswer()
    code = read.code if isinstance(read.code, int) else read.error_code
    return CarrierAnswer(
        sid=read.sid if isinstance(read.sid, str) and read.sid else None,
        status=_status(read.status),
        code=code if isinstance(code, int) else None,
        message=read.message if isinstance(read.message, str) else "",
    )


def _status(word: object) -> LegStatus | None:
    if not isinstance(word, str):
        return None
    try:
        status = read_status(word, Kind.MESSAGE)
    except ValueError:
        return None
    return None if status is LegStatus.UNKNOWN else status
