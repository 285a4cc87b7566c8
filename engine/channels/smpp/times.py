"""Times of SMPP: sixteen characters, absolute or relative; sans-IO.

Source: SMPP 3.4 7.1.1.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final


def valid_until(text: str, now: float) -> float | None:
    """Return until when a validity_period reaches, UTC epoch seconds; None where it cannot be read: no bound."""
    found = _TIME(text)
    if found is None:
        return None
    *parts, tenths, quarters, sign = found.groups()
    years, months, days, hours, minutes, seconds = map(int, parts)
    try:
        if sign == "R":
            days += 365 * years + 30 * months
            return now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        at = datetime(
            2000 + years,
            months,
            days,
            hours,
            minutes,
            seconds,
            int(tenths) * 100_000,
            UTC,
        )
        return at.timestamp() - (1 if sign == "+" else -1) * int(quarters) * _QUARTER
    except ValueError:
        return None


def relative(seconds: int) -> str:
    """Return a validity_period of so many seconds, at the most 99 days."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"0000{days:02d}{hour:02d}{minute:02d}{second:02d}000R"


def absolute(at: float) -> str:
    """Return a time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M%S") + "000+"


_TIME: Final = re.compile(r"(\d\d)" * 6 + r"(\d)(\d\d)([-+R])", re.ASCII).fullmatch
_QUARTER: Final = 900.0
"""Seconds in which zones are counted."""
