"""What somebody who looks for sessions may type: a name, a whole number, a masked one, the last four digits.

A session's SID is a look-up and not a search. Numbers that were found leave the engine masked, whatever was typed.
"""

import re

import msgspec

from engine.core.model.records import Address, Participant, Session
from engine.core.numbers.e164 import bare, is_channel

MAX_TEXT = 200
"""Characters that are looked at."""

ENDING_DIGITS = 4
"""Digits that `engine.core.numbers.e164.mask` hides, and that may be searched for alone."""

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
