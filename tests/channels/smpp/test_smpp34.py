"""smpp34 as either end: it binds to our channel and we bind to it; each side sends, refuses and unbinds."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.channels.smpp.owed import message_id_of
from engine.channels.sockets import ListenAddress
from engine.core.model.records import LegStatus
from engine.core.ports.observing import SmppCount
from tests.channels.smpp.rig import PASSWORD, SYSTEM_ID, Served, esme, out, sending, serving, smsc
from tests.e2e.live import free_port
from tests.e2e.smpp_peers import PATIENCE, smpp34_python
from tests.http.rig import PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).parents[2] / "clients" / "smpp34_ends.py"
TEXTS = {"see you at eight": 0, "{€} @£$_": 0, "привет 😀": 8}
"""The data_coding that each leaves with."""


class End:
    """smpp34, in an environment of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, **what: object) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def refuse(self, status: int) -> None:
        """Have it answer the next message so."""
        self.tell(refuse=status)
        assert await self.next() == {"refusing": status}

    def send(self, sender: str, to: str, text: bytes, **more: object) -> None:
        """Have it send a message."""
        numbers = {"source_addr_ton": 1, "source_addr_npi": 1, "dest_addr_ton": 1, "dest_addr_npi": 1}
        addresses = {"source_addr": sender.removeprefix("+"), "destination_addr": to.removeprefix("+")}
        self.tell(**numbers, **addresses, short_message=text.hex(), **more)


@asynccontextmanager
async def smpp34(*arguments: str) -> AsyncIterator[End]:
    """Start it as one end."""
    process = await asyncio.create_subprocess_exec(
        str(smpp34_python()),
        str(SCRIPT),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield End(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@asynccontextmanager
async def bound_to_us(served: Served, *, password: str = PASSWORD) -> AsyncIterator[End]:
    """Have it bind to us."""
    port = ListenAddress.parse(served.channels.addresses["smpp"]).port
    async with smpp34("client", str(port), SYSTEM_ID, password) as end:
        yield end


@asynccontextmanager
async def bound_to_it(**fields: object) -> AsyncIterator[tuple[Served, End]]:
    """Bind to it."""
    port = free_port()
    async with smpp34("server", str(port)) as end:
        assert await end.next() == {"listening": True}
        async with serving(esme(port, **fields)) as served:
            assert await end.next() == {"bound": SYSTEM_ID}
            yield served, end


async def test_its_message_is_taken_and_it_gets_the_receipt() -> None:
    """By the id that the response has."""
    async with serving(smsc()) as served, bound_to_us(served) as end:
        assert "bound" in await end.next()
        served.plane.decision = ROUTED

        end.send(SENDER, PROXY, b"hello", registered_delivery=1)
        answer = await end.next()
        sid = served.plane.events[0].resource_sid
        await served.tell(sid, LegStatus.DELIVERED)
        receipt = (await end.next())["came"]

    assert served.plane.events[0].body == "hello"
    assert answer == {"message_id": message_id_of(sid), "status": 0}
    assert (receipt["esm_class"], receipt["optional"]["1063"]) == (4, "02")
    assert f"id:{answer['message_id']} " in bytes.fromhex(receipt["short_message"]).decode()


@pytest.mark.parametrize("text", TEXTS)
async def test_it_gets_our_message_and_we_its_answer(text: str) -> None:
    """In every alphabet: what comes back with the octets that it got is the same text."""
    async with serving(smsc()) as served, bound_to_us(served) as end:
        assert "bound" in await end.next()

        async with sending(served, out(text)) as task:
            came = (await end.next())["came"]
            sent = await task
        end.send(SENDER, PROXY, bytes.fromhex(came["short_message"]), data_coding=came["data_coding"])
        assert (await end.next())["status"] == 0

    assert (sent.status, came["data_coding"], served.plane.events[0].body) == (LegStatus.SENT, TEXTS[text], text)


async def test_it_hears_why_a_message_is_refused() -> None:
    """A number that is in no pool; a payload of binary data."""
    async with serving(smsc()) as served, bound_to_us(served) as end:
        assert "bound" in await end.next()

        end.send(SENDER, PROXY, b"\x01\x02", data_coding=4)
        answer = await end.next()

    assert (answer["status"], served.plane.events) == (0x45, [])


async def test_it_is_not_let_in_with_a_wrong_password() -> None:
    """It would say so ten seconds later."""
    async with serving(smsc()) as served, bound_to_us(served, password="wrong"):
        await until(lambda: served.counted(SmppCount.BIND_REFUSED) == 1)

        assert served.gauge("smpp_bound_connections") == 0


async def test_it_unbinds_from_us() -> None:
    """And the peer is not bound any more."""
    async with serving(smsc()) as served, bound_to_us(served) as end:
        assert "bound" in await end.next()
        end.tell(unbind=True)

        await until(lambda: served.gauge("smpp_bound_connections") == 0)


@pytest.mark.parametrize("form", ["udh8", "udh16", "sar", "payload"])
async def test_it_takes_our_long_message(form: str) -> None:
    """In every form, and its receipts settle the leg."""
    text = "0123456789" * 30
    async with bound_to_it(long_messages=form) as (served, end):
        async with sending(served, out(text)) as task:
            came = [(await end.next())["came"] for _ in range(1 if form == "payload" else 2)]
            sent = await task
        for place in range(len(came)):
            body = (
                f"id:id-{place + 1} sub:001 dlvrd:001 submit date:2611292100 done date:2611292101 stat:DELIVRD err:000"
            )
            end.send(SENDER, PROXY, body.encode(), esm_class=4)
            assert await end.next() == {"status": 0}

    whole = "".join(payload_of(one) for one in came)
    assert (sent.status, whole) == (LegStatus.SENT, text)
    assert [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]


def payload_of(came: dict[str, Any]) -> str:
    octets = bytes.fromhex(came["optional"].get("1060", came["short_message"]))
    header = octets[0] + 1 if came["esm_class"] & 0x40 else 0
    return octets[header:].decode("ascii")


@pytest.mark.parametrize("status", [0x58, 0x14])
async def test_it_takes_less_for_a_while(status: int) -> None:
    """Then the same message comes again."""
    async with bound_to_it() as (served, end):
        await end.refuse(status)
        async with sending(served, out("hello")) as task:
            tries = [await end.next(), await end.next()]
            sent = await task

    assert tries[0] == tries[1]
    assert sent.status == LegStatus.SENT


async def test_it_refuses_our_message() -> None:
    """For good."""
    async with bound_to_it() as (served, end):
        await end.refuse(0x0B)
        async with sending(served, out("hello")) as task:
            assert "came" in await end.next()
            sent = await task

    assert (sent.is_done, sent.may_retry, sent.error) == (False, False, "the peer refused it with status 0x0b")


async def test_we_take_what_it_delivers() -> None:
    """And say so once it is decided."""
    async with bound_to_it() as (served, end):
        served.plane.decision = ROUTED
        end.send(SENDER, PROXY, "ж".encode("utf-16-be"), data_coding=8, optional={"5123": "ff00"})

        assert await end.next() == {"status": 0}

    assert [(event.sender, event.proxy, event.body) for event in served.plane.events] == [(SENDER, PROXY, "ж")]


async def test_we_bind_again_once_it_has_unbound() -> None:
    """At once."""
    async with bound_to_it() as (_, end):
        end.tell(unbind=True)

        assert [await end.next(), await end.next()] == [{"ended": True}, {"bound": SYSTEM_ID}]
