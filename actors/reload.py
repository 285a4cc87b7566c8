"""What a host reads back at its start besides bindings: open calls, and the answers that may be asked for again."""

from collections.abc import Callable

from actors.directory import Directory
from actors.ledger import Ledger, event_of
from actors.parts import Parts
from engine.core.ports import Store
from engine.core.records import Interaction, Kind
from engine.core.routing import ActiveSession, Seat, routed, seat_of

FindActive = Callable[[Interaction], ActiveSession | None]


def reload_answers(parts: Parts, ledger: Ledger, directory: Directory, *, active: FindActive) -> None:
    """Take up the open calls, and the answers given within the redelivery window.

    `active` finds the session of an interaction, if it is active: most are, and then nothing more has to be read.
    """
    for interaction in parts.store.open_calls():
        ledger.reload_call(interaction)
    since = parts.clock() - parts.settings.redelivery_window_seconds
    seats = _Seats(parts.store, active)
    for interaction in parts.store.interactions_since(since):
        if interaction.is_message_interaction:
            continue
        if interaction.outbound.participant_sid is None:
            ledger.reload_unfinished(interaction)
        else:
            _reload(interaction, ledger, directory, seats)


class _Seats:
    """Where the two ends of interactions sat; each ended session is read once."""

    def __init__(self, store: Store, active: FindActive) -> None:
        self._store = store
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
            participants = self._store.participants(interaction.session_sid)
            seats = {participant.sid: seat_of(participant) for participant in participants}
            self._read[interaction.session_sid] = seats
        return seats.get(participant_sid or "")


def _reload(interaction: Interaction, ledger: Ledger, directory: Directory, seats: _Seats) -> None:
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
