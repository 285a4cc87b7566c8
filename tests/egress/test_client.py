"""The client against a real server that hangs, resets, redirects and sends without end."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from engine.core.errors import Code
from engine.egress.client import Client, NotReached, guarded_client, sent_url
from engine.egress.settings import EgressSettings
from engine.wire.answers import MAX_ANSWER
from tests.egress.material import LOCAL, client
from tests.egress.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.anyio

IMPATIENT = EgressSettings(allowed_networks=LOCAL, timeout_seconds=0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that answers 200 until it is told otherwise."""
    with receiving() as running:
        yield running


async def failure(client: Client, url: str) -> NotReached:
    with pytest.raises(NotReached) as caught:
        await client.post(url, b"a=b", headers={})
    return caught.value


async def test_a_body_is_posted_and_the_answer_read(receiver: Receiver) -> None:
    """Path, query, headers and body arrive; status, type and body come back."""
    receiver.behaviour = lambda _: Reply(status=201, headers=("Content-Type: text/xml",), body=b"<Response/>")

    async with client() as posting:
        answer = await posting.post(f"{receiver.url}/hook?x=1", b"a=b", headers={"Content-Type": "text/plain"})

    request = receiver.received[0]
    assert (answer.status, answer.content_type, answer.body, answer.is_cut) == (201, "text/xml", b"<Response/>", False)
    assert (request.path, request.body, request.headers["content-type"]) == ("/hook?x=1", b"a=b", "text/plain")
    assert request.headers["user-agent"].startswith("Maskline/")


async def test_connections_are_kept_and_used_again(receiver: Receiver) -> None:
    """One after the other they need one connection, whatever paths they go to."""
    async with client() as posting:
        for number in range(5):
            await posting.post(f"{receiver.url}/{number}", b"a=b", headers={})

    assert len(receiver.received) == 5
    assert receiver.connections == 1


async def test_credentials_in_the_url_are_sent_as_basic_authentication(receiver: Receiver) -> None:
    """And stay out of the request line."""
    async with client() as posting:
        await posting.post(f"http://me:p%40ss@127.0.0.1:{receiver.port}/x", b"a=b", headers={})

    assert receiver.received[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert receiver.received[0].headers["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.received[0].path == "/x"


@pytest.mark.parametrize("tail", ["", "/ü b%20%zz?q=ä&x='[]|", "/a/../b/./c", "?x=1#part", "/'{}`<>\"^"])
async def test_what_is_signed_is_what_the_receiver_sees(receiver: Receiver, tail: str) -> None:
    """Encoded, dots resolved, without user and fragment: a validator has nothing else to go by."""
    url = f"HTTP://me:pass@127.0.0.1:{receiver.port}{tail}"
    async with client() as posting:
        await posting.post(url, b"a=b", headers={})

    (request,) = receiver.received
    assert sent_url(url) == f"http://{request.headers['host']}{request.path}"


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    """A 302 to anywhere, ourselves included, is no 2xx."""
    receiver.behaviour = lambda _: Reply(status=302, headers=(f"Location: {receiver.url}/elsewhere",))

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={})

    assert answer.status == 302
    assert not answer.is_ok
    assert [request.path for request in receiver.received] == ["/"]


async def test_a_gigabyte_is_cut_and_the_connection_with_it(receiver: Receiver) -> None:
    """64 kB are read; the sender gets no further than the buffers of the way."""
    receiver.behaviour = lambda _: Reply(is_endless=True)

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={})
        receiver.behaviour = lambda _: Reply()
        await posting.post(receiver.url, b"a=b", headers={})

    assert answer.is_cut
    assert len(answer.body) == MAX_ANSWER
    assert receiver.bytes_sent < 64 * 1024 * 1024
    assert receiver.connections == 2


async def test_a_receiver_that_hangs_is_left_in_time(receiver: Receiver) -> None:
    """The total time bounds the exchange; the receiver may have acted."""
    receiver.behaviour = lambda _: Reply(hangs=True)

    async with guarded_client(IMPATIENT) as posting:
        problem = await failure(posting, receiver.url)

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_FETCH_FAILED, True)


async def test_the_time_may_be_given_for_one_request(receiver: Receiver) -> None:
    """A hook has what is left of its caller's patience."""
    receiver.behaviour = lambda _: Reply(hangs=True)

    async with client() as posting:
        with pytest.raises(NotReached, match="in time"):
            await posting.post(receiver.url, b"a=b", headers={}, timeout_seconds=0.05)


async def test_a_reset_behind_the_request_may_mean_that_it_was_taken(receiver: Receiver) -> None:
    """Nobody can know."""
    receiver.behaviour = lambda _: Reply(resets=True)

    async with client() as posting:
        problem = await failure(posting, receiver.url)

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_FETCH_FAILED, True)


async def test_a_refused_connection_means_that_it_was_not_taken() -> None:
    """Nothing listens: 11205."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client() as posting:
            problem = await failure(posting, f"http://127.0.0.1:{taken.getsockname()[1]}/")

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_UNREACHABLE, False)


async def test_a_server_that_speaks_no_http_is_an_error(receiver: Receiver) -> None:
    """Whatever it says."""
    receiver.behaviour = lambda _: Reply(headers=("no header at all",))

    async with client() as posting:
        problem = await failure(posting, receiver.url)

    assert problem.may_be_taken


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://", "//example.com", "http://[::bad/", "nonsense"])
async def test_what_is_no_usable_url_is_refused_for_good(url: str) -> None:
    """Trying again is vain."""
    async with client() as posting:
        problem = await failure(posting, url)

    assert problem.is_for_good


async def test_a_destination_gets_only_so_many_requests_at_a_time(receiver: Receiver) -> None:
    """Those beyond wait for their turn within their time."""
    settings = EgressSettings(allowed_networks=LOCAL, connections_per_destination=3)

    async with guarded_client(settings) as posting:
        await asyncio.gather(*(posting.post(receiver.url, b"a=b", headers={}) for _ in range(30)))

    assert len(receiver.received) == 30
    assert receiver.most_at_once <= 3
    assert receiver.connections <= 3


async def test_whoever_waits_too_long_for_a_turn_has_sent_nothing(receiver: Receiver) -> None:
    """A destination that is full fails them in time, and they can be tried again safely."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    settings = EgressSettings(allowed_networks=LOCAL, connections_per_destination=1)

    async with guarded_client(settings) as posting:
        first = asyncio.create_task(posting.post(receiver.url, b"a=b", headers={}))
        await receiver.has_got(1)
        with pytest.raises(NotReached) as caught:
            await posting.post(receiver.url, b"a=b", headers={}, timeout_seconds=0.05)
        receiver.release()
        await first

    assert not caught.value.may_be_taken
    assert len(receiver.received) == 1


async def test_idle_connections_do_not_stay_for_ever(receiver: Receiver) -> None:
    """What has been idle too long is closed and forgotten without further traffic."""
    settings = EgressSettings(allowed_networks=LOCAL, keep_alive_seconds=0.01)

    async with guarded_client(settings) as posting:
        await posting.post(receiver.url, b"a=b", headers={})
        async with asyncio.timeout(10):
            while posting._connections._destinations:  # noqa: ASYNC110 - nothing tells when they are closed
                await asyncio.sleep(0.01)

    assert receiver.connections == 1
