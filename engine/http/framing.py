"""Requests cut out of the bytes of one HTTP connection; sans-IO: no socket, no clock, no meaning of what is asked.

The framer finds where each request ends by itself and gives llhttp the bytes of that one request: first the head, then
what its length or its chunks allow. Both must agree on the end, or the request is refused: two readers that see two
requests are what smuggling lives on. What stands behind a request waits, unread, as bytes. An `Upgrade` is ignored, as
RFC 9110 7.8 allows; llhttp would take the body for another protocol's, so it does not get to see that header.

Compiled by mypyc. Source: RFC 9112 and RFC 9110; tests/http/test_rfc9112.py goes through what they ask of a server.
"""

import re
from http import HTTPStatus
from typing import Final, final

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from engine.core.model.errors import MasklineError

MAX_HEAD_BYTES: Final = 65_536
"""Largest request line with headers."""

MAX_EMPTY_LINES: Final = 8
"""Before a request line; old clients send one behind a body."""

MAX_CHUNK_LINE_BYTES: Final = 4096
"""Largest line of a chunk's size with its extensions, or of a trailer."""

MAX_EXTRA_BYTES: Final = 16_384
"""Of the extensions of all chunks of a body together with its trailers: all of them are read for nothing."""

CHUNKED: Final = -1
"""Length of a body that tells its end itself."""

Header = tuple[bytes, bytes]

_END_OF_HEAD: Final = b"\r\n\r\n"
_CR: Final = 13
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_VERSION: Final = b" HTTP/1.1"
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([^ \r\n]+) +HTTP/([0-9])\.([0-9])\r\n")
_UPGRADE: Final = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Za-z:.%\-_~]+\])(?::[0-9]*)?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/@]+)(/.*)?")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*;.*)?")
_READ: Final = frozenset(
    map(
        len,
        (
            b"host",
            b"expect",
            b"connection",
            b"content-type",
            b"content-length",
            b"transfer-encoding",
            b"x-twilio-signature",
            b"x-signalwire-signature",
        ),
    )
)
"""Lengths of the names of the headers that are looked at."""

_SIZE: Final = 0
_DATA: Final = 1
_TRAILERS: Final = 2


class Unreadable(MasklineError):  # noqa: N818 - a state of the connection, answered with its status
    """The bytes are no request that can be taken; nothing more can be read behind them."""

    def __init__(self, status: HTTPStatus) -> None:
        """Say how it is answered."""
        super().__init__(status.phrase)
        self.status = status


