"""Records as rows and back: which columns, in which order; cells are encoded by `storage.codec`."""

from typing import Any, Final

import msgspec

from engine.core.model.records import (
    Account,
    ApiKey,
    Capability,
    GeoMatchLevel,
    Interaction,
    Leg,
    NumberSelectionBehavior,
    Participant,
    ProxyNumber,
    Service,
    ServiceOptions,
    Session,
)
from engine.core.model.sids import SidKind, unpack
from engine.core.routing.legs import is_open_call
from storage.codec import (
    ABSENT,
    KIND,
    KIND_AT,
    LEG_STATUS,
    LEG_STATUS_AT,
    MODE,
    MODE_AT,
    SESSION_STATUS,
    SESSION_STATUS_AT,
    Cell,
    account_at,
    address_at,
    address_cell,
    blob,
    key,
    proxy_at,
    proxy_cell,
    proxy_sid_at,
    service_at,
    tagged,
    untagged,
)

Row = tuple[Cell, ...]
"""Cells in the order of the columns below."""

Fetched = tuple[Any, ...]
"""A row as SQLite hands it back: its types are those of the schema."""

ACCOUNT_COLUMNS: Final = (
    "sid, auth_token, friendly_name, allow_participant_conflict, respect_sms_stop_filter, argentina, debugger_url, "
    "previous_token, date_token_ends, date_disabled, date_created"
)
API_KEY_COLUMNS: Final = "sid, account_sid, secret_hash, friendly_name, date_created, date_revoked"
NUMBER_COLUMNS: Final = (
    "sid, account_sid, address, iso_country, capabilities, friendly_name, date_created, date_updated, service_sid, "
    "is_reserved, date_pooled, date_pool_updated, stop_filtering"
)
SERVICE_COLUMNS: Final = (
    "sid, account_sid, unique_name, default_ttl_seconds, callback_url, intercept_callback_url, "
    "out_of_session_callback_url, geo_match_level, number_selection_behavior, chat_instance_sid, "
    "inserts_mexican_one, options, date_created, date_updated"
)
SESSION_COLUMNS: Final = (
    "sid, service_sid, account_sid, unique_name, status, closed_reason, mode, ttl_seconds, date_expiry, idle_since, "
    "date_started, date_ended, date_last_interaction, date_created, date_updated"
)
"""Without what is the store's own: date_activated, and a rule for conflicts that is not kept any more."""
PARTICIPANT_COLUMNS: Final = (
    "session_sid, sid, service_sid, identifier, proxy_identifier, proxy_identifier_sid, friendly_name, date_created, "
    "date_updated, date_deleted"
)
"""Without the account, which is the session's."""
INTERACTION_COLUMNS: Final = (
    "sid, session_sid, kind, proxy, inbound_participant_sid, inbound_resource_sid, inbound_status, "
    "outbound_participant_sid, outbound_resource_sid, outbound_status, body, media, duration_seconds, date_created, "
    "date_updated"
)
"""Without is_open_call, which is derived, and service and account, which are the session's unless it is elsewhere."""

ROUTED_COLUMNS: Final = (
    "sid, session_sid, kind, proxy, inbound_participant_sid, inbound_resource_sid, inbound_status, "
    "outbound_participant_sid, outbound_status, date_created, date_updated, is_open_call"
)
"""The columns of a call or message as most are when they are recorded, but for the body that messages have."""

_MEDIA = msgspec.json.Decoder(tuple[str, ...])
_OPTIONS = msgspec.json.Decoder(ServiceOptions)


def account_row(account: Account) -> Row:
    """Return the row of an account."""
    return (
        blob(account.sid),
        account.auth_token,
        account.friendly_name,
        account.allow_participant_conflict,
        account.respect_sms_stop_filter,
        account.argentina,
        account.debugger_url,
        account.previous_token,
        account.date_token_ends,
        account.date_disabled,
        account.date_created,
    )


def account_of(row: Fetched) -> Account:
    """Return the account of a row."""
    return Account(
        sid=account_at(row[0]),
        auth_token=row[1],
        friendly_name=row[2],
        allow_participant_conflict=bool(row[3]),
        respect_sms_stop_filter=bool(row[4]),
        argentina=bool(row[5]),
        debugger_url=row[6],
        previous_token=row[7],
        date_token_ends=row[8],
        date_disabled=row[9],
        date_created=row[10],
    )


