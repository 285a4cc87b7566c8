"""Classes of octets in SIP messages, and how far octets of a class reach; mypyc compiles this module.

Source: RFC 3261 25.1.
"""

from typing import Final

from mypy_extensions import i64

TOKEN: Final = 1
URI: Final = 2
DISPLAY: Final = 4
VALUE: Final = 8
PARAMETER: Final = 16
VISIBLE: Final = 32
HOST: Final = 64
DIGIT: Final = 128
"""Classes of octets, a bit each."""


_DELETE: Final = 0x7F


def _classes_of(octet: int) -> int:
    character = chr(octet)
    is_letter_or_digit = character.isascii() and character.isalnum()
    is_visible = octet > ord(" ") and octet != _DELETE
    return sum(
        (
            TOKEN * (is_letter_or_digit or character in ".!%*_+`'~-"),
            URI * (is_visible and character not in "<>"),
            DISPLAY * (character not in '"<>'),
            VALUE * (is_visible and character not in ';,"'),
            PARAMETER * (is_visible and character not in ';"'),
            VISIBLE * (is_visible and character.isascii()),
            HOST * (is_letter_or_digit or character in "._-"),
            DIGIT * (character.isascii() and character.isdigit()),
        )
    )


_CLASSES: Final = bytes([_classes_of(octet) for octet in range(256)])


def end_of(data: bytes, at: i64, end: i64, kind: i64) -> i64:
    """Return where the octets of a class end that begin at a place."""
    classes = _CLASSES
    while at < end and i64(classes[i64(data[at])]) & kind != 0:
        at += 1
    return at
