"""What the REST interface answers: one Struct per resource and list; `engine.api.show` makes them from records.

Every field is always present, null when there is nothing to say. Source: behaviour 2.5, 2.7, 3; owned numbers follow
the neighbouring 2010 API.
"""

from typing import Annotated

import msgspec

from engine.core.model.records import GeoMatchLevel, Kind, LegStatus, Mode, NumberSelectionBehavior, SessionStatus
from engine.formats.responses import Url
from engine.formats.values import API_VERSION

DateTime = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""A time as `format_date` writes it."""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page stands in its list; `key` names the array."""

    page: int
    page_size: int
    first_page_url: Url
    previous_page_url: Url | None
    url: Url
    next_page_url: Url | None
    key: str


class ServiceLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Lists below a service."""

    sessions: Url
    phone_numbers: Url
    short_codes: Url


class ServiceShape(msgspec.Struct, frozen=True, kw_only=True):
    """A service."""

    sid: str
    account_sid: str
    chat_instance_sid: str | None
    unique_name: str
    default_ttl: int
    callback_url: Url | None
    geo_match_level: GeoMatchLevel
    number_selection_behavior: NumberSelectionBehavior
    intercept_callback_url: Url | None
    out_of_session_callback_url: Url | None
    date_created: DateTime
    date_updated: DateTime
    url: Url
    links: ServiceLinks


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a number in a pool can do, each way."""

    mms_inbound: bool
    mms_outbound: bool
    sms_inbound: bool
    sms_outbound: bool
    voice_inbound: bool
    voice_outbound: bool


class PhoneNumberShape(msgspec.Struct, frozen=True, kw_only=True):
    """A phone number in a pool."""

    sid: str
    account_sid: str
    service_sid: str
    date_created: DateTime
    date_updated: DateTime
    phone_number: str
    friendly_name: str
    iso_country: str
    capabilities: Capabilities
    url: Url
    is_reserved: bool
    in_use: int


class ShortCodeShape(msgspec.Struct, frozen=True, kw_only=True):
    """A short code in a pool."""

    sid: str
    account_sid: str
    service_sid: str
    date_created: DateTime
    date_updated: DateTime
    short_code: str
    iso_country: str
    capabilities: Capabilities
    url: Url
    is_reserved: bool


