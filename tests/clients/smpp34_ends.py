"""Either end of SMPP, made of smpp34: prints what comes as lines of JSON, and sends what lines of JSON tell it.

`client PORT SYSTEM_ID PASSWORD` binds as transceiver and submits; `server PORT` takes binds and delivers. A line has
the fields of a message, its octets in hexadecimal, with "optional" by tag; {"refuse": status} answers the next message
so, {"unbind": true} ends the session.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import smpp34

_FIELDS = (
    "service_type",
    "source_addr_ton",
    "source_addr_npi",
    "source_addr",
    "dest_addr_ton",
    "dest_addr_npi",
    "destination_addr",
    "esm_class",
    "protocol_id",
    "registered_delivery",
    "data_coding",
)
_ENDS = (smpp34.Disconnected, smpp34.Unbound)


def say(**what: object) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def read(message: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the library's classes
    """Return the fields of a message."""
    fields = {name: getattr(message, name) for name in _FIELDS}
    optional = {str(one.tag): bytes(one.value).hex() for one in message.tlvs}
    return {**fields, "short_message": bytes(message.short_message).hex(), "optional": optional}


def fields_of(told: dict[str, Any]) -> dict[str, Any]:
    """Return what the library calls the fields of a message."""
    optional = [smpp34.Tlv(int(tag), bytes.fromhex(value)) for tag, value in told.pop("optional", {}).items()]
    return {**told, "short_message": bytes.fromhex(told["short_message"]), "tlvs": optional}


async def lines() -> AsyncIterator[dict[str, Any]]:
    """Yield what it is told."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def client(port: str, system_id: str, password: str) -> None:
    """Be an ESME."""
    end = smpp34.Client("127.0.0.1", int(port), system_id, password)
    try:
        session = await end.connect()
    except smpp34.SmppError as problem:
        say(refused=str(problem))
        return
    say(bound=session.system_id)

    async def listen() -> None:
        while not isinstance(came := await session.next(), _ENDS):
            say(came=read(came))
        say(ended=True)

    listening = asyncio.create_task(listen())
    async for told in lines():
        if told.get("unbind"):
            await session.unbind()
            break
        answer = await session.submit_sm(**fields_of(told))
        say(message_id=answer.message_id, status=answer.command_status)
    await asyncio.wait([listening], timeout=5)
    await end.stop()


async def server(port: str) -> None:
    """Be an SMSC."""
    end = smpp34.Server("127.0.0.1", int(port), system_id="smpp34")
    await end.start()
    say(listening=True)
    sessions: list[Any] = []
    refusals: list[int] = []

    async def listen() -> None:
        for count in range(1_000_000):
            came = await end.next()
            if isinstance(came, smpp34.Esme):
                sessions.append(came)
                say(bound=came.system_id)
            elif isinstance(came, _ENDS):
                say(ended=True)
            elif refusals:
                say(came=read(came))
                came.reject(refusals.pop(0))
            else:
                say(came=read(came))
                came.accept(f"id-{count}")

    listening = asyncio.create_task(listen())
    async for told in lines():
        if told.get("unbind"):
            await sessions[-1].unbind()
        elif "refuse" in told:
            refusals.append(told["refuse"])
            say(refusing=told["refuse"])
        else:
            answer = await sessions[-1].deliver_sm(**fields_of(told))
            say(status=answer.command_status)
    listening.cancel()
    await end.stop()


asyncio.run(client(*sys.argv[2:]) if sys.argv[1] == "client" else server(*sys.argv[2:]))
