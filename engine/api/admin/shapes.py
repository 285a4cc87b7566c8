"""Shapes of the operator's admin API: JSON over a Unix socket, spoken by `engine.api.admin.app` and the command line.

Not part of the public interface and without authentication: whoever may open the socket is the operator. Secrets
appear in the answers that create them and nowhere else; dates are text as on the public wire; an error is the public
error body (`engine.formats.responses.ErrorBody`).

    POST   /accounts                      AccountCreate    201 AccountCreated
    GET    /accounts                                       200 AccountList
    GET    /accounts/{account}                             200 AccountShape
    PATCH  /accounts/{account}            AccountChange    200 AccountShape
    POST   /accounts/{account}/token      TokenRotate      201 TokenRotated
    DELETE /accounts/{account}/token                       200 AccountShape, the token before ended
    POST   /accounts/{account}/disable                     200 AccountShape
    POST   /accounts/{account}/enable                      200 AccountShape
    DELETE /accounts/{account}?everything=…                200 AccountDeleted
    POST   /accounts/{account}/keys       ApiKeyCreate     201 ApiKeyCreated
    GET    /accounts/{account}/keys                        200 ApiKeyList
    DELETE /keys/{key}                                     200 ApiKeyShape
    POST   /accounts/{account}/numbers    NumbersImport    200 NumbersImported
    GET    /sessions/{session}                             200 SessionReport
    GET    /explain?to=…&from=…                            200 ExplanationShape
    POST   /console/links                                  201 ConsoleLink

Lists and names: `engine.api.admin.list_shapes`; outbox and debugger events: `engine.api.admin.delivery_shapes`;
services: `engine.api.admin.service_shapes`; batches of sessions: `engine.api.admin.batch_shapes`.
"""

import msgspec

from engine.core.model.records import LegStatus, Mode, SessionStatus

MAX_IMPORT_ROWS = 1000
"""Rows of one `NumbersImport`; a longer file is sent in several."""


class AccountCreate(msgspec.Struct, frozen=True, kw_only=True):
    """Make an account."""

    friendly_name: str = ""
    """Free text for the operator."""
    allow_participant_conflict: bool = False
    """An identifier may have one proxy number in two active sessions."""
    respect_sms_stop_filter: bool = False
    """The number's own stop filtering decides."""
    argentina: bool = False
    """Insert the mobile "9" on calls to Argentina."""


class AccountChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Change an account; what is absent stays."""

    friendly_name: str | None = None
    """Free text for the operator."""
    allow_participant_conflict: bool | None = None
    """An identifier may have one proxy number in two active sessions."""
    respect_sms_stop_filter: bool | None = None
    """The number's own stop filtering decides."""
    argentina: bool | None = None
    """Insert the mobile "9" on calls to Argentina."""
    debugger_url: str | None = None
    """Where its debugger events are posted; empty = nowhere."""


class AccountShape(msgspec.Struct, frozen=True, kw_only=True):
    """An account without its token."""

    sid: str
    """AC…"""
    friendly_name: str
    """Free text for the operator."""
    allow_participant_conflict: bool
    """An identifier may have one proxy number in two active sessions."""
    respect_sms_stop_filter: bool
    """The number's own stop filtering decides."""
    argentina: bool
    """Insert the mobile "9" on calls to Argentina."""
    debugger_url: str | None
    """Where its debugger events are posted."""
    date_created: str
    """When it was made."""
    date_disabled: str | None = None
    """Since when it may do nothing; None = it is active."""
    previous_token_ends: str | None = None
    """Until when the auth token before is good as well, and signs webhooks; None = there is only one."""


class TokenRotate(msgspec.Struct, frozen=True, kw_only=True):
    """Give an account a fresh token."""

    overlap_seconds: float = 86_400.0
    """How long the token before is good as well; 0 = no longer."""
    is_instead: bool = False
    """While two are good: in the place of the newer."""


class TokenRotated(msgspec.Struct, frozen=True, kw_only=True):
    """The account and, this once, its fresh token."""

    account: AccountShape
    auth_token: str
    """Password of the account SID; not shown again."""


class AccountDelete(msgspec.Struct, frozen=True, kw_only=True):
    """What may go with an account; a query."""

    everything: bool = False
    """Its services with their sessions and its numbers; otherwise it is kept while it has any."""


class AccountDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What went with an account."""

    services: int
    """With their sessions."""
    numbers: int
    """Owned no more."""


class AccountCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A new account and, this once, its token."""

    account: AccountShape
    auth_token: str
    """Password of the account SID; not shown again."""


class AccountList(msgspec.Struct, frozen=True):
    """All accounts, oldest first."""

    accounts: tuple[AccountShape, ...]


class ApiKeyCreate(msgspec.Struct, frozen=True, kw_only=True):
    """Make a key."""

    friendly_name: str = ""
    """Free text for the operator."""


