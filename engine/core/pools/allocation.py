"""Which proxy number a participant gets, and which participants a session may have at all.

Source: behaviour 3.5, 6, 7. The pool does the choosing (`engine.core.pools.pool`); here stand the checks around it.
"""

from collections.abc import Callable, Container, Mapping, Sequence

import msgspec

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Address, Mode, Participant, ProxyNumber, Service
from engine.core.model.requests import ParticipantRequest, ParticipantUpdate, SessionRequest, given
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import (
    canonical,
    is_channel,
    is_chat_channel,
    mask_address,
    parse_identifier,
    parse_proxy_number,
)
from engine.core.pools.binding_index import BindingIndex
from engine.core.pools.pool import Pool, capability_problem
from engine.core.routing.traffic import InboundEvent, SessionWanted
from engine.core.sessions.modes import MODES

MOST_PARTICIPANTS = 2
"""Participants of a session, ever at a time (behaviour 1.7)."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """A service's numbers and bindings at this moment, which a choice reads and never changes."""

    service: Service
    pool: Pool
    bindings: BindingIndex
    owns: Callable[[str], bool]
    """Whether the account owns a number, by SID or by address."""
    histories: Mapping[Address, Mapping[Address, float]]
    """Proxy numbers that identifiers have had before, each with when; read before the choice."""
    choose: Callable[[int], int]
    """A random index below n."""
    joins_us_and_canada: bool = False
    """Numbers of the US serve Canada and the other way round."""


class NumberChoice(msgspec.Struct, frozen=True):
    """The proxy number that a participant gets."""

    number: ProxyNumber
    is_conflict: bool = False
    """The identifier holds this number in an active session already (permissive mode; 80802)."""


def admit(
    requests: Sequence[ParticipantRequest],
    *,
    present: Sequence[Participant] = (),
    mode: Mode,
    around: Surroundings,
    may_return: bool = False,
) -> tuple[Address, ...]:
    """Return the identifiers of those who ask to join a session with these participants (removed ones too).

    With `may_return`, one who was removed may come back (an extension).

    Raises:
        ApiError: TOO_MANY_PARTICIPANTS, PARTICIPANT_ALREADY_IN_SESSION, DUPLICATE_ENTRY (was removed before),
            IDENTIFIER_INVALID, IDENTIFIER_TYPE_UNSUPPORTED, and the channel and chat codes.
    """
    live = {participant.identifier for participant in present if participant.date_deleted is None}
    removed = {participant.identifier for participant in present} - live
    if len(live) + len(requests) > MOST_PARTICIPANTS:
        raise ApiError(Code.TOO_MANY_PARTICIPANTS, f"A session has at most {MOST_PARTICIPANTS} participants")
    admitted: list[Address] = []
    for request in requests:
        identifier = parse_identifier(request.identifier)
        if identifier in live or identifier in admitted:
            problem = f"{mask_address(identifier)} is already a participant of the session"
            raise ApiError(Code.PARTICIPANT_ALREADY_IN_SESSION, problem)
        if identifier in removed and not may_return:
            problem = f"{mask_address(identifier)} was removed from the session and cannot come back"
            raise ApiError(Code.DUPLICATE_ENTRY, problem)
        _check_kind(request, identifier, mode=mode, around=around)
        admitted.append(identifier)
    return tuple(admitted)


def _check_kind(request: ParticipantRequest, identifier: Address, *, mode: Mode, around: Surroundings) -> None:
    if around.pool.get(identifier) is not None:
        problem = f"Identifier {mask_address(identifier)} is a proxy number of the service"
        raise ApiError(Code.IDENTIFIER_INVALID, problem)
    if not is_channel(identifier) and not is_chat_channel(identifier):
        return
    if MODES[mode].call is None:
        fitting = " or ".join(mode for mode, rules in MODES.items() if rules.call is not None)
        problem = f"Identifier {mask_address(identifier)} carries messages only; the session's mode must be {fitting}"
        raise ApiError(Code.IDENTIFIER_TYPE_UNSUPPORTED, problem)
    if is_chat_channel(identifier):
        if around.service.chat_instance_sid is None:
            raise ApiError(Code.CHAT_SERVICE_NOT_FOUND, "The service has no ChatInstanceSid")
        raise ApiError(Code.CHAT_INTEGRATION, "Chat channels are not connected to this engine")
    if request.proxy_identifier_sid is not None:
        problem = f"ProxyIdentifierSid {request.proxy_identifier_sid} is no channel sender of the service"
        raise ApiError(Code.UNMANAGED_IDENTIFIER_SID_NOT_FOUND, problem)
    problem = f"No channel sender of the service reaches {mask_address(identifier)}"
    raise ApiError(Code.UNMANAGED_IDENTIFIER_NOT_FOUND, problem)


def choose_number(
    request: ParticipantRequest, identifier: Address, *, mode: Mode, is_strict: bool, around: Surroundings
) -> NumberChoice:
    """Choose the proxy number of an admitted participant: the one asked for, or the best one free.

    Raises:
        ApiError: 80201 to 80208 when nothing fits; the codes of an explicit number that cannot be used.
    """
    held = around.bindings.proxies_of(identifier)
    number = _number_asked_for(request, around)
    if number is None:
        number = around.pool.select(
            mode=mode,
            identifier=identifier,
            geo=around.service.geo_match_level,
            behavior=around.service.number_selection_behavior,
            held=held,
            history=around.histories.get(identifier, {}),
            choose=around.choose,
            joins_us_and_canada=around.joins_us_and_canada,
        )
        return NumberChoice(number)
    problem = capability_problem(number, mode)
    if problem is not None:
        raise problem
    is_conflict = conflicts(identifier, number.address, held=held, is_strict=is_strict)
    return NumberChoice(number, is_conflict=is_conflict)


