"""The client against a real server that hangs, resets, redirects and sends without end."""

import asyncio
import socket
from contextlib import ExitStack

import h11
import pytest

from engine.core.model.errors import Code
from engine.formats.answers import MAX_ANSWER
from engine.outbound.client import Client, NotReached, any_body, guarded_client, no_body, sent_url
from engine.outbound.exchange import Answer, Connection, NeedsBody
from engine.outbound.settings import EgressSettings
from tests.outbound.material import AC, LOCAL, client
from tests.outbound.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

SHORT_SECONDS = 1.0
"""Of a request on a kept connection: it has been sent by then, on a loaded machine too."""
STALLED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nye"


class Answering(asyncio.Transport):
    """A peer that answers as soon as it is asked, and says no more: the time ends when all of that has been read."""

    def __init__(self, connection: Connection, said: bytes) -> None:
        """Connect them."""
        super().__init__()
        self._connection, self._said = connection, said
        self._is_closing = False
        connection.connection_made(self)

    async def asked(self, *, needs_body: NeedsBody = no_body) -> Answer:
        """Ask a question whose time is over."""
        request = h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "3")])
        now = asyncio.get_running_loop().time()
        return await self._connection.ask(request, b"a=b", needs_body=needs_body, ends_at=now)

    def write(self, data: object) -> None:
        """Answer at once."""
        self._connection.data_received(self._said)

    def is_closing(self) -> bool:
        """Tell that it was ended."""
        return self._is_closing

    def abort(self) -> None:
        """End it."""
        self._is_closing = True


async def failure(client: Client, url: str) -> NotReached:
    with pytest.raises(NotReached) as caught:
        await client.post(url, b"a=b", headers={}, account_sid=AC)
    return caught.value


async def test_a_body_is_posted_and_the_answer_read(receiver: Receiver) -> None:
    """Path, query, headers and body arrive; status, type and body come back."""
    receiver.behaviour = lambda _: Reply(status=201, headers=("Content-Type: text/xml",), body=b"<Response/>")

    async with client() as posting:
        answer = await posting.post(
            f"{receiver.url}/hook?x=1", b"a=b", headers={"Content-Type": "text/plain"}, account_sid=AC
        )

    request = receiver.received[0]
    assert (answer.status, answer.header("content-type"), answer.body, answer.is_cut) == (
        201,
        "text/xml",
        b"<Response/>",
        False,
    )
    assert (request.path, request.body, request.headers["content-type"]) == ("/hook?x=1", b"a=b", "text/plain")
    assert request.headers["user-agent"].startswith("Maskline/")


async def test_connections_are_kept_and_used_again(receiver: Receiver) -> None:
    """One after the other they need one connection, whatever paths they go to."""
    async with client() as posting:
        for number in range(5):
            await posting.post(f"{receiver.url}/{number}", b"a=b", headers={}, account_sid=AC)

    assert len(receiver.received) == 5
    assert receiver.connections == 1


