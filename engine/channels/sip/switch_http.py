"""What switches ask and tell over HTTP: whom a call reaches, and how its legs go on; bytes to one HTTP answer.

It knows no connection (`engine.http.connections` does) and decides nothing (the data plane does).
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from engine.channels.base import Reply, Webhook
from engine.channels.carriers import Carrier, Carriers
from engine.channels.sip.addresses import number_in, scheme
from engine.channels.sip.callers import ANONYMOUS
from engine.channels.sip.leg_words import read_leg
from engine.channels.sip.numbers import reader
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import call_sid
from engine.channels.sip.styles import AnswerStyle, NumberForms
from engine.channels.sip.switches import Peer
from engine.core.model.errors import ApiError, Code, MasklineError, invalid_parameter
from engine.core.model.records import Account, Kind, LegStatus
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import UNCLEAR, with_plus
from engine.core.ports.observing import Observer, Rejection, TrafficMeter
from engine.core.ports.operations import Clock, DataPlane
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason, ReportOutcome
from engine.formats.responses import NOT_READY, problem, response

ROUTE_PATH, STATUS_PATH = b"/carrier/route", b"/carrier/status"
MAX_FIELDS: Final = 50
MAX_SECONDS: Final = 2**31

Authenticate = Callable[[str, str], Account | None]
"""Checks account SID and token, or API key and secret, in constant time."""


class Unusable(MasklineError):  # noqa: N818 - names a state of the request
    """A field of a request cannot be used; the message names it."""


class Asker(msgspec.Struct, frozen=True):
    """Who asks or tells."""

    peer: Peer
    """How it writes numbers."""
    account_sid: str | None
    """Whose numbers it reaches; None = all accounts'."""
    carrier: Carrier | None = None
    """A carrier of the operator's, as whom it has shown itself."""


class SwitchEndpoint:
    """Answers switches from a data plane."""

    def __init__(
        self,
        data: DataPlane,
        *,
        peers: Peers,
        carriers: Carriers,
        authenticate: Authenticate,
        observer: Observer,
        meter: TrafficMeter,
        monotonic: Clock,
        public_url: str,
        max_body_bytes: int,
    ) -> None:
        """Let in who has credentials, or comes from a network of the peers."""
        prefix = urlsplit(public_url).path.encode()
        self.paths = {given: path for path in (ROUTE_PATH, STATUS_PATH) for given in (path, prefix + path)}
        """Path of a request: a proxy may strip the public URL's prefix, or not."""
        self.max_body_bytes = max_body_bytes
        """Largest question or report."""
        self.meter = meter
        """Is told what passes."""
        self.monotonic = monotonic
        """Measures durations."""
        self._data = data
        self._peers = peers
        self._carriers = carriers
        self._authenticate = authenticate
        self._observer = observer

    def answer(self, webhook: Webhook, reply: Reply) -> None:
        """Answer one request, at once or after its commit; `reply` is called once, on the event loop."""
        headers = {name.lower(): value for name, value in webhook.headers}
        asker = self._asker(webhook, headers)
        if asker is None:
            self._observer.rejected(Rejection.BAD_CREDENTIALS)
            reply(_WHO)
            return
        try:
            fields = _fields(webhook)
            if webhook.path is ROUTE_PATH:
                self._route(fields, asker, _format_of(webhook, headers), reply)
            else:
                self._report(fields, asker, reply)
        except Unusable as unusable:
            self._observer.rejected(Rejection.MALFORMED)
            reply(problem(ApiError(Code.INVALID_PARAMETER, f"Invalid parameter {unusable}")))

    # -- who it is ------------------------------------------------------------------------------------------------

    def _asker(self, webhook: Webhook, headers: Mapping[bytes, bytes]) -> Asker | None:
        """Return who asks; None for who has wrong credentials, or none and no address of a peer."""
        # What a proxy hands on comes from the proxy's address, whoever has sent it.
        is_direct = _FORWARDED.isdisjoint(headers)
        peer = self._peers.find(webhook.source) if webhook.source and is_direct else None
        given = headers.get(b"authorization")
        if given is None:
            return None if peer is None else Asker(peer, peer.account_sid)
        name, secret = _basic(given)
        carrier = self._carriers.get(name)
        if carrier is not None and carrier.has(secret):
            return Asker(peer or _NOBODY, None, carrier)
        account = self._authenticate(name, secret)
        return None if account is None else Asker(peer or _NOBODY, account.sid)

    # -- what it asks ---------------------------------------------------------------------------------------------

    def _route(self, fields: Mapping[str, str], asker: Asker, write: "_Write", reply: Reply) -> None:
        kind = _KINDS.get(fields.get("kind") or "call")
        if kind is None:
            raise Unusable("kind: is neither call nor message")
        proxy = _reached(_needed(fields, "to"), asker)
        sender = _number(fields.get("from", ""))
        if asker.carrier is not None and asker.carrier.writes_digits:
            sender = with_plus(sender)
        event = InboundEvent(
            kind,
            asker.peer.read_caller(sender) or ANONYMOUS,
            proxy,
            call_sid(_needed(fields, "sid").encode()),
            fields.get("body", ""),
            account_sid=asker.account_sid,
        )
        counts = self.meter.calls if event.is_call else self.meter.messages

        def answered(decision: Decision) -> None:
            counts[decision.reason.slot] += 1
            reply(NOT_READY if decision.outcome is Outcome.NOT_READY else write(_told(decision)))

        if asker.carrier is not None and not asker.carrier.delivers_for(proxy):
            answered(_NOT_THEIRS)
            return
        began = self.monotonic()
        self._data.receive(event, answered)
        self.meter.deciding(self.monotonic() - began)

    # -- what it tells --------------------------------------------------------------------------------------------

    def _report(self, fields: Mapping[str, str], asker: Asker, reply: Reply) -> None:
        reports = _reports(fields, asker)
        if reports[0].status is LegStatus.UNKNOWN:
            self._observer.reported(ReportOutcome.UNKNOWN_STATUS)
            reply(_TAKEN)
            return
        outcomes: list[ReportOutcome | None] = []

        def taken(outcome: ReportOutcome | None) -> None:
            outcomes.append(outcome)
            if len(outcomes) == len(reports):
                reply(_acknowledgement(outcomes))

        for one in reports:
            self._data.report(one, taken)


