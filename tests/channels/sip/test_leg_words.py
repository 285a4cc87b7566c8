"""What switches say of a leg, and the state that it then has."""

import pytest

from engine.channels.sip.leg_words import read_leg
from engine.core.model.records import LegStatus

FAILED = LegStatus.FAILED


@pytest.mark.parametrize(
    ("word", "code", "cause", "status", "why"),
    [
        ("in-progress", 200, None, LegStatus.IN_PROGRESS, ""),
        ("completed", 200, 16, LegStatus.COMPLETED, ""),
        ("ANSWER", None, 16, LegStatus.COMPLETED, ""),
        ("BUSY", None, 17, LegStatus.BUSY, ""),
        ("NOANSWER", None, 19, LegStatus.NO_ANSWER, ""),
        ("CANCEL", None, 0, LegStatus.CANCELED, ""),
        ("CONGESTION", None, 34, FAILED, "network"),
        ("CHANUNAVAIL", None, 20, FAILED, "network"),
        ("CHANUNAVAIL", None, 1, FAILED, "no such number"),
        ("DONTCALL", None, None, FAILED, "declined"),
        ("TORTURE", None, None, FAILED, "declined"),
        ("INVALIDARGS", None, None, FAILED, "invalid arguments"),
        *(("failed", code, None, LegStatus.BUSY, "") for code in (486, 600)),
        *(("failed", code, None, LegStatus.NO_ANSWER, "") for code in (408, 480)),
        ("failed", 487, None, LegStatus.CANCELED, ""),
        *(("failed", code, None, FAILED, "declined") for code in (403, 603, 607, 608)),
        *(("failed", code, None, FAILED, "no such number") for code in (404, 410, 484, 604)),
        *(("failed", code, None, FAILED, "network") for code in (500, 503, 513)),
        ("failed", 488, None, FAILED, "SIP 488"),
        *(("failed", None, cause, LegStatus.NO_ANSWER, "") for cause in (18, 19)),
        ("failed", None, 21, FAILED, "declined"),
        *(("failed", None, cause, FAILED, "no such number") for cause in (1, 28)),
        *(("failed", None, cause, FAILED, "network") for cause in (34, 38, 41, 42)),
        ("failed", None, 16, FAILED, "Q.850 cause 16"),
        ("failed", None, 127, FAILED, "Q.850 cause 127"),
        ("failed", None, None, FAILED, ""),
        ("", 200, None, LegStatus.COMPLETED, ""),
        ("", None, 16, LegStatus.COMPLETED, ""),
        ("", 486, None, LegStatus.BUSY, ""),
        ("gone fishing", None, None, LegStatus.UNKNOWN, ""),
    ],
)
def test_a_code_tells_more_than_a_word(  # noqa: PLR0917 - a row
    word: str, code: int | None, cause: int | None, status: LegStatus, why: str
) -> None:
    """But only where the word says no more than that it failed."""
    assert read_leg(word, code, cause) == (status, why)


def test_a_word_of_messages_is_none_of_calls() -> None:
    """And is told so."""
    with pytest.raises(ValueError, match="no status of a call"):
        read_leg("delivered", None, None)
