"""Senders whose connections are on another host of the cluster: messages and receipts are handed to that host."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from engine.channels.base import OutMessage, OutReceipt, SendsMessages, Sent, TakesReceipts
from engine.core.ports.outgoing import RemoteSend
from engine.outbound.delivery import DELIVERED, Delivery


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

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Have it there that the peer is to be told."""
        plane = self._plane()
        if plane is None:
            return Delivery(error="the host is starting", may_retry=True)
        told = await plane.send_elsewhere(self._channel, self._name, receipt.key, _RECEIPT + _encode(receipt))
        if told.result:
            return _decode_delivery(told.result)
        return Delivery(error="the host of the peer's connections does not answer", may_retry=True)


async def send_here(senders: Mapping[str, SendsMessages], name: str, message: bytes) -> bytes:
    """Send a message of another host through a sender of this one, or tell its peer what that host says."""
    sender = senders.get(name)
    if sender is None:
        return _encode(Sent(error="the carrier is not configured to send on its host"))
    if message.startswith(_RECEIPT):
        if not isinstance(sender, TakesReceipts):
            return _encode(DELIVERED)
        return _encode(await sender.tell(_decode_receipt(message[len(_RECEIPT) :])))
    return _encode(await sender.send(_decode_message(message)))


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(OutMessage).decode
_decode_receipt = msgspec.msgpack.Decoder(OutReceipt).decode
_decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
_RECEIPT = b"\xc1"
"""Stands before a receipt; no message begins so in MessagePack."""
_decode_sent = msgspec.msgpack.Decoder(Sent).decode
