"""The HTTP protocol under everything clients do: order, pieces, pipelines, endings. Over a real server."""

import asyncio
import socket
import struct
from urllib.parse import urlencode

import pytest

from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.http.connections import MAX_WAITING
from tests.http.rig import (
    REFUSED,
    ROUTED,
    UNSIGNED,
    Client,
    call,
    connected,
    held,
    numbered,
    post,
    serving,
    text,
    until,
)

pytestmark = pytest.mark.anyio

RESET = struct.pack("ii", 1, 0)
"""Linger for no time: closing a socket resets the connection."""


def routed(number: int) -> Decision:
    return Decision(Outcome.ROUTED, Reason.IN_SESSION, to=f"+1{number}", caller_id="+12", interaction_sid="KI1")


async def numbers_answered(client: Client, count: int) -> list[int]:
    """Read answers to calls that were routed to their own number."""
    bodies = [(await client.answer()).body.decode() for _ in range(count)]
    return [int(body.partition(">+1")[2].partition("<")[0]) for body in bodies]


# -- order ---------------------------------------------------------------------------------------------------------


async def test_answers_leave_in_the_order_of_their_requests() -> None:
    """Also when later ones are ready first."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        for number in range(5):
            running.plane.decision = routed(number)
            await client.send(post(numbered(number)))
            await held(running, number + 1)

        for number in (3, 1, 0, 4, 2):
            running.plane.held[number]()

        assert await numbers_answered(client, 5) == [0, 1, 2, 3, 4]


async def test_an_answer_at_once_waits_for_the_slower_ones_before_it() -> None:
    """A refusal does not overtake a call that is being committed."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding, running.plane.decision = True, ROUTED
        await client.send(post(numbered(1)))
        await held(running, 1)
        running.plane.is_holding, running.plane.decision = False, REFUSED
        await client.send(post(numbered(2)))
        await until(lambda: len(running.plane.events) == 2)

        running.plane.held[0]()

        assert [b"<Dial" in (await client.answer()).body for _ in range(2)] == [True, False]


async def test_a_thousand_pipelined_webhooks_are_answered_in_order() -> None:
    """Of one write, each of them after its own commit."""
    async with serving(settings=UNSIGNED) as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(b"".join(post(numbered(number)) for number in range(1000)))

        answered = 0
        while answered < 1000:
            await held(running, answered + 1)
            now = running.plane.held[answered:]
            for answer in reversed(now):
                answer()
            answered += len(now)
        answers = [await client.answer() for _ in range(1000)]

        assert {answer.status for answer in answers} == {200}
        assert [event.resource_sid for event in running.plane.events] == [f"CA{n:032x}" for n in range(1000)]


async def test_a_connection_with_many_waiting_webhooks_is_not_read_on() -> None:
    """Memory stays bounded while the disk is slow; reading goes on with the first answers."""
    count = 20 * MAX_WAITING
    async with serving(settings=UNSIGNED) as running, connected(running) as client:
        running.plane.is_holding = True
        sending = asyncio.create_task(client.send(b"".join(post(numbered(number)) for number in range(count))))
        await until(lambda: any(protocol.flow.read_paused for protocol in running.protocols))
        for _ in range(20):
            await asyncio.sleep(0)
        taken_while_paused = len(running.plane.events)

        running.plane.is_holding = False
        for answer in running.plane.held:
            answer()
        for _ in range(count):
            assert (await client.answer()).status == 200
        await sending

        assert MAX_WAITING <= taken_while_paused < count


# -- pieces --------------------------------------------------------------------------------------------------------


async def test_a_webhook_may_come_byte_by_byte() -> None:
    """Head, header names, values and body split anywhere."""
    async with serving() as running, connected(running) as client:
        for byte in post(call()):
            await client.send(bytes([byte]))

        assert (await client.answer()).status == 200


@pytest.mark.parametrize("at", [1, 9, 20, 60, 150, 230])
async def test_a_webhook_may_be_split_in_two(at: int) -> None:
    """Two webhooks, so that the second begins in the same segment as the rest of the first."""
    both = post(call()) + post(text(), "/inbound/message")
    async with serving() as running, connected(running) as client:
        await client.send(both[:at], both[at:])

        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


async def test_a_chunked_form_is_read() -> None:
    """With extensions and a trailer, which cannot replace the signature of the head."""
    form = call()
    body = urlencode(form).encode()
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:40], body[40:]))
    request = post(form, Content_Length="", Transfer_Encoding="chunked").partition(b"\r\n\r\n")[0]
    async with serving() as running, connected(running) as client:
        answer = await client.ask(request, b"\r\n\r\n", chunks, b"0\r\nX-Twilio-Signature: forged\r\n\r\n")

        assert answer.status == 200


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """Before it sends the body."""
    head, end, body = post(call(), Expect="100-continue").partition(b"\r\n\r\n")
    async with serving() as running, connected(running) as client:
        interim = await client.ask(head + end)
        final = await client.ask(body)

        assert (interim.status, final.status) == (100, 200)


async def test_100_continue_does_not_overtake_an_answer() -> None:
    """The client would take it for the answer to the webhook before; it follows behind that."""
    head, end, body = post(numbered(2), Expect="100-continue").partition(b"\r\n\r\n")
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)) + head + end)
        await held(running, 1)
        running.plane.held[0]()

        answers = [await client.answer(), await client.answer()]
        running.plane.is_holding = False
        answers.append(await client.ask(body))

        assert [answer.status for answer in answers] == [200, 100, 200]


