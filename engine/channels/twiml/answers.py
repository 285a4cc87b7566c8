"""TwiML: the answers that a platform executes. Source: the TwiML pages for Dial, Number, Message and Reject."""

import re
from collections.abc import Iterable

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><Response>'
_TAIL = "</Response>"

EMPTY = f"{_HEAD}{_TAIL}".encode()
"""Do nothing: a dropped message."""

REJECT = f"{_HEAD}<Reject/>{_TAIL}".encode()
"""Refuse a call before it is answered, so that the caller is not billed."""

LEG_EVENTS = "initiated ringing answered completed"
"""States of a dialled leg that the platform reports."""

_SPECIAL = re.compile('[&<>"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_REPLACEMENT = "\ufffd"


def escape(text: str) -> str:
    """Return text for use in an element or a quoted attribute.

    What XML 1.0 cannot carry at all (most control characters, lone surrogates) becomes U+FFFD.
    """
    return _SPECIAL.sub(_escaped, text) if _SPECIAL.search(text) else text


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if "\x7f" <= character <= "\x9f":
        return f"&#{ord(character)};"
    return _ESCAPES.get(character, _REPLACEMENT)


def dial(*, to: str, caller_id: str, status_url: str) -> bytes:
    """Connect the caller to `to`, showing `caller_id`; the call is answered when the partner answers."""
    if _SPECIAL.search(caller_id + status_url + to):
        caller_id, status_url, to = escape(caller_id), escape(status_url), escape(to)
    return (
        f'{_HEAD}<Dial callerId="{caller_id}" answerOnBridge="true">'
        f'<Number statusCallback="{status_url}" statusCallbackEvent="{LEG_EVENTS}">{to}</Number>'
        f"</Dial>{_TAIL}"
    ).encode()


def message(*, to: str, sender: str, body: str, media: Iterable[str], status_url: str) -> bytes:
    """Send a message to `to` from `sender`."""
    text = f"<Body>{escape(body)}</Body>" if body else ""
    attached = "".join([f"<Media>{escape(url)}</Media>" for url in media])
    return (
        f'{_HEAD}<Message from="{escape(sender)}" to="{escape(to)}" statusCallback="{escape(status_url)}">'
        f"{text}{attached}</Message>{_TAIL}"
    ).encode()
