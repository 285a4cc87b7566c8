"""Delivery receipts: what a peer says became of a message, and of which; sans-IO.

The text of a receipt is by custom only (SMPP 3.4 appendix B). It is read by its keys, in any order and case, up to the
message that it may quote, and yields to the optional parameters (5.3.2.12, 5.3.2.31, 5.3.2.35).
"""

import re
from typing import Final

from engine.channels.smpp.pdu import ShortMessage, Tag
from engine.core.model.records import LegStatus
from engine.core.structs import Leaf


class Receipt(Leaf, frozen=True, gc=False):
    """What is said of one message, or of a part of one."""

    message_id: str
    """As the peer writes it."""
    status: LegStatus | None
    """None = it does not say, or nothing that a leg can be in."""
    error: str = ""
    """The network's code, as it stands; empty or zeros where there was none."""


def is_receipt(message: ShortMessage, *, by_text: bool = False) -> bool:
    """Tell a receipt from a message; also a notification on the way and a phone's own acknowledgement.

    `by_text`: from this peer a text that reads like one is one, whatever its esm_class.
    """
    kind = message.esm_class & _KIND
    return (kind and kind in _RECEIPTS) or (by_text and bool(_READS_LIKE_ONE(message.payload)))


def read_receipt(message: ShortMessage) -> Receipt | None:
    """Return what a receipt says; None where it names no message."""
    told = _QUOTED_MESSAGE.split(message.payload.decode("latin-1"), maxsplit=1)[0]
    found: list[tuple[str, str]] = _FIELDS(told)
    fields = {key.lower(): value for key, value in reversed(found)}
    given_id = message.optional.get(Tag.RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    message_id = given_id or fields.get("id", "")
    if not message_id:
        return None
    state = message.optional.get(Tag.MESSAGE_STATE, b"")
    word = _STATES.get(state[0]) if len(state) == 1 else fields.get("stat", "").upper()[:7]
    code = message.optional.get(Tag.NETWORK_ERROR_CODE, b"")
    error = str(int.from_bytes(code[1:])) if len(code) == _NETWORK_CODE_BYTES else fields.get("err", "")
    return Receipt(message_id, _STATUSES.get(word or ""), error)


def write_receipt(message_id: str, state: str, *, submitted: str, done: str) -> bytes:
    """Return the text of a receipt; `state` is a word such as DELIVRD, the times are YYMMDDhhmm in UTC."""
    delivered = "001" if state == "DELIVRD" else "000"
    return (
        f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{submitted} done date:{done} stat:{state} err:000 text:"
    ).encode("latin-1")


def word_of(status: LegStatus) -> str | None:
    """Return the word that tells a peer the state of a leg; None where there is nothing to tell yet."""
    return _WORDS.get(status)


def form_of(message_id: str) -> str:
    """Return the form under which an id is kept: case folded, a number without leading zeros."""
    folded = message_id.strip().lower()
    if not folded.startswith("0"):
        return folded
    return folded.lstrip("0") or "0" if _HEX(folded) or _DECIMAL(folded) else folded


def forms_of(message_id: str) -> frozenset[str]:
    """Return the forms under which the message of a receipt may be kept: as `form_of`, hex for decimals and back.

    Peers write one id differently in a response and in its receipt: case, leading zeros, hex here and decimals there.
    """
    form = form_of(message_id)
    forms = {form}
    if _DECIMAL(form):
        forms.add(f"{int(form):x}")
    if _HEX(form):
        forms.add(str(int(form, 16)))
    return frozenset(forms)


_KIND: Final = 0x3C
_READS_LIKE_ONE = re.compile(rb"\s*id\s*:.*\bstat\s*:", re.IGNORECASE | re.DOTALL).match
_RECEIPTS: Final = frozenset({0x04, 0x08, 0x10, 0x20})
_NETWORK_CODE_BYTES = 3
_QUOTED_MESSAGE = re.compile(r"text\s*:", re.IGNORECASE)
_KEY = r"(?:(?<!\S)id|sub|dlvrd|submit[ _]date|done[ _]date|stat|err)\s*:"
_FIELDS = re.compile(rf"((?<!\S)id|stat|err)\s*:\s*(.*?)\s*(?={_KEY}|$)", re.IGNORECASE | re.DOTALL).findall
_DECIMAL: Final = re.compile(r"[0-9]{1,20}").fullmatch
_HEX: Final = re.compile(r"[0-9a-f]{1,16}").fullmatch
_STATES: Final = {
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}
_STATUSES: Final = {
    "ENROUTE": LegStatus.SENT,
    "ACCEPTD": LegStatus.SENT,
    "DELIVRD": LegStatus.DELIVERED,
    "EXPIRED": LegStatus.UNDELIVERED,
    "DELETED": LegStatus.UNDELIVERED,
    "UNDELIV": LegStatus.UNDELIVERED,
    "SKIPPED": LegStatus.UNDELIVERED,
    "REJECTD": LegStatus.FAILED,
}
"""By the first seven letters of the word."""
STATE_OF: Final = {word: state for state, word in _STATES.items()}
"""message_state of each word."""
FINAL_WORDS: Final = frozenset(_STATES.values()) - {"ENROUTE", "UNKNOWN"}
"""Of what we tell: nothing follows on these. A leg of which nobody knows whether it was sent may yet be reported."""
_WORDS: Final = {
    LegStatus.SENT: "ENROUTE",
    LegStatus.DELIVERED: "DELIVRD",
    LegStatus.UNDELIVERED: "UNDELIV",
    LegStatus.FAILED: "REJECTD",
    LegStatus.CANCELED: "DELETED",
    LegStatus.DELIVERY_UNKNOWN: "UNKNOWN",
}
