"""The records that are kept: accounts, numbers, services, sessions, participants, interactions.

Values as the rules see them; channels and API know how they look on the wire, how they lie on disk is `storage`.
Times are UTC epoch seconds; a SID is its full 34 characters.
"""

from enum import IntFlag, StrEnum
from typing import NewType

import msgspec

E164 = NewType("E164", str)
"""A canonical phone number: "+" and up to 15 digits, no Mexican "1", no Argentine "9"."""

Address = str
"""What a leg starts from or ends at: an E164, a short code, or a channel address such as `whatsapp:+1…`."""


class Mode(StrEnum):
    """What a session lets pass."""

    MESSAGE_ONLY = "message-only"
    VOICE_ONLY = "voice-only"
    VOICE_AND_MESSAGE = "voice-and-message"


class SessionStatus(StrEnum):
    """Where a session is in its life; `failed` and `unknown` are never entered."""

    OPEN = "open"
    IN_PROGRESS = "in-progress"
    CLOSED = "closed"
    FAILED = "failed"
    UNKNOWN = "unknown"


ACTIVE = frozenset({SessionStatus.OPEN, SessionStatus.IN_PROGRESS})
"""The states in which a session routes."""


class ClosedReason(StrEnum):
    """Why a session ended."""

    API = "api"
    TTL = "ttl"
    DATE_EXPIRY = "date-expiry"


class GeoMatchLevel(StrEnum):
    """How near a proxy number must be to the participant."""

    AREA_CODE = "area-code"
    OVERLAY = "overlay"
    EXTENDED_AREA_CODE = "extended-area-code"
    RADIUS = "radius"
    COUNTRY = "country"


class NumberSelectionBehavior(StrEnum):
    """Whether a participant should get a number they have had before."""

    AVOID_STICKY = "avoid-sticky"
    PREFER_STICKY = "prefer-sticky"


class Capability(IntFlag):
    """What a number can do, each way."""

    VOICE_INBOUND = 1
    VOICE_OUTBOUND = 2
    SMS_INBOUND = 4
    SMS_OUTBOUND = 8
    MMS_INBOUND = 16
    MMS_OUTBOUND = 32

    VOICE = 3
    SMS = 12
    MMS = 48
    ALL = 63


class Kind(StrEnum):
    """What passed, or wants to pass."""

    VOICE = "voice"
    MESSAGE = "message"


class LegStatus(StrEnum):
    """State of one leg, in the platform's words."""

    ACCEPTED = "accepted"
    ANSWERED = "answered"
    BUSY = "busy"
    CANCELED = "canceled"
    COMPLETED = "completed"
    DELETED = "deleted"
    DELIVERED = "delivered"
    DELIVERY_UNKNOWN = "delivery-unknown"
    FAILED = "failed"
    IN_PROGRESS = "in-progress"
    INITIATED = "initiated"
    NO_ANSWER = "no-answer"
    QUEUED = "queued"
    RECEIVED = "received"
    RECEIVING = "receiving"
    RINGING = "ringing"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    SENT = "sent"
    UNDELIVERED = "undelivered"
    UNKNOWN = "unknown"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: nothing of one account is visible to another."""

    sid: str
    """AC…"""
    auth_token: str
    """Password of the account SID and key of the webhook signature; 32 hex digits, kept readable for signing."""
    friendly_name: str
    """Free text for the operator."""
    allow_participant_conflict: bool = False
    """ProxyAllowParticipantConflict: the same binding may be active twice (behaviour 7)."""
    respect_sms_stop_filter: bool = False
    """ProxyRespectSmsStopFilterFlag: the number's own stop filtering decides (behaviour 11.2)."""
    argentina: bool = False
    """Insert the mobile "9" after +54 on outbound calls (behaviour 14)."""
    debugger_url: str | None = None
    """Debugger webhook: where its events are posted (behaviour 16)."""
    previous_token: str | None = None
    """The token before `auth_token`, while both are good."""
    date_token_ends: float | None = None
    """When `previous_token` stops being good."""
    date_disabled: float | None = None
    """Since when it may do nothing and nothing is routed for it; None = it is active."""
    date_created: float = 0.0
    """When it was made."""

    @property
    def is_disabled(self) -> bool:
        """Whether the operator has disabled it."""
        return self.date_disabled is not None

    def tokens(self, now: float) -> tuple[str, ...]:
        """Return the tokens that are good, first the one that signs what we send: the older, while there are two."""
        if self.previous_token is None or self.date_token_ends is None or self.date_token_ends <= now:
            return (self.auth_token,)
        return (self.previous_token, self.auth_token)


