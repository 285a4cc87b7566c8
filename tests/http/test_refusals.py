"""What the HTTP protocol refuses, how it lives beside the ASGI app, and back-pressure. Over a real server."""

import asyncio
from urllib.parse import urlencode

import pytest

from engine.channels.twiml.settings import WebhookSettings
from engine.core.ports.observing import Rejection
from engine.http.framing import MAX_HEAD_BYTES
from tests.http.rig import PUBLIC_URL, ROUTED, UNSIGNED, call, connected, held, numbered, post, serving, text, until

pytestmark = pytest.mark.anyio

GET = b"GET /v1/Services HTTP/1.1\r\nHost: a\r\n\r\n"


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_a_webhook(method: str) -> None:
    """Told at once, counted, and the connection serves on."""
    async with serving() as running, connected(running) as client:
        refused = await client.ask(post(call()).replace(b"POST", method.encode(), 1))
        after = await client.ask(post(call()))

        assert (refused.status, refused.code, refused.headers["allow"], after.status) == (405, 20004, "POST", 200)
        assert running.observer.problems == [Rejection.NOT_POST]


async def test_head_is_refused_without_a_body() -> None:
    """Or the client would take it for the next answer."""
    async with serving() as running, connected(running) as client:
        await client.send(b"HEAD /inbound/voice HTTP/1.1\r\nHost: a\r\n\r\n" + post(call()))

        assert (await client.answer(is_head=True)).status == 405
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
async def test_a_form_that_is_too_large_is_refused(framing: str) -> None:
    """As soon as that is known, and so that a client which sends all of it first can read why."""
    settings = WebhookSettings(public_url=PUBLIC_URL, max_inbound_body_bytes=1000)
    form = text(Body="x" * 3_000_000)
    request = post(form, "/inbound/message", sign_as="none")
    if framing == "chunked":
        head, _, body = post(form, "/inbound/message", Content_Length="", Transfer_Encoding="chunked").partition(
            b"\r\n\r\n"
        )
        request = head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with serving(settings=settings) as running, connected(running) as client:
        answer = await client.ask(request)

        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert await client.ended() == b""
        assert running.observer.problems == [Rejection.TOO_LARGE]
        assert running.plane.events == []


async def test_a_form_of_just_the_limit_is_taken() -> None:
    """The limit counts the form, not the head."""
    form = text(Body="x" * 500)
    limit = len(urlencode(form))
    for max_body_bytes, status in ((limit, 200), (limit - 1, 413)):
        settings = WebhookSettings(public_url=PUBLIC_URL, max_inbound_body_bytes=max_body_bytes)
        async with serving(settings=settings) as running, connected(running) as client:
            assert (await client.ask(post(form, "/inbound/message"))).status == status


