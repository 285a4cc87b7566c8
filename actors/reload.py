"""What a host reads back at its start besides bindings: open calls, and the answers that may be asked for again."""

from actors.directory import Directory
from actors.ledger import Ledger, event_of
from actors.parts import Parts
from engine.core.records import Address, Interaction, Kind
from engine.core.routing import outbound_address
from engine.core.traffic import Decision, Outcome, Reason


def reload_answers(parts: Parts, ledger: Ledger, directory: Directory) -> None:
    """Take up the open calls, and the answers given within the redelivery window."""
    for interaction in parts.store.open_calls():
        ledger.reload_call(interaction)
    since = parts.clock() - parts.settings.redelivery_window_seconds
    for interaction in parts.store.interactions_since(since):
        if interaction.is_message_interaction:
            continue
        if interaction.outbound.participant_sid is None:
            ledger.reload_unfinished(interaction)
        else:
            _reload(interaction, parts, ledger, directory)


def _reload(interaction: Interaction, parts: Parts, ledger: Ledger, directory: Directory) -> None:
    seats: dict[str, tuple[Address, Address]] = {
        participant.sid: (participant.identifier, participant.proxy_identifier)
        for participant in parts.store.participants(interaction.session_sid)
    }
    actor = directory.find(interaction.proxy)
    sender = seats.get(interaction.inbound.participant_sid or "")
    partner = seats.get(interaction.outbound.participant_sid or "")
    if actor is None or sender is None or partner is None:
        return  # the session is erased or the number left its pool: a redelivery is decided anew
    is_call = interaction.kind is Kind.VOICE
    decision = Decision(
        Outcome.ROUTED,
        Reason.IN_SESSION,
        to=outbound_address(partner[0], is_call=is_call, rules=actor.rules),
        caller_id=partner[1],
        session_sid=interaction.session_sid,
        interaction_sid=interaction.sid,
    )
    ledger.reload_answer(event_of(interaction, sender=sender[0]), decision, now=interaction.date_created)
