"""Single values of the REST wire: dates, form bodies, page tokens, addresses of our own host; sans-IO.

Sources: behaviour 2.3 (scalars), 2.7 (paging), 3.1 (callback addresses).
"""

import base64
import binascii
import re
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from engine.core.model.errors import ApiError, Code, invalid_parameter
from engine.core.model.records import Interaction, Kind
from engine.core.model.sids import SidKind, is_sid
from engine.core.model.texts import check_text
from engine.core.ports.lists import PageCursor
from engine.formats.urls import check_url

API_VERSION = "2010-04-01"
"""Version, and first path segment, of the API of owned numbers."""

FormValues = dict[str, list[str]]
"""A decoded form: each name with its values, in the order sent."""

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100
"""Records on a page, whatever was asked for."""
MAX_PAGE = 2**31 - 1
"""Highest page number; the number is the client's bookkeeping only."""
MAX_FORM_FIELDS = 1000
"""Name-value pairs of one form."""
_END_OF_TIME = 253402300800.0
"""First second of the year 10000."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_RAW_PLUS = re.compile(r"\A((?:[A-Za-z]+:)?) (?=[0-9])")
_DECIMAL = re.compile(r"[0-9]{1,19}")
_NOT_LETTERS = re.compile(r"[^A-Za-z]")
_FORWARD, _BACKWARD = "A", "B"
PAGE_PARAMETERS = frozenset({"PageSize", "Page", "PageToken"})
"""What every list takes."""
MAX_NAME_SHOWN = 64
"""Characters of an unknown parameter's name that an error repeats."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list is asked for."""

    cursor: PageCursor
    page: int = 0
    """What the client calls this page."""
    token: str | None = None
    """The token that it came with."""
    filters: str = ""
    """What else the list was asked for, encoded; neighbouring pages are asked for the same."""


def format_date(at: float) -> str:
    """Write a time as official SDKs parse it: UTC, whole seconds, a literal Z."""
    return _format_second(int(at))


@lru_cache(maxsize=1024)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def optional_date(at: float | None) -> str | None:
    """Write a time that may be missing."""
    return None if at is None else format_date(at)


def format_rfc2822(at: float) -> str:
    """Write a time as the 2010 API does: `Thu, 30 Jul 2015 20:00:00 +0000`."""
    return formatdate(int(at))


def parse_date(text: str) -> float:
    """Read a date or date-time with or without offset, UTC by default; raises ValueError."""
    restored = text.strip()
    check_text(restored)  # the standard library lets any character part date and offset
    if "T" in restored:
        restored = restored.replace(" ", "+")  # a raw "+" of the offset
    moment = datetime.fromisoformat(restored)
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at < _END_OF_TIME:
        raise ValueError("a year from 1970 to 9999")
    return at


def parse_decimal(text: str, *, low: int, high: int) -> int:
    """Read a whole number in decimal digits; raises ValueError."""
    digits = text.strip()
    if _DECIMAL.fullmatch(digits) is None or not low <= int(digits) <= high:
        raise ValueError(f"expected a whole number from {low} to {high}")
    return int(digits)


def parse_form(body: bytes) -> FormValues:
    """Decode `application/x-www-form-urlencoded`; raises ApiError INVALID_PARAMETER when it is none."""
    values: FormValues = {}
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS, separator="&"
        )
    except ValueError as problem:
        raise invalid_parameter("body", "expected an urlencoded form in UTF-8 of at most 1000 fields") from problem
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def single(sent: Sequence[str]) -> str:
    """Return the value of a parameter that has one, empty when there is none; ValueError when it has several."""
    if len(set(sent)) > 1:
        raise ValueError("is given more than once, with different values")
    return sent[-1] if sent else ""


def check_known(values: FormValues, known: AbstractSet[str], *, prefix: str = "") -> None:
    """Refuse parameters that an operation does not have, with what they may have meant; ApiError INVALID_PARAMETER."""
    for name in values:
        if name not in known:
            meant = next((other for other in known if _plain(other) == _plain(name)), None)
            advice = "" if meant is None else f"; did you mean {meant}?"
            raise invalid_parameter(prefix + name[:MAX_NAME_SHOWN], f"there is no such parameter here{advice}")


