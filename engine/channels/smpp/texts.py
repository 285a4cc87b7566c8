"""Texts of short messages: which alphabet a data_coding means, and which one a text needs; sans-IO.

Source: SMPP 3.4 5.2.19, 3GPP TS 23.038 4.
"""

from enum import StrEnum
from typing import Final
from unicodedata import combining, normalize

from engine.channels.smpp.gsm import ESCAPE, decode_gsm, encode_gsm, unpack_septets
from engine.core.model.records import RawText
from engine.core.structs import Leaf


class Alphabet(StrEnum):
    """What octets without a declared alphabet are, by agreement with a peer; closed."""

    GSM = "gsm"
    """A septet an octet."""
    GSM_PACKED = "gsm-packed"
    """Eight septets in seven octets."""
    LATIN_1 = "latin1"
    ASCII = "ascii"
    UTF_8 = "utf8"


class NotText(StrEnum):
    """What is no text; closed."""

    BINARY = "binary"
    """8-bit data: passed on untouched where that is possible."""
    WAITING = "waiting"
    """An indication that voice mail or the like waits: dropped."""


class Reading(Leaf, frozen=True, gc=False):
    """How the octets of a peer are read."""

    agreed: Alphabet = Alphabet.GSM
    """What data_coding 0 means, and all that the standard reserves."""
    ia5: Alphabet = Alphabet.GSM
    """What data_coding 1 means."""
    is_little_endian: bool = False
    """UCS-2 without a byte order mark."""
    finds_ucs2: bool = False
    """Octets under data_coding 0 of which every other one is 0 are UCS-2."""

    @property
    def is_packed(self) -> bool:
        """Tell whether octets may hold septets side by side: cut or joined they are another text."""
        return Alphabet.GSM_PACKED in {self.agreed, self.ia5}

    @property
    def name(self) -> str:
        """Return what is the same for two peers that are read alike."""
        alphabets = self.agreed if self.ia5 is self.agreed else f"{self.agreed} {self.ia5}"
        return f"{alphabets}{' le' if self.is_little_endian else ''}{' ucs2' if self.finds_ucs2 else ''}"


class EncodedText(Leaf, frozen=True, gc=False):
    """A text in octets."""

    data_coding: int
    octets: bytes
    """Septets, an octet each, where the alphabet is one of septets, packed or not."""
    alphabet: Alphabet | None
    """The agreed one; None = UCS-2."""

    @property
    def is_septets(self) -> bool:
        """Tell septets, an octet each, from octets."""
        return self.alphabet in _SEPTETS


