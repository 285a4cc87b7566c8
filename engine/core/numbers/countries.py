"""Which countries' proxy numbers may serve a participant of a country.

Matching is on the dialling code: territories that share one serve each other (GB, GG, IM and JE in +44, for instance),
except in +1, where each country is served by its own numbers and eight island states by those of the US. Whether US and
Canada serve each other is the operator's choice. Source: behaviour 6.5, 18.
"""

from functools import cache
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, country_code_for_region

from engine.core.model.records import Address

SERVED_BY_US: Final = frozenset({"AG", "AI", "BM", "BS", "MS", "TC", "VG", "VI"})
"""Countries of +1 whose participants get US numbers."""

_NANP = 1
_US_AND_CANADA = ("US", "CA")


def is_country_of(address: Address, country: str) -> bool:
    """Tell whether a country is one, and has the dialling code of a number; a short code has none."""
    code = country_code_for_region(country.upper())
    return code != 0 and (not address.startswith("+") or address.startswith(f"+{code}"))


@cache
def serving_countries(identifier_country: str, *, joins_us_and_canada: bool) -> tuple[str, ...]:
    """Name the countries whose numbers may serve a participant, the participant's own country first."""
    code = country_code_for_region(identifier_country)
    if code == _NANP:
        others = _serving_in_nanp(identifier_country, joins_us_and_canada=joins_us_and_canada)
    else:
        others = COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    return (identifier_country, *(country for country in others if country != identifier_country))


def _serving_in_nanp(identifier_country: str, *, joins_us_and_canada: bool) -> tuple[str, ...]:
    if identifier_country in SERVED_BY_US:
        return ("US",)
    if identifier_country in _US_AND_CANADA and joins_us_and_canada:
        return _US_AND_CANADA
    return ()
