"""Our own webhooks as an application receives them: four forms, sans-IO.

Proxy fields are camelCase, platform fields PascalCase; an unknown value is empty, not absent. Source: behaviour 12, 16.
"""

from urllib.parse import parse_qsl

import msgspec

from engine.core.model.errors import CATALOGUE, Code, Level
from engine.core.model.outbox import OutboxAlert, OutboxCallback
from engine.core.model.records import DebuggerEvent, Interaction, Kind, Leg, Participant, Session, WebhookTrace
from engine.core.ports.hooks import OutOfSessionCase
from engine.core.routing.traffic import InboundEvent
from engine.formats.values import API_VERSION, format_date, interaction_data

Fields = dict[str, str]
"""A form whose names are all different."""

_KNOWN_CODES = {code.value: code for code in Code}


def callback_fields(content: OutboxCallback) -> Fields:
    """Write the form for a CallbackUrl: 18 fields, without the outbound ones as long as there is no outbound leg."""
    fields = intercept_fields(content.interaction)
    outbound = content.interaction.outbound
    if content.is_rich or outbound.status is not None or outbound.resource_sid is not None:
        fields |= _leg("outbound", outbound, content.interaction.kind)
    if content.is_rich:
        fields["sessionUniqueName"] = content.session_name or ""
    return fields


def intercept_fields(interaction: Interaction) -> Fields:
    """Write the form for an InterceptCallbackUrl: 13 fields, none of the outbound leg."""
    return {
        **_leg("inbound", interaction.inbound, interaction.kind),
        "interactionAccountSid": interaction.account_sid,
        "interactionData": interaction_data(interaction),
        "interactionDateCreated": format_date(interaction.date_created),
        "interactionDateUpdated": format_date(interaction.date_updated),
        "interactionServiceSid": interaction.service_sid,
        "interactionSessionSid": interaction.session_sid,
        "interactionSid": interaction.sid,
        "interactionType": interaction.kind.capitalize(),
        **_media(interaction.media),
    }


def out_of_session_fields(case: OutOfSessionCase) -> Fields:
    """Write the form for an OutOfSessionCallbackUrl: the platform's, ours, and the last session that paired the two."""
    platform = _platform_fields(case) if case.event.form is None else dict(case.event.form)
    fields = platform | {"ServiceSid": case.service_sid}
    if case.session is not None:
        fields |= _session(case.session)
    if case.inbound is not None:
        fields |= _participant("inboundParticipant", case.inbound)
    if case.outbound is not None:
        fields |= _participant("outboundParticipant", case.outbound)
    return fields


def debugger_fields(content: OutboxAlert) -> Fields:
    """Write the form for an account's debugger webhook."""
    event = content.event
    return {
        "Sid": event.sid,
        "AccountSid": event.account_sid,
        "ParentAccountSid": "",
        "Timestamp": format_date(event.at),
        "Level": _level(event),
        "PayloadType": "application/json",
        "Payload": msgspec.json.encode(_payload(event)).decode(),
    }


def _leg(prefix: str, leg: Leg, kind: Kind) -> Fields:
    """Write one leg; its URL is empty, since calls and messages are resources of the carrier's platform, not ours."""
    is_known = leg.participant_sid is not None or leg.resource_sid is not None
    resource_type = "call" if kind is Kind.VOICE else "message"
    return {
        f"{prefix}ParticipantSid": leg.participant_sid or "",
        f"{prefix}ResourceSid": leg.resource_sid or "",
        f"{prefix}ResourceStatus": leg.status or "",
        f"{prefix}ResourceType": resource_type if is_known else "",
        f"{prefix}ResourceUrl": "",
    }


def _media(urls: tuple[str, ...]) -> Fields:
    if not urls:
        return {}
    aliases = {f"MediaUrl{index}": url for index, url in enumerate(urls)}
    return {"MediaUrls": msgspec.json.encode(urls).decode(), **aliases}


def _platform_fields(case: OutOfSessionCase) -> Fields:
    """Write what a platform would have sent, for an event that came without a form."""
    event = case.event
    fields = {"AccountSid": case.account_sid, "ApiVersion": API_VERSION, "From": event.sender, "To": event.proxy}
    return fields | (_call_fields(event) if event.is_call else _message_fields(event))


def _call_fields(event: InboundEvent) -> Fields:
    return {
        "CallSid": event.resource_sid,
        "CallStatus": "ringing",
        "Direction": "inbound",
        "Caller": event.sender,
        "Called": event.proxy,
    }


def _message_fields(event: InboundEvent) -> Fields:
    return {
        "MessageSid": event.resource_sid,
        "SmsSid": event.resource_sid,
        "SmsMessageSid": event.resource_sid,
        "SmsStatus": "received",
        "Body": event.body,
        "NumMedia": str(len(event.media)),
        **{f"MediaUrl{index}": url for index, url in enumerate(event.media)},
    }


def _participant(prefix: str, participant: Participant) -> Fields:
    fields = {
        "AccountSid": participant.account_sid,
        "DateCreated": format_date(participant.date_created),
        "DateUpdated": format_date(participant.date_updated),
        "FriendlyName": participant.friendly_name or "",
        "Identifier": participant.identifier,
        "ProxyIdentifier": participant.proxy_identifier,
        "ProxyIdentifierSid": participant.proxy_identifier_sid,
        "ServiceSid": participant.service_sid,
        "SessionSid": participant.session_sid,
        "Sid": participant.sid,
    }
    return {prefix + name: value for name, value in fields.items()}


def _session(session: Session) -> Fields:
    return {
        "sessionAccountSid": session.account_sid,
        "sessionClosedReason": session.closed_reason or "",
        "sessionDateCreated": format_date(session.date_created),
        "sessionDateEnded": _date(session.date_ended),
        "sessionDateUpdated": format_date(session.date_updated),
        "sessionMode": session.mode,
        "sessionServiceSid": session.service_sid,
        "sessionSid": session.sid,
        "sessionStatus": session.status,
        "sessionUniqueName": session.unique_name or "",
        "sessionDateStarted": _date(session.date_started),
        "sessionDateLastInteraction": _date(session.date_last_interaction),
        "sessionDateExpiry": _date(session.date_expiry),
        "ttl": str(session.ttl_seconds),
    }


def _date(at: float | None) -> str:
    return "" if at is None else format_date(at)


def _level(event: DebuggerEvent) -> Level:
    code = _KNOWN_CODES.get(event.code)
    return Level.ERROR if code is None else CATALOGUE[code].level


def _payload(event: DebuggerEvent) -> dict[str, object]:
    more: dict[str, str] = {"Msg": event.message, "ErrorCode": str(event.code), "LogLevel": _level(event)}
    payload: dict[str, object] = {
        "resource_sid": event.resource_sid or event.session_sid,
        "service_sid": event.service_sid,
        "error_code": str(event.code),
        "more_info": more,
    }
    if event.webhook is not None:
        more |= {
            "url": event.webhook.url,
            "httpResponse": event.webhook.problem if event.webhook.status is None else str(event.webhook.status),
        }
        payload["webhook"] = _webhook(event.webhook)
    return payload


def _webhook(trace: WebhookTrace) -> dict[str, object]:
    return {
        "type": "application/json",
        "request": {
            "url": trace.url,
            "method": trace.method,
            "headers": {},
            "parameters": dict(parse_qsl(trace.parameters, keep_blank_values=True)),
        },
        "response": {
            "status_code": trace.status,
            "headers": dict(line.split(": ", 1) for line in trace.headers.splitlines() if ": " in line),
            "body": trace.body,
        },
    }
