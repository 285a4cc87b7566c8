"""Which messages of a peer may come a second time, and how they are known again.

A message carries no id of its own, and two equal ones in a row are legal. So only one that was told to come again, or
whose answer may not have arrived, since its connection ended or we did, is known by its content, once, and for a while.
"""

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Final

import msgspec

from engine.channels.smpp.arrivals import Arrival
from engine.channels.smpp.kept_rows import row_decoder
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.notes import Notes


class Redeliveries:
    """The messages of one peer that may come again."""

    def __init__(self, notes: Notes, peer: str) -> None:
        """Keep them under the peer's name."""
        self._notes = notes
        self._arrivals = f"arrivals/{peer}/".encode()
        self._single = f"arrival/{peer}/".encode()
        """As versions kept them that had a note for each message."""
        self._suspects = f"suspect/{peer}/".encode()
        self.by_digest: dict[bytes, list[Arrival]] = {}
        """Them, by what each says; of equal ones, in the order in which they came first."""

    async def load(self, now: float) -> None:
        """Read what was left: what came last before we ended may come again, answered or not."""
        known = set()
        for _, value in await self._notes.latest(self._suspects, MOST_SUSPECTS):
            arrival = _DECODE(value)
            if arrival.at > now - KEPT_SECONDS:
                known.add(arrival.sid)
                self._suspect(arrival)
        together = await self._notes.latest(self._arrivals, MOST_SUSPECTS)
        alone = await self._notes.latest(self._single, MOST_SUSPECTS)
        latest = merge(
            (_DECODE(row) for _, value in together for row in reversed(_SPLIT(value))),
            (_DECODE(value) for _, value in alone),
            key=lambda arrival: -arrival.at,
        )
        last = None
        for arrival in islice(latest, MOST_SUSPECTS):
            last = arrival.at if last is None else last
            if arrival.at < last - _UNSURE_SECONDS:
                break
            if arrival.sid not in known:
                self._suspect(arrival)

    def came(self, arrivals: Sequence[Arrival]) -> None:
        """Keep that messages came, in this order, with the commit of what they lead to or before it."""
        for start in range(0, len(arrivals), _MOST_TOGETHER):
            together = arrivals[start : start + _MOST_TOGETHER]
            first = together[0]
            key = self._arrivals + int(first.at * 1000).to_bytes(8) + start.to_bytes(4) + first.sid.encode()
            self._notes.put(key, _ENCODE(together), together[-1].at + KEPT_SECONDS, _ignore)

    def find(self, digest: bytes, now: float) -> Arrival | None:
        """Return, once, the message that an equal one repeats; None where it is a new one."""
        waiting = self.by_digest.get(digest)
        if not waiting:
            return None
        arrival = waiting.pop(0)
        if not waiting:
            del self.by_digest[digest]
        self._notes.drop(self._suspects + arrival.sid.encode(), _ignore)
        return arrival if arrival.at > now - KEPT_SECONDS else self.find(digest, now)

    def may_come_again(self, arrivals: list[Arrival]) -> None:
        """Take that the answers to these may not have arrived, or told the peer to send them again."""
        for arrival in arrivals[-MOST_SUSPECTS:]:
            self._suspect(arrival)
            key = self._suspects + arrival.sid.encode()
            self._notes.put(key, _ENCODE(arrival), arrival.at + KEPT_SECONDS, _ignore)

    def sweep(self, now: float) -> None:
        """Forget what comes no more."""
        for digest, waiting in tuple(self.by_digest.items()):
            if all(arrival.at <= now - KEPT_SECONDS for arrival in waiting):
                del self.by_digest[digest]

    def _suspect(self, arrival: Arrival) -> None:
        waiting = [one for one in self.by_digest.get(arrival.digest, ()) if one.sid != arrival.sid]
        self.by_digest[arrival.digest] = sorted((*waiting, arrival), key=lambda one: one.at)


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it: the commit of the message itself tells whether it is kept."""


KEPT_SECONDS: Final = 900.0
"""How long a message is known again."""
MOST_SUSPECTS: Final = 10_000
_MOST_TOGETHER: Final = 32
"""Messages of one note: what a start reads is to be bounded."""
_UNSURE_SECONDS: Final = 30.0
"""Before the last message that came, answers may not have arrived when we ended at once."""
_ENCODE = msgspec.msgpack.Encoder().encode
_SPLIT = msgspec.msgpack.Decoder(tuple[msgspec.Raw, ...]).decode
_DECODE = row_decoder(Arrival)
