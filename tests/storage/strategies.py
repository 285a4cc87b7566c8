"""Records whose fields hold whatever they may, for tests with Hypothesis."""

from typing import Any

from hypothesis import strategies as st

from engine.core.model.errors import Code
from engine.core.model.outbox import (
    OutboxAlert,
    OutboxCallback,
    OutboxEntry,
    OutboxHangUp,
    OutboxMessage,
    OutboxReceipt,
)
from engine.core.model.records import (
    Account,
    ApiKey,
    Capability,
    ClosedReason,
    DebuggerEvent,
    GeoMatchLevel,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    Mode,
    NumberSelectionBehavior,
    Participant,
    ProxyNumber,
    RawText,
    Service,
    ServiceOptions,
    Session,
    SessionStatus,
    WebhookTrace,
)
from engine.core.model.sids import SidKind, unpack

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIMES = st.floats(min_value=0, max_value=4e9, allow_nan=False)
ADDRESSES = st.one_of(
    st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True),
    st.from_regex(r"[0-9]{3,8}", fullmatch=True),
    st.from_regex(r"\+0[0-9]{1,14}", fullmatch=True),
    st.from_regex(r"(whatsapp|messenger):\+?[0-9]{4,20}", fullmatch=True),
    TEXT,
)


def sids(*kinds: SidKind) -> st.SearchStrategy[str]:
    return st.builds(unpack, st.sampled_from(kinds), st.binary(min_size=16, max_size=16))


RESOURCE_SIDS = st.one_of(
    sids(SidKind.CALL, SidKind.SMS, SidKind.MMS),
    st.from_regex(r"CA[0-9a-fA-F]{32}", fullmatch=True),
    st.from_regex(r"[0-9 ]{34}", fullmatch=True),
    TEXT,
)
LEGS = st.builds(
    Leg,
    participant_sid=st.none() | sids(SidKind.PARTICIPANT),
    resource_sid=st.none() | RESOURCE_SIDS,
    status=st.none() | st.sampled_from(LegStatus),
)
OWNERS: dict[str, st.SearchStrategy[Any]] = {
    "account_sid": sids(SidKind.ACCOUNT),
    "service_sid": sids(SidKind.SERVICE),
    "date_created": TIMES,
    "date_updated": TIMES,
}