@final
class Framer:
    """The bytes of one connection; between two heads, the body of the first has to be read or skipped to its end."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._data = b""
        self._at = 0
        self._searched = 0
        self._empty_lines = 0
        self._is_in_head = False
        self._is_complete = False  # as llhttp sees it
        self._parts: list[bytes] = []
        self._left = 0
        self._place = _SIZE
        self._extra = 0
        self._good_host = b""
        self._hosts = 0
        self.method = b""
        """Of the request whose head was read last, as all that follows."""
        self.target = b""
        """As it was sent: `/path?query`, `*` or an absolute URL."""
        self.headers: list[Header] = []
        """As they were sent; without trailers."""
        self.length = 0
        """Bytes of its body, or CHUNKED."""
        self.content = b""
        """Its body, if that came whole with the head; then `body` has nothing more to tell."""
        self.is_1_0 = False
        """It is of HTTP/1.0, whose clients know no chunks and no 100."""
        self.is_last = False
        """The client sends no more."""
        self.expects_continue = False
        """The client waits for a 100 before it sends the body."""
        self.is_whole = True
        """Its body was read to the end."""
        self.signature = b""
        """X-Twilio-Signature, as webhooks carry it."""
        self.content_type = b""
        """Content-Type."""

    @property
    def unread(self) -> int:
        """Bytes that came and were not looked at."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._at == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._at :] + data
        self._at = 0

    def close(self) -> None:
        """Forget everything; nothing may be asked any more."""
        self._parser = None
        self._data, self._at = b"", 0

    def head(self) -> bool:
        """Read the next request's head, and its body if it is there too; False without a head. Raises Unreadable."""
        data, at = self._data, self._at
        if at == len(data):
            return False
        if data[at] == _CR:
            if not self._skip_empty_lines():
                return False
            at = self._at
        if data[at] not in _TOKEN:
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        end = data.find(_END_OF_HEAD, at + self._searched)
        if end < 0:
            self._check_start()
            return False
        end += 4
        if end - at > MAX_HEAD_BYTES:
            raise Unreadable(_too_long(data, at))
        self._searched, self._empty_lines = 0, 0
        self._at = end
        self._read(data[at:end])
        self.content = self.body() if 0 < self._left <= len(data) - end else b""
        return True

    def body(self) -> bytes:
        """Return what came of the body, decoded, since the last time; `is_whole` tells its end. Raises Unreadable."""
        begin = self._at
        if self.length == CHUNKED:
            self._pass_chunks()
        else:
            taken = min(self._left, len(self._data) - begin)
            self._left -= taken
            self._at += taken
            self.is_whole = not self._left
        if self._at > begin:
            self._decode(self._data[begin : self._at])
        if self.is_whole != self._is_complete:
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # -- the head --------------------------------------------------------------------------------------------------

    def _skip_empty_lines(self) -> bool:
        """Go to the start of a request line; False when it has not come."""
        data = self._data
        while self._at < len(data) and data[self._at] == _CR:
            line = data[self._at : self._at + 2]
            if len(line) == 1:
                return False
            self._empty_lines += 1
            if line != b"\r\n" or self._empty_lines > MAX_EMPTY_LINES:
                raise Unreadable(HTTPStatus.BAD_REQUEST)
            self._at += 2
        return self._at < len(data)

    def _check_start(self) -> None:
        """Refuse what came of a head as soon as it can be none, or is too long."""
        data, at = self._data, self._at
        line_feed = data.find(b"\n", at + self._searched)
        while line_feed >= 0:
            if line_feed == at or data[line_feed - 1] != _CR:
                raise Unreadable(HTTPStatus.BAD_REQUEST)
            line_feed = data.find(b"\n", line_feed + 1)
        self._searched = max(0, len(data) - at - 3)
        if len(data) - at > MAX_HEAD_BYTES:
            raise Unreadable(_too_long(data, at))

    def _read(self, head: bytes) -> None:
        self._begin()
        try:
            self._feed(head)
        except (HttpParserUpgrade, HttpParserError) as problem:
            self._read_again(head, problem)
        self._is_in_head = False
        self._understand(head)
        if self.is_whole != self._is_complete:
            raise Unreadable(HTTPStatus.BAD_REQUEST)

    def _begin(self) -> None:
        self._is_in_head, self._is_complete = True, False
        self.target = b""
        self.headers = []
        self._parts = []

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None  # noqa: S101 - a closed framer is not asked
        parser.feed_data(data)

    def _read_again(self, head: bytes, problem: Exception) -> None:
        """Read a head of which llhttp may be told less: no Upgrade, and a minor version that it knows."""
        line = _REQUEST_LINE.match(head)
        if line is None:
            raise Unreadable(HTTPStatus.BAD_REQUEST) from None
        if line[3] != b"1":
            raise Unreadable(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED) from None
        if isinstance(problem, HttpParserInvalidMethodError) or line[1] == b"CONNECT":
            raise Unreadable(HTTPStatus.NOT_IMPLEMENTED) from None
        known = _UPGRADE.sub(b"\r\nx-upgrade", head)
        if line[4] not in b"01":
            known = known[: line.start(4)] + b"1" + known[line.end(4) :]
        if known == head:
            raise Unreadable(HTTPStatus.BAD_REQUEST) from None
        self._parser = HttpRequestParser(self)
        self._begin()
        try:
            self._feed(known)
        except (HttpParserUpgrade, HttpParserError):
            raise Unreadable(HTTPStatus.BAD_REQUEST) from None

    def _understand(self, head: bytes) -> None:
        """Look at the headers that say how the request and its connection end, and at those of webhooks."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - a closed framer is not asked
        self.method = parser.get_method()
        end = head.find(b"\r\n")
        begin = max(end - len(_VERSION), 0)  # a slice that ends before it begins ends mypyc's code
        version = "1.1" if head[begin:end] == _VERSION else parser.get_http_version()
        self.is_1_0 = self.is_last = version == "1.0"
        if version not in {"1.1", "1.0"}:
            is_told = _REQUEST_LINE.match(head) is not None
            raise Unreadable(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED if is_told else HTTPStatus.BAD_REQUEST)
        self.signature = self.content_type = b""
        self.expects_continue = False
        self.length = self._hosts = 0
        for name, value in self.headers:
            if len(name) in _READ:
                self._look_at(name.lower(), value)
        if self._hosts != 1 and not (self.is_1_0 and not self._hosts):
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        self._left = max(self.length, 0)
        self._place, self._extra = _SIZE, 0
        self.is_whole = self.length == 0

    def _look_at(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.length = int(value)
        elif name == b"content-type":
            self.content_type = value
        elif name == b"x-twilio-signature":
            self.signature = value.rstrip()
        elif name == b"x-signalwire-signature" and not self.signature:
            self.signature = value.rstrip()  # the same signature under the name that this platform gives it
        elif name == b"host":
            self._hosts += 1
            if value != self._good_host:
                self._check_host(value)
        elif name == b"connection":
            self.is_last = self.is_last or _has(value, b"close")
        elif name == b"transfer-encoding":
            self._check_coding(value)
        elif name == b"expect":
            self.expects_continue = not self.is_1_0 and value.strip().lower() == b"100-continue"

    def _check_host(self, value: bytes) -> None:
        if not _HOST.fullmatch(value.rstrip()):
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        self._good_host = value

    def _check_coding(self, value: bytes) -> None:
        """Take chunks, which no other coding may precede (RFC 9112 6.1), and which HTTP/1.0 does not have."""
        if self.is_1_0:
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        if value.strip().lower() != b"chunked":
            raise Unreadable(HTTPStatus.NOT_IMPLEMENTED)
        self.length = CHUNKED

    # -- the body --------------------------------------------------------------------------------------------------

    def _decode(self, raw: bytes) -> None:
        try:
            self._feed(raw)
        except (HttpParserUpgrade, HttpParserError):
            raise Unreadable(HTTPStatus.BAD_REQUEST) from None

    def _pass_chunks(self) -> None:
        """Go to the end of what came of the chunks, or to the end of the body."""
        data = self._data
        while not self.is_whole:
            if self._place == _DATA:
                taken = min(self._left, len(data) - self._at)
                self._left -= taken
                self._at += taken
                if self._left:
                    return
                self._place = _SIZE
            end = data.find(b"\r\n", self._at)
            if (len(data) if end < 0 else end) - self._at > MAX_CHUNK_LINE_BYTES:
                raise Unreadable(self._too_much())
            if end < 0:
                return
            line = data[self._at : end]
            self._at = end + 2
            if self._place == _TRAILERS:
                self.is_whole = not line
                self._count_extra(len(line))
            else:
                self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Unreadable(HTTPStatus.BAD_REQUEST)
        self._count_extra(len(line) - len(size[1]))
        self._left = int(size[1], 16)
        if self._left:
            self._left += 2  # the line's end behind the data
            self._place = _DATA
        else:
            self._place = _TRAILERS

    def _count_extra(self, count: int) -> None:
        self._extra += count
        if self._extra > MAX_EXTRA_BYTES:
            raise Unreadable(self._too_much())

    def _too_much(self) -> HTTPStatus:
        if self._place == _TRAILERS:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    # -- what llhttp tells -----------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come the same way, are left out."""
        if self._is_in_head:
            self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Keep decoded bytes."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note that llhttp sees the end too."""
        self._is_complete = True


def origin_form(target: bytes) -> tuple[bytes, bytes] | None:
    """Split an absolute URL without its query into authority and path; None where it is none of ours."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None or not _HOST.fullmatch(found[1]):
        return None
    return found[1], found[2] or b"/"


def _too_long(data: bytes, at: int) -> HTTPStatus:
    if data.find(b"\r\n", at, at + MAX_HEAD_BYTES) < 0:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def _has(value: bytes, option: bytes) -> bool:
    return any(one.strip() == option for one in value.lower().split(b","))