def api_key_row(api_key: ApiKey) -> Row:
    """Return the row of a key."""
    return (
        blob(api_key.sid),
        blob(api_key.account_sid),
        api_key.secret_hash,
        api_key.friendly_name,
        api_key.date_created,
        api_key.date_revoked,
    )


def api_key_of(row: Fetched) -> ApiKey:
    """Return the key of a row."""
    sid, account_sid, secret_hash, friendly_name, date_created, date_revoked = row
    return ApiKey(
        sid=unpack(SidKind.API_KEY, sid),
        account_sid=account_at(account_sid),
        secret_hash=secret_hash,
        friendly_name=friendly_name,
        date_created=date_created,
        date_revoked=date_revoked,
    )


def number_row(number: ProxyNumber) -> Row:
    """Return the row of a number."""
    return (
        tagged(number.sid),
        blob(number.account_sid),
        address_cell(number.address),
        number.iso_country,
        int(number.capabilities),
        number.friendly_name,
        number.date_created,
        number.date_updated,
        key(number.service_sid),
        number.is_reserved,
        number.date_pooled,
        number.date_pool_updated,
        number.stop_filtering,
    )


def number_of(row: Fetched) -> ProxyNumber:
    """Return the number of a row."""
    return ProxyNumber(
        sid=proxy_sid_at(row[0]),
        account_sid=account_at(row[1]),
        address=proxy_at(row[2]),
        iso_country=row[3],
        capabilities=Capability(row[4]),
        friendly_name=row[5],
        date_created=row[6],
        date_updated=row[7],
        service_sid=None if row[8] is None else service_at(row[8]),
        is_reserved=bool(row[9]),
        date_pooled=row[10],
        date_pool_updated=row[11],
        stop_filtering=bool(row[12]),
    )


def service_row(service: Service) -> Row:
    """Return the row of a service."""
    return (
        blob(service.sid),
        blob(service.account_sid),
        service.unique_name,
        service.default_ttl_seconds,
        service.callback_url,
        service.intercept_callback_url,
        service.out_of_session_callback_url,
        service.geo_match_level.value,
        service.number_selection_behavior.value,
        service.chat_instance_sid,
        service.inserts_mexican_one,
        msgspec.json.encode(service.options).decode(),
        service.date_created,
        service.date_updated,
    )


def service_of(row: Fetched) -> Service:
    """Return the service of a row."""
    return Service(
        sid=service_at(row[0]),
        account_sid=account_at(row[1]),
        unique_name=row[2],
        default_ttl_seconds=row[3],
        callback_url=row[4],
        intercept_callback_url=row[5],
        out_of_session_callback_url=row[6],
        geo_match_level=GeoMatchLevel(row[7]),
        number_selection_behavior=NumberSelectionBehavior(row[8]),
        chat_instance_sid=row[9],
        inserts_mexican_one=bool(row[10]),
        options=_OPTIONS.decode(row[11]),
        date_created=row[12],
        date_updated=row[13],
    )


def session_row(session: Session) -> Row:
    """Return the row of a new session, then fail_on_participant_conflict and date_activated."""
    return (
        blob(session.sid),
        blob(session.service_sid),
        blob(session.account_sid),
        session.unique_name,
        SESSION_STATUS[session.status],
        session.closed_reason,
        MODE[session.mode],
        session.ttl_seconds,
        session.date_expiry,
        session.idle_since,
        session.date_started,
        session.date_ended,
        session.date_last_interaction,
        session.date_created,
        session.date_updated,
        0,
        session.date_created if session.is_active else None,
    )


def session_of(row: Fetched) -> Session:
    """Return the session of a row."""
    return Session(
        sid=unpack(SidKind.SESSION, row[0]),
        service_sid=service_at(row[1]),
        account_sid=account_at(row[2]),
        unique_name=row[3],
        status=SESSION_STATUS_AT[row[4]],
        closed_reason=row[5],
        mode=MODE_AT[row[6]],
        ttl_seconds=row[7],
        date_expiry=row[8],
        idle_since=row[9],
        date_started=row[10],
        date_ended=row[11],
        date_last_interaction=row[12],
        date_created=row[13],
        date_updated=row[14],
    )


def participant_row(participant: Participant) -> Row:
    """Return the row of a participant."""
    return (
        blob(participant.session_sid),
        blob(participant.sid),
        blob(participant.service_sid),
        address_cell(participant.identifier),
        address_cell(participant.proxy_identifier),
        tagged(participant.proxy_identifier_sid),
        participant.friendly_name,
        participant.date_created,
        participant.date_updated,
        participant.date_deleted,
    )


