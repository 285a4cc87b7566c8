"""Interactions and message interactions. Source: behaviour 3.6, 3.7."""

from engine.api.forms import SEND_MESSAGE, MessageRequest
from engine.api.operations import AnyOperation, Call, FormOf, Nothing, Operation, PageOf, listed
from engine.api.shapes import InteractionPage, InteractionShape, MessageInteractionPage, MessageInteractionShape
from engine.api.show import interaction_shape, message_interaction_shape
from engine.core.model.errors import not_found
from engine.core.model.sids import SidKind
from engine.formats.values import PageRequest

_ALL = "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Interactions"
_ONE = "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Interactions/{Sid}"
_PUSHED = "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Participants/{ParticipantSid}/MessageInteractions"
_PUSHED_ONE = _PUSHED + "/{Sid}"


async def page(call: Call, asked: PageRequest) -> InteractionPage:
    """List interactions."""
    found = await call.control.interactions_page(call.account_sid, call.service_sid, call.session_sid, asked.cursor)
    return InteractionPage(*listed(call, "interactions", asked=asked, page=found, show=interaction_shape))


async def fetch(call: Call, _: None) -> InteractionShape:
    """Read an interaction."""
    interaction = await call.control.interaction(call.account_sid, call.service_sid, call.session_sid, call.sid)
    return interaction_shape(interaction, call.base)


async def delete(call: Call, _: None) -> None:
    """Erase an interaction."""
    await call.control.delete_interaction(call.account_sid, call.service_sid, call.session_sid, call.sid)


async def send(call: Call, request: MessageRequest) -> MessageInteractionShape:
    """Push a text to a participant."""
    interaction = await call.control.send_message(
        call.account_sid,
        call.service_sid,
        call.session_sid,
        call.participant_sid,
        body=request.body,
        media=request.media,
    )
    return message_interaction_shape(interaction, call.base)


async def pushed_page(call: Call, asked: PageRequest) -> MessageInteractionPage:
    """List what was pushed to a participant."""
    found = await call.control.interactions_page(
        call.account_sid,
        call.service_sid,
        call.session_sid,
        asked.cursor,
        participant_sid=call.participant_sid,
    )
    return MessageInteractionPage(
        *listed(call, "interactions", asked=asked, page=found, show=message_interaction_shape)
    )


async def fetch_pushed(call: Call, _: None) -> MessageInteractionShape:
    """Read one that was pushed to a participant."""
    interaction = await call.control.interaction(call.account_sid, call.service_sid, call.session_sid, call.sid)
    if not interaction.is_message_interaction or interaction.outbound.participant_sid != call.participant_sid:
        raise not_found(call.path)
    return message_interaction_shape(interaction, call.base)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path=_ALL,
        name="ListInteraction",
        summary="List the calls and messages of a session, oldest first",
        handler=page,
        reads=PageOf(SidKind.INTERACTION),
        answer=InteractionPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchInteraction",
        summary="Read a call or message",
        handler=fetch,
        reads=Nothing(),
        answer=InteractionShape,
        sid=SidKind.INTERACTION,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteInteraction",
        summary="Erase the record of a call or message",
        handler=delete,
        reads=Nothing(),
        status=204,
        sid=SidKind.INTERACTION,
    ),
    Operation(
        method="POST",
        path=_PUSHED,
        name="CreateMessageInteraction",
        summary="Push a text to a participant from their own proxy number",
        handler=send,
        reads=FormOf(SEND_MESSAGE),
        status=201,
        answer=MessageInteractionShape,
    ),
    Operation(
        method="GET",
        path=_PUSHED,
        name="ListMessageInteraction",
        summary="List what was pushed to a participant, oldest first",
        handler=pushed_page,
        reads=PageOf(SidKind.INTERACTION),
        answer=MessageInteractionPage,
    ),
    Operation(
        method="GET",
        path=_PUSHED_ONE,
        name="FetchMessageInteraction",
        summary="Read a text that was pushed to a participant",
        handler=fetch_pushed,
        reads=Nothing(),
        answer=MessageInteractionShape,
        sid=SidKind.INTERACTION,
    ),
)
