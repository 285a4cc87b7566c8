"""Senders whose connections are on another host of the cluster: messages are handed to that host."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from engine.channels.base import OutMessage, SendsMessages, Sent
from engine.core.ports.outgoing import RemoteSend


class SendsElsewhere(Protocol):
    """What hands messages to the host of a channel."""

    async def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> RemoteSend:
        """Have the host of a channel send a message through one of its senders."""


class RemoteSender:
    """Sends through a sender of another host."""

    def __init__(self, name: str, channel: str, plane: Callable[[], SendsElsewhere | None]) -> None:
        """Ask the host on which a channel is placed for the sender of that name."""
        self._name = name
        self._channel = channel
        self._plane = plane

    async def send(self, message: OutMessage) -> Sent:
        """Try once."""
        plane = self._plane()
        if plane is None:
            return Sent(error="the host is starting", may_retry=True)
        told = await plane.send_elsewhere(self._channel, self._name, message.key, _encode(message))
        if told.result:
            return _decode_sent(told.result)
        return Sent(
            error="the host of the peer's connections does not answer",
            may_retry=not told.may_be_taken,
            may_be_taken=told.may_be_taken,
        )


async def send_here(senders: Mapping[str, SendsMessages], name: str, message: bytes) -> bytes:
    """Send a message of another host through a sender of this one."""
    sender = senders.get(name)
    if sender is None:
        return _encode(Sent(error="the carrier is not configured to send on its host"))
    return _encode(await sender.send(_decode_message(message)))


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(OutMessage).decode
_decode_sent = msgspec.msgpack.Decoder(Sent).decode