async def test_100_continue_is_not_sent_behind_its_body() -> None:
    """A client that did not wait for it would take it for an answer."""
    head, end, body = post(numbered(2), Expect="100-continue").partition(b"\r\n\r\n")
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)) + head + end, body + post(numbered(3)))
        await held(running, 3)
        for answer in running.plane.held:
            answer()

        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]


# -- endings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "connection"),
    [("1.1", "close"), ("1.1", "Close"), ("1.0", ""), ("1.0", "close"), ("1.0", "keep-alive")],
)
async def test_the_connection_ends_when_the_client_wants_it(version: str, connection: str) -> None:
    """The answer says so; what was sent after it is not taken."""
    first = post(call(), Connection=connection).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    async with serving() as running, connected(running) as client:
        await client.send(first + post(numbered(2)))

        answer = await client.answer()

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""
        assert len(running.plane.events) == 1


async def test_a_late_answer_ends_the_connection_too() -> None:
    """Connection: close on a webhook that waits for its commit."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(call(), Connection="close"))
        await held(running, 1)

        running.plane.held[0]()

        assert (await client.answer()).headers["connection"] == "close"
        assert await client.ended() == b""


async def test_keep_alive_is_the_rule() -> None:
    """No header says so: it is HTTP/1.1."""
    async with serving() as running, connected(running) as client:
        answers = [await client.ask(post(numbered(number), Connection="keep-alive")) for number in range(3)]

        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, None)] * 3


async def test_an_idle_connection_is_closed() -> None:
    """After a webhook, and when it never sent anything."""
    async with serving(keep_alive_seconds=1) as running, connected(running) as used, connected(running) as silent:
        await used.ask(post(call()))

        assert (await used.ended(), await silent.ended()) == (b"", b"")


async def test_a_connection_whose_webhook_waits_is_not_idle() -> None:
    """However slow the disk is."""
    async with serving(keep_alive_seconds=1) as running, connected(running) as client, connected(running) as silent:
        running.plane.is_holding = True
        await client.send(post(call()))
        await silent.ended()

        running.plane.held[0]()

        assert (await client.answer()).status == 200


async def test_a_client_that_closed_its_side_still_gets_its_answer() -> None:
    """Half-closed is not gone."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(call()))
        await held(running, 1)
        client.writer.write_eof()
        await until(lambda: running.protocols[0]._has_eof)

        running.plane.held[0]()

        assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_an_answer_to_nobody_is_dropped() -> None:
    """The client went away; what it sent is committed all the same, and the server serves on."""
    async with serving() as running:
        running.plane.is_holding = True
        async with connected(running) as client:
            await client.send(post(call()))
            await held(running, 1)
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await until(lambda: not running.protocols)

        running.plane.held[0]()

        running.plane.is_holding = False
        async with connected(running) as client:
            assert (await client.ask(post(call()))).status == 200


async def test_a_server_that_stops_lets_waiting_webhooks_be_answered() -> None:
    """Then it closes; what arrives meanwhile is not taken."""
    async with serving() as running, connected(running) as client, connected(running) as idle:
        running.plane.is_holding = True
        await client.send(post(numbered(1)))
        await held(running, 1)
        closing = asyncio.create_task(running.listener.close())
        assert await idle.ended() == b""
        await client.send(post(numbered(2)))

        running.plane.held[0]()

        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""
        await closing
        assert len(running.plane.events) == 1


@pytest.mark.parametrize("rest", [post(numbered(2))[-40:], b""])
async def test_a_server_that_stops_does_not_wait_for_a_half_sent_webhook(rest: bytes) -> None:
    """It lets what it took be answered; a request that comes whole meanwhile is answered too, as the last."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)) + post(numbered(2))[:-40])
        await held(running, 1)
        closing = asyncio.create_task(running.listener.close())
        await until(lambda: all(protocol._is_ending for protocol in running.protocols))
        if rest:
            await client.send(rest)
            await held(running, 2)

        for answer in running.plane.held:
            answer()

        answers = [await client.answer() for _ in running.plane.held]
        assert answers[-1].headers["connection"] == "close"
        assert await client.ended() == b""
        await closing


async def test_a_server_that_stops_answers_the_request_behind_a_webhook() -> None:
    """It was taken with it, and is the last."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)) + b"GET /v1/Services HTTP/1.1\r\nHost: a\r\n\r\n")
        await held(running, 1)
        closing = asyncio.create_task(running.listener.close())
        await until(lambda: all(protocol._is_ending for protocol in running.protocols))

        running.plane.held[0]()

        answers = [await client.answer(), await client.answer()]
        assert [answer.headers["connection"] for answer in answers] == [None, "close"]
        assert await client.ended() == b""
        await closing


async def test_an_answer_that_waited_for_those_before_it_leaves_under_the_lease_alone() -> None:
    """The client is told to come again, of every webhook, and stays connected; renewed, it is answered as before."""
    is_held = True
    async with serving(settings=UNSIGNED, lease=lambda: is_held) as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)))
        await held(running, 1)
        running.plane.is_holding = False
        await client.send(post(numbered(2)))
        await until(lambda: len(running.plane.events) == 2)

        is_held = False
        running.plane.held[0]()
        late = [await client.answer(), await client.answer()]
        is_held = True
        await client.send(post(numbered(3)))

        assert [(one.status, one.body) for one in late] == [(503, b"")] * 2
        assert (await client.answer()).status == 200