async def test_credentials_in_the_url_are_sent_as_basic_authentication(receiver: Receiver) -> None:
    """And stay out of the request line."""
    async with client() as posting:
        await posting.post(f"http://me:p%40ss@127.0.0.1:{receiver.port}/x", b"a=b", headers={}, account_sid=AC)

    assert receiver.received[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert receiver.received[0].headers["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.received[0].path == "/x"


@pytest.mark.parametrize(
    "tail",
    ["", "/ü b%20%zz?q=ä&x='[]|", "/a/../b/./c", "?x=1#part", "/'{}`<>\"^", "?", "/x?", "/x?#part", "/x??", "/x?a=1?"],
)
async def test_what_is_signed_is_what_the_receiver_sees(receiver: Receiver, tail: str) -> None:
    """Encoded, dots resolved, without user and fragment: a validator has nothing else to go by."""
    url = f"HTTP://me:pass@127.0.0.1:{receiver.port}{tail}"
    async with client() as posting:
        await posting.post(url, b"a=b", headers={}, account_sid=AC)

    (request,) = receiver.received
    assert sent_url(url) == f"http://{request.headers['host']}{request.path}"


broken_rests = pytest.mark.parametrize(
    ("rest", "body"),
    [
        (b"Content-Length: 100\r\n\r\nno", b"no"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nno", b"no"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\nzz\r\n", b"no"),
        (b"Content-Length: -5\r\n\r\n", b""),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", b""),
        (b"no header at all\r\n\r\n", b""),
        (b"Content-Le", b""),
        (b"", b""),
    ],
    ids=["short", "cut-chunk", "bad-chunk", "negative", "two-lengths", "bad-header", "cut-head", "line-alone"],
)
interims = pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["", "after-103"])


@broken_rests
@interims
async def test_a_status_line_that_arrived_whole_is_the_answer(
    receiver: Receiver, rest: bytes, body: bytes, interim: bytes
) -> None:
    """Whatever is wrong with the rest; the connection is not used again."""
    receiver.behaviour = lambda _: Reply(raw=interim + b"HTTP/1.1 403 Forbidden\r\n" + rest)

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)
        receiver.behaviour = lambda _: Reply()
        await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert (answer.status, answer.body) == (403, body)
    assert answer.problem
    assert receiver.connections == 2


@broken_rests
@interims
async def test_a_status_line_is_the_answer_when_the_rest_stalls(rest: bytes, body: bytes, interim: bytes) -> None:
    """The time ends after it has come; the connection is not used again."""
    connection = Connection()

    answer = await Answering(connection, interim + b"HTTP/1.1 403 Forbidden\r\n" + rest).asked()

    assert (answer.status, answer.body) == (403, body)
    assert answer.problem
    assert not connection.is_open


async def test_a_status_survives_the_reset_behind_it(receiver: Receiver) -> None:
    """What was read before the connection broke counts."""
    receiver.behaviour = lambda _: Reply(raw=b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nno", resets=True)

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert answer.status == 403


async def test_a_body_that_nobody_needs_is_not_waited_for_long(receiver: Receiver) -> None:
    """A stalled one costs the caller a second of its ten minutes."""
    receiver.behaviour = lambda _: Reply(raw=STALLED, stays=True)

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC, timeout_seconds=600)

    assert (answer.status, answer.problem) == (200, "the body did not come in time")


async def test_a_body_that_is_needed_is_waited_for_until_the_end() -> None:
    """Of the request's whole time."""
    answer = await Answering(Connection(), STALLED).asked(needs_body=any_body)

    assert (answer.status, answer.problem) == (200, "no answer in time")


@pytest.mark.parametrize("behind", [b"\r\n", b"\n", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_with_bytes_left_over_is_not_used_again(receiver: Receiver, behind: bytes) -> None:
    """They would be read as the answer to the next question."""
    whole = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    receiver.behaviour = lambda _: Reply(raw=whole + behind, stays=True)

    async with client() as posting:
        answers = [await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC) for _ in range(4)]

    assert [(answer.status, answer.body, answer.problem) for answer in answers] == [(403, b"no", "")] * 4
    assert receiver.connections == 4


async def test_bytes_that_come_behind_an_answer_later_end_the_connection(receiver: Receiver) -> None:
    """Before it is used for another question."""
    receiver.behaviour = lambda _: Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", late=b"\r\n", stays=True)

    async with client() as posting:
        await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)
        receiver.release()
        assert await asyncio.to_thread(receiver.waits_for, lambda: receiver.hung_up == 1)
        receiver.behaviour = lambda _: Reply()
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert answer.is_ok
    assert receiver.connections == 2


