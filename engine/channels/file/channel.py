"""Writes what would be sent to a file: a line of JSON for each message and each call that would be ended."""

import asyncio
import os
from pathlib import Path

import msgspec

from engine.channels.base import ChannelContext, OutHangUp, OutMessage, Sent, Served, Spread, Unserved
from engine.core.model.records import LegStatus
from engine.core.model.sids import SidKind
from engine.core.ports.operations import Clock
from engine.outbound.delivery import DELIVERED, Delivery

_PRIVATE_FILE = 0o600


class FileChannel(Unserved):
    """A carrier that is a file."""

    spread = Spread.EVERY_HOST
    _clock: Clock

    def __init__(self, name: str, path: Path) -> None:
        """Append to a file, which is made when it is missing."""
        self.name = name
        self._path = path

    async def serve(self, context: ChannelContext) -> Served:
        """Write with the time of the context's clock."""
        self._clock = context.clock
        return self

    async def send(self, message: OutMessage) -> Sent:
        """Write a message down; it counts as sent."""
        problem = await self._write(
            message.key,
            type="message",
            carrier=self.name,
            interaction_sid=message.interaction_sid,
            sender=message.sender,
            to=message.to,
            body=message.body,
            media=message.media,
        )
        if problem:
            return Sent(error=problem, may_retry=True)
        return Sent(status=LegStatus.SENT, resource_sid=SidKind.SMS + message.key[len(SidKind.SMS) :])

    async def end_call(self, call: OutHangUp) -> Delivery:
        """Write down that a call is to be ended."""
        problem = await self._write(call.key, type="hang-up", carrier=self.name, call_sid=call.call_sid)
        return Delivery(error=problem, may_retry=True) if problem else DELIVERED

    async def _write(self, key: str, **more: object) -> str:
        """Append a line; returns why it could not be."""
        line = msgspec.json.encode({"effect": key, "at": self._clock(), **more}) + b"\n"
        try:
            await asyncio.to_thread(_append, self._path, line)
        except OSError as problem:
            return f"cannot write the carrier's file: {problem.strerror}"
        return ""


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, _PRIVATE_FILE)
    try:
        os.write(file, line)
    finally:
        os.close(file)
