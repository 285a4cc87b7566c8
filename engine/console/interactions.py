"""One call or message: its legs, hooks and callbacks, debugger events about it, and why it went where it went."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console.available import Missing, available
from engine.console.context import ConsoleContext
from engine.console.login import read_own_form
from engine.core.model.errors import ApiError, not_found
from engine.core.model.exchanges import about
from engine.core.model.logins import LoginSession
from engine.core.model.outbox import OutboxAlert, OutboxEntry, OutboxHangUp, OutboxReceipt
from engine.core.model.records import DebuggerEvent, Interaction, Leg, Participant, Session
from engine.core.ports.lists import AlertFilter, OutboxFilter, PageCursor
from engine.core.ports.operations import Explanation

_SOME = PageCursor(limit=100, is_part_enough=True)


class LegLine(msgspec.Struct, frozen=True):
    """A leg, and who is at its end."""

    name: str
    leg: Leg
    who: str
    """Which participant of the session."""
    participant: Participant | None


async def show_interaction(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show what is known of it."""
    return await _page(context, request, login, explanation=None)


async def explain_interaction(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Say besides where its sender would get now, and why; the number comes from the record, not from the page."""
    await read_own_form(request, login)
    return await _page(context, request, login, explanation=await _explained(context, request, login))


async def _page(
    context: ConsoleContext, request: Request, login: LoginSession, *, explanation: Explanation | Missing | None
) -> Response:
    one = await _interaction(context, request, login)
    session = await _session(context, one)
    people = () if isinstance(session, Missing) else session[1]
    owed = OutboxFilter(account_sid=one.account_sid, session_sid=one.session_sid)
    entries = await available(context.control.outbox_page(owed, _SOME))
    return context.page(
        request,
        "interaction.html",
        login,
        interaction=one,
        session=session if isinstance(session, Missing) else session[0],
        legs=(_line("inbound", one.inbound, people), _line("outbound", one.outbound, people)),
        entries=() if isinstance(entries, Missing) else [entry for entry in entries.records if _is_about(entry, one)],
        entries_missing=entries if isinstance(entries, Missing) else None,
        events=await _events(context, one),
        exchanges=await available(context.plane.exchanges(one.account_sid, about(one))),
        can_explain=_sender(one, people) is not None,
        explanation=explanation,
    )


async def _interaction(context: ConsoleContext, request: Request, login: LoginSession) -> Interaction:
    one = await context.control.find_interaction(request.path_params["sid"])
    if login.account_sid not in {None, one.account_sid}:
        raise not_found(one.sid)
    return one


async def _session(context: ConsoleContext, one: Interaction) -> tuple[Session, tuple[Participant, ...]] | Missing:
    try:
        return await available(context.control.find_session(one.session_sid))
    except ApiError:
        return Missing("Its session was erased.")


async def _events(context: ConsoleContext, one: Interaction) -> tuple[DebuggerEvent, ...] | Missing:
    """Return the events that name a leg or the interaction itself, the newest first."""
    named = {one.sid, one.inbound.resource_sid, one.outbound.resource_sid} - {None}
    found: dict[str, DebuggerEvent] = {}
    for sid in named:
        page = await available(context.control.alerts_page(one.account_sid, AlertFilter(resource_sid=sid), _SOME))
        if isinstance(page, Missing):
            return page
        found |= {event.sid: event for event in page.records}
    return tuple(sorted(found.values(), key=lambda event: event.sid, reverse=True))


async def _explained(context: ConsoleContext, request: Request, login: LoginSession) -> Explanation | Missing:
    one = await _interaction(context, request, login)
    session = await _session(context, one)
    sender = None if isinstance(session, Missing) else _sender(one, session[1])
    if sender is None:
        return Missing("Who sent it is not known any more.")
    try:
        explanation = await available(context.control.explain(proxy=one.proxy, sender=sender.identifier))
    except ApiError:
        return Missing("Its proxy number is in no pool any more.")
    if isinstance(explanation, Explanation) and explanation.account_sid != one.account_sid:
        return Missing("Its proxy number is another account's now.")
    return explanation


def _sender(one: Interaction, people: Sequence[Participant]) -> Participant | None:
    return next((person for person in people if person.sid == one.inbound.participant_sid), None)


def _line(name: str, leg: Leg, people: Sequence[Participant]) -> LegLine:
    for place, person in enumerate(people, start=1):
        if person.sid == leg.participant_sid:
            return LegLine(name, leg, f"participant {place}", person)
    return LegLine(name, leg, "nobody" if leg.participant_sid is None else "unknown", None)


def _is_about(entry: OutboxEntry, one: Interaction) -> bool:
    match entry.content:
        case OutboxAlert(event=event):
            return event.resource_sid in {one.sid, one.inbound.resource_sid, one.outbound.resource_sid}
        case OutboxHangUp(call_sid=sid) | OutboxReceipt(resource_sid=sid):
            return sid == one.inbound.resource_sid
        case _:
            return entry.interaction_sid == one.sid
