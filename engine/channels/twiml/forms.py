"""A TwiML platform's webhooks: form bytes to events and leg reports.

The form is parsed once; nothing here asks what a number means. Source: behaviour 2.3, 9 to 12.1 and the platform's
page on webhook parameters. Compiled by mypyc.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from engine.core.model.errors import MasklineError
from engine.core.model.records import Kind, LegStatus
from engine.core.model.sids import SidKind, is_sid
from engine.core.routing.legs import read_status
from engine.core.routing.traffic import ANONYMOUS, MAX_MEDIA, InboundEvent, LegReport
from engine.formats.signatures import Form

MAX_FIELDS = 1_000
"""Parameters of one form; platforms send a few dozen."""

MAX_RESOURCE_SID = 64
"""Characters of a CallSid or MessageSid; 34 on the first platform, a UUID on others."""

MAX_ADDRESS = 255
"""Characters of From and To."""


class MalformedForm(MasklineError):  # noqa: N818 - names a state of the form
    """A webhook's form cannot be read; `field` names what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        """Say what is wrong with which field."""
        super().__init__(f"{field}: {problem}")


def parse_form(body: bytes) -> Form:
    """Read an urlencoded form; what is no UTF-8 becomes U+FFFD. Raises MalformedForm when it has too many fields."""
    # A plus before any other escape is undone: it is no part of one, so "%252B" stays right.
    text = body.decode("utf-8", "replace").replace("+", " ").replace("%2B", "+")
    items = text.split("&")
    if len(items) > MAX_FIELDS:
        raise MalformedForm("form", f"has more than {MAX_FIELDS} fields")
    fields: dict[str, str] = {}
    if "%" not in text:
        for item in items:
            name, _, value = item.partition("=")
            fields[name] = value
        if len(items) == len(fields) and "" not in fields:
            return Form(fields)
    return _parse_thoroughly(body, [item for item in items if item])


def _parse_thoroughly(body: bytes, items: list[str]) -> Form:
    fields = {}
    for item in items:
        name, _, value = item.partition("=")
        fields[unquote(name) if "%" in name else name] = unquote(value) if "%" in value else value
    if len(items) == len(fields):
        return Form(fields)
    return Form(fields, tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))


def call_event(fields: Mapping[str, str]) -> InboundEvent:
    """Read a call; raises MalformedForm."""
    return InboundEvent(_VOICE, _sender(fields), _address(fields, "To"), _resource_sid(fields, "CallSid"), form=fields)


def message_event(fields: Mapping[str, str]) -> InboundEvent:
    """Read a message with its media; raises MalformedForm."""
    media = _media(fields) if "MediaUrl0" in fields or fields.get("NumMedia", "0") not in _NO_MEDIA else ()
    return InboundEvent(
        Kind.MESSAGE,
        _sender(fields),
        _address(fields, "To"),
        _resource_sid(fields, _sid_of_message(fields)),
        fields.get("Body", ""),
        media[:MAX_MEDIA],
        fields,
        media_left_out=max(len(media) - MAX_MEDIA, 0),
    )


def leg_report(fields: Mapping[str, str], query: str) -> LegReport:
    """Read a leg's state; the query is that of our own status URL (`status_query`) or empty. Raises MalformedForm."""
    asked = dict(parse_qsl(query))
    interaction_sid = asked.get("interaction")
    if interaction_sid is not None and not is_sid(interaction_sid, SidKind.INTERACTION):
        raise MalformedForm("interaction", "is no KI… SID")
    is_outbound = asked.get("leg") == "outbound"
    is_call = bool(fields.get("CallSid")) or ("CallSid" in fields and not fields.get(_sid_of_message(fields)))
    kind = _VOICE if is_call else Kind.MESSAGE
    duration = fields.get("CallDuration", "")
    if duration and _DURATION(duration) is None:
        raise MalformedForm("CallDuration", "is no number of seconds")
    return LegReport(
        kind=kind,
        account_sid=fields.get("AccountSid", ""),
        interaction_sid=interaction_sid,
        is_outbound=is_outbound,
        resource_sid=_resource_sid(fields, "CallSid" if is_call else _sid_of_message(fields)),
        status=_status(fields, kind),
        proxy=None if is_outbound else fields.get("To") or fields.get("Called"),
        duration_seconds=int(float(duration)) if duration else None,
    )


def status_query(interaction_sid: str) -> str:
    """Return the query of the URL at which the platform reports the outbound leg of an interaction."""
    return f"interaction={interaction_sid}&leg=outbound"


_VOICE = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)
_SID_LIKE = re.compile("[!-~]+").fullmatch
_DURATION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?").fullmatch
_NO_MEDIA = frozenset({"", "0"})
_COUNT_DIGITS = 3


def _sender(fields: Mapping[str, str]) -> str:
    """Return From; a caller whose number is withheld may have an empty one."""
    return _address(fields, "From") if fields.get("From") else ANONYMOUS


def _address(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedForm(name, "is missing")
    if len(value) > MAX_ADDRESS:
        raise MalformedForm(name, f"is longer than {MAX_ADDRESS} characters")
    return value


def _sid_of_message(fields: Mapping[str, str]) -> str:
    """Name the field with the SID of a message; the older one is enough."""
    return "MessageSid" if fields.get("MessageSid") or "SmsSid" not in fields else "SmsSid"


def _status(fields: Mapping[str, str], kind: Kind) -> LegStatus:
    names = ("CallStatus",) if kind is _VOICE else ("MessageStatus", "SmsStatus")
    name = next((name for name in names if fields.get(name)), names[0])
    word = fields.get(name)
    if not word:
        raise MalformedForm(name, "is missing")
    try:
        return read_status(word, kind)
    except ValueError as problem:
        raise MalformedForm(name, str(problem)) from problem


def _resource_sid(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedForm(name, "is missing")
    if len(value) > MAX_RESOURCE_SID or not value.isascii() or not (value.isalnum() or _SID_LIKE(value)):
        raise MalformedForm(name, "is no SID")
    return value


def _media(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the URLs of media: as many as NumMedia says, or those that are there where it says none."""
    given = fields.get("NumMedia", "0")
    if given in _NO_MEDIA:
        return _media_there(fields)
    if not given.isdecimal() or not given.isascii() or len(given) > _COUNT_DIGITS:
        raise MalformedForm("NumMedia", "is no number of media")
    urls = tuple([fields.get(f"MediaUrl{index}", "") for index in range(int(given))])
    if not all(urls[:MAX_MEDIA]):
        raise MalformedForm(f"MediaUrl{urls.index('')}", "is missing")
    return urls


def _media_there(fields: Mapping[str, str]) -> tuple[str, ...]:
    urls: list[str] = []
    for index in range(len(fields)):
        url = fields.get(f"MediaUrl{index}")
        if not url:
            break
        urls.append(url)
    return tuple(urls)
