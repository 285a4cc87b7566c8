"""Many messages in little time: a platform that pipelines its webhooks, one connection a session."""

import asyncio
from collections.abc import Iterable
from urllib.parse import urlencode

from tests.e2e.carrier import message_form
from tests.e2e.tenant import Pairing, Tenant


async def flood(tenant: Tenant, pairings: Iterable[Pairing], *, each: int) -> int:
    """Let the first of every pairing write so many texts, numbered from 0; returns how many were answered with 200."""
    return sum(await asyncio.gather(*(_flood_one(tenant, pairing, each) for pairing in pairings)))


async def _flood_one(tenant: Tenant, pairing: Pairing, each: int) -> int:
    host, _, port = tenant.server.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"".join(_request(tenant, pairing, str(number)) for number in range(each)))
        answered = 0
        for _ in range(each):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            answered += head.startswith(b"HTTP/1.1 200 ")
        return answered
    finally:
        writer.close()
        await writer.wait_closed()


def _request(tenant: Tenant, pairing: Pairing, text: str) -> bytes:
    form = message_form(tenant.sid, pairing.first.identifier, pairing.first.proxy) | {"Body": text}
    body = urlencode(form)
    lines = (
        "POST /inbound/message HTTP/1.1",
        "Host: maskline",
        "Content-Type: application/x-www-form-urlencoded",
        f"X-Twilio-Signature: {tenant.carrier.signature('/inbound/message', form)}",
        f"Content-Length: {len(body)}",
    )
    return ("\r\n".join([*lines, "", ""]) + body).encode()
