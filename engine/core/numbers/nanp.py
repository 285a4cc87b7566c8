"""Geography of the North American Numbering Plan: which area codes serve the same place, which serve near ones.

Works by area code, not by rate centre: a person's number tells where it was issued, and numbers move with people, so
that anything finer would only look exact. Source: behaviour 6.3 step 4; the table is `engine.core.numbers.nanp_areas`.
"""

from functools import cache
from math import asin, cos, radians, sin, sqrt
from typing import Final

from engine.core.model.records import Address
from engine.core.numbers.nanp_areas import TERRITORIES, TOLL_FREE

NEAR_KILOMETRES: Final = 80.0
"""Greatest distance between the middles of two territories that are near each other (50 miles)."""

_NANP_LENGTH = 12
"""Characters of "+1" and ten digits."""
_EARTH_RADIUS_KILOMETRES = 6371.0


def area_code(address: Address) -> str | None:
    """Return the three-digit area code of a number in +1, None for any other address."""
    number = address.removeprefix("whatsapp:")
    return number[2:5] if len(number) == _NANP_LENGTH and number.startswith("+1") else None


@cache
def overlay_of(code: str) -> frozenset[str]:
    """Return the area codes that serve the same territory or one of the same territories, the code itself included."""
    if code in TOLL_FREE.split():
        return frozenset(TOLL_FREE.split())
    return frozenset((code,)).union(*(codes.split() for codes, _, _ in TERRITORIES if code in codes))


@cache
def near(code: str) -> frozenset[str]:
    """Return the area codes of the same territories and of those within `NEAR_KILOMETRES`, across borders too."""
    places = [(latitude, longitude) for codes, latitude, longitude in TERRITORIES if code in codes]
    return overlay_of(code).union(
        *(
            codes.split()
            for codes, latitude, longitude in TERRITORIES
            if any(_kilometres(place, (latitude, longitude)) <= NEAR_KILOMETRES for place in places)
        )
    )


def _kilometres(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the great-circle distance of two positions in degrees (haversine)."""
    (from_latitude, from_longitude), (to_latitude, to_longitude) = start, end
    half_rise = radians(to_latitude - from_latitude) / 2
    half_turn = radians(to_longitude - from_longitude) / 2
    chord = sin(half_rise) ** 2 + cos(radians(from_latitude)) * cos(radians(to_latitude)) * sin(half_turn) ** 2
    return 2 * _EARTH_RADIUS_KILOMETRES * asin(sqrt(chord))
