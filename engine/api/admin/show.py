"""Records and requests to and from the shapes of the admin API; sans-IO.

What the operator need not know is masked (real numbers) or left out (secrets, what was said).
"""

from typing import TypeVar

from msgspec import UNSET, UnsetType

from engine.api.admin.shapes import (
    AccountChange,
    AccountCreate,
    AccountShape,
    ApiKeyShape,
    DecisionShape,
    ExplanationShape,
    InteractionReport,
    NumberResult,
    NumberRow,
    ParticipantReport,
    SessionReport,
)
from engine.core.model.errors import ApiError, invalid_parameter
from engine.core.model.records import (
    Account,
    ApiKey,
    Capability,
    Interaction,
    Participant,
    ProxyNumber,
    Session,
)
from engine.core.model.requests import AccountUpdate, NumberRequest
from engine.core.numbers.e164 import mask_address
from engine.core.numbers.masking import mask_text
from engine.core.ports.lists import Page
from engine.core.ports.operations import Explanation
from engine.core.routing.traffic import Decision
from engine.core.sessions.expiry import expires_at
from engine.formats.fields import MAX_URL
from engine.formats.values import format_date, optional_date, parse_url

_CAPABILITIES = {
    str(capability.name).lower(): capability
    for capability in (*Capability, Capability.VOICE, Capability.SMS, Capability.MMS)
}
_COUNTRY_LETTERS = 2

Value = TypeVar("Value", str, bool)


def account_update(asked: AccountCreate | AccountChange) -> AccountUpdate:
    """Read the settings that are given; None stays as it is."""
    return AccountUpdate(
        friendly_name=_given(asked.friendly_name),
        allow_participant_conflict=_given(asked.allow_participant_conflict),
        respect_sms_stop_filter=_given(asked.respect_sms_stop_filter),
        argentina=_given(asked.argentina),
        debugger_url=_given_url(asked.debugger_url) if isinstance(asked, AccountChange) else UNSET,
    )


def account_shape(account: Account) -> AccountShape:
    """Show an account without its token."""
    return AccountShape(
        sid=account.sid,
        friendly_name=account.friendly_name,
        allow_participant_conflict=account.allow_participant_conflict,
        respect_sms_stop_filter=account.respect_sms_stop_filter,
        argentina=account.argentina,
        debugger_url=account.debugger_url,
        date_created=format_date(account.date_created),
        date_disabled=optional_date(account.date_disabled),
        previous_token_ends=optional_date(account.date_token_ends),
    )


def api_key_shape(key: ApiKey) -> ApiKeyShape:
    """Show a key without its secret."""
    return ApiKeyShape(
        sid=key.sid,
        account_sid=key.account_sid,
        friendly_name=key.friendly_name,
        date_created=format_date(key.date_created),
        date_revoked=optional_date(key.date_revoked),
    )


def number_request(row: NumberRow) -> NumberRequest | ApiError:
    """Read a row, or say what is wrong with it; whether the number exists is for the rules."""
    country = None if row.country is None else row.country.strip().upper()
    if country is not None and not (len(country) == _COUNTRY_LETTERS and country.isascii() and country.isalpha()):
        return invalid_parameter("country", "expected two letters, such as US")
    capabilities = Capability.ALL if row.capabilities is None else Capability(0)
    for word in row.capabilities or ():
        named = _CAPABILITIES.get(word.strip().lower().replace("-", "_"))
        if named is None:
            return invalid_parameter("capabilities", f"expected some of {', '.join(sorted(_CAPABILITIES))}")
        capabilities |= named
    if not capabilities:
        return invalid_parameter("capabilities", "name at least one, or leave them out for all")
    return NumberRequest(
        address=row.number.strip(),
        iso_country=country,
        capabilities=capabilities,
        friendly_name=row.friendly_name,
        stop_filtering=row.stop_filtering,
    )


def number_result(
    outcome: ProxyNumber | Exception, *, number_sid: str | None = None, is_unpooled_reserved: bool = False
) -> NumberResult:
    """Tell what became of a row; anything but a number or a refusal is raised on."""
    if isinstance(outcome, ProxyNumber):
        remark = "owned but not reserved: name a service to reserve it in" if is_unpooled_reserved else None
        return NumberResult(is_ok=True, number_sid=outcome.sid, message=remark)
    if isinstance(outcome, ApiError):
        return NumberResult(is_ok=False, number_sid=number_sid, code=outcome.code.value, message=outcome.message)
    raise outcome


def session_report(
    session: Session, participants: tuple[Participant, ...], interactions: Page[Interaction]
) -> SessionReport:
    """Show a session to the operator."""
    return SessionReport(
        sid=session.sid,
        account_sid=session.account_sid,
        service_sid=session.service_sid,
        unique_name=session.unique_name and mask_text(session.unique_name),
        status=session.status,
        closed_reason=session.closed_reason,
        mode=session.mode,
        ttl_seconds=session.ttl_seconds,
        date_created=format_date(session.date_created),
        date_started=optional_date(session.date_started),
        date_last_interaction=optional_date(session.date_last_interaction),
        date_expiry=optional_date(session.date_expiry),
        date_ended=optional_date(session.date_ended),
        expires_at=optional_date(expires_at(session)),
        participants=tuple(_participant_report(participant) for participant in participants),
        interactions=tuple(_interaction_report(interaction) for interaction in interactions.records),
        has_more_interactions=interactions.has_previous,
    )


def explanation_shape(explanation: Explanation) -> ExplanationShape:
    """Show an explanation, whose numbers are masked already."""
    session = explanation.session
    return ExplanationShape(
        proxy=explanation.proxy,
        sender=explanation.sender,
        account_sid=explanation.account_sid,
        service_sid=explanation.service_sid,
        session_sid=None if session is None else session.sid,
        session_status=None if session is None else session.status,
        sender_sid=explanation.sender_sid,
        partner_sid=explanation.partner_sid,
        expires_at=optional_date(explanation.expires_at),
        call=_decision_shape(explanation.call),
        message=_decision_shape(explanation.message),
        story=explanation.story,
    )


def _given(value: Value | None) -> Value | UnsetType:
    return UNSET if value is None else value


def _given_url(text: str | None) -> str | UnsetType | None:
    if text is None:
        return UNSET
    try:
        return parse_url(text, max_length=MAX_URL) if text else None
    except ValueError as problem:
        raise invalid_parameter("debugger_url", str(problem)) from problem


def _participant_report(participant: Participant) -> ParticipantReport:
    return ParticipantReport(
        sid=participant.sid,
        identifier=mask_address(participant.identifier),
        proxy_identifier=participant.proxy_identifier,
        friendly_name=participant.friendly_name and mask_text(participant.friendly_name),
        date_created=format_date(participant.date_created),
        date_deleted=optional_date(participant.date_deleted),
    )


def _interaction_report(interaction: Interaction) -> InteractionReport:
    return InteractionReport(
        sid=interaction.sid,
        type=interaction.kind,
        inbound_participant_sid=interaction.inbound.participant_sid,
        inbound_status=interaction.inbound.status,
        outbound_participant_sid=interaction.outbound.participant_sid,
        outbound_status=interaction.outbound.status,
        duration_seconds=interaction.duration_seconds,
        date_created=format_date(interaction.date_created),
    )


def _decision_shape(decision: Decision) -> DecisionShape:
    return DecisionShape(
        outcome=decision.outcome,
        reason=decision.reason,
        code=None if decision.code is None else decision.code.value,
        to=decision.to or None,
        caller_id=decision.caller_id or None,
    )
