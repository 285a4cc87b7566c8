"""What RFC 9112 and RFC 9110 ask of a server, a row each: what is sent, how it is answered, whether it may go on.

Rows are sent to the ASGI application and, where they are about requests as such, to the webhooks too. Sections are
those of RFC 9112 unless they say 9110.
"""

from collections.abc import Iterable

import msgspec
import pytest

from engine.channels.twiml.settings import WebhookSettings
from engine.http.framing import MAX_EMPTY_LINES, MAX_EXTRA_BYTES, MAX_HEAD_BYTES
from tests.http.rig import PUBLIC_URL, Client, call, connected, post, serving

pytestmark = pytest.mark.anyio

REST = b"GET /v1/Services HTTP/1.1\r\nHost: a\r\n\r\n"
SETTINGS = WebhookSettings(public_url=PUBLIC_URL, verify_signatures=False, max_inbound_body_bytes=2000)


class Row(msgspec.Struct, frozen=True):
    """One demand."""

    section: str
    demand: str
    sent: bytes
    answered: tuple[int, ...]
    ends: bool = False
    """The connection must not be used again."""


def head(*lines: str, line: str = "POST /v1/Services HTTP/1.1", body: bytes = b"", host: str = "a") -> bytes:
    """Write a request of these header lines."""
    hosts = [f"Host: {host}"] if host else []
    return "\r\n".join([line, *hosts, *lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, *, line: str = "POST /v1/Services HTTP/1.1", trailers: bytes = b"") -> bytes:
    """Write a request whose body is these chunks."""
    return head("Transfer-Encoding: chunked", line=line, body=body + trailers + b"\r\n")


LONG = "x" * MAX_HEAD_BYTES

ROWS = [
    # -- the message
    Row("2.2", "empty lines before a request are ignored", b"\r\n\r\n" + REST, (200,)),
    Row("2.2", "but not without end", b"\r\n" * (MAX_EMPTY_LINES + 1) + REST, (400,), ends=True),
    Row("2.2", "a bare LF is no empty line", b"\n" + REST, (400,), ends=True),
    Row("2.2", "a bare CR ends no line", head("A: b\rc"), (400,), ends=True),
    Row("2.2", "a bare LF ends no line here", REST.replace(b"\r\n", b"\n"), (400,), ends=True),
    Row("2.2", "white space behind the request line is no header", head(" A: b", host=""), (400,), ends=True),
    Row("2.2", "what is no HTTP is 400", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", (400,), ends=True),
    Row("2.3", "a later minor version is read as 1.1", head(line="GET /x HTTP/1.7"), (200,)),
    Row("2.3", "another major version is 505", head(line="GET /x HTTP/3.0"), (505,), ends=True),
    Row("2.3", "the preface of HTTP/2 is 505", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,), ends=True),
    Row("2.3", "HTTP/0.9 is none", b"GET /\r\n\r\n", (400,), ends=True),
    Row("2.3", "whatever its method and target", b"POST /i\r\n\r\n", (400,), ends=True),
    Row("2.3", "nor by its name", head(line="GET / HTTP/0.9"), (505,), ends=True),
    # -- the request line
    Row("3", "a target beyond the limit is 414", head(line=f"GET /{LONG} HTTP/1.1"), (414,), ends=True),
    Row("3", "8,000 octets are read", head(line=f"GET /{'x' * 8000} HTTP/1.1"), (200,)),
    Row("3", "white space in a target is 400", head(line="GET /a b HTTP/1.1"), (400,), ends=True),
    Row("3", "and behind the version", head(line="GET /a HTTP/1.1 "), (400,), ends=True),
    Row("3.1", "an unknown method is 501 (9110 9.1)", head(line="BREW /pot HTTP/1.1"), (501,), ends=True),
    Row("3.1", "methods are case-sensitive", head(line="get /a HTTP/1.1"), (501,), ends=True),
    Row("3.2", "a request without Host is 400", head(host=""), (400,), ends=True),
    Row("3.2", "with two", head("Host: b"), (400,), ends=True),
    Row("3.2", "with one that is no host", head(host="a/b"), (400,), ends=True),
    Row("3.2", "with user information", head(host="u@a"), (400,), ends=True),
    Row("3.2", "an empty one is one", head("Host: ", host=""), (200,)),
    Row("3.2", "an IPv6 one is one", head(host="[::1]:80"), (200,)),
    Row("3.2", "HTTP/1.0 needs none", head(line="GET /a HTTP/1.0", host=""), (200,), ends=True),
    Row("3.2", "a fragment is no part of a target", head(line="GET /a#b HTTP/1.1"), (400,), ends=True),
    Row("3.2.2", "an absolute target is taken", head(line="GET http://h.example/x?y HTTP/1.1"), (200,)),
    Row("3.2.2", "of https too, and without a path", head(line="GET HTTPS://h.example HTTP/1.1"), (200,)),
    Row("3.2.2", "user information in it is an error (9110 4.2.4)", head(line="GET http://u@h/ HTTP/1.1"), (400,), ends=True),
    Row("3.2.2", "another scheme is not ours", head(line="GET ftp://h.example/x HTTP/1.1"), (400,), ends=True),
    Row("3.2.3", "CONNECT is not implemented", head(line="CONNECT a:80 HTTP/1.1"), (501,), ends=True),
    Row("3.2.4", "OPTIONS * is about the server (9110 9.3.7)", head(line="OPTIONS * HTTP/1.1"), (204,)),
    Row("3.2.4", "* is nothing else's", head(line="GET * HTTP/1.1"), (400,), ends=True),
    # -- headers
    Row("5.1", "white space before the colon is 400", head("Transfer-Encoding : chunked"), (400,), ends=True),
    Row("5.1", "a line without a colon is 400", head("A"), (400,), ends=True),
    Row("5.1", "an empty name is 400", head(": b"), (400,), ends=True),
    Row("5.2", "a folded line is 400", head("A: b", " c: d"), (400,), ends=True),
    Row("9110 5.4", "headers beyond the limit are a 4xx", head(f"A: {LONG}"), (431,), ends=True),
    Row("9110 5.5", "NUL in a value is 400", head("A: b\0c"), (400,), ends=True),
    Row("9110 5.5", "Latin-1 in one is opaque", head("A: M\xfc"), (200,)),
    Row("9110 7.8", "Upgrade may be ignored", head("Connection: upgrade", "Upgrade: h2c", "Content-Length: 3", body=b"abc"), (200,)),
    Row("9110 7.8", "in any case of letters", head("Connection: UPGRADE", "UPGRADE: foo/2", "Content-Length: 3", body=b"abc"), (200,)),
    # -- the body's length
    Row("6.1", "chunks with HTTP/1.0 are faulty", chunked(b"3\r\nabc\r\n0\r\n", line="POST /a HTTP/1.0"), (400,), ends=True),
    Row("6.1", "an unknown coding is 501", head("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (501,), ends=True),
    Row("6.1", "chunked comes once", head("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), (400,), ends=True),
    Row("6.1", "and last", head("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), (400,), ends=True),
    Row("6.1", "codings are case-insensitive", head("Transfer-Encoding: Chunked", body=b"0\r\n\r\n"), (200,)),
    Row("6.3", "both lengths are an attack", head("Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), (400,), ends=True),
    Row("6.3", "in either order", head("Transfer-Encoding: chunked", "Content-Length: 3", body=b"0\r\n\r\n"), (400,), ends=True),
    Row("6.3", "two lengths are 400", head("Content-Length: 3", "Content-Length: 4", body=b"abcd"), (400,), ends=True),
    Row("6.3", "also the same twice", head("Content-Length: 3", "Content-Length: 3", body=b"abc"), (400,), ends=True),
    *(
        Row("6.3", f"a length of {value!r} is 400", head(f"Content-Length: {value}", body=b"abc"), (400,), ends=True)
        for value in ("", "+3", "-3", "0x3", "3,3", "3 3", "3.0", "9" * 20, "3\x0b", "\xb3")
    ),
    Row("6.3", "a length with zeros before it is read", head("Content-Length: 003", body=b"abc"), (200,)),
    Row("6.3", "no length is no body", head() + REST, (200, 200)),
    # -- chunks
    Row("7.1", "chunks are read", chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n"), (200,)),
    Row("7.1", "sizes are hexadecimal, in any case", chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n"), (200,)),
    *(
        Row("7.1", f"a size of {size!r} is 400", chunked(size + b"\r\nabc\r\n0\r\n"), (400,), ends=True)
        for size in (b"", b"+3", b"-3", b"0x3", b"3 ", b" 3", b"3g", b"f" * 17, b"0" * 16 + b"3")
    ),
    Row("7.1", "a size that overflows is no small one", chunked(b"ffffffffffffffff\r\nabc\r\n0\r\n"), ()),
    Row("7.1", "data longer than its size is 400", chunked(b"3\r\nabcd\r\n0\r\n"), (400,), ends=True),
    Row("7.1", "lines end with CRLF", head("Transfer-Encoding: chunked", body=b"3\nabc\n0\n\n"), ()),
    Row("7.1", "a bare LF inside is 400", chunked(b"3\n\r\nabc\r\n0\r\n"), (400,), ends=True),
    Row("7.1.1", "extensions are ignored", chunked(b'3;a=b;c="d;\\"e"\r\nabc\r\n0;z\r\n'), (200,)),
    Row("7.1.1", "but bounded in all", chunked(b"".join(b"1;%b\r\na\r\n" % (b"x" * 1000) for _ in range(20))), (413,), ends=True),
    Row("7.1.1", "and each", chunked(b"1;" + b"x" * MAX_EXTRA_BYTES), (413,), ends=True),
    Row("7.1.2", "trailers are left out", chunked(b"3\r\nabc\r\n0\r\n", trailers=b"Host: b\r\nX-T: 1\r\n"), (200,)),
    Row("7.1.2", "a length among them is an attack", chunked(b"0\r\n", trailers=b"Content-Length: 9\r\n"), (400,), ends=True),
    Row("7.1.2", "but bounded", chunked(b"0\r\n", trailers=b"A: bcdefgh\r\n" * 2000), (431,), ends=True),
    Row("7.1.2", "and headers all the same", chunked(b"0\r\n", trailers=b"A : b\r\n"), (400,), ends=True),
    # -- the connection
    Row("9.3", "a connection goes on", REST + REST, (200, 200)),
    Row("9.3.2", "pipelined requests are answered in order", REST + head(line="OPTIONS * HTTP/1.1") + REST, (200, 204, 200)),
    Row("9.6", "close is obeyed", head("Connection: close") + REST, (200,), ends=True),
    Row("9.6", "among other options", head("Connection: foo, Close") + REST, (200,), ends=True),
    Row("9.6", "in a second line", head("Connection: foo", "Connection: close") + REST, (200,), ends=True),
    Row("9.3", "HTTP/1.0 ends", head(line="GET /a HTTP/1.0") + REST, (200,), ends=True),
    Row("9110 10.1.1", "100 comes before the body", head("Expect: 100-continue", "Content-Length: 3"), (100,)),
    Row("9110 10.1.1", "not when the body is there", head("Expect: 100-continue", "Content-Length: 3", body=b"abc"), (200,)),
    Row("9110 10.1.1", "not to HTTP/1.0", head("Expect: 100-continue", "Content-Length: 3", line="POST /a HTTP/1.0"), ()),
]  # fmt: skip


async def statuses(client: Client, count: int) -> list[int]:
    """Read so many answers."""
    return [(await client.answer()).status for _ in range(count)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.demand}")
async def test_the_application_s_side(row: Row) -> None:
    """Of the port."""
    async with serving(settings=SETTINGS) as running, connected(running) as client:
        await client.send(row.sent)

        assert await statuses(client, len(row.answered)) == list(row.answered)
        if row.ends:
            assert await client.ended() == b""
        elif row.answered and row.answered[-1] != 100:
            assert (await client.ask(REST)).status == 200


def of_webhooks(rows: Iterable[Row]) -> Iterable[Row]:
    """Yield those that a webhook's path changes nothing of: they cannot be read."""
    for row in rows:
        if row.ends and row.answered[0] >= 400 and b" /v1/Services " in row.sent:
            yield msgspec.structs.replace(row, sent=row.sent.replace(b" /v1/Services ", b" /inbound/voice ", 1))


@pytest.mark.parametrize("row", [*of_webhooks(ROWS)], ids=lambda row: f"{row.section}: {row.demand}")
async def test_the_webhooks_side(row: Row) -> None:
    """What cannot be read is the same for both, and no event comes of it or of what follows."""
    async with serving(settings=SETTINGS) as running, connected(running) as client:
        await client.send(row.sent + post(call()))

        assert await statuses(client, len(row.answered)) == list(row.answered)
        assert await client.ended() == b""
        assert running.plane.events == []


@pytest.mark.parametrize(
    "target", ["http://masks.example.com/inbound/voice", "HTTP://other:81/inbound/voice?x=1", "https://h/inbound/voice"]
)
async def test_a_webhook_may_have_an_absolute_target(target: str) -> None:
    """As one behind a forward proxy has (3.2.2); it is signed as any other."""
    path = "/inbound/voice" + ("?x=1" if "?" in target else "")
    async with serving() as running, connected(running) as client:
        answer = await client.ask(post(call(), path).replace(f"POST {path} ".encode(), f"POST {target} ".encode()))

        assert (answer.status, len(running.plane.events)) == (200, 1)


async def test_the_host_of_an_absolute_target_replaces_the_header() -> None:
    """The application sees the host that was asked for (3.2.2)."""
    async with serving() as running, connected(running) as client:
        await client.ask(head(line="GET http://h.example:81/x HTTP/1.1"))

        assert running.scopes[-1]["headers"] == [(b"host", b"h.example:81")]
        assert (running.scopes[-1]["path"], running.scopes[-1]["query_string"]) == ("/x", b"")


async def test_values_reach_the_application_without_the_space_around_them() -> None:
    """It belongs to none (5.1); what is no ASCII stays as it came."""
    async with serving() as running, connected(running) as client:
        await client.ask(head("X-A: \t b c \t ", "X-B: M\xfc"))

        assert running.scopes[-1]["headers"][1:] == [(b"x-a", b"b c"), (b"x-b", b"M\xfc")]


async def test_every_answer_has_a_date() -> None:
    """As 2xx, 3xx and 4xx must have (9110 6.6.1): of webhooks, of the application, of what cannot be read."""
    async with serving() as running, connected(running) as client:
        answers = [await client.ask(sent) for sent in (post(call()), post(call(), sign_as="no"), REST, b"\x00")]

        assert [answer.status for answer in answers] == [200, 403, 200, 400]
        assert [len(answer.headers.get_all("date", [])) for answer in answers] == [1, 1, 1, 1]


async def test_http_1_0_is_answered_without_chunks() -> None:
    """Whose end it could not find (6.1): an answer in parts is sent with its length."""
    async with serving(in_parts=True) as running, connected(running) as client, connected(running) as newer:
        answer = await client.ask(head(line="GET /a HTTP/1.0"))
        await newer.send(head(line="GET /a HTTP/1.1", host="a"))

        assert (answer.body, answer.headers["transfer-encoding"]) == (b"GET /a ", None)
        assert b"transfer-encoding: chunked" in await newer.reader.readuntil(b"\r\n\r\n")


async def test_a_head_request_is_answered_without_a_body() -> None:
    """With the length that it would have (9110 9.3.2)."""
    async with serving() as running, connected(running) as client:
        await client.send(head(line="HEAD /a HTTP/1.1") + REST)

        assert (await client.answer(is_head=True)).headers["content-length"] == "8"
        assert (await client.answer()).body == b"GET /v1/Services "