@pytest.mark.parametrize("end", [Reply(raw=b""), Reply(resets=True)], ids=["closed", "reset"])
async def test_a_question_that_met_the_end_of_a_kept_connection_is_asked_again(receiver: Receiver, end: Reply) -> None:
    """Once, on a new connection, where the receiver knows a repeat by its token."""
    answers = iter([Reply(), end, Reply(status=403)])
    receiver.behaviour = lambda _: next(answers)

    async with client() as posting:
        await posting.post(receiver.url, b"first", headers={}, account_sid=AC)
        answer = await posting.post(receiver.url, b"second", headers={"T": "1"}, account_sid=AC, may_repeat=True)

    assert answer.status == 403
    assert [(one.body, one.headers.get("t")) for one in receiver.received[1:]] == [(b"second", "1")] * 2
    assert receiver.connections == 2


@pytest.mark.parametrize("may_repeat", [False, True])
async def test_nothing_else_is_asked_twice(receiver: Receiver, *, may_repeat: bool) -> None:
    """Neither what is not known by a token, nor on a connection that was new, nor for a third time."""
    answers = iter([Reply(), Reply(resets=True), Reply(resets=True), Reply()])
    receiver.behaviour = lambda _: next(answers)

    async with client() as posting:
        await posting.post(receiver.url, b"first", headers={}, account_sid=AC)
        with pytest.raises(NotReached) as caught:
            await posting.post(receiver.url, b"second", headers={}, account_sid=AC, may_repeat=may_repeat)

    assert caught.value.may_be_taken
    assert len(receiver.received) == (3 if may_repeat else 2)


async def test_a_question_whose_time_is_over_is_not_asked_again(receiver: Receiver) -> None:
    """A kept connection that says nothing is no lost one."""
    async with client() as posting:
        await posting.post(receiver.url, b"first", headers={}, account_sid=AC)
        receiver.behaviour = lambda _: Reply(hangs=True)
        with pytest.raises(NotReached, match="in time"):
            await posting.post(
                receiver.url, b"second", headers={}, account_sid=AC, timeout_seconds=SHORT_SECONDS, may_repeat=True
            )
        await receiver.has_got(2)

    assert len(receiver.received) == 2


async def test_every_request_is_a_post(receiver: Receiver) -> None:
    """The receiver refuses any other method."""
    receiver.methods = ("PUT",)

    async with client() as posting:
        refused = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert refused.status == 405
    assert [request.method for request in receiver.received] == ["POST"]


async def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    """`connect_timeout`, once for each try: a listener whose queue is full never answers."""
    settings = EgressSettings(outgoing_allow=LOCAL, connect_timeout_seconds=0.1, webhook_timeout_seconds=600.0)
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - the socket's own method
            waiting.connect_ex(full.getsockname())

        async with guarded_client(settings) as posting, asyncio.timeout(30):
            problem = await failure(posting, f"http://127.0.0.1:{full.getsockname()[1]}/")

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_UNREACHABLE, False)
    assert "no connection in time" in str(problem)


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    """A 302 to anywhere, ourselves included, is no 2xx."""
    receiver.behaviour = lambda _: Reply(status=302, headers=(f"Location: {receiver.url}/elsewhere",))

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert answer.status == 302
    assert not answer.is_ok
    assert [request.path for request in receiver.received] == ["/"]


async def test_a_gigabyte_is_cut_and_the_connection_with_it(receiver: Receiver) -> None:
    """64 kB are read; the sender gets no further than the buffers of the way."""
    receiver.behaviour = lambda _: Reply(is_endless=True)

    async with client() as posting:
        answer = await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)
        receiver.behaviour = lambda _: Reply()
        await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)

    assert answer.is_cut
    assert len(answer.body) == MAX_ANSWER
    assert receiver.bytes_sent < 64 * 1024 * 1024
    assert receiver.connections == 2


async def test_a_receiver_that_hangs_is_left_in_time(receiver: Receiver) -> None:
    """The total time bounds the exchange; the receiver may have acted."""
    settings = EgressSettings(outgoing_allow=LOCAL, webhook_timeout_seconds=SHORT_SECONDS)

    async with guarded_client(settings) as posting:
        await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC, timeout_seconds=30)
        receiver.behaviour = lambda _: Reply(hangs=True)
        problem = await failure(posting, receiver.url)

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_FETCH_FAILED, True)


