"""What switches say of a leg: words of Asterisk and ours, final SIP codes, Q.850 causes; pure.

Source: RFC 3261 21; ITU-T Q.850; DIALSTATUS of Asterisk's Dial.
"""

from typing import Final

from engine.core.model.records import Kind, LegStatus
from engine.core.routing.legs import read_status

_DECLINED, _NO_NUMBER, _NETWORK = "declined", "no such number", "network"
_Read = tuple[LegStatus, str]
"""A state, and why it failed."""

_BUSY: Final[_Read] = (LegStatus.BUSY, "")
_NO_ANSWER: Final[_Read] = (LegStatus.NO_ANSWER, "")
_CANCELED: Final[_Read] = (LegStatus.CANCELED, "")
_COMPLETED: Final[_Read] = (LegStatus.COMPLETED, "")

_WORDS: Final[dict[str, _Read]] = {
    "answer": _COMPLETED,
    "noanswer": _NO_ANSWER,
    "cancel": _CANCELED,
    "congestion": (LegStatus.FAILED, _NETWORK),
    "chanunavail": (LegStatus.FAILED, _NETWORK),
    "dontcall": (LegStatus.FAILED, _DECLINED),
    "torture": (LegStatus.FAILED, _DECLINED),
    "invalidargs": (LegStatus.FAILED, "invalid arguments"),
}
"""Asterisk's, in lower case, that are not ours too."""

_CODES: Final[dict[int, _Read]] = {
    **dict.fromkeys((486, 600), _BUSY),
    **dict.fromkeys((408, 480), _NO_ANSWER),
    487: _CANCELED,
    **dict.fromkeys((403, 603, 607, 608), (LegStatus.FAILED, _DECLINED)),
    **dict.fromkeys((404, 410, 484, 604), (LegStatus.FAILED, _NO_NUMBER)),
}
_CAUSES: Final[dict[int, _Read]] = {
    16: _COMPLETED,
    17: _BUSY,
    **dict.fromkeys((18, 19), _NO_ANSWER),
    21: (LegStatus.FAILED, _DECLINED),
    **dict.fromkeys((1, 28), (LegStatus.FAILED, _NO_NUMBER)),
    **dict.fromkeys((34, 38, 41, 42), (LegStatus.FAILED, _NETWORK)),
}
_SUCCESS = range(200, 300)
_SERVER_FAILURE = range(500, 600)


def read_leg(word: str, code: int | None, cause: int | None) -> _Read:
    """Return the state of a leg, and why it failed; UNKNOWN for a word that we do not know.

    A code, or else a cause, tells more than `failed`, and alone it is enough. Raises ValueError: a word of messages.
    """
    known = _WORDS.get(word.strip().lower())
    read = known or ((read_status(word, Kind.VOICE), "") if word else (LegStatus.FAILED, ""))
    if read[0] is not LegStatus.FAILED:
        return read
    told = _of_code(code) or _CAUSES.get(cause or 0)
    if told is None or (told is _COMPLETED and word):
        return read if read[1] or (code is None and cause is None) else (LegStatus.FAILED, _named(code, cause))
    return told


def _of_code(code: int | None) -> _Read | None:
    if code in _SUCCESS:
        return _COMPLETED
    if code in _SERVER_FAILURE:
        return LegStatus.FAILED, _NETWORK
    return _CODES.get(code or 0)


def _named(code: int | None, cause: int | None) -> str:
    return f"SIP {code}" if code is not None else f"Q.850 cause {cause}"
