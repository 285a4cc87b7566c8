"""What an interaction makes the engine owe: the callback about it, the message that carries it, the end of a call."""

from actors.kernel.parts import Parts
from engine.core.model.effects import CallbackOwed, Duty, Effect, HangUpOwed, MessageOwed
from engine.core.model.records import Address, Interaction, ServiceOptions
from engine.core.model.sids import SidKind
from engine.core.sessions.bindings import ActiveSession


def owed(duty: Duty, about: Interaction, parts: Parts) -> Effect:
    """Return the effect of a duty about an interaction."""
    return Effect(
        sid=parts.mint(SidKind.EFFECT),
        account_sid=about.account_sid,
        service_sid=about.service_sid,
        session_sid=about.session_sid,
        duty=duty,
        date_created=parts.clock(),
    )


def callback(
    interaction: Interaction,
    url: str | None,
    options: ServiceOptions,
    *,
    session: ActiveSession | None,
    parts: Parts,
) -> tuple[Effect, ...]:
    """Return the callback about an interaction as it is now; none without a CallbackUrl.

    `session` is its session while that is active.
    """
    if url is None:
        return ()
    name = None
    if options.has_rich_callbacks:
        named = session or parts.store.session(interaction.session_sid)
        name = None if named is None else named.unique_name
    duty = CallbackOwed(url=url, interaction=interaction, session_name=name, is_rich=options.has_rich_callbacks)
    return (owed(duty, interaction, parts),)


def message(
    interaction: Interaction, *, carrier: str | None, to: Address, sender: Address, body: str, parts: Parts
) -> tuple[Effect, ...]:
    """Return the message that a carrier of ours is to send; none where the webhook's answer does it."""
    if carrier is None:
        return ()
    duty = MessageOwed(
        carrier=carrier,
        interaction_sid=interaction.sid,
        sender=sender,
        to=to,
        body=body,
        media=interaction.media,
    )
    return (owed(duty, interaction, parts),)


def hang_up(interaction: Interaction, parts: Parts) -> tuple[Effect, ...]:
    """Return the end of a running call; none where no carrier can end it."""
    carrier = parts.egress.carriers.caller_for(interaction.proxy)
    call_sid = interaction.inbound.resource_sid
    if carrier is None or call_sid is None:
        return ()
    return (owed(HangUpOwed(carrier=carrier, call_sid=call_sid), interaction, parts),)
