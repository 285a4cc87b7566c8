"""Inbound webhooks of TwiML platforms: one webhook's bytes to one HTTP answer; signature, form, decision, TwiML.

It knows no connection (`engine.http.connections` does) and decides nothing (the data plane does).
"""

import hmac
from urllib.parse import urlsplit

import msgspec

from engine.channels.base import Reply, Webhook
from engine.channels.carriers import Carrier
from engine.channels.twiml.answers import EMPTY, REJECT, dial, message
from engine.channels.twiml.forms import MalformedForm, call_event, leg_report, message_event, parse_form, status_query
from engine.channels.twiml.settings import WebhookSettings
from engine.channels.twiml.unsigned import Unsigned
from engine.core.model.errors import ApiError, Code, invalid_parameter
from engine.core.model.records import LegStatus
from engine.core.numbers.e164 import UNCLEAR, is_unclear, with_plus
from engine.core.ports.observing import Observer, Rejection, TrafficMeter
from engine.core.ports.operations import Clock, DataPlane
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, ReportOutcome
from engine.formats.responses import problem as _problem
from engine.formats.signatures import Form, signature

VOICE_PATH, MESSAGE_PATH, STATUS_PATH = b"/inbound/voice", b"/inbound/message", b"/inbound/status"
PATHS = frozenset({VOICE_PATH, MESSAGE_PATH, STATUS_PATH})
"""Where a platform posts; everything else on the port is the REST interface's."""

FORM_TYPE = b"application/x-www-form-urlencoded"

_REFUSED, _ROUTED = Outcome.REFUSED, Outcome.ROUTED  # a member is found tenfold faster here than in its class (3.11)
_XML_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/xml; charset=utf-8\r\ncontent-length: "


def _twiml(document: bytes) -> bytes:
    return b"%b%d\r\n\r\n%b" % (_XML_HEAD, len(document), document)


_REJECTED, _DROPPED = _twiml(REJECT), _twiml(EMPTY)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_NOT_READY = _problem(ApiError(Code.UNAVAILABLE, "Not ready; try again"))
_UNKNOWN_NUMBER = _problem(ApiError(Code.NOT_FOUND, "The number reached is in no service's pool"))
_AMBIGUOUS = _problem(invalid_parameter("To", "is missing or no number of yours, and several calls have this CallSid"))
_BAD_SIGNATURE = _problem(ApiError(Code.BAD_SIGNATURE, "X-Twilio-Signature is missing or wrong"))


