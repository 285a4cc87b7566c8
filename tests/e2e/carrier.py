"""The platform on the other side of the inbound webhooks: signs with the official SDK's code, reads the TwiML."""

import itertools

import httpx
import msgspec
from twilio.request_validator import RequestValidator

from engine.demo.answer import Answer, read_answer
from tests.e2e.live import NO_TLS, LiveServer

_sids = itertools.count(1)


def resource_sid(prefix: str) -> str:
    """Return the SID of a new call (CA) or message (SM, MM)."""
    return f"{prefix}{next(_sids):032x}"


class Heard(msgspec.Struct, frozen=True):
    """An answer to a webhook."""

    status: int
    content: bytes
    twiml: Answer
    """The document; without verbs when the answer is none."""

    @property
    def reached(self) -> tuple[str, str] | None:
        """Who is reached and what they see; None when nobody is."""
        return (self.twiml.to, self.twiml.caller_id) if self.twiml.to else None

    @property
    def verbs(self) -> tuple[str, ...]:
        """What the platform is to do; a refused call is ("Reject",), a dropped message ()."""
        return self.twiml.verbs


def heard(response: httpx.Response) -> Heard:
    """Read an answer."""
    is_twiml = response.headers.get("content-type", "").startswith("text/xml")
    return Heard(response.status_code, response.content, read_answer(response.text) if is_twiml else Answer(verbs=()))


REJECTED, DROPPED = ("Reject",), ()
"""Verbs of a refused call and of a dropped message."""


class Carrier:
    """Posts webhooks on behalf of an account of the platform."""

    def __init__(self, server: LiveServer, account_sid: str, token: str) -> None:
        """Post to a server with an account's signature."""
        self.account_sid = account_sid
        self._server = server
        self._validator = RequestValidator(token)
        self._http = httpx.Client(verify=NO_TLS)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def call(self, sender: str, to: str, *, sid: str | None = None, **fields: str) -> Heard:
        """Tell of a call."""
        return heard(self.post("/inbound/voice", call_form(self.account_sid, sender, to, sid=sid) | fields))

    def message(
        self, sender: str, to: str, body: str = "hello", media: tuple[str, ...] = (), *, sid: str | None = None
    ) -> Heard:
        """Tell of a message."""
        form = message_form(self.account_sid, sender, to, sid=sid) | {"Body": body, "NumMedia": str(len(media))}
        form |= {f"MediaUrl{index}": url for index, url in enumerate(media)}
        return heard(self.post("/inbound/message", form))

    def report(self, url: str, **fields: str) -> int:
        """Tell of a leg's state at a status URL; returns the HTTP status."""
        return self.post(url, {"AccountSid": self.account_sid, **fields}).status_code

    def post(self, url: str, form: dict[str, str], *, signature: str | None = None) -> httpx.Response:
        """Post a form, signed as the platform does unless another signature is given."""
        path = url.removeprefix(self._server.public_url)
        headers = {"X-Twilio-Signature": self.signature(path, form) if signature is None else signature}
        return self._http.post(self._server.address + path, data=form, headers=headers)

    def signature(self, path: str, form: dict[str, str]) -> str:
        """Sign a form for the URL that the platform has been told."""
        signed: str = self._validator.compute_signature(self._server.public_url + path, form)
        return signed


def call_form(account_sid: str, sender: str, to: str, *, sid: str | None = None) -> dict[str, str]:
    """Return what the platform sends for a call."""
    return {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": sid or resource_sid("CA"),
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": sender,
        "To": to,
        "Caller": sender,
        "Called": to,
    }


def message_form(account_sid: str, sender: str, to: str, *, sid: str | None = None) -> dict[str, str]:
    """Return what the platform sends for a message, without body and media."""
    sid = sid or resource_sid("SM")
    return {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "MessageSid": sid,
        "SmsMessageSid": sid,
        "SmsSid": sid,
        "SmsStatus": "received",
        "NumSegments": "1",
        "From": sender,
        "To": to,
    }
