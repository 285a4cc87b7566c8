"""One conversation of the recorded traffic: composes a carrier's forms in the order in which they are played."""

import hashlib

import msgspec

from engine.core.routing.traffic import ReportOutcome
from engine.demo.script import Door, Expected, Reported, Signature, Webhook

_COUNTRIES = {"+1": "US", "+44": "GB", "+52": "MX", "+54": "AR"}
_CHARACTERS_PER_SEGMENT = 153


class Lane:
    """One conversation: composes webhooks that are played in order."""

    def __init__(self, name: str, *, account: str) -> None:
        """Name the lane and whose carrier speaks in it."""
        self.name = name
        self.account = account
        self.webhooks: list[Webhook] = []

    def call(self, sender: str, proxy: str, *, expect: Expected, story: str, after: str | None = None) -> Webhook:
        """Let somebody call a number, once the session `after` has expired if one is named."""
        form = {
            "CallSid": self._sid("CA"),
            "From": sender,
            "To": proxy,
            "Caller": sender,
            "Called": proxy,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
            "FromCountry": _country(sender),
            "ToCountry": _country(proxy),
        }
        return self._add(Door.VOICE, form, expect=expect, story=story, waits_for_end_of=after)

    def text(
        self,
        sender: str,
        proxy: str,
        body: str,
        *,
        expect: Expected,
        story: str,
        media: int = 0,
        after: str | None = None,
    ) -> Webhook:
        """Let somebody write to a number, with so many pictures, once the session `after` has expired."""
        sid = self._sid("MM" if media else "SM")
        form = {
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "From": sender,
            "To": proxy,
            "Body": body,
            "NumMedia": str(media),
            "NumSegments": str(1 + len(body) // _CHARACTERS_PER_SEGMENT),
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            "FromCountry": _country(sender),
            "ToCountry": _country(proxy),
        }
        for index in range(media):
            form[f"MediaUrl{index}"] = f"https://media.example.com/{sid[2:14]}/{index}?size=big&sig=a+b"
            form[f"MediaContentType{index}"] = "image/jpeg"
        return self._add(Door.MESSAGE, form, expect=expect, story=story, waits_for_end_of=after)

    def leg(self, of: Webhook, status: str, outcome: ReportOutcome) -> None:
        """Let the platform report the outbound leg of an earlier call or message."""
        if of.door is Door.VOICE:
            form = {"CallSid": _sid(of.id, "CA"), "ParentCallSid": of.form["CallSid"], "CallStatus": status}
        else:
            sid = _sid(of.id, "SM")
            form = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": status, "SmsStatus": status}
        if status == "completed":
            form["CallDuration"] = str(20 + len(self.webhooks))
        self._add(Door.STATUS, form, expect=Reported(outcome), story=f"the partner's leg is {status}", leg_of=of.id)

    def again(self, earlier: Webhook) -> None:
        """Let the carrier deliver an earlier webhook once more."""
        story = f"{earlier.story} (redelivered)"
        self.webhooks.append(msgspec.structs.replace(earlier, id=self._next_id(), story=story))

    def spoil(self, *, expect: Expected, story: str, signature: Signature = Signature.RIGHT, without: str = "") -> None:
        """Make the webhook just composed a bad one: signed otherwise, or short of a field."""
        good = self.webhooks.pop()
        form = {key: value for key, value in good.form.items() if key != without}
        bad = msgspec.structs.replace(good, form=form, expect=expect, story=story, signature=signature)
        self.webhooks.append(bad)

    def _add(self, door: Door, form: dict[str, str], *, expect: Expected, story: str, **more: str | None) -> Webhook:
        plain = {key: value for key, value in more.items() if value is not None}
        webhook = Webhook(
            id=self._next_id(), lane=self.name, door=door, account=self.account, form=form, expect=expect, story=story
        )
        self.webhooks.append(msgspec.structs.replace(webhook, **plain))
        return self.webhooks[-1]

    def _next_id(self) -> str:
        return f"{self.name}/{len(self.webhooks) + 1}"

    def _sid(self, kind: str) -> str:
        return _sid(f"inbound {self._next_id()}", kind)


def _sid(seed: str, kind: str) -> str:
    return kind + hashlib.sha256(seed.encode()).hexdigest()[:32]


def _country(number: str) -> str:
    return next((country for code, country in _COUNTRIES.items() if number.startswith(code)), "")