def participant_of(row: Fetched) -> Participant:
    """Return the participant of a row, which its session's account follows."""
    return Participant(
        sid=unpack(SidKind.PARTICIPANT, row[1]),
        session_sid=unpack(SidKind.SESSION, row[0]),
        service_sid=service_at(row[2]),
        account_sid=account_at(row[10]),
        identifier=address_at(row[3]),
        proxy_identifier=proxy_at(row[4]),
        proxy_identifier_sid=proxy_sid_at(row[5]),
        friendly_name=row[6],
        date_created=row[7],
        date_updated=row[8],
        date_deleted=row[9],
    )


def interaction_row(interaction: Interaction, *, is_elsewhere: bool) -> Row:
    """Return the row of an interaction, then is_open_call, and service and account if its session is elsewhere."""
    inbound, inbound_resource, inbound_status = leg_cells(interaction.inbound)
    outbound, outbound_resource, outbound_status = leg_cells(interaction.outbound)
    body, media, duration = interaction.body, interaction.media, interaction.duration_seconds
    return (
        blob(interaction.sid),
        blob(interaction.session_sid),
        KIND[interaction.kind],
        proxy_cell(interaction.proxy),
        inbound,
        inbound_resource,
        inbound_status,
        outbound,
        outbound_resource,
        outbound_status,
        ABSENT if body is None else body,
        msgspec.json.encode(media).decode() if media else ABSENT,
        ABSENT if duration is None else duration,
        interaction.date_created,
        interaction.date_updated,
        int(is_open_call(interaction)),  # a bool would go through the slow adapters
        blob(interaction.service_sid) if is_elsewhere else ABSENT,
        blob(interaction.account_sid) if is_elsewhere else ABSENT,
    )


def routed_row(interaction: Interaction) -> Row | None:
    """Return the row of a call or message that was just routed, without its body; None if it says more than that."""
    inbound, outbound = interaction.inbound, interaction.outbound
    caller, resource, inbound_status = inbound.participant_sid, inbound.resource_sid, inbound.status
    partner, outbound_status = outbound.participant_sid, outbound.status
    if caller is None or resource is None or partner is None or inbound_status is None or outbound_status is None:
        return None
    if interaction.media or interaction.duration_seconds is not None or outbound.resource_sid is not None:
        return None
    return (
        blob(interaction.sid),
        blob(interaction.session_sid),
        KIND[interaction.kind],
        proxy_cell(interaction.proxy),
        blob(caller),
        tagged(resource),
        LEG_STATUS[inbound_status],
        blob(partner),
        LEG_STATUS[outbound_status],
        interaction.date_created,
        interaction.date_updated,
        int(is_open_call(interaction)),  # a bool would go through the slow adapters
    )


def leg_cells(leg: Leg) -> tuple[Cell, Cell, Cell]:
    """Return participant, resource and status of a leg, each may be absent."""
    participant_sid, resource_sid, status = leg.participant_sid, leg.resource_sid, leg.status
    return (
        ABSENT if participant_sid is None else blob(participant_sid),
        ABSENT if resource_sid is None else tagged(resource_sid),
        ABSENT if status is None else LEG_STATUS[status],
    )


def interaction_of(row: Fetched) -> Interaction:
    """Return the interaction of a row, which its service and account follow."""
    return Interaction(
        sid=unpack(SidKind.INTERACTION, row[0]),
        session_sid=unpack(SidKind.SESSION, row[1]),
        service_sid=service_at(row[15]),
        account_sid=account_at(row[16]),
        kind=KIND_AT[row[2]],
        proxy=proxy_at(row[3]),
        inbound=_leg(row[4:7]),
        outbound=_leg(row[7:10]),
        body=row[10],
        media=() if row[11] is None else _MEDIA.decode(row[11]),
        duration_seconds=row[12],
        date_created=row[13],
        date_updated=row[14],
    )


def _leg(cells: Fetched) -> Leg:
    participant_sid, resource_sid, status = cells
    return Leg(
        participant_sid=None if participant_sid is None else unpack(SidKind.PARTICIPANT, participant_sid),
        resource_sid=None if resource_sid is None else untagged(resource_sid),
        status=LEG_STATUS_AT[status],
    )