def decode(octets: bytes, data_coding: int, *, reading: Reading, header_bytes: int = 0) -> str | NotText:
    """Return the text of a message; octets that are none in its alphabet become U+FFFD, never an error.

    `header_bytes` is the length of a user data header that stood
    before the octets: packed septets begin at the next boundary behind it.
    """
    meaning = _MEANINGS[data_coding]
    if isinstance(meaning, NotText):
        return meaning
    if meaning:
        return _by_codec(octets, meaning, is_little_endian=reading.is_little_endian)
    if reading.finds_ucs2 and data_coding == _AGREED and _looks_like_ucs2(octets):
        return _by_codec(octets, _UTF_16, is_little_endian=False)
    alphabet = reading.ia5 if data_coding == _IA5 else reading.agreed
    match alphabet:
        case Alphabet.GSM:
            return decode_gsm(octets)
        case Alphabet.GSM_PACKED:
            padding = septet_padding(header_bytes)
            return decode_gsm(unpack_septets(octets, (len(octets) * 8 - padding) // 7, skipped_bits=padding))
        case Alphabet.LATIN_1 | Alphabet.ASCII | Alphabet.UTF_8:
            return octets.decode(_CODECS[alphabet], "replace")


def encode(text: str, *, default: Alphabet, transliterates: bool = False, prefers_latin1: bool = False) -> EncodedText:
    """Return a text in the agreed alphabet where every character is in it, else in UCS-2.

    UTF-16 in fact: an emoji is a surrogate pair. With `transliterates`, look-alikes stand for what is not in it, where
    there is one for each. With `prefers_latin1`, what is in both alphabets is declared as Latin-1.
    """
    octets = _encode_agreed(text, default)
    if octets is None and transliterates:
        octets = _encode_agreed(_with_look_alikes(text, default), default)
    if octets is None:
        return EncodedText(_UCS_2, text.encode(_UTF_16, "replace"), None)
    if prefers_latin1 and (latin := _encode_agreed(text, Alphabet.LATIN_1)) is not None:
        return EncodedText(_LATIN_1, latin, Alphabet.LATIN_1)
    return EncodedText(_AGREED, octets, default)


def _with_look_alikes(text: str, alphabet: Alphabet) -> str:
    return "".join([one if _encode_agreed(one, alphabet) is not None else _look_alike(one) for one in text])


def _look_alike(character: str) -> str:
    """Return what stands for a character: the letter without its marks, or a plain sign."""
    plain = _SIGNS.get(character)
    if plain is not None:
        return plain
    return "".join([one for one in normalize("NFKD", character) if not combining(one)])


def raw_of(octets: bytes, data_coding: int, *, reading: Reading) -> RawText | None:
    """Return a text as it came; None where its octets would be the same, read and written again."""
    if data_coding == _AGREED and reading.agreed is Alphabet.GSM and octets.isascii() and ESCAPE not in octets:
        return None
    return RawText(reading.name, data_coding, octets)


def as_it_came(raw: RawText, *, reading: Reading, keeps_class: bool = False) -> EncodedText | None:
    """Return a text untouched, for a peer that reads it as its sender does; None where it has to be written anew.

    A wrong table then damages nothing: nobody but us has read the text by it. With `keeps_class`, a message that is to
    be shown at once stays one.
    """
    if raw.alphabet != reading.name or reading.is_packed:
        return None
    meaning, is_whole = _meaning(raw.data_coding), len(raw.octets) <= _ONE_MESSAGE
    if isinstance(meaning, NotText):
        return None
    coding = raw.data_coding if keeps_class else _without_class(raw.data_coding)
    if meaning == _DEFAULT and coding == _IA5:  # some read the standard's alphabet under it whatever was agreed on
        return EncodedText(_AGREED, raw.octets, reading.agreed) if reading.ia5 is reading.agreed else None
    if meaning == _DEFAULT:
        return EncodedText(coding, raw.octets, reading.agreed)
    if meaning == _UTF_16:
        is_sound = len(raw.octets) % 2 == 0 and (is_whole or not reading.is_little_endian)
        return EncodedText(coding, raw.octets, None) if is_sound else None
    may_be_cut = is_whole or meaning == _CODECS[Alphabet.LATIN_1]
    return EncodedText(coding, raw.octets, Alphabet.LATIN_1) if may_be_cut else None


def _without_class(data_coding: int) -> int:
    """Return a data_coding that does not say where on the phone a text is to be."""
    if data_coding >> 4 not in _WITH_CLASS:
        return data_coding
    return _UCS_2 if _meaning(data_coding) == _UTF_16 else _AGREED


def pieces(text: EncodedText, most: int) -> list[bytes]:
    """Return the octets of a text in pieces of `most` at the most, cut between two characters."""
    octets, start, found = text.octets, 0, []
    while len(octets) - start > most:
        end = _end_of_piece(text, start + most)
        found.append(octets[start:end])
        start = end
    return [*found, octets[start:]]


def _end_of_piece(text: EncodedText, end: int) -> int:
    """Return the last place, no later than `end`, where no escaped character, surrogate pair or sequence is cut."""
    octets = text.octets
    if text.alphabet is None:
        end -= end % 2
        return end - 2 if octets[end - 2] & 0xFC == _HIGH_SURROGATE else end
    if text.alphabet is Alphabet.UTF_8:
        while octets[end] & 0xC0 == _CONTINUES:
            end -= 1
    elif text.is_septets and octets[end - 1] == ESCAPE:
        end -= 1
    return end


def septet_padding(header_bytes: int) -> int:
    """Return how many bits stand between a user data header and the first packed septet."""
    return -header_bytes * 8 % 7


def read_text(
    octets: bytes, data_coding: int, *, reading: Reading, header_bytes: int = 0
) -> tuple[str | NotText, RawText | None]:
    """Return the text of a message as `decode` does, and as it came."""
    text = decode(octets, data_coding, reading=reading, header_bytes=header_bytes)
    return text, raw_of(octets, data_coding, reading=reading)


def not_text(data_coding: int) -> NotText | None:
    """Tell what a message is instead of text; None = it is one."""
    meaning = _MEANINGS[data_coding]
    return meaning if isinstance(meaning, NotText) else None


def _encode_agreed(text: str, alphabet: Alphabet) -> bytes | None:
    if alphabet in _SEPTETS:
        return encode_gsm(text)
    try:
        return text.encode(_CODECS[alphabet])
    except UnicodeEncodeError:
        return None


def _meaning(data_coding: int) -> str | NotText:
    """Return the codec that a data_coding means, `_DEFAULT` for the agreed alphabet, or what it is instead of text."""
    low = data_coding & 0xF
    match data_coding >> 4:
        case 0x0:
            return _PLAIN.get(low, _DEFAULT)
        case 0x1:  # a message class, the alphabet in two bits
            return (_DEFAULT, NotText.BINARY, _UTF_16, _DEFAULT)[low >> 2]
        case 0xC | 0xD | 0xE:
            return NotText.WAITING
        case 0xF:  # data coding and message class
            return NotText.BINARY if low & 0x4 else _DEFAULT
        case _:
            return _DEFAULT


def _by_codec(octets: bytes, codec: str, *, is_little_endian: bool) -> str:
    if codec != _UTF_16:
        return octets.decode(codec, "replace")
    if octets.startswith(_LITTLE_ENDIAN) or (is_little_endian and not octets.startswith(_BIG_ENDIAN)):
        return octets.removeprefix(_LITTLE_ENDIAN).decode("utf-16-le", "replace")
    return octets.removeprefix(_BIG_ENDIAN).decode(_UTF_16, "replace")


def _looks_like_ucs2(octets: bytes) -> bool:
    return bool(octets) and len(octets) % 2 == 0 and not any(octets[::2])


_AGREED, _IA5, _LATIN_1, _UCS_2 = 0x00, 0x01, 0x03, 0x08
_WITH_CLASS: Final = frozenset({0x1, 0xF})
_SIGNS: Final = dict(
    zip("\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u00a0", ("'", "'", '"', '"', "-", "-", "...", " "), strict=True)
)
"""Quotation marks, dashes, an ellipsis, a space that does not break."""
_ONE_MESSAGE = 140
"""Octets that need not be cut, where a character may have several of them."""
_HIGH_SURROGATE, _CONTINUES = 0xD8, 0x80
"""Bits of the first octet of a surrogate pair, and of those that follow the first one in UTF-8."""
_DEFAULT: Final = ""
_UTF_16: Final = "utf-16-be"
_BIG_ENDIAN, _LITTLE_ENDIAN = b"\xfe\xff", b"\xff\xfe"
_SEPTETS: Final = frozenset({Alphabet.GSM, Alphabet.GSM_PACKED})
_CODECS: Final = {Alphabet.LATIN_1: "latin-1", Alphabet.ASCII: "ascii", Alphabet.UTF_8: "utf-8"}
_PLAIN: Final[dict[int, str | NotText]] = {
    0x2: NotText.BINARY,
    0x3: "latin-1",
    0x4: NotText.BINARY,
    0x5: "shift_jis",
    0x6: "iso8859-5",
    0x7: "iso8859-8",
    0x8: _UTF_16,
    0xA: "iso2022_jp",
    0xD: "euc_jisx0213",
    0xE: "euc_kr",
}
"""By the low four bits, where the high ones are 0; what is not here is the agreed alphabet."""
_MEANINGS: Final = tuple(map(_meaning, range(256)))
"""Of each data_coding."""