async def test_the_time_may_be_given_for_one_request(receiver: Receiver) -> None:
    """A hook has what is left of its caller's patience."""
    receiver.behaviour = lambda _: Reply(hangs=True)

    async with client() as posting:
        with pytest.raises(NotReached, match="in time"):
            await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC, timeout_seconds=0.05)


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


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example ESMTP\r\n",
        b"<html></html>",
        b"\x16\x03\x01",
        b"HTTP/1.1 403 Forbidden",
        b"HTTP/1.1 40",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_server_that_speaks_no_http_is_an_error(receiver: Receiver, said: bytes) -> None:
    """Whatever it says, a status line that has not ended included."""
    receiver.behaviour = lambda _: Reply(raw=said)

    async with client() as posting:
        problem = await failure(posting, receiver.url)

    assert (problem.code, problem.may_be_taken) == (Code.WEBHOOK_FETCH_FAILED, True)


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://", "//example.com", "http://[::bad/", "nonsense"])
async def test_what_is_no_usable_url_is_refused_for_good(url: str) -> None:
    """Trying again is vain."""
    async with client() as posting:
        problem = await failure(posting, url)

    assert problem.is_for_good


async def test_what_one_account_waits_for_takes_no_turn_of_another(receiver: Receiver) -> None:
    """They share a receiver; every connection that one may have hangs, and the other is answered at once."""
    receiver.behaviour = lambda request: Reply(hangs=request.path == "/slow")
    settings = EgressSettings(outgoing_allow=LOCAL, connections_per_destination=3)

    async with guarded_client(settings) as posting:
        slow = [
            asyncio.create_task(posting.post(f"{receiver.url}/slow", b"", headers={}, account_sid=AC))
            for _ in range(10)
        ]
        await receiver.has_got(3)
        answer = await posting.post(f"{receiver.url}/gate", b"", headers={}, account_sid="AC" + "b" * 32)
        receiver.release()
        await asyncio.gather(*slow)

    assert answer.is_ok
    assert receiver.received[3].path == "/gate"


async def test_a_destination_gets_only_so_many_requests_at_a_time(receiver: Receiver) -> None:
    """Those beyond wait for their turn within their time."""
    settings = EgressSettings(outgoing_allow=LOCAL, connections_per_destination=3)

    async with guarded_client(settings) as posting:
        await asyncio.gather(*(posting.post(receiver.url, b"a=b", headers={}, account_sid=AC) for _ in range(30)))

    assert len(receiver.received) == 30
    assert receiver.most_at_once <= 3
    assert receiver.connections <= 3


async def test_whoever_waits_too_long_for_a_turn_has_sent_nothing(receiver: Receiver) -> None:
    """A destination that is full fails them in time, and they can be tried again safely."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    settings = EgressSettings(outgoing_allow=LOCAL, connections_per_destination=1)

    async with guarded_client(settings) as posting:
        first = asyncio.create_task(posting.post(receiver.url, b"a=b", headers={}, account_sid=AC))
        await receiver.has_got(1)
        with pytest.raises(NotReached) as caught:
            await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC, timeout_seconds=0.05)
        receiver.release()
        await first

    assert not caught.value.may_be_taken
    assert len(receiver.received) == 1


async def test_idle_connections_do_not_stay_for_ever(receiver: Receiver) -> None:
    """What has been idle too long is closed and forgotten without further traffic."""
    settings = EgressSettings(outgoing_allow=LOCAL, keep_alive_seconds=0.01)

    async with guarded_client(settings) as posting:
        await posting.post(receiver.url, b"a=b", headers={}, account_sid=AC)
        async with asyncio.timeout(10):
            while posting._connections._destinations:  # noqa: ASYNC110 - nothing tells when they are closed
                await asyncio.sleep(0.01)

    assert receiver.connections == 1