def _plain(name: str) -> str:
    """Reduce a parameter's name to what spellings of it have in common: `Participants[0]`, `unique_name`."""
    return _NOT_LETTERS.sub("", name.partition("[")[0]).lower()


def restore_plus(text: str) -> str:
    """Give back the "+" of a number that was not percent-encoded and so arrived as a space."""
    return _RAW_PLUS.sub(r"\1+", text)


def path_segment(text: str) -> str | None:
    """Decode one segment of a path; None when it is no UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None


def page_token(*, after: str | None = None, before: str | None = None) -> str:
    """Make the opaque token of the page after, or before, a SID."""
    text = _FORWARD + after if after is not None else _BACKWARD + (before or "")
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_page_token(token: str, kind: SidKind, *, limit: int) -> PageCursor:
    """Read a token of a list of that kind of SID; raises ApiError BAD_PAGE_TOKEN."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    direction, sid = text[:1], text[1:]
    if direction not in {_FORWARD, _BACKWARD} or not is_sid(sid, kind):
        raise ApiError(Code.BAD_PAGE_TOKEN, "PageToken is not one that this list has issued: start at the first page")
    if direction == _FORWARD:
        return PageCursor(limit=limit, after=sid)
    return PageCursor(limit=limit, before=sid)


def page_request(query: FormValues, kind: SidKind) -> PageRequest:
    """Read PageSize, Page and PageToken; an excessive PageSize is clamped, others are refused with ApiError.

    A page is reached by its token; a number without one would show the first page under another's name.
    """
    size = _page_number(query, "PageSize", low=1, default=DEFAULT_PAGE_SIZE)
    page = _page_number(query, "Page", low=0, default=0)
    token = _page_value(query, "PageToken")
    limit = min(size, MAX_PAGE_SIZE)
    if token:
        return PageRequest(cursor=parse_page_token(token, kind, limit=limit), page=page, token=token)
    if page:
        raise invalid_parameter("Page", "a page is reached by its PageToken: follow the URL of the next page")
    return PageRequest(cursor=PageCursor(limit=limit))


class OwnHost:
    """Tells addresses of this server from others, so that a webhook never calls its sender."""

    def __init__(self, public_url: str) -> None:
        """Remember the host and port that clients reach us by."""
        self._host, self._ports = _authority(urlsplit(public_url))

    def covers(self, url: str) -> bool:
        """Tell whether an `http` or `https` address that `parse_url` took names this server."""
        host, ports = _authority(urlsplit(url))
        return host == self._host and not ports.isdisjoint(self._ports)


def parse_url(text: str, *, max_length: int) -> str:
    """Check an absolute http or https address that a client can call; raises ValueError."""
    if len(text) > max_length:
        raise ValueError(f"longer than {max_length} characters")
    check_url(text)
    return text


def _authority(parts: SplitResult) -> tuple[str, frozenset[int]]:
    default = _DEFAULT_PORTS.get(parts.scheme, 0)
    port = parts.port or default
    # A public name serves both schemes: http://name refers to the same machine as https://name.
    ports = frozenset(_DEFAULT_PORTS.values()) if port in _DEFAULT_PORTS.values() else frozenset({port})
    return (parts.hostname or "").rstrip("."), ports


def _page_number(query: FormValues, name: str, *, low: int, default: int) -> int:
    text = _page_value(query, name)
    if not text:
        return default
    try:
        return parse_decimal(text, low=low, high=MAX_PAGE)
    except ValueError as problem:
        raise invalid_parameter(name, str(problem)) from problem


def _page_value(query: FormValues, name: str) -> str:
    try:
        return single(query.get(name, ()))
    except ValueError as problem:
        raise invalid_parameter(name, str(problem)) from problem


def interaction_data(interaction: Interaction) -> str:
    """Write the text of a message, or the length of a finished call, as JSON; empty before a call has ended."""
    if interaction.kind is Kind.MESSAGE:
        return msgspec.json.encode({"body": interaction.body or ""}).decode()
    if interaction.duration_seconds is None:
        return ""
    return msgspec.json.encode({"duration": str(interaction.duration_seconds)}).decode()
