"""What a decision is in SIP: a redirection to the partner, or a refusal that says nothing; sans-IO.

A redirection carries the partner's number, the caller id to show and the interaction, and nothing that came with the
request. Whatever lacks one of them is no redirection: a call ends before it shows whom it must not. Source: RFC 3261
8.3 and 21; Reason is RFC 3326.
"""

import re
from enum import StrEnum
from typing import Final

import msgspec

from engine.core.routing.traffic import Decision, Outcome, Reason


class ContactStyle(StrEnum):
    """Where a peer reads the caller id; closed."""

    HEADERS = "headers"
    """In X- headers beside the Contact: Kamailio, OpenSIPS, FreeSWITCH."""
    USER = "user"
    """In the user part of the Contact: Asterisk, whose dial plan sees nothing else."""


REFUSAL_STATUSES: Final = (403, 404, 480, 486, 603)
"""What a peer may have callers without a session get."""

USUAL_REFUSAL: Final = 404
"""What they get at a peer that says nothing about it."""


class AnswerStyle(msgspec.Struct, frozen=True, kw_only=True):
    """How one peer is answered."""

    contact_host: str = ""
    """Host, and port if not the transport's own, of the Contact; empty = where the question came from."""
    contact_transport: str = ""
    """`tcp` or `tls` where calls must go on over it; empty = the peer chooses."""
    contact_style: ContactStyle = ContactStyle.HEADERS
    refusal_status: int = USUAL_REFUSAL
    """One of `REFUSAL_STATUSES`."""


class SipAnswer(msgspec.Struct, frozen=True, gc=False):
    """A status and the header lines that belong to it."""

    status: int
    headers: tuple[str, ...] = ()


def answer_to(decision: Decision, style: AnswerStyle, *, came_from: str) -> SipAnswer:
    """Return what a peer is answered whose question came from an address."""
    match decision.outcome:
        case Outcome.ROUTED:
            host = style.contact_host or (f"[{came_from}]" if ":" in came_from else came_from)
            return _redirection(decision, style, host)
        case Outcome.REFUSED:
            return SipAnswer(style.refusal_status, _REFUSED)
        case Outcome.UNKNOWN_NUMBER:
            return NO_SUCH_NUMBER
        case Outcome.ANSWERED:
            return _to_document(decision.twiml)
        case Outcome.NOT_READY:
            return _NUMBER_NOT_READY if decision.reason is Reason.REBUILDING else HOST_NOT_READY


def _redirection(decision: Decision, style: AnswerStyle, host: str) -> SipAnswer:
    to, shown, interaction = decision.to, decision.caller_id, decision.interaction_sid
    if not (to and shown and interaction) or to == shown:
        return _FAILED
    transport = f";transport={style.contact_transport}" if style.contact_transport else ""
    if style.contact_style is ContactStyle.USER:
        return SipAnswer(_MOVED, (f"Contact: <sip:{to}*{shown}*{interaction}@{host}{transport}>",))
    contact = f"Contact: <sip:{to}@{host}{transport};user=phone>"
    return SipAnswer(_MOVED, (contact, f"X-Maskline-Caller-Id: {shown}", f"X-Maskline-Interaction: {interaction}"))


def _to_document(twiml: str) -> SipAnswer:
    """Return what a document comes to: a lone `<Reject>` is a refusal, all else nothing that a switch can play."""
    found = _REJECT(twiml)
    if found is None:
        return UNPLAYABLE
    return SipAnswer(_BUSY if found[1] == "busy" else _DECLINED)


_REJECT = re.compile(
    r"""\s*(?:<\?xml[^>]*\?>)?\s*<Response>\s*<Reject(?:\s+reason=["'](\w+)["'])?\s*(?:/>|>\s*</Reject>)"""
    r"""\s*</Response>\s*"""
).fullmatch
_BUSY, _DECLINED = 486, 603
_MOVED, _NOT_FOUND, _UNAVAILABLE = 302, 404, 480
_REFUSED = ("Reason: Q.850;cause=1",)
_RETRY = ("Retry-After: 1",)
_FAILED = SipAnswer(500)
NO_SUCH_NUMBER: Final = SipAnswer(_NOT_FOUND, _REFUSED)
"""The number reached is none of ours, or cannot be read."""
UNPLAYABLE: Final = SipAnswer(_UNAVAILABLE)
"""An application answered with a document that asks for more than a switch can do."""
_NUMBER_NOT_READY: Final = SipAnswer(500, _RETRY)
"""Not 503: a switch would take the whole host out of use for one number."""
HOST_NOT_READY: Final = SipAnswer(503, _RETRY)
"""The host starts, stops, cannot commit or has too much to do: a switch asks another one."""
