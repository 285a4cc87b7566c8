"""What a debugger event means to somebody on call, and what they can do about it, by code."""

from collections.abc import Mapping
from typing import Final

from engine.core.model.errors import Code

_STRANGER: Final = (
    "The sender is in no active session with this number: a stranger, or somebody whose session has closed. Search for"
    " their number: the page of their session says when it ended and why. If it was to go on, the application opens it"
    " again or makes another."
)
_ANSWER: Final = "The application answered its webhook with what cannot be used. Its developers need the request below."
_REACH: Final = (
    "The application's webhook could not be had. See whether it answers at that address, from this server; hooks that"
    " were asked meanwhile let calls and messages pass or not as the service says."
)
_REPORT: Final = (
    "The carrier told the state of a leg that is not open: it told it twice or too late, or the call was another's. One"
    " now and then is harmless; many mean that its status URL leads to the wrong server."
)

ADVICE: Final[Mapping[int, str]] = {
    Code.NO_ACTIVE_SESSION: _STRANGER,
    Code.UNKNOWN_SCENARIO: _STRANGER,
    Code.SESSION_EXPIRED: (
        "The session had reached its end, or nobody had used it for its idle limit. If that was too soon, the"
        " application sets a later DateExpiry or a longer Ttl."
    ),
    Code.NO_PARTNER: "The session has one participant alone. The application has not added the other, or removed them.",
    Code.STOP_WORD: "The sender wrote a word such as STOP; the text was not passed on. Nothing is to be mended.",
    Code.CONTACT_REJECTED: "The application's intercept hook refused it with 403. Ask its developers why.",
    Code.MESSAGE_TO_VOICE_ONLY: "The session lets calls alone pass. The application made it so.",
    Code.CALL_TO_MESSAGE_ONLY: "The session lets messages alone pass. The application made it so.",
    Code.MESSAGE_WITHOUT_CONTENT: "The carrier delivered a message without text or media; nothing was passed on.",
    Code.TOO_MANY_MEDIA: "The message had more media than are passed on; those beyond the limit were left out.",
    Code.CALLBACK_FAILED: (
        "A callback or hook of the application failed. Callbacks are tried again, then kept as dead letters: when the"
        " receiver is well, maskline outbox replay delivers them."
    ),
    Code.OUT_OF_SESSION_CALLBACK_FAILED: (
        "The application's out-of-session hook failed, so the caller heard the refusal of the service. See whether it"
        " answers at that address."
    ),
    Code.WEBHOOK_FETCH_FAILED: _REACH,
    Code.WEBHOOK_UNREACHABLE: _REACH,
    Code.WEBHOOK_RESPONSE_TOO_LARGE: _ANSWER,
    Code.TWIML_INVALID: _ANSWER,
    Code.TWIML_CONTENT_TYPE: _ANSWER,
    Code.DOWNSTREAM_ERROR: (
        "The carrier did not take what was sent, or did not answer. It is tried again; the page Outbox shows how often"
        " and when, the page Peers whether the carrier can be reached."
    ),
    Code.DOWNSTREAM_REJECTED: (
        "The carrier refused the leg or the message for good. What it said stands above: the receiver, the number it"
        " leaves from, or the account with the carrier."
    ),
    Code.BAD_SIGNATURE: (
        "Somebody posted to this number's webhook without the account's signature. If the carrier did, compare its"
        " token with the account's and public_url with the address that it calls."
    ),
    Code.INTERACTION_NOT_OPEN: _REPORT,
    Code.OPEN_INTERACTION_NOT_FOUND: _REPORT,
    Code.POOL_NEARLY_FULL: (
        "The pool nears the number of entries that a service may have. maskline pool report --unused names those that"
        " can go."
    ),
    Code.INVALID_REOPEN: "A session was opened again although somebody in it has its number in another one.",
    Code.SIMULTANEOUS_REQUESTS: "Somebody has the same number in two sessions; the one that began last is met.",
    Code.INBOUND_TO_INACTIVE_ACCOUNT: "The account is disabled. maskline account enable lets its numbers be reached.",
    Code.ACCOUNT_NOT_ACTIVE: "The operator disabled the account.",
    Code.ACCOUNT_CHANGED: "The operator changed the account.",
}
"""For the codes that debugger events have."""