class WebhookEndpoint:
    """Answers webhooks from a data plane."""

    def __init__(
        self,
        data: DataPlane,
        *,
        observer: Observer,
        meter: TrafficMeter,
        clock: Clock,
        monotonic: Clock,
        settings: WebhookSettings,
    ) -> None:
        """Let webhooks in to a data plane; `monotonic` counts seconds from wherever it likes."""
        prefix = urlsplit(settings.public_url).path.encode()
        self.settings = settings
        self.paths = {given: path for path in PATHS for given in (path, prefix + path)}
        """Path of a request to one of `PATHS`: a proxy may strip the public URL's prefix, or not."""
        self.max_body_bytes = settings.max_inbound_body_bytes
        """Largest form."""
        self.meter = meter
        """Is told what passes."""
        self.monotonic = monotonic
        """Measures durations."""
        self._data = data
        self._observer = observer
        self._carriers = settings.inbound_carriers
        self._unsigned = Unsigned(data, self._carriers, observer=observer, clock=clock, monotonic=monotonic)
        self._signed_urls = {path: _signed_urls(settings.public_url + path.decode()) for path in PATHS}
        self._status_url = f"{settings.public_url}{STATUS_PATH.decode()}?"

    def answer(self, webhook: Webhook, reply: Reply) -> None:
        """Answer one webhook, at once or after its commit; `reply` is called once, on the event loop."""
        try:
            _check_type(webhook.content_type)
            form = parse_form(webhook.body)
            if webhook.path is STATUS_PATH:
                self._report(webhook, form, leg_report(form.fields, webhook.query.decode("latin-1")), reply)
            elif webhook.path is VOICE_PATH:
                self._receive(webhook, form, call_event(form.fields), reply)
            else:
                self._receive(webhook, form, message_event(form.fields), reply)
        except MalformedForm as problem:
            self._observer.rejected(Rejection.MALFORMED)
            reply(_problem(ApiError(Code.INVALID_PARAMETER, f"Invalid parameter {problem}")))

    def _receive(self, webhook: Webhook, form: Form, event: InboundEvent, reply: Reply) -> None:
        if self._carriers and self._writes_digits(form):
            event = msgspec.structs.replace(event, sender=with_plus(event.sender), proxy=with_plus(event.proxy))
        if is_unclear(event.proxy):
            raise MalformedForm("To", UNCLEAR)
        if self.settings.verify_signatures and not self._may_deliver(webhook, form, event.proxy):
            self._refuse_signature(webhook, form, event.resource_sid, reply, proxy=event.proxy)
            return

        meter = self.meter
        counts = meter.calls if event.is_call else meter.messages

        def answered(decision: Decision) -> None:
            counts[decision.reason.slot] += 1
            reply(self._rendered(event, decision))

        monotonic = self.monotonic
        began = monotonic()
        self._data.receive(event, answered)
        meter.deciding(monotonic() - began)

    def _report(self, webhook: Webhook, form: Form, report: LegReport, reply: Reply) -> None:
        if report.proxy is not None and self._writes_digits(form):
            report = msgspec.structs.replace(report, proxy=with_plus(report.proxy))
        is_checked = self.settings.verify_signatures
        carrier = self._carrier_of(form)
        if carrier is not None and (not is_checked or self._is_signed(webhook, form, carrier.keys)):
            report = msgspec.structs.replace(report, account_sid=None, numbers=carrier.numbers)
        elif is_checked and not self._is_signed(webhook, form, self._account_tokens(form)):
            self._refuse_signature(webhook, form, report.resource_sid, reply)
            return

        if report.status is LegStatus.UNKNOWN:
            self._observer.reported(ReportOutcome.UNKNOWN_STATUS)
            reply(_TAKEN)
            return

        def taken(outcome: ReportOutcome | None) -> None:
            if outcome is ReportOutcome.AMBIGUOUS:
                self._observer.rejected(Rejection.MALFORMED)
                reply(_AMBIGUOUS)
            else:
                reply(_NOT_READY if outcome is None else _TAKEN)

        self._data.report(report, taken)

    def _rendered(self, event: InboundEvent, decision: Decision) -> bytes:
        outcome = decision.outcome
        if outcome is _REFUSED:
            return _REJECTED if event.is_call else _DROPPED
        if outcome is _ROUTED:
            return self._routed(event, decision)
        if outcome is Outcome.ANSWERED:
            return _twiml(decision.twiml.encode()) if decision.twiml else _DROPPED
        if outcome is Outcome.UNKNOWN_NUMBER:
            self._observer.rejected(Rejection.UNKNOWN_NUMBER)
            return _UNKNOWN_NUMBER
        return _NOT_READY

    def _routed(self, event: InboundEvent, decision: Decision) -> bytes:
        to, shown = decision.to, decision.caller_id
        status_url = self._status_url + status_query(decision.interaction_sid)
        if event.is_call:
            return _twiml(dial(to=to, caller_id=shown, status_url=status_url))
        if decision.is_sent_by_us:
            return _DROPPED
        body = event.body if decision.body is None else decision.body
        return _twiml(message(to=to, sender=shown, body=body, media=event.media, status_url=status_url))

    def _may_deliver(self, webhook: Webhook, form: Form, proxy: str) -> bool:
        """Tell whether a call or message comes from a carrier of the operator's, or from the owner of the number."""
        if self._carriers:
            carrier = self._carrier_of(form)
            if carrier is not None and carrier.delivers_for(proxy) and self._is_signed(webhook, form, carrier.keys):
                return True
        return self._is_signed(webhook, form, self._data.signing_tokens(proxy) or self._account_tokens(form))

    def _writes_digits(self, form: Form) -> bool:
        carrier = self._carrier_of(form)
        return carrier is not None and carrier.writes_digits

    def _carrier_of(self, form: Form) -> Carrier | None:
        return self._carriers.get(form.fields.get("AccountSid", ""))

    def _account_tokens(self, form: Form) -> tuple[str, ...]:
        return self._data.account_tokens(form.fields.get("AccountSid", ""))

    def _is_signed(self, webhook: Webhook, form: Form, tokens: tuple[str, ...]) -> bool:
        if not webhook.signature:
            return False
        tail = "?" + webhook.query.decode("utf-8", "surrogateescape") if webhook.query else ""
        for token in tokens:
            for url in self._signed_urls[webhook.path]:
                if hmac.compare_digest(signature(token, url + tail, form), webhook.signature):
                    return True
        return False

    def _refuse_signature(
        self, webhook: Webhook, form: Form, resource_sid: str, reply: Reply, *, proxy: str = ""
    ) -> None:
        self._unsigned.refused(
            account_sid=form.fields.get("AccountSid", ""),
            proxy=proxy,
            resource_sid=resource_sid,
            is_signed=bool(webhook.signature),
            path=webhook.path.decode(),
        )
        reply(_BAD_SIGNATURE)


def _check_type(content_type: bytes) -> None:
    if not content_type.startswith(FORM_TYPE) and not content_type.lower().startswith(FORM_TYPE):
        raise MalformedForm("Content-Type", f"must be {FORM_TYPE.decode()}")


def _signed_urls(url: str) -> tuple[str, ...]:
    """Return what a platform may sign for a URL: without user-info, with and without the scheme's own port."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    port = {"http": 80, "https": 443}.get(parts.scheme)
    if parts.port not in (None, port):
        return (parts._replace(netloc=host).geturl(),)
    host = host.removesuffix(f":{port}")
    return tuple(parts._replace(netloc=netloc).geturl() for netloc in (host, f"{host}:{port}"))
