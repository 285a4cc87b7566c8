"""Messages of ours to one peer as PDUs, and what its responses say; those of one PDU with no task that waits for them.

Apart from `sender`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, final
from zlib import crc32

from mypy_extensions import mypyc_attr

from engine.channels.base import ChannelContext, OutMessage, Sent
from engine.channels.smpp.connection import Response
from engine.channels.smpp.links import Links, Stopping
from engine.channels.smpp.pdu import BadBody, ShortMessage, read_message_id, write_message
from engine.channels.smpp.sent_ids import PartOfLeg
from engine.channels.smpp.turns import Waiting
from engine.channels.smpp.writing import OutText, TooLong, parts_of
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone
from engine.core.ports.observing import SmppCount
from engine.outbound.delivery import Ending, raised

GoOn = Callable[[OutMessage, ShortMessage, Response | None], Awaitable[Sent]]
"""Goes on with a message that was not taken at once, from this response."""


@final
class Submissions:
    """Messages on their way to one peer."""

    def __init__(self, links: Links, context: ChannelContext, *, go_on: GoOn) -> None:
        """Send over these connections; what does not go well at once is for `go_on`."""
        self.go_on = go_on
        self._links = links
        self._peer = links.peer
        self._is_esme = links.peer.is_esme
        self._receipts = links.inbound.receipts
        self._clock = context.sure_clock
        self._count = context.observer.smpp

    def begin(self, message: OutMessage, ending: Ending[Sent]) -> bool:
        """Begin to send a message, where one PDU carries it; what does not go well at once goes on in a task."""
        if message.media or message.valid_until is not None:
            return False
        try:
            parts = self.parts_of(message)
            if len(parts) > 1:
                return False
            submission = _Submission(self, message, parts[0], ending)
            self._links.put(Waiting(message.account_sid, lane_of(message), write_message(parts[0]), submission))
        except (Stopping, TooLong):
            return False
        self._receipts.awaited += 1
        return True

    def parts_of(self, message: OutMessage, *, reference: int = 0) -> list[ShortMessage]:
        """Return the PDUs of a message; of a long one with a reference. Raises TooLong."""
        user_reference = crc32(message.key.encode()) & 0xFFFF
        text = OutText(message.sender, message.to, message.body, user_reference, self._is_esme, message.raw)
        return parts_of(text, self._peer, reference=reference)

    def end(self, message: OutMessage, response: Response | None) -> Sent:
        """Take that a message that was begun is taken, with this response, or not sent."""
        try:
            return STOPPED if response is None else self.taken(message, response)
        finally:
            self._receipts.awaited -= 1

    def taken(self, message: OutMessage, response: Response) -> Sent:
        """Take that the peer has a message of one PDU."""
        message_id = self.took(response)
        self.keep_id(PartOfLeg(message_id, message.interaction_sid, message_id), ignore)
        return Sent(status=_SENT, resource_sid=message_id)

    def took(self, response: Response) -> str:
        """Count a part as taken; return what the peer calls it."""
        self._count(_SUBMITTED)
        try:
            return read_message_id(response[1])[:_LONGEST_ID]
        except BadBody:
            return ""

    def keep_id(self, part: PartOfLeg, done: NoteDone) -> None:
        """Keep the id of a part, before what follows from it is kept."""
        if not part.message_id:
            done(None)
            return
        try:
            self._receipts.add(part, self._clock(), done)
        except StoreUnavailable as problem:  # the message is sent all the same; its receipt will find nothing
            done(problem)


@final
@mypyc_attr(acyclic=True)
class _Submission:
    """A message of one PDU that no task waits for; implements `Hears`."""

    __slots__ = ("_ending", "_message", "_part", "_submissions")

    def __init__(self, submissions: Submissions, message: OutMessage, part: ShortMessage, ending: Ending[Sent]) -> None:
        self._submissions = submissions
        self._message = message
        self._part = part
        self._ending = ending

    def answered(self, response: Response | None) -> None:
        """Take the response."""
        if response is None or response[0]:
            self._ending.goes_on(partial(self._submissions.go_on, self._message, self._part, response))
            return
        try:
            self._ending.ended(self._submissions.end(self._message, response))
        except Exception as problem:  # noqa: BLE001 - whose connection it is must not end of that
            self._ending.goes_on(partial(raised, problem))

    def unsent(self, why: Exception) -> None:
        """Take that nothing is sent any more."""
        del why
        self._ending.ended(self._submissions.end(self._message, None))


def lane_of(message: OutMessage) -> str:
    """Name a talk, whose messages go over one connection."""
    return f"{message.sender}/{message.to}"


def ignore(problem: StoreUnavailable | None) -> None:
    """Leave it."""


STOPPED: Final = Sent(error="the server stops", may_retry=True)
_LONGEST_ID: Final = 65
_SENT: Final = LegStatus.SENT  # a member is found tenfold faster here than in its class (3.11)
_SUBMITTED: Final = SmppCount.SUBMITTED