# -- reading -----------------------------------------------------------------------------------------------------------


def _basic(given: bytes) -> tuple[str, str]:
    """Return name and secret of an Authorization header; empty ones of any other."""
    word, _, rest = given.partition(b" ")
    if word.lower() != b"basic":
        return "", ""
    try:
        name, _, secret = b64decode(rest.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, secret


def _fields(webhook: Webhook) -> dict[str, str]:
    """Read the body, a JSON object or a form, as texts by name."""
    if webhook.content_type.lower().startswith(_JSON_TYPE):
        try:
            found = _json.decode(webhook.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as bad:
            raise Unusable(f"body: is no JSON object of texts and numbers ({bad})") from bad
        return {name: "" if value is None else str(value) for name, value in found.items()}
    if webhook.content_type and not webhook.content_type.lower().startswith(_FORM_TYPE):
        raise Unusable("Content-Type: must be application/json or application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(webhook.body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as bad:
        raise Unusable("body: is no form") from bad


def _needed(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value or len(value) > _LONGEST:
        raise Unusable(f"{name}: is missing" if not value else f"{name}: has more than {_LONGEST} characters")
    return value


def _number(text: str) -> str:
    """Return a number as it is written, out of its URI if it stands in one; empty where none is told."""
    text = text.strip()
    number = number_in(text.encode()) if scheme(text.encode()) in _URIS else text
    return "" if number.lower() in _WITHHELD else number[:_LONGEST]


def _reached(text: str, asker: Asker) -> str:
    """Return the number reached, by the rules of who asks."""
    number = _number(text)
    if asker.carrier is not None and asker.carrier.writes_digits:
        number = with_plus(number)
    proxy = asker.peer.read_reached(_SEPARATORS.sub("", number))
    if proxy is None:
        raise Unusable(f"to: {UNCLEAR.partition(':')[0]} or is no number: write the country code behind a '+'")
    return proxy


def _reports(fields: Mapping[str, str], asker: Asker) -> list[LegReport]:
    """Return a report for each leg that is told of: both where none is named, as one switch carries both."""
    interaction = fields.get("interaction") or None
    if interaction is not None and not is_sid(interaction, SidKind.INTERACTION):
        raise Unusable("interaction: is no KI… SID")
    leg = fields.get("leg") or ("both" if interaction else "inbound")
    if leg not in _LEGS:
        raise Unusable("leg: is neither inbound, outbound nor both")
    proxy = None
    if interaction is None:
        if leg != "inbound":
            raise Unusable("interaction: is missing")
        proxy = _reached(_needed(fields, "to"), asker)
    code, cause, seconds = (_count(fields, name) for name in ("code", "cause", "duration"))
    word = fields.get("status", "")
    if not word and code is None and cause is None:
        raise Unusable("status: is missing, and so are code and cause")
    try:
        status, why = read_leg(word, code, cause)
    except ValueError as bad:
        raise Unusable(f"status: {bad}") from bad
    sid = call_sid(_needed(fields, "sid").encode())
    return [
        LegReport(
            kind=Kind.VOICE,
            account_sid=asker.account_sid,
            interaction_sid=interaction,
            is_outbound=is_outbound,
            # A switch that hides its topology tells another Call-ID than it asked with: the interaction is enough.
            resource_sid=sid if is_outbound or interaction is None else "",
            status=status,
            proxy=proxy,
            duration_seconds=seconds,
            problem=why,
            numbers=() if asker.carrier is None else asker.carrier.numbers,
        )
        for is_outbound in _LEGS[leg]
    ]


def _count(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < MAX_SECONDS:
        raise Unusable(f"{name}: is no number from 0 on")
    return int(value)


# -- writing -----------------------------------------------------------------------------------------------------------

_Told = dict[str, str]
_Write = Callable[[_Told], bytes]


def _told(decision: Decision) -> _Told:
    """Return what a switch is told, by the feed's names."""
    told = {"outcome": str(decision.outcome), "reason": str(decision.reason)}
    if decision.outcome is Outcome.ROUTED:
        told |= {"to": decision.to, "caller_id": decision.caller_id, "interaction": decision.interaction_sid}
        if decision.body is not None:
            told["body"] = decision.body
    elif decision.twiml:
        told["twiml"] = decision.twiml
    return told


def _as_json(told: _Told) -> bytes:
    return response(HTTPStatus.OK, "application/json", msgspec.json.encode(told))


def _as_form(told: _Told) -> bytes:
    return response(HTTPStatus.OK, _FORM_TYPE.decode(), urlencode(told).encode())


def _as_text(told: _Told) -> bytes:
    """Write `outcome|to|caller_id|interaction`: what a dial plan cuts."""
    line = "|".join(told.get(name, "") for name in ("outcome", "to", "caller_id", "interaction"))
    return response(HTTPStatus.OK, "text/plain; charset=utf-8", line.encode())


def _format_of(webhook: Webhook, headers: Mapping[bytes, bytes]) -> _Write:
    """Return how to answer: as Accept says; where it says nothing, text to a form and JSON to JSON."""
    accept = headers.get(b"accept", b"").lower()
    found = min(((accept.find(kind), write) for kind, write in _FORMATS if kind in accept), default=None, key=_first)
    if found is not None:
        return found[1]
    return _as_json if webhook.content_type.lower().startswith(_JSON_TYPE) else _as_text


def _first(found: tuple[int, _Write]) -> int:
    return found[0]


def _acknowledgement(outcomes: list[ReportOutcome | None]) -> bytes:
    if None in outcomes:
        return NOT_READY
    if ReportOutcome.AMBIGUOUS in outcomes:
        return _AMBIGUOUS
    return _NO_SUCH_CALL if all(one is ReportOutcome.NOT_FOUND for one in outcomes) else _TAKEN


_NOBODY = Peer(name="", style=AnswerStyle(), read_number=reader(NumberForms()))
"""Whose numbers are in E.164: who shows credentials and comes from no network of a peer."""

_NOT_THEIRS = Decision(Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL)
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
_KINDS = {"call": Kind.VOICE, "message": Kind.MESSAGE}
_LEGS = {"inbound": (False,), "outbound": (True,), "both": (True, False)}
"""Leg to whether each report is of the outbound one; its length counts more, so it is told first."""

_URIS = frozenset({b"sip", b"sips", b"tel"})
_WITHHELD = frozenset({ANONYMOUS, "unavailable", "restricted", "unknown", "<unknown>"})
_SEPARATORS = re.compile(r"[ \-.()]+")
_LONGEST = 1_000
_JSON_TYPE, _FORM_TYPE = b"application/json", b"application/x-www-form-urlencoded"
_FORMATS: tuple[tuple[bytes, _Write], ...] = (
    (_JSON_TYPE, _as_json),
    (_FORM_TYPE, _as_form),
    (b"text/plain", _as_text),
)
_json: msgspec.json.Decoder[dict[str, str | int | float | None]] = msgspec.json.Decoder(
    dict[str, str | int | float | None]
)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_NO_SUCH_CALL = problem(ApiError(Code.NOT_FOUND, "There is no such call, or not this leg of it"))
_AMBIGUOUS = problem(invalid_parameter("interaction", "is missing"))
_WHO = problem(
    ApiError(Code.PERMISSION_DENIED, "Send an API key, or come from a network of [sip_peers]"),
    'www-authenticate: Basic realm="Maskline"',
)
