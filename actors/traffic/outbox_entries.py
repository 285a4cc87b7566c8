"""The outbox entries of an interaction: callback about it, message that carries it, receipt, end of a call."""

from actors.kernel.context import HostContext
from engine.core.model.outbox import (
    OutboxCallback,
    OutboxContent,
    OutboxEntry,
    OutboxHangUp,
    OutboxMessage,
    OutboxReceipt,
)
from engine.core.model.records import Address, Interaction, RawText, ServiceOptions
from engine.core.model.sids import SidKind
from engine.core.routing.receipts import asked_by


def _entry(content: OutboxContent, about: Interaction, context: HostContext) -> OutboxEntry:
    """Return an outbox entry about an interaction."""
    return OutboxEntry(
        sid=context.id_factory(SidKind.OUTBOX_ENTRY),
        account_sid=about.account_sid,
        service_sid=about.service_sid,
        session_sid=about.session_sid,
        content=content,
        date_created=context.clock(),
    )


def callback(
    interaction: Interaction,
    url: str | None,
    options: ServiceOptions,
    *,
    session_name: str | None,
    context: HostContext,
) -> tuple[OutboxEntry, ...]:
    """Return the callback about an interaction as it is now; none without a CallbackUrl."""
    if url is None:
        return ()
    name = session_name if options.has_rich_callbacks else None
    content = OutboxCallback(url=url, interaction=interaction, session_name=name, is_rich=options.has_rich_callbacks)
    return (_entry(content, interaction, context),)


def message(
    interaction: Interaction,
    *,
    carrier: str | None,
    to: Address,
    sender: Address,
    body: str,
    context: HostContext,
    raw: RawText | None = None,
    valid_until: float | None = None,
) -> tuple[OutboxEntry, ...]:
    """Return the message that a carrier of ours is to send; none where the webhook's answer does it.

    `raw` is the body as it came, `valid_until` when it is not to be sent any more.
    """
    if carrier is None:
        return ()
    content = OutboxMessage(
        carrier=carrier,
        interaction_sid=interaction.sid,
        sender=sender,
        to=to,
        body=body,
        media=interaction.media,
        raw=raw,
        valid_until=valid_until,
    )
    return (_entry(content, interaction, context),)


def receipt(interaction: Interaction, context: HostContext) -> tuple[OutboxEntry, ...]:
    """Return the news of the outbound leg for the peer that sent the message; none where it did not ask for it."""
    sid, status = interaction.inbound.resource_sid, interaction.outbound.status
    carrier = asked_by(sid)
    if not carrier or sid is None or status is None:
        return ()
    content = OutboxReceipt(carrier=carrier, resource_sid=sid, status=status, at=interaction.date_updated)
    return (_entry(content, interaction, context),)


def hang_up(interaction: Interaction, context: HostContext) -> tuple[OutboxEntry, ...]:
    """Return the end of a running call; none where no carrier can end it."""
    carrier = context.egress.carriers.caller_for(interaction.proxy)
    call_sid = interaction.inbound.resource_sid
    if carrier is None or call_sid is None:
        return ()
    return (_entry(OutboxHangUp(carrier=carrier, call_sid=call_sid), interaction, context),)
