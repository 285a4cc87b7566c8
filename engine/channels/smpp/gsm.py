"""The GSM 7-bit default alphabet with its extension table, a septet an octet or packed; sans-IO.

Source: 3GPP TS 23.038 6.
"""

from codecs import charmap_decode, charmap_encode
from typing import Final

_TABLE: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
ESCAPE: Final = 0x1B
_UNKNOWN: Final = "\ufffd"

_SEPTETS: Final = {ord(character): septet for septet, character in enumerate(_TABLE) if septet != ESCAPE} | {
    ord(character): bytes([ESCAPE, septet]) for septet, character in _EXTENSION.items()
}
_NO_SEPTET: Final = 0xFF
_OF_ASCII: Final = bytes(
    [septet if isinstance(septet := _SEPTETS.get(octet), int) else _NO_SEPTET for octet in range(256)]
)
"""Of each character of ASCII, its septet where it is a single one: most texts have no others, and then need no dict."""
_CHARACTERS: Final = _TABLE.replace("\x1b", _UNKNOWN) + _UNKNOWN * (256 - len(_TABLE))
"""Of each octet, where none is an escape."""


def decode_gsm(octets: bytes) -> str:
    """Return the text of septets, one an octet; what is no septet becomes U+FFFD.

    An escape before what is not in the extension table shows the plain character, as the standard asks of phones.
    """
    if ESCAPE not in octets:
        return charmap_decode(octets, "strict", _CHARACTERS)[0]
    characters = []
    is_escaped = False
    for octet in octets:
        if octet == ESCAPE and not is_escaped:
            is_escaped = True
            continue
        plain = _CHARACTERS[octet]
        characters.append(_EXTENSION.get(octet, plain) if is_escaped else plain)
        is_escaped = False
    return "".join(characters)


def encode_gsm(text: str) -> bytes | None:
    """Return the septets of a text, one an octet; None where a character is not in the alphabet."""
    if text.isascii():
        septets = text.encode("ascii").translate(_OF_ASCII)
        if _NO_SEPTET not in septets:
            return septets
    try:
        return charmap_encode(text, "strict", _SEPTETS)[0]
    except UnicodeEncodeError:
        return None


def unpack_septets(octets: bytes, count: int, *, skipped_bits: int = 0) -> bytes:
    """Return septets that were packed, seven bits each, one an octet; the first bits may be padding behind a header."""
    bits = int.from_bytes(octets, "little") >> skipped_bits
    held = (len(octets) * 8 - skipped_bits) // 7
    return bytes([bits >> 7 * place & 0x7F for place in range(max(0, min(count, held)))])


def pack_septets(septets: bytes, *, skipped_bits: int = 0) -> bytes:
    """Return septets packed, seven bits each, behind so many bits of padding."""
    bits = 0
    for place, septet in enumerate(septets):
        bits |= septet << 7 * place
    return (bits << skipped_bits).to_bytes((len(septets) * 7 + skipped_bits + 7) // 8, "little")