@pytest.mark.parametrize(
    ("start", "status"),
    [(b"POST /inbound/voice HTTP/1.1\r\nX: ", 431), (b"GET /v1 HTTP/1.1\r\nX: ", 431), (b"POST /", 414)],
)
async def test_a_head_without_end_is_refused(start: bytes, status: int) -> None:
    """Whoever it is for: nobody can fill our memory with it. A long target has a status of its own (RFC 9112 3)."""
    async with serving() as running, connected(running) as client:
        await client.send(start)
        for _ in range(20):
            await client.send(b"x" * (MAX_HEAD_BYTES // 4))

        assert (await client.answer()).status == status
        assert await client.ended() == b""
        assert running.observer.problems == [Rejection.TOO_LARGE]


async def test_a_body_of_endless_chunk_framing_is_refused() -> None:
    """One byte of form in each chunk, or none but extensions and trailers: what is read counts, not what is kept."""
    head = post({}, Content_Length="", Transfer_Encoding="chunked")
    async with serving() as running, connected(running) as client:
        await client.send(head, b"1;" + b"x" * 1000)
        for _ in range(200):
            await client.send(b"x" * 1000)

        assert (await client.answer()).status == 413


async def test_a_long_head_is_read() -> None:
    """Platforms sign and trace at length."""
    async with serving() as running, connected(running) as client:
        answer = await client.ask(post(call(), X_Trace="x" * (MAX_HEAD_BYTES - 2000)))

        assert answer.status == 200


async def test_what_is_no_http_is_refused_after_the_answers_before_it() -> None:
    """A pipelined webhook before it keeps its answer."""
    async with serving() as running, connected(running) as client:
        await client.send(post(call()) + b"\x16\x03\x01 this is no HTTP\r\n\r\n")

        answers = [await client.answer(), await client.answer()]

        assert [answer.status for answer in answers] == [200, 400]
        assert await client.ended() == b""
        assert running.observer.problems == [Rejection.MALFORMED]


async def test_a_form_of_two_lengths_is_refused() -> None:
    """Or a proxy before us might see another request than we do."""
    async with serving() as running, connected(running) as client:
        answer = await client.ask(post(call(), Transfer_Encoding="chunked"))

        assert (answer.status, running.plane.events) == (400, [])


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0", "foo"])
async def test_an_upgrade_is_ignored(protocol: str) -> None:
    """The request is answered as if it did not offer one (RFC 9110 7.8), body and all, whoever it is for."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2_Settings": "AAMAAABk"}
    async with serving() as running, connected(running) as client:
        webhook = await client.ask(post(call(), **headers))
        rest = await client.ask(post({"Status": "closed"}, "/v1/Services", **headers))
        after = await client.ask(GET)

        assert (webhook.status, len(running.plane.events)) == (200, 1)
        assert rest.body == b"POST /v1/Services Status=closed"
        assert after.body == b"GET /v1/Services "


# -- beside the ASGI app -------------------------------------------------------------------------------------------


async def test_webhooks_and_asgi_requests_alternate_on_one_connection() -> None:
    """Everything but the three paths is the ASGI app's, with its headers and body."""
    rest = b"POST /v1/Services?x=1 HTTP/1.1\r\nHost: a\r\nCookie: b\r\nCookie: c\r\nContent-Length: 3\r\n\r\nabc"
    async with serving() as running, connected(running) as client:
        for _ in range(3):
            assert (await client.ask(post(call()))).status == 200
            answer = await client.ask(rest)
            assert answer.body == b"POST /v1/Services abc"
            assert answer.headers.get_all("seen") == ["host", "cookie", "cookie", "content-length"]


@pytest.mark.parametrize("target", ["/inbound", "/inbound/", "/inbound/voice/", "/inbound/other", "/x/inbound/voice"])
async def test_other_paths_are_the_asgi_apps(target: str) -> None:
    """Also those that begin like ours."""
    async with serving() as running, connected(running) as client:
        answer = await client.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        assert answer.body == f"GET {target} ".encode()


async def test_an_asgi_request_behind_answered_webhooks_is_served() -> None:
    """In one write, in order."""
    async with serving() as running, connected(running) as client:
        await client.send(post(call()) + GET)

        assert [(await client.answer()).body[:5] for _ in range(2)] == [b"<?xml", b"GET /"]


async def test_an_asgi_request_does_not_overtake_a_waiting_webhook() -> None:
    """It waits as bytes, and what is behind it too; a balancer pools what its clients send."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(call()) + GET + post(numbered(2)))
        await held(running, 1)
        taken = len(running.plane.events)

        running.plane.is_holding = False
        running.plane.held[0]()

        assert [(await client.answer()).body[:5] for _ in range(3)] == [b"<?xml", b"GET /", b"<?xml"]
        assert (taken, len(running.plane.events)) == (1, 2)


async def test_a_webhook_does_not_overtake_an_asgi_request() -> None:
    """The same the other way round, for what is malformed too."""
    for later, status in ((post(call()), 200), (b"\x00\x01", 400)):
        async with serving() as running, connected(running) as client:
            running.asgi_gate.clear()
            await client.send(GET + later)
            await until(lambda: any(protocol.flow.read_paused for protocol in running.protocols))
            assert running.plane.events == []

            running.asgi_gate.set()

            assert (await client.answer()).body == b"GET /v1/Services "
            assert (await client.answer()).status == status


# -- back-pressure -------------------------------------------------------------------------------------------------


async def test_a_client_that_never_reads_is_not_read_on() -> None:
    """Neither its requests nor our answers pile up; what it sent in time is answered once it reads."""
    request = post(text(Body="x" * 1000), "/inbound/message")
    count = 30_000
    async with serving(settings=UNSIGNED) as running, connected(running) as client:
        running.plane.decision = ROUTED
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(client.send(request * count))
        await until(lambda: any(protocol.flow.write_paused for protocol in running.protocols))
        await until(lambda: all(protocol.flow.read_paused for protocol in running.protocols))
        for _ in range(20):
            await asyncio.sleep(0)
        taken = len(running.plane.events)

        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            assert (await client.answer()).status == 200
        await sending

        assert taken < count


async def test_a_client_that_never_reads_is_cut_off_when_idle() -> None:
    """Its answers would be kept for ever."""
    request = post(text(Body="x" * 1000), "/inbound/message")
    async with serving(settings=UNSIGNED, keep_alive_seconds=1) as running, connected(running) as client:
        running.plane.decision = ROUTED
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(client.send(request * 30_000))
        await until(lambda: any(protocol.flow.write_paused for protocol in running.protocols))

        await until(lambda: not running.protocols)

        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