ACCOUNTS = st.builds(
    Account,
    sid=sids(SidKind.ACCOUNT),
    auth_token=TEXT,
    friendly_name=TEXT,
    allow_participant_conflict=st.booleans(),
    respect_sms_stop_filter=st.booleans(),
    argentina=st.booleans(),
    debugger_url=st.none() | TEXT,
    previous_token=st.none() | TEXT,
    date_token_ends=st.none() | TIMES,
    date_disabled=st.none() | TIMES,
    date_created=TIMES,
)
API_KEYS = st.builds(
    ApiKey,
    sid=sids(SidKind.API_KEY),
    account_sid=sids(SidKind.ACCOUNT),
    secret_hash=st.binary(),
    friendly_name=TEXT,
    date_created=TIMES,
    date_revoked=st.none() | TIMES,
)
NUMBERS = st.builds(
    ProxyNumber,
    **OWNERS | {"service_sid": st.none() | sids(SidKind.SERVICE)},
    sid=sids(SidKind.PHONE_NUMBER, SidKind.SHORT_CODE),
    address=ADDRESSES,
    iso_country=TEXT,
    capabilities=st.integers(0, 63).map(Capability),
    friendly_name=TEXT,
    is_reserved=st.booleans(),
    date_pooled=st.none() | TIMES,
    date_pool_updated=st.none() | TIMES,
    stop_filtering=st.booleans(),
)
OPTIONS = st.builds(
    ServiceOptions,
    intercept_fails_closed=st.booleans(),
    respect_sms_stop_filter=st.none() | st.booleans(),
    hangs_up_on_close=st.booleans(),
    closes_after_first_call=st.booleans(),
    intercept_may_rewrite=st.booleans(),
    participants_may_change=st.booleans(),
    has_rich_callbacks=st.booleans(),
    no_session_twiml=st.none() | TEXT,
    no_partner_twiml=st.none() | TEXT,
    closed_twiml=st.none() | TEXT,
)
SERVICES = st.builds(
    Service,
    sid=sids(SidKind.SERVICE),
    account_sid=sids(SidKind.ACCOUNT),
    unique_name=TEXT,
    default_ttl_seconds=st.integers(0, 2**31),
    callback_url=st.none() | TEXT,
    intercept_callback_url=st.none() | TEXT,
    out_of_session_callback_url=st.none() | TEXT,
    geo_match_level=st.sampled_from(GeoMatchLevel),
    number_selection_behavior=st.sampled_from(NumberSelectionBehavior),
    chat_instance_sid=st.none() | TEXT,
    inserts_mexican_one=st.booleans(),
    options=OPTIONS,
    date_created=TIMES,
    date_updated=TIMES,
)
SESSIONS = st.builds(
    Session,
    **OWNERS,
    sid=sids(SidKind.SESSION),
    unique_name=st.none() | TEXT,
    status=st.sampled_from(SessionStatus),
    closed_reason=st.none() | st.sampled_from(ClosedReason) | TEXT,
    mode=st.sampled_from(Mode),
    ttl_seconds=st.integers(0, 2**31),
    date_expiry=st.none() | TIMES,
    idle_since=TIMES,
    date_started=st.none() | TIMES,
    date_ended=st.none() | TIMES,
    date_last_interaction=st.none() | TIMES,
)
PARTICIPANTS = st.builds(
    Participant,
    **OWNERS,
    sid=sids(SidKind.PARTICIPANT),
    session_sid=sids(SidKind.SESSION),
    identifier=ADDRESSES,
    proxy_identifier=ADDRESSES,
    proxy_identifier_sid=sids(SidKind.PHONE_NUMBER, SidKind.SHORT_CODE),
    friendly_name=st.none() | TEXT,
    date_deleted=st.none() | TIMES,
)
INTERACTIONS = st.builds(
    Interaction,
    **OWNERS,
    sid=sids(SidKind.INTERACTION),
    session_sid=sids(SidKind.SESSION),
    kind=st.sampled_from(Kind),
    proxy=ADDRESSES,
    inbound=LEGS,
    outbound=LEGS,
    body=st.none() | TEXT,
    media=st.lists(TEXT, max_size=3).map(tuple),
    duration_seconds=st.none() | st.integers(0, 10**6),
)
URLS = st.from_regex(
    r"https?://([a-z]{1,9}:[a-z]{1,9}@)?[a-zA-Z0-9.]{1,20}(:[0-9]{1,4})?/[a-z?=]{0,20}", fullmatch=True
)
TRACES = st.builds(
    WebhookTrace,
    url=TEXT,
    method=TEXT,
    parameters=TEXT,
    status=st.none() | st.integers(100, 599),
    headers=TEXT,
    body=TEXT,
)
EVENTS = st.builds(
    DebuggerEvent,
    sid=sids(SidKind.DEBUGGER_EVENT),
    code=st.sampled_from(Code).map(int),
    account_sid=sids(SidKind.ACCOUNT),
    service_sid=st.none() | sids(SidKind.SERVICE),
    session_sid=st.none() | sids(SidKind.SESSION),
    resource_sid=st.none() | RESOURCE_SIDS,
    message=TEXT,
    at=TIMES,
    webhook=st.none() | TRACES,
)
CONTENTS = st.one_of(
    st.builds(
        OutboxCallback,
        url=URLS,
        interaction=INTERACTIONS,
        session_name=st.none() | TEXT,
        is_rich=st.booleans(),
    ),
    st.builds(
        OutboxMessage,
        carrier=TEXT,
        interaction_sid=sids(SidKind.INTERACTION),
        sender=ADDRESSES,
        to=ADDRESSES,
        body=TEXT,
        media=st.lists(TEXT, max_size=3).map(tuple),
        raw=st.none() | st.builds(RawText, alphabet=TEXT, data_coding=st.integers(0, 255), octets=st.binary()),
        valid_until=st.none() | TIMES,
    ),
    st.builds(OutboxAlert, url=URLS, event=EVENTS),
    st.builds(OutboxHangUp, carrier=TEXT, call_sid=RESOURCE_SIDS),
    st.builds(OutboxReceipt, carrier=TEXT, resource_sid=RESOURCE_SIDS, status=st.sampled_from(LegStatus), at=TIMES),
)
ENTRIES = st.builds(
    OutboxEntry,
    sid=sids(SidKind.OUTBOX_ENTRY),
    account_sid=sids(SidKind.ACCOUNT),
    service_sid=st.none() | sids(SidKind.SERVICE),
    session_sid=st.none() | sids(SidKind.SESSION),
    content=CONTENTS,
    date_created=TIMES,
    attempts=st.integers(0, 99),
    last_error=TEXT,
    date_died=st.none() | TIMES,
)
