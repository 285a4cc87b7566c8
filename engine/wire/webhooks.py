"""A TwiML platform's webhooks: form bytes to events and leg reports, and their signature.

The form is parsed once; nothing here asks what a number means. Source: behaviour 2.3, 9 to 12.1 and the platform's
pages on webhook parameters and request validation.
"""

import base64
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

import msgspec

from engine.core.errors import MasklineError
from engine.core.records import Kind, LegStatus
from engine.core.sids import SidKind, is_sid
from engine.core.traffic import InboundEvent, LegReport

MAX_MEDIA = 10
"""Media of one message, as on the platform."""

MAX_RESOURCE_SID = 64
"""Characters of a CallSid or MessageSid; 34 on the first platform, a UUID on others."""

MAX_ADDRESS = 255
"""Characters of From and To."""


class MalformedForm(MasklineError):  # noqa: N818 - names a state of the form
    """A webhook's form cannot be read; `field` names what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        """Say what is wrong with which field."""
        super().__init__(f"{field}: {problem}")


class Form(msgspec.Struct, frozen=True):
    """The parameters of a webhook."""

    fields: dict[str, str]
    """By name; of a name that came twice, the last value."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """All of them, when a name came twice."""


def parse_form(body: bytes) -> Form:
    """Read an urlencoded form; what is no UTF-8 becomes U+FFFD."""
    text = body.decode("utf-8", "replace").replace("+", " ")
    if "%" in text:
        text = text.replace("%2B", "+")
    fields: dict[str, str] = {}
    count = 0
    for item in text.split("&"):
        if item:
            name, _, value = item.partition("=")
            fields[unquote(name) if "%" in name else name] = unquote(value) if "%" in value else value
            count += 1
    if count == len(fields):
        return Form(fields)
    return Form(fields, tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))


def signature(token: bytes, url: str, form: Form) -> bytes:
    """Return what X-Twilio-Signature must say: base64 of HMAC-SHA1 over the URL and the sorted parameters."""
    if form.pairs is None:
        fields = form.fields
        signed = url + "".join([name + fields[name] for name in sorted(fields)])
    else:
        signed = url + "".join([name + value for name, value in sorted(set(form.pairs))])
    return base64.b64encode(hmac.digest(token, signed.encode("utf-8", "surrogatepass"), "sha1"))


def call_event(fields: Mapping[str, str]) -> InboundEvent:
    """Read a call; raises MalformedForm."""
    return InboundEvent(
        Kind.VOICE, _address(fields, "From"), _address(fields, "To"), _resource_sid(fields, "CallSid"), form=fields
    )


def message_event(fields: Mapping[str, str]) -> InboundEvent:
    """Read a message with its media; raises MalformedForm."""
    return InboundEvent(
        Kind.MESSAGE,
        _address(fields, "From"),
        _address(fields, "To"),
        _resource_sid(fields, "MessageSid" if "MessageSid" in fields else "SmsSid"),
        fields.get("Body", ""),
        _media(fields) if fields.get("NumMedia", "0") != "0" else (),
        fields,
    )


def leg_report(fields: Mapping[str, str], query: str) -> LegReport:
    """Read a leg's state; the query is that of our own status URL (`status_query`) or empty. Raises MalformedForm."""
    asked = dict(parse_qsl(query))
    interaction_sid = asked.get("interaction")
    if interaction_sid is not None and not is_sid(interaction_sid, SidKind.INTERACTION):
        raise MalformedForm("interaction", "is no KI… SID")
    is_call = "CallSid" in fields
    status = fields.get("CallStatus" if is_call else "MessageStatus", "")
    if status not in _STATUSES:
        raise MalformedForm("CallStatus" if is_call else "MessageStatus", "is missing or unknown")
    duration = fields.get("CallDuration", "")
    if duration and not (duration.isascii() and duration.isdecimal() and len(duration) < 10):  # noqa: PLR2004 - int32
        raise MalformedForm("CallDuration", "is no number of seconds")
    return LegReport(
        kind=Kind.VOICE if is_call else Kind.MESSAGE,
        account_sid=fields.get("AccountSid", ""),
        interaction_sid=interaction_sid,
        is_outbound=asked.get("leg") == "outbound",
        resource_sid=_resource_sid(fields, "CallSid" if is_call else "MessageSid"),
        status=LegStatus(status),
        duration_seconds=int(duration) if duration else None,
    )


def status_query(interaction_sid: str) -> str:
    """Return the query of the URL at which the platform reports the outbound leg of an interaction."""
    return f"interaction={interaction_sid}&leg=outbound"


_STATUSES = frozenset(LegStatus)


def _address(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedForm(name, "is missing")
    if len(value) > MAX_ADDRESS:
        raise MalformedForm(name, f"is longer than {MAX_ADDRESS} characters")
    return value


def _resource_sid(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedForm(name, "is missing")
    if len(value) > MAX_RESOURCE_SID or not value.isascii() or not value.isprintable() or " " in value:
        raise MalformedForm(name, "is no SID")
    return value


def _media(fields: Mapping[str, str]) -> tuple[str, ...]:
    text = fields["NumMedia"]
    if not text.isdecimal() or not text.isascii() or len(text) > 2 or int(text) > MAX_MEDIA:  # noqa: PLR2004 - digits
        raise MalformedForm("NumMedia", f"is no number from 0 to {MAX_MEDIA}")
    urls = tuple([fields.get(f"MediaUrl{index}", "") for index in range(int(text))])
    if not all(urls):
        raise MalformedForm(f"MediaUrl{urls.index('')}", "is missing")
    return urls