class AccountHoldings(msgspec.Struct, frozen=True):
    """What an account has, by SID."""

    services: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    """Phone numbers and short codes."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is neither."""
        return not self.services and not self.numbers


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A second credential of an account, revocable alone."""

    sid: str
    """SK…"""
    account_sid: str
    """Whose key it is."""
    secret_hash: bytes
    """SHA-256 of the secret; the secret itself is 32 random characters, shown once."""
    friendly_name: str
    """Free text for the operator."""
    date_created: float
    """When it was made."""
    date_revoked: float | None = None
    """When it stopped to work."""


class ProxyNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A phone number (PN) or short code (SC) that an account owns, and its place in a service's pool."""

    sid: str
    """PN… or SC…; the pool entry has the same SID."""
    account_sid: str
    """The owner."""
    address: Address
    """E.164 of a phone number, bare digits of a short code; unique among all accounts."""
    iso_country: str
    """Two capital letters."""
    capabilities: Capability
    """What it can do."""
    friendly_name: str
    """Display form such as "(555) 555-5555" unless renamed."""
    date_created: float
    """When the account came to own it."""
    date_updated: float
    """Last change of the owned number."""
    service_sid: str | None = None
    """The service whose pool it is in; at most one."""
    is_reserved: bool = False
    """Left out of automatic selection."""
    date_pooled: float | None = None
    """When it joined the pool."""
    date_pool_updated: float | None = None
    """Last change of the pool entry."""
    stop_filtering: bool = True
    """Whether the number's own SMS stop filtering is on (behaviour 11.2)."""

    @property
    def is_short_code(self) -> bool:
        """Tell a short code from a phone number."""
        return self.sid.startswith("SC")


class ServiceOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a service may have beyond the product it is compatible with; all off by default, set by the operator.

    `maskline service set` has a flag of each; its help is what stands below the field.
    """

    intercept_fails_closed: bool = False
    """An intercept hook that cannot be asked blocks; otherwise the call or message goes on."""
    respect_sms_stop_filter: bool | None = None
    """Let each number's own stop filtering decide, or not, whatever the account says; unset: as the account does."""
    hangs_up_on_close: bool = False
    """Closing a session ends its calls, by a carrier."""
    closes_after_first_call: bool = False
    """A session closes when its first answered call ends."""
    intercept_may_rewrite: bool = False
    """`body` in the intercept hook's JSON answer replaces a message's text."""
    participants_may_change: bool = False
    """POST on a participant updates it, and a removed identifier may come back."""
    has_rich_callbacks: bool = False
    """Callbacks always carry both legs, and the session's name."""
    no_session_twiml: str | None = None
    """Answer for a call or message that meets no session and no out-of-session hook."""
    no_partner_twiml: str | None = None
    """Answer when the partner is missing."""
    closed_twiml: str | None = None
    """Answer when the session that paired them has closed or expired."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration and number pool of one application."""

    sid: str
    """KS…"""
    account_sid: str
    """The owner."""
    unique_name: str
    """Unique in the account."""
    default_ttl_seconds: int = 0
    """ttl of sessions that give none; 0 = no limit."""
    callback_url: str | None = None
    """Informational webhook."""
    intercept_callback_url: str | None = None
    """Gate webhook."""
    out_of_session_callback_url: str | None = None
    """Fall-back webhook."""
    geo_match_level: GeoMatchLevel = GeoMatchLevel.COUNTRY
    """How near a selected number must be."""
    number_selection_behavior: NumberSelectionBehavior = NumberSelectionBehavior.PREFER_STICKY
    """Which of the fitting numbers is preferred."""
    chat_instance_sid: str | None = None
    """IS…; stored only."""
    inserts_mexican_one: bool = False
    """Outbound legs to Mexico carry the "1" after +52 (behaviour 14)."""
    options: ServiceOptions = ServiceOptions()
    """Extensions."""
    date_created: float
    """When it was made."""
    date_updated: float
    """Last change."""


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A time-bounded pairing of two people."""

    sid: str
    """KC…, made in time order."""
    service_sid: str
    """Its service."""
    account_sid: str
    """The owner."""
    unique_name: str | None = None
    """Unique in the service, while the session exists."""
    status: SessionStatus = SessionStatus.OPEN
    """Where it is in its life."""
    closed_reason: str | None = None
    """A `ClosedReason`, while closed."""
    mode: Mode = Mode.VOICE_AND_MESSAGE
    """What it lets pass."""
    ttl_seconds: int = 0
    """Idle limit; 0 = none."""
    date_expiry: float | None = None
    """Fixed end; overrides the ttl."""
    idle_since: float
    """What the ttl counts from: the latest of creation, re-opening and last interaction."""
    date_started: float | None = None
    """First interaction."""
    date_ended: float | None = None
    """When it closed."""
    date_last_interaction: float | None = None
    """Latest interaction on either proxy number."""
    date_created: float
    """When it was made."""
    date_updated: float
    """Last change."""

    @property
    def is_active(self) -> bool:
        """Tell whether the session routes."""
        return self.status in ACTIVE


class Participant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A real number in a session, with the proxy number that it dials."""

    sid: str
    """KP…, made in time order."""
    session_sid: str
    """Its session."""
    service_sid: str
    """Its service."""
    account_sid: str
    """The owner."""
    identifier: Address
    """The real number; never shown to the partner."""
    proxy_identifier: Address
    """The number that this participant dials and is called from."""
    proxy_identifier_sid: str
    """PN… or SC… of it."""
    friendly_name: str | None = None
    """Free text."""
    date_created: float
    """When it was added."""
    date_updated: float
    """Last change."""
    date_deleted: float | None = None
    """When it was removed; the row stays as long as the session."""


