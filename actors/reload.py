"""What a host reads back at its start besides bindings: open calls, and the answers that may be asked for again."""

from collections.abc import Awaitable, Callable, Iterator, Sequence

from actors.breaths import in_breaths
from actors.directory import Directory
from actors.ledger import Ledger, event_of
from actors.parts import Parts
from engine.core.legs import is_open_call
from engine.core.records import Interaction, Kind, Participant
from engine.core.routing import ActiveSession, Seat, routed, seat_of

FindActive = Callable[[Interaction], ActiveSession | None]


IsMeant = Callable[[Interaction], bool]
ReadParticipants = Callable[[tuple[str, ...]], Awaitable[Sequence[tuple[Participant, ...]]]]

SESSIONS_AT_ONCE = 1_000
"""Sessions whose participants are asked of another host in one message."""


def reload_calls(parts: Parts, ledger: Ledger) -> None:
    """Take up the open calls."""
    for interaction in parts.store.open_calls():
        ledger.reload_call(interaction)


def reload_answers(
    parts: Parts, ledger: Ledger, directory: Directory, *, is_meant: IsMeant, active: FindActive
) -> None:
    """Take up the answers given within the redelivery window, of interactions that are meant.

    `active` finds the session of an interaction, if it is active: most are, and then nothing more has to be read.
    """
    seats = _Seats(parts.store.participants, active)
    for interaction in _answered_lately(parts, is_meant):
        _reload(interaction, ledger, directory, seats)


async def reload_elsewhere(
    parts: Parts,
    ledger: Ledger,
    directory: Directory,
    *,
    is_meant: IsMeant,
    active: FindActive,
    participants: ReadParticipants,
    touched: Callable[[ActiveSession, float], None],
) -> None:
    """Do the same where the sessions' records are on another host, which `participants` reads.

    `touched` is told what passed: before this host stopped, it may not have come to tell the coordinator.
    The host serves meanwhile, and is killed if it does not answer: the loop turns.
    """
    since = parts.clock() - parts.settings.redelivery_window_seconds
    lately = [one async for one in in_breaths(parts.store.interactions_since(since)) if _is_answer(one, is_meant)]
    unseated = tuple({one.session_sid for one in lately if not _are_seated(one, active(one))})
    known: dict[str, tuple[Participant, ...]] = {}
    for start in range(0, len(unseated), SESSIONS_AT_ONCE):
        some = unseated[start : start + SESSIONS_AT_ONCE]
        known |= zip(some, await participants(some), strict=True)
    seats = _Seats(lambda session_sid: known.get(session_sid, ()), active)
    async for interaction in in_breaths(lately):
        _reload(interaction, ledger, directory, seats)
        session = active(interaction)
        if session is not None:
            touched(session, _last_touch(interaction, session))


def _answered_lately(parts: Parts, is_meant: IsMeant) -> Iterator[Interaction]:
    since = parts.clock() - parts.settings.redelivery_window_seconds
    return (one for one in parts.store.interactions_since(since) if _is_answer(one, is_meant))


def _is_answer(interaction: Interaction, is_meant: IsMeant) -> bool:
    return not interaction.is_message_interaction and is_meant(interaction)


def _are_seated(interaction: Interaction, session: ActiveSession | None) -> bool:
    """Tell whether both ends of an interaction still sit in its session, which then says all there is to know."""
    seated = set() if session is None else {seat.participant_sid for seat in session.seats}
    return {interaction.inbound.participant_sid, interaction.outbound.participant_sid} <= seated


def _last_touch(interaction: Interaction, session: ActiveSession) -> float:
    """Return when an interaction last restarted the ttl: the end of a call does, unless it came past the session's."""
    began, ended = interaction.date_created, interaction.date_updated
    if interaction.kind is not Kind.VOICE or is_open_call(interaction):
        return began
    end = session.date_expiry
    if end is None and session.ttl_seconds > 0:
        end = began + session.ttl_seconds
    return ended if end is None or ended < end else began


class _Seats:
    """Where the two ends of interactions sat; each ended session is read once."""

    def __init__(self, participants: Callable[[str], tuple[Participant, ...]], active: FindActive) -> None:
        self._participants = participants
        self._active = active
        self._read: dict[str, dict[str, Seat]] = {}

    def find(self, interaction: Interaction, participant_sid: str | None) -> Seat | None:
        active = self._active(interaction)
        if active is not None:
            for seat in active.seats:
                if seat.participant_sid == participant_sid:
                    return seat
        seats = self._read.get(interaction.session_sid)
        if seats is None:
            participants = self._participants(interaction.session_sid)
            seats = {participant.sid: seat_of(participant) for participant in participants}
            self._read[interaction.session_sid] = seats
        return seats.get(participant_sid or "")


def _reload(interaction: Interaction, ledger: Ledger, directory: Directory, seats: _Seats) -> None:
    if interaction.outbound.participant_sid is None:
        ledger.reload_unfinished(interaction)
        return
    actor = directory.find(interaction.proxy)
    sender = seats.find(interaction, interaction.inbound.participant_sid)
    partner = seats.find(interaction, interaction.outbound.participant_sid)
    if actor is None or sender is None or partner is None:
        return  # the session is erased or the number left its pool: a redelivery is decided anew
    is_call = interaction.kind is Kind.VOICE
    decision = routed(
        sender,
        partner,
        is_call=is_call,
        rules=actor.rules,
        session_sid=interaction.session_sid,
        interaction_sid=interaction.sid,
    )
    if actor.rules.options.intercept_may_rewrite and not is_call and not decision.is_sent_by_us:
        ledger.reload_unfinished(interaction)  # the text that the gate put in its place is not kept: it is asked again
        return
    ledger.remember_answer(event_of(interaction, sender=sender.identifier), decision, now=interaction.date_created)