class ApiKeyShape(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    sid: str
    """SK…"""
    account_sid: str
    """Whose key it is."""
    friendly_name: str
    """Free text for the operator."""
    date_created: str
    """When it was made."""
    date_revoked: str | None
    """When it stopped to work; None while it works."""


class ApiKeyCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A new key and, this once, its secret."""

    key: ApiKeyShape
    secret: str
    """Password of the key; not shown again."""


class ApiKeyList(msgspec.Struct, frozen=True):
    """The keys of an account, oldest first, the revoked ones too."""

    keys: tuple[ApiKeyShape, ...]


class NumberRow(msgspec.Struct, frozen=True, kw_only=True):
    """One number to own."""

    number: str
    """E.164, or the bare digits of a short code."""
    country: str | None = None
    """Two letters; None = read from the number; a short code needs it."""
    capabilities: tuple[str, ...] | None = None
    """Of `voice`, `sms`, `mms`, each also with `_inbound` or `_outbound`; None = all."""
    friendly_name: str | None = None
    """None = the national display form."""
    is_reserved: bool = False
    """Left out of automatic selection; takes effect when the import names a service."""
    stop_filtering: bool = True
    """False leaves stop words to the application, where account or service respect the number's filter."""


class NumbersImport(msgspec.Struct, frozen=True, kw_only=True):
    """Make an account own numbers, and put them into a service's pool when one is named."""

    rows: tuple[NumberRow, ...]
    """At most `MAX_IMPORT_ROWS`."""
    service: str | None = None
    """KS… or unique name of the service whose pool they join."""


class NumberResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one row."""

    is_ok: bool
    """Owned, and pooled when a service was named."""
    number_sid: str | None = None
    """PN… or SC…, when the number is owned (also when only the pooling failed)."""
    code: int | None = None
    """Why not: a code of the catalogue."""
    message: str | None = None
    """Why not, numbers masked; on success a remark, or None."""


class NumbersImported(msgspec.Struct, frozen=True, kw_only=True):
    """One result per row, in the order of the rows."""

    results: tuple[NumberResult, ...]


class ParticipantReport(msgspec.Struct, frozen=True, kw_only=True):
    """A participant, as the operator may see it."""

    sid: str
    """KP…"""
    identifier: str
    """Masked to its last four digits."""
    proxy_identifier: str
    """The proxy number in full: it is ours."""
    friendly_name: str | None
    """Free text of the application."""
    date_created: str
    """When it was added."""
    date_deleted: str | None
    """When it was removed."""


class InteractionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A call or message, without what was said."""

    sid: str
    """KI…"""
    type: str
    """`voice` or `message`."""
    inbound_participant_sid: str | None
    """Who began it; None when the application did."""
    inbound_status: LegStatus | None
    """State of the leg that arrived."""
    outbound_participant_sid: str | None
    """Who was reached."""
    outbound_status: LegStatus | None
    """State of the leg that left."""
    duration_seconds: int | None
    """Length of a finished call."""
    date_created: str
    """When it arrived."""


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A session of any account with what passed in it."""

    sid: str
    """KC…"""
    account_sid: str
    """Whose it is."""
    service_sid: str
    """Its service."""
    unique_name: str | None
    """Name given by the application."""
    status: SessionStatus
    """Where it is in its life."""
    closed_reason: str | None
    """Why it ended."""
    mode: Mode
    """What it lets pass."""
    ttl_seconds: int
    """Idle limit; 0 = none."""
    date_created: str
    """When it was made."""
    date_started: str | None
    """First interaction."""
    date_last_interaction: str | None
    """Latest interaction."""
    date_expiry: str | None
    """Fixed end."""
    date_ended: str | None
    """When it closed."""
    expires_at: str | None
    """When it ends if nothing more passes; None = never, or closed already."""
    participants: tuple[ParticipantReport, ...]
    """The removed ones too, oldest first."""
    interactions: tuple[InteractionReport, ...]
    """The latest ones, oldest of them first."""
    has_more_interactions: bool
    """Older ones exist that are not shown."""


class DecisionShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a call or message would meet now."""

    outcome: str
    """An `Outcome`."""
    reason: str
    """A `Reason`."""
    code: int | None
    """Debugger event it would raise."""
    to: str | None
    """Partner's number, masked to its last four digits."""
    caller_id: str | None
    """Proxy number the partner would see."""


class ExplanationShape(msgspec.Struct, frozen=True, kw_only=True):
    """Why a sender on a proxy number goes where it goes."""

    proxy: str
    """The number reached."""
    sender: str
    """Masked to its last four digits."""
    account_sid: str | None
    """Owner of the number."""
    service_sid: str | None
    """Service whose pool it is in."""
    session_sid: str | None
    """The live session, or the last one that paired the two."""
    session_status: SessionStatus | None
    """Where that session is in its life."""
    sender_sid: str | None
    """KP… of the sender in it: masked, both people may look the same."""
    partner_sid: str | None
    """KP… of the other one, if there is just one."""
    expires_at: str | None
    """When the live session ends if nothing more passes."""
    call: DecisionShape
    message: DecisionShape
    story: tuple[str, ...]
    """The steps of the decision, a sentence each."""


class ConsoleLink(msgspec.Struct, frozen=True):
    """A way into the console, to all accounts; good once, for five minutes."""

    url: str