class SessionLinks(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Lists below a session."""

    interactions: Url
    participants: Url


class SessionShape(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A session."""

    sid: str
    service_sid: str
    account_sid: str
    date_started: DateTime | None
    date_ended: DateTime | None
    date_last_interaction: DateTime | None
    date_expiry: DateTime | None
    unique_name: str | None
    status: SessionStatus
    closed_reason: str | None
    ttl: int
    mode: Mode
    date_created: DateTime
    date_updated: DateTime
    url: Url
    links: SessionLinks


class ParticipantLinks(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Lists below a participant."""

    message_interactions: Url


class ParticipantShape(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A participant."""

    sid: str
    session_sid: str
    service_sid: str
    account_sid: str
    friendly_name: str | None
    identifier: str
    proxy_identifier: str
    proxy_identifier_sid: str
    date_deleted: DateTime | None
    date_created: DateTime
    date_updated: DateTime
    url: Url
    links: ParticipantLinks


class InteractionShape(msgspec.Struct, frozen=True, kw_only=True):
    """A call or message that passed; `data` holds JSON as text."""

    sid: str
    session_sid: str
    service_sid: str
    account_sid: str
    data: str
    type: Kind
    inbound_participant_sid: str | None
    inbound_resource_sid: str | None
    inbound_resource_status: LegStatus | None
    inbound_resource_type: str | None
    inbound_resource_url: Url | None
    outbound_participant_sid: str | None
    outbound_resource_sid: str | None
    outbound_resource_status: LegStatus | None
    outbound_resource_type: str | None
    outbound_resource_url: Url | None
    date_created: DateTime
    date_updated: DateTime
    url: Url


class MessageInteractionShape(InteractionShape, frozen=True, kw_only=True):
    """A message that the application pushed to a participant."""

    participant_sid: str


class OwnedCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an owned number can do."""

    voice: bool
    sms: bool
    mms: bool
    fax: bool


class OwnedNumberShape(msgspec.Struct, frozen=True, kw_only=True):
    """An owned phone number, as the 2010 API shows it; what we do not keep is null."""

    sid: str
    account_sid: str
    friendly_name: str
    phone_number: str
    capabilities: OwnedCapabilities
    date_created: str
    date_updated: str
    uri: str
    api_version: str = API_VERSION
    origin: str = "hosted"
    status: str = "in-use"
    beta: bool = False
    address_requirements: str = "none"
    address_sid: str | None = None
    bundle_sid: str | None = None
    emergency_address_sid: str | None = None
    emergency_address_status: str | None = None
    emergency_status: str | None = None
    identity_sid: str | None = None
    sms_application_sid: str | None = None
    sms_fallback_method: str | None = None
    sms_fallback_url: str | None = None
    sms_method: str | None = None
    sms_url: str | None = None
    status_callback: str | None = None
    status_callback_method: str | None = None
    trunk_sid: str | None = None
    type: str | None = None
    voice_application_sid: str | None = None
    voice_caller_id_lookup: bool | None = None
    voice_fallback_method: str | None = None
    voice_fallback_url: str | None = None
    voice_method: str | None = None
    voice_receive_mode: str | None = None
    voice_url: str | None = None
    subresource_uris: dict[str, str] = {}


class OwnedShortCodeShape(msgspec.Struct, frozen=True, kw_only=True):
    """An owned short code, as the 2010 API shows it; what we do not keep is null."""

    sid: str
    account_sid: str
    friendly_name: str
    short_code: str
    date_created: str
    date_updated: str
    uri: str
    api_version: str = API_VERSION
    sms_fallback_method: str | None = None
    sms_fallback_url: str | None = None
    sms_method: str | None = None
    sms_url: str | None = None


class AccountResourceShape(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the 2010 API shows it to itself; its token is told nowhere."""

    sid: str
    owner_account_sid: str
    friendly_name: str
    date_created: str
    date_updated: str
    subresource_uris: dict[str, str]
    uri: str
    auth_token: str | None = None
    status: str = "active"
    type: str = "Full"


class ServicePage(msgspec.Struct, frozen=True):
    """A page of services."""

    services: tuple[ServiceShape, ...]
    meta: Meta


class PhoneNumberPage(msgspec.Struct, frozen=True):
    """A page of a pool's phone numbers."""

    phone_numbers: tuple[PhoneNumberShape, ...]
    meta: Meta


class ShortCodePage(msgspec.Struct, frozen=True):
    """A page of a pool's short codes."""

    short_codes: tuple[ShortCodeShape, ...]
    meta: Meta


class SessionPage(msgspec.Struct, frozen=True):
    """A page of sessions."""

    sessions: tuple[SessionShape, ...]
    meta: Meta


class ParticipantPage(msgspec.Struct, frozen=True):
    """A page of participants."""

    participants: tuple[ParticipantShape, ...]
    meta: Meta


class InteractionPage(msgspec.Struct, frozen=True):
    """A page of interactions."""

    interactions: tuple[InteractionShape, ...]
    meta: Meta


class MessageInteractionPage(msgspec.Struct, frozen=True):
    """A page of message interactions; the key is `interactions` here too."""

    interactions: tuple[MessageInteractionShape, ...]
    meta: Meta


class OlderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page stands in its list, in the 2010 API's paging; URIs are relative to the base URL."""

    page: int
    page_size: int
    start: int
    end: int
    uri: str
    first_page_uri: str
    previous_page_uri: str | None
    next_page_uri: str | None


class OwnedNumberPage(OlderPage, frozen=True, kw_only=True):
    """A page of owned numbers."""

    incoming_phone_numbers: tuple[OwnedNumberShape, ...]


class OwnedShortCodePage(OlderPage, frozen=True, kw_only=True):
    """A page of owned short codes."""

    short_codes: tuple[OwnedShortCodeShape, ...]