def conflicts(identifier: Address, proxy: Address, *, held: Container[Address], is_strict: bool) -> bool:
    """Tell whether somebody holds a number in an active session already: then the newer session is met (behaviour 7).

    Raises ApiError PROXY_IDENTIFIER_IN_USE for it if `is_strict`.
    """
    if proxy not in held:
        return False
    if is_strict:
        problem = f"{mask_address(identifier)} already holds proxy number {mask_address(proxy)} in an active session"
        raise ApiError(Code.PROXY_IDENTIFIER_IN_USE, problem)
    return True


def not_in_service(proxy: str) -> ApiError:
    """Return the refusal of a number that is not in the service's pool."""
    shown = proxy if is_sid(proxy) else mask_address(proxy)
    return ApiError(Code.PROXY_IDENTIFIER_NOT_IN_SERVICE, f"Proxy number {shown} is not in the service's pool")


def _number_asked_for(request: ParticipantRequest, around: Surroundings) -> ProxyNumber | None:
    by_sid = None if request.proxy_identifier_sid is None else _by_sid(request.proxy_identifier_sid, around)
    by_address = None if request.proxy_identifier is None else _by_address(request.proxy_identifier, around)
    if by_sid is not None and by_address is not None and by_sid.sid != by_address.sid:
        problem = "ProxyIdentifier and ProxyIdentifierSid name different numbers"
        raise ApiError(Code.IDENTIFIER_PAIR_INVALID, problem)
    return by_sid or by_address


def _by_sid(sid: str, around: Surroundings) -> ProxyNumber:
    if not is_sid(sid, SidKind.PHONE_NUMBER) and not is_sid(sid, SidKind.SHORT_CODE):
        raise ApiError(Code.NUMBER_SID_INVALID, "ProxyIdentifierSid must be a PN… or SC… SID")
    number = around.pool.get_by_sid(sid)
    if number is None:
        raise _not_usable(sid, around)
    return number


def _by_address(text: str, around: Surroundings) -> ProxyNumber:
    if is_channel(text):
        problem = f"Channel address {mask_address(text)} is not managed by the service"
        raise ApiError(Code.UNMANAGED_IDENTIFIER_NOT_FOUND, problem)
    number = around.pool.get(text)
    if number is None:
        address = parse_proxy_number(text)
        number = around.pool.get(address)
        if number is None:
            raise _not_usable(address, around)
    return number


def _not_usable(named: str, around: Surroundings) -> ApiError:
    if around.owns(named):
        return not_in_service(named)
    shown = named if is_sid(named) else mask_address(named)
    return ApiError(Code.PROXY_IDENTIFIER_NOT_OWNED, f"Proxy number {shown} is not owned by the account")


def request_after(before: Participant, update: ParticipantUpdate) -> ParticipantRequest:
    """Return how somebody would ask to join as what an update makes of them (an extension).

    Another identifier gets a number anew unless one is named; otherwise the number stays, however the same identifier
    is spelt. ApiError IDENTIFIER_INVALID when it is none.
    """
    asked = given(update)
    identifier = asked.get("identifier", before.identifier)
    if identifier != before.identifier:
        identifier = parse_identifier(identifier)
    kept: dict[str, object] = {"friendly_name": before.friendly_name}
    if identifier == before.identifier and not asked.keys() & {"proxy_identifier", "proxy_identifier_sid"}:
        kept["proxy_identifier_sid"] = before.proxy_identifier_sid
    return msgspec.convert(kept | asked | {"identifier": identifier}, ParticipantRequest)


def keeps_binding(before: Participant, request: ParticipantRequest, around: Surroundings) -> bool:
    """Tell whether a request names the identifier and the number that somebody has: nothing is to be chosen then.

    Raises ApiError as `choose_number` does for a number that cannot be used.
    """
    number = _number_asked_for(request, around)
    return request.identifier == before.identifier and number is not None and number.sid == before.proxy_identifier_sid


def session_wanted(wanted: SessionWanted, event: InboundEvent, number: ProxyNumber) -> SessionRequest:
    """Return the session that an out-of-session hook asks for (behaviour 13.1).

    The sender keeps the number they reached, reserved or not; no default ttl is applied.
    """
    mode = wanted.mode or guess_mode(number, wanted.identifier, is_call=event.is_call)
    return SessionRequest(
        unique_name=wanted.unique_name,
        date_expiry=wanted.date_expiry,
        ttl_seconds=wanted.ttl_seconds or 0,
        mode=mode,
        participants=(
            ParticipantRequest(identifier=canonical(event.sender), proxy_identifier_sid=number.sid),
            ParticipantRequest(identifier=wanted.identifier, proxy_identifier=wanted.proxy_identifier),
        ),
    )


def guess_mode(number: ProxyNumber, identifier: str, *, is_call: bool) -> Mode:
    """Guess a mode from who and what meets: the first that lets the event at hand pass and that the number can do."""
    fitting = [mode for mode, rules in MODES.items() if (rules.call if is_call else rules.message) is None]
    if is_channel(identifier) and not is_call:
        fitting = [mode for mode in fitting if MODES[mode].call is not None]
    return next((mode for mode in fitting if capability_problem(number, mode) is None), fitting[-1])
