"""Whether the wall clock can be believed: it is compared with one that only counts on. Both are told, none is read.

A wall clock may jump: by an operator's hand, a wrong time server, a machine that was copied. What cannot be undone
(closing a session, erasing it) waits for the time that both clocks agree has come; what can be, goes by the wall clock.
"""

from typing import Final, final

STEP_SECONDS: Final = 2.0
"""A clock that is corrected moves by less between two looks: time servers slew it by half a millisecond a second."""


@final
class ClockGuard:
    """Follows a wall clock while it is corrected little by little, and remembers by how much it has jumped."""

    __slots__ = ("_steady", "_wall", "ahead_seconds")

    def __init__(self, *, wall: float, steady: float) -> None:
        """Take both clocks as they are; the wall clock is believed at first."""
        self._wall = wall
        self._steady = steady
        self.ahead_seconds = 0.0
        """By how much the wall clock is ahead of where it would be without its jumps; negative: behind."""

    def look(self, *, wall: float, steady: float) -> float:
        """Take what both clocks say now, often; returns the time that has surely come, in epoch seconds."""
        ahead = self.ahead_seconds + (wall - self._wall) - (steady - self._steady)
        self._wall, self._steady = wall, steady
        self.ahead_seconds = 0.0 if abs(ahead) <= STEP_SECONDS else ahead
        return wall - max(0.0, self.ahead_seconds)
