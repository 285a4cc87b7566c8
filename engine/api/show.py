"""Records shown as the REST interface answers them; sans-IO.

URLs are absolute: `base` is the public base URL without a trailing slash. Source: behaviour 2.3, 2.7, 3.
"""

from typing import Any

import msgspec

from engine.api.shapes import (
    AccountResourceShape,
    Capabilities,
    InteractionShape,
    MessageInteractionShape,
    Meta,
    OwnedCapabilities,
    OwnedNumberShape,
    OwnedShortCodeShape,
    ParticipantLinks,
    ParticipantShape,
    PhoneNumberShape,
    ServiceLinks,
    ServiceShape,
    SessionLinks,
    SessionShape,
    ShortCodeShape,
)
from engine.core.model.records import (
    Account,
    Capability,
    Interaction,
    Kind,
    Leg,
    Participant,
    ProxyNumber,
    Service,
    Session,
)
from engine.core.ports.lists import Page, Record
from engine.core.ports.operations import PoolEntry
from engine.formats.values import (
    API_VERSION,
    PageRequest,
    format_date,
    format_rfc2822,
    interaction_data,
    optional_date,
    page_token,
)


class PageLinks(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs of a page and its neighbours."""

    this: str
    first: str
    previous: str | None
    next: str | None


def service_shape(service: Service, base: str) -> ServiceShape:
    """Show a service."""
    url = f"{base}/v1/Services/{service.sid}"
    return ServiceShape(
        sid=service.sid,
        account_sid=service.account_sid,
        chat_instance_sid=service.chat_instance_sid,
        unique_name=service.unique_name,
        default_ttl=service.default_ttl_seconds,
        callback_url=service.callback_url,
        geo_match_level=service.geo_match_level,
        number_selection_behavior=service.number_selection_behavior,
        intercept_callback_url=service.intercept_callback_url,
        out_of_session_callback_url=service.out_of_session_callback_url,
        date_created=format_date(service.date_created),
        date_updated=format_date(service.date_updated),
        url=url,
        links=ServiceLinks(
            sessions=f"{url}/Sessions", phone_numbers=f"{url}/PhoneNumbers", short_codes=f"{url}/ShortCodes"
        ),
    )


def phone_number_shape(entry: PoolEntry, base: str) -> PhoneNumberShape:
    """Show a phone number in a pool."""
    number = entry.number
    service_sid = number.service_sid or ""
    return PhoneNumberShape(
        sid=number.sid,
        account_sid=number.account_sid,
        service_sid=service_sid,
        date_created=format_date(_pooled_at(number)),
        date_updated=format_date(_pool_updated_at(number)),
        phone_number=number.address,
        friendly_name=number.friendly_name,
        iso_country=number.iso_country,
        capabilities=_capabilities(number.capabilities),
        url=f"{base}/v1/Services/{service_sid}/PhoneNumbers/{number.sid}",
        is_reserved=number.is_reserved,
        in_use=entry.in_use,
    )


def short_code_shape(entry: PoolEntry, base: str) -> ShortCodeShape:
    """Show a short code in a pool."""
    number = entry.number
    service_sid = number.service_sid or ""
    return ShortCodeShape(
        sid=number.sid,
        account_sid=number.account_sid,
        service_sid=service_sid,
        date_created=format_date(_pooled_at(number)),
        date_updated=format_date(_pool_updated_at(number)),
        short_code=number.address,
        iso_country=number.iso_country,
        capabilities=_capabilities(number.capabilities),
        url=f"{base}/v1/Services/{service_sid}/ShortCodes/{number.sid}",
        is_reserved=number.is_reserved,
    )


def session_shape(session: Session, base: str) -> SessionShape:
    """Show a session; its participants are a list of their own."""
    url = _session_url(session.service_sid, session.sid, base)
    return SessionShape(
        sid=session.sid,
        service_sid=session.service_sid,
        account_sid=session.account_sid,
        date_started=optional_date(session.date_started),
        date_ended=optional_date(session.date_ended),
        date_last_interaction=optional_date(session.date_last_interaction),
        date_expiry=optional_date(session.date_expiry),
        unique_name=session.unique_name,
        status=session.status,
        closed_reason=session.closed_reason,
        ttl=session.ttl_seconds,
        mode=session.mode,
        date_created=format_date(session.date_created),
        date_updated=format_date(session.date_updated),
        url=url,
        links=SessionLinks(interactions=f"{url}/Interactions", participants=f"{url}/Participants"),
    )


def participant_shape(participant: Participant, base: str) -> ParticipantShape:
    """Show a participant, the removed ones too."""
    url = f"{_session_url(participant.service_sid, participant.session_sid, base)}/Participants/{participant.sid}"
    return ParticipantShape(
        sid=participant.sid,
        session_sid=participant.session_sid,
        service_sid=participant.service_sid,
        account_sid=participant.account_sid,
        friendly_name=participant.friendly_name,
        identifier=participant.identifier,
        proxy_identifier=participant.proxy_identifier,
        proxy_identifier_sid=participant.proxy_identifier_sid,
        date_deleted=optional_date(participant.date_deleted),
        date_created=format_date(participant.date_created),
        date_updated=format_date(participant.date_updated),
        url=url,
        links=ParticipantLinks(message_interactions=f"{url}/MessageInteractions"),
    )


def interaction_shape(interaction: Interaction, base: str) -> InteractionShape:
    """Show a call or message.

    The resource URLs are null: calls and messages are resources of the carrier's platform, not of ours.
    """
    inbound, outbound = interaction.inbound, interaction.outbound
    session_url = _session_url(interaction.service_sid, interaction.session_sid, base)
    return InteractionShape(
        sid=interaction.sid,
        session_sid=interaction.session_sid,
        service_sid=interaction.service_sid,
        account_sid=interaction.account_sid,
        data=interaction_data(interaction),
        type=interaction.kind,
        inbound_participant_sid=inbound.participant_sid,
        inbound_resource_sid=inbound.resource_sid,
        inbound_resource_status=inbound.status,
        inbound_resource_type=_resource_type(inbound, interaction.kind),
        inbound_resource_url=None,
        outbound_participant_sid=outbound.participant_sid,
        outbound_resource_sid=outbound.resource_sid,
        outbound_resource_status=outbound.status,
        outbound_resource_type=_resource_type(outbound, interaction.kind),
        outbound_resource_url=None,
        date_created=format_date(interaction.date_created),
        date_updated=format_date(interaction.date_updated),
        url=f"{session_url}/Interactions/{interaction.sid}",
    )


def message_interaction_shape(interaction: Interaction, base: str) -> MessageInteractionShape:
    """Show a message that the application pushed."""
    shape = interaction_shape(interaction, base)
    participant_sid = interaction.outbound.participant_sid or ""
    session_url = _session_url(interaction.service_sid, interaction.session_sid, base)
    plain = {name: getattr(shape, name) for name in InteractionShape.__struct_fields__ if name != "url"}
    return MessageInteractionShape(
        **plain,
        participant_sid=participant_sid,
        url=f"{session_url}/Participants/{participant_sid}/MessageInteractions/{interaction.sid}",
    )


def owned_number_shape(number: ProxyNumber) -> OwnedNumberShape:
    """Show an owned phone number."""
    capabilities = number.capabilities
    return OwnedNumberShape(
        sid=number.sid,
        account_sid=number.account_sid,
        friendly_name=number.friendly_name,
        phone_number=number.address,
        capabilities=OwnedCapabilities(
            voice=bool(capabilities & Capability.VOICE),
            sms=bool(capabilities & Capability.SMS),
            mms=bool(capabilities & Capability.MMS),
            fax=False,
        ),
        date_created=format_rfc2822(number.date_created),
        date_updated=format_rfc2822(number.date_updated),
        uri=f"/{API_VERSION}/Accounts/{number.account_sid}/IncomingPhoneNumbers/{number.sid}.json",
    )


def owned_short_code_shape(number: ProxyNumber) -> OwnedShortCodeShape:
    """Show an owned short code."""
    return OwnedShortCodeShape(
        sid=number.sid,
        account_sid=number.account_sid,
        friendly_name=number.friendly_name,
        short_code=number.address,
        date_created=format_rfc2822(number.date_created),
        date_updated=format_rfc2822(number.date_updated),
        uri=f"/{API_VERSION}/Accounts/{number.account_sid}/SMS/ShortCodes/{number.sid}.json",
    )


def account_resource_shape(account: Account) -> AccountResourceShape:
    """Show an account to itself."""
    uri = f"/{API_VERSION}/Accounts/{account.sid}"
    return AccountResourceShape(
        sid=account.sid,
        owner_account_sid=account.sid,
        friendly_name=account.friendly_name,
        date_created=format_rfc2822(account.date_created),
        date_updated=format_rfc2822(account.date_created),
        subresource_uris={
            "incoming_phone_numbers": f"{uri}/IncomingPhoneNumbers.json",
            "short_codes": f"{uri}/SMS/ShortCodes.json",
        },
        uri=f"{uri}.json",
    )


def page_links(url: str, asked: PageRequest, page: Page[Record], ends: tuple[str, str] | None) -> PageLinks:
    """Compose the URLs around a page of the list at `url`; `ends` are the first and last SID on it."""

    def link(number: int, token: str | None) -> str:
        suffix = "" if token is None else f"&PageToken={token}"
        filters = f"{asked.filters}&" if asked.filters else ""
        return f"{url}?{filters}PageSize={asked.cursor.limit}&Page={number}{suffix}"

    first, last = ends or (None, None)
    return PageLinks(
        this=link(asked.page, asked.token),
        first=link(0, None),
        previous=link(max(asked.page - 1, 0), page_token(before=first)) if first and page.has_previous else None,
        next=link(asked.page + 1, page_token(after=last)) if last and page.has_next else None,
    )


def older_page(path: str, asked: PageRequest, page: Page[ProxyNumber]) -> dict[str, Any]:
    """Return the fields of an `OlderPage` of the list at `path`."""
    records = page.records
    links = page_links(path, asked, page, (records[0].sid, records[-1].sid) if records else None)
    start = asked.page * asked.cursor.limit
    return {
        "page": asked.page,
        "page_size": asked.cursor.limit,
        "start": start,
        "end": start + max(len(records) - 1, 0),
        "uri": links.this,
        "first_page_uri": links.first,
        "previous_page_uri": links.previous,
        "next_page_uri": links.next,
    }


def page_meta(key: str, asked: PageRequest, links: PageLinks) -> Meta:
    """Describe a page."""
    return Meta(
        page=asked.page,
        page_size=asked.cursor.limit,
        first_page_url=links.first,
        previous_page_url=links.previous,
        url=links.this,
        next_page_url=links.next,
        key=key,
    )


def _session_url(service_sid: str, session_sid: str, base: str) -> str:
    return f"{base}/v1/Services/{service_sid}/Sessions/{session_sid}"


def _pooled_at(number: ProxyNumber) -> float:
    return number.date_created if number.date_pooled is None else number.date_pooled


def _pool_updated_at(number: ProxyNumber) -> float:
    return _pooled_at(number) if number.date_pool_updated is None else number.date_pool_updated


def _capabilities(held: Capability) -> Capabilities:
    return Capabilities(
        mms_inbound=Capability.MMS_INBOUND in held,
        mms_outbound=Capability.MMS_OUTBOUND in held,
        sms_inbound=Capability.SMS_INBOUND in held,
        sms_outbound=Capability.SMS_OUTBOUND in held,
        voice_inbound=Capability.VOICE_INBOUND in held,
        voice_outbound=Capability.VOICE_OUTBOUND in held,
    )


def _resource_type(leg: Leg, kind: Kind) -> str | None:
    if leg.status is None and leg.resource_sid is None:
        return None
    return "Call" if kind is Kind.VOICE else "Message"
