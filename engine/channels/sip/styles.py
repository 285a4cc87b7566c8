"""How one peer writes, is believed and is answered: records, which would not stay frozen if they were compiled."""

from enum import StrEnum
from typing import Final

import msgspec


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


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Which headers of a peer name the caller."""

    asserted: bool = False
    """P-Asserted-Identity: the peer is in our trust domain, and took off what others asserted."""
    remote_party: bool = False
    """Remote-Party-ID, where there is no asserted identity."""


class NumberForms(msgspec.Struct, frozen=True, kw_only=True):
    """The forms of one peer, besides `+` and `00` with the country code, and short codes."""

    national: str = ""
    """ISO country whose national and international prefixes it dials; empty = it writes no national numbers."""
    plus_missing: bool = False
    """It writes the country code without `+`."""