class Leg(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One half of an interaction."""

    participant_sid: str | None = None
    """KP… at this end."""
    resource_sid: str | None = None
    """CA… / SM… / MM… on the platform, once known."""
    status: LegStatus | None = None
    """Its current state."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call or message that passed."""

    sid: str
    """KI…, made in time order."""
    session_sid: str
    """Its session."""
    service_sid: str
    """Its service."""
    account_sid: str
    """The owner."""
    kind: Kind
    """Call or message."""
    proxy: Address
    """The proxy number reached; for a message interaction, the one it leaves from."""
    inbound: Leg
    """The sender's leg; all None for a message pushed through the API."""
    outbound: Leg
    """The partner's leg."""
    body: str | None = None
    """Text of a message."""
    media: tuple[str, ...] = ()
    """URLs of a message's media."""
    duration_seconds: int | None = None
    """Length of a finished call."""
    date_created: float
    """When it arrived."""
    date_updated: float
    """Last change of a leg."""

    @property
    def is_message_interaction(self) -> bool:
        """Tell a message that the application pushed from one that arrived."""
        return self.inbound.participant_sid is None


class RawText(msgspec.Struct, frozen=True, gc=False):
    """A text as it came, for a carrier's peer that reads it as the one does that sent it."""

    alphabet: str
    """What the two have agreed on, where nothing is declared."""
    data_coding: int
    """SMPP 3.4 5.2.19."""
    octets: bytes
    """Of the whole text, without headers."""


class DebuggerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A problem that no REST caller can get as an answer."""

    code: int
    """A `Code` of the catalogue."""
    account_sid: str
    """Whose debugger it belongs to."""
    service_sid: str | None = None
    """The service concerned."""
    session_sid: str | None = None
    """The session concerned."""
    resource_sid: str | None = None
    """Call, message or pool entry at fault."""
    proxy: Address | None = None
    """The proxy number that was reached."""
    sender: str | None = None
    """Who reached it, masked to the last four digits."""
    message: str
    """What happened; phone numbers masked to their last four digits."""
    at: float
    """When."""
    sid: str = ""
    """NO…, made in time order, once it is kept."""
    webhook: "WebhookTrace | None" = None
    """The request at fault and its response, when one is (behaviour 16)."""


class WebhookTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A request of ours and what came back, cut to a size that may be kept; phone numbers masked."""

    url: str
    method: str = "POST"
    parameters: str = ""
    """The form sent."""
    status: int | None = None
    """None: no response came."""
    problem: str = ""
    """Why none came."""
    headers: str = ""
    """Response headers, a line each."""
    body: str = ""
    """Response body, cut."""
