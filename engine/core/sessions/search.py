"""What somebody who looks for sessions may type: a name, a whole number, a masked one, the last four digits.

A session's SID is a look-up and not a search. Numbers that were found leave the engine masked, whatever was typed.
"""

import re
from collections.abc import Sequence

import msgspec

from engine.core.model.records import Address, Interaction, Participant, Session
from engine.core.numbers.e164 import bare, is_channel

MAX_TEXT = 200
"""Characters that are looked at."""

ENDING_DIGITS = 4
"""Digits that `engine.core.numbers.e164.mask_address` hides, and that may be searched for alone."""

_WHOLE = re.compile(r"\+?[1-9][0-9]{6,14}")
_MASKED = re.compile(r"\+?([1-9][0-9]{2,10})[Xx]{4}")
_ENDING = re.compile(r"[0-9]{4}")


class SessionSought(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions are meant: those that fit any of these."""

    name: str
    """Unique name."""
    whole: Address | None = None
    """A participant's identifier."""
    beginning: str | None = None
    """Digits, without "+", of a participant's number whose last four are not known."""
    ending: str | None = None
    """The last four digits of a participant's identifier."""
    is_thorough: bool = False
    """Whether the last four digits may take as long as any search; otherwise older sessions are soon left out."""

    @property
    def is_name(self) -> bool:
        """Whether the text can be no number."""
        return self.whole is None and self.beginning is None and self.ending is None


class FoundSession(msgspec.Struct, frozen=True):
    """A session that was sought, and who is or was in it."""

    session: Session
    participants: tuple[Participant, ...]


class FoundSessions(msgspec.Struct, frozen=True):
    """What a search found, newest first."""

    sessions: tuple[FoundSession, ...]
    is_cut: bool
    """There are more, or the search was given up before its end."""
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose sessions are missing."""
    looked_back_to: float | None = None
    """UTC epoch seconds; of the sessions made before, not all were looked at; None = nobody can tell, or all were."""


class InteractionSought(msgspec.Struct, frozen=True, kw_only=True):
    """Which interactions are meant: those with this SID, or over this number."""

    resource_sid: str | None = None
    """What a carrier calls either leg: CallSid, MessageSid, or whatever else it sent as such."""
    proxy: Address | None = None
    """The proxy number reached."""


class FoundInteractions(msgspec.Struct, frozen=True):
    """What a search for interactions found, newest first."""

    interactions: tuple[Interaction, ...]
    has_more: bool = False
    """There are older ones."""
    looked_back_to: float | None = None
    """UTC epoch seconds before which nothing was looked at, for want of time; None = all was looked at."""
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose interactions are missing."""


def joined(answers: Sequence[FoundInteractions], *, most: int, silent: tuple[str, ...]) -> FoundInteractions:
    """Put together what several hosts have found; at most n, the newest."""
    found = sorted((found for one in answers for found in one.interactions), key=lambda one: one.sid, reverse=True)
    has_more = len(found) > most or any(one.has_more for one in answers)
    looked = [one.looked_back_to for one in answers if one.looked_back_to is not None]
    return FoundInteractions(tuple(found[:most]), has_more, max(looked, default=None), silent)


def read_search(text: str) -> SessionSought | None:
    """Tell what a text that was typed may mean; None for one that is empty or too long."""
    name = text.strip()
    if not name or len(name) > MAX_TEXT:
        return None
    number = bare(name)
    if is_channel(name):
        return SessionSought(name=name, whole=number)
    if (masked := _MASKED.fullmatch(number)) is not None:
        return SessionSought(name=name, beginning=masked[1])
    if _ENDING.fullmatch(number) is not None:
        return SessionSought(name=name, ending=number)
    if _WHOLE.fullmatch(number) is not None:
        return SessionSought(name=name, whole=number if number.startswith("+") else f"+{number}")
    return SessionSought(name=name)
