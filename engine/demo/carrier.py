"""Plays the recorded webhooks as a carrier would: over HTTP, signed, each conversation in its order."""

import asyncio
import ssl
import time
from collections.abc import Iterable, Sequence

import httpx
import msgspec

from engine.demo.answer import difference, read_answer
from engine.demo.provision import Stage
from engine.demo.script import Door, Routed, Signature, Webhook
from engine.formats.signatures import Form, signature

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used: the engine listens in clear. Without it every client reads the system's certificates, 16 ms each."""

_SECONDS = 10.0


class Played(msgspec.Struct, frozen=True):
    """One webhook and what came of it."""

    webhook: Webhook
    """What was sent."""
    difference: str | None
    """How the answer differs from what the file expects; None when it does not."""


class Carrier:
    """The other end of the inbound door."""

    def __init__(self, address: str, public_url: str, stage: Stage) -> None:
        """Post to `address`, sign for `public_url`, with the stage's accounts."""
        self._address = address
        self._public_url = public_url
        self._stage = stage
        self._status_urls: dict[str, str] = {}
        self._first_answers: dict[tuple[tuple[str, str], ...], bytes] = {}

    async def play(self, webhooks: Iterable[Webhook]) -> list[Played]:
        """Play the webhooks, each lane in its order, the lanes side by side."""
        lanes: dict[str, list[Webhook]] = {}
        for webhook in webhooks:
            lanes.setdefault(webhook.lane, []).append(webhook)
        played = await asyncio.gather(*(self._play_lane(lane) for lane in lanes.values()))
        return [one for lane in played for one in lane]

    async def _play_lane(self, lane: Sequence[Webhook]) -> list[Played]:
        # A connection of its own: a shared pool looks through all its connections at every request.
        async with httpx.AsyncClient(base_url=self._address, verify=_NO_TLS, timeout=_SECONDS) as http:
            return [Played(webhook, await self._play_one(http, webhook)) for webhook in lane]

    async def _play_one(self, http: httpx.AsyncClient, webhook: Webhook) -> str | None:
        if webhook.waits_for_end_of is not None:
            await asyncio.sleep(max(0.0, self._stage.ends[webhook.waits_for_end_of] - time.monotonic()))
        path = f"/inbound/{webhook.door}"
        if webhook.leg_of is not None:
            path = self._status_urls[webhook.leg_of].removeprefix(self._public_url)
        form, headers = signed(webhook, path, public_url=self._public_url, stage=self._stage)
        response = await http.post(path, data=form, headers=headers)
        found = difference(webhook, response.status_code, response.text) or self._repeated(webhook, response.content)
        if isinstance(webhook.expect, Routed):
            self._status_urls[webhook.id] = "" if found else read_answer(response.text).status_url
        return found

    def _repeated(self, webhook: Webhook, content: bytes) -> str | None:
        """Hold a redelivery against the first delivery's answer."""
        if webhook.door is Door.STATUS or webhook.signature is not Signature.RIGHT:
            return None
        first = self._first_answers.setdefault(tuple(webhook.form.items()), content)
        return None if first == content else "a redelivery got another answer than the first delivery"


def signed(webhook: Webhook, path: str, *, public_url: str, stage: Stage) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form with its AccountSid, and the header that signs it the way the webhook says."""
    account = stage.accounts[webhook.account]
    form = {"AccountSid": account.sid, **webhook.form}
    if webhook.signature is Signature.MISSING:
        return form, {}
    token = account.auth_token if webhook.signature is Signature.RIGHT else account.auth_token[::-1]
    return form, {"X-Twilio-Signature": signature(token, public_url + path, Form(form)).decode()}
