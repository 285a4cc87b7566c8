"""A carrier on the feed of a live server: a plain socket, and no code of ours but the MessagePack library."""

import socket
from typing import Any, Self

import msgspec

PATIENCE = 10.0
"""Seconds after which an answer that should have come has not."""

WANTS = [
    "outcome",
    "reason",
    "to",
    "caller_id",
    "session",
    "interaction",
    "inbound_participant",
    "outbound_participant",
]


class FeedGone(Exception):  # noqa: N818 - a state of the test, not an error
    """The server does not answer any more."""


class Feed:
    """One connection that has said hello."""

    def __init__(self, address: str, key: str, secret: str, *, wants: list[str] | None = WANTS) -> None:
        """Connect; the answers are kept in order."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self._frames = 0
        self.welcome = self.ask({"version": 1, "key": key, "secret": secret, "wants": wants})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, message: object) -> None:
        """Send a frame."""
        payload = msgspec.msgpack.encode(message)
        try:
            self._socket.sendall(len(payload).to_bytes(4) + payload)
        except OSError as problem:
            raise FeedGone from problem

    def read(self) -> list[Any]:
        """Read a frame."""
        length = int.from_bytes(self._exactly(4))
        return msgspec.msgpack.decode(self._exactly(length), type=list)

    def ask(self, message: object) -> list[Any]:
        """Send a frame and read one."""
        self.send(message)
        return self.read()

    def decide(self, *events: list[object]) -> list[Any]:
        """Send events and return their answers."""
        self.send(list(events))
        return self.answers()

    def answers(self) -> list[Any]:
        """Read what is answered to a frame of events."""
        kind, frame, _, said = self.read()
        assert kind == "answers"
        while None in said:  # another host of the cluster is asked
            kind, _, late = self.read()
            assert kind == "later"
            for of, index, answer in late:
                assert of == frame
                said[index] = answer
        return list(said)

    def is_closed(self) -> bool:
        """Wait until the server has closed; tell whether it said nothing before."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                chunk = self._socket.recv(count - len(data))
            except ConnectionResetError as problem:
                raise FeedGone from problem
            if not chunk:
                raise FeedGone
            data += chunk
        return data
