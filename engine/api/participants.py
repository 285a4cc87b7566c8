"""Participants; their update is an extension (behaviour 20). Source: behaviour 3.5."""

from engine.api.forms import ADD_PARTICIPANT, UPDATE_PARTICIPANT
from engine.api.operations import AnyOperation, Call, FormOf, Nothing, Operation, PageOf, listed
from engine.api.shapes import ParticipantPage, ParticipantShape
from engine.api.show import participant_shape
from engine.core.model.requests import ParticipantRequest, ParticipantUpdate
from engine.core.model.sids import SidKind
from engine.formats.values import PageRequest

_ALL = "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Participants"
_ONE = "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Participants/{Sid}"


async def create(call: Call, request: ParticipantRequest) -> ParticipantShape:
    """Add a participant."""
    participant = await call.control.add_participant(call.account_sid, call.service_sid, call.session_sid, request)
    return participant_shape(participant, call.base)


async def page(call: Call, asked: PageRequest) -> ParticipantPage:
    """List participants."""
    found = await call.control.participants_page(call.account_sid, call.service_sid, call.session_sid, asked.cursor)
    return ParticipantPage(*listed(call, "participants", asked=asked, page=found, show=participant_shape))


async def fetch(call: Call, _: None) -> ParticipantShape:
    """Read a participant."""
    participant = await call.control.participant(call.account_sid, call.service_sid, call.session_sid, call.sid)
    return participant_shape(participant, call.base)


async def update(call: Call, asked: ParticipantUpdate) -> ParticipantShape:
    """Change a participant."""
    participant = await call.control.update_participant(
        call.account_sid, call.service_sid, call.session_sid, call.sid, update=asked
    )
    return participant_shape(participant, call.base)


async def delete(call: Call, _: None) -> None:
    """Remove a participant."""
    await call.control.remove_participant(call.account_sid, call.service_sid, call.session_sid, call.sid)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path=_ALL,
        name="CreateParticipant",
        summary="Add a participant to a session",
        handler=create,
        reads=FormOf(ADD_PARTICIPANT),
        status=201,
        answer=ParticipantShape,
        refusals=(409,),
    ),
    Operation(
        method="GET",
        path=_ALL,
        name="ListParticipant",
        summary="List the participants of a session, the removed ones too",
        handler=page,
        reads=PageOf(SidKind.PARTICIPANT),
        answer=ParticipantPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchParticipant",
        summary="Read a participant",
        handler=fetch,
        reads=Nothing(),
        answer=ParticipantShape,
        sid=SidKind.PARTICIPANT,
    ),
    Operation(
        method="POST",
        path=_ONE,
        name="UpdateParticipant",
        summary="Change a participant; 405 (20004) unless the operator lets the service do so",
        handler=update,
        reads=FormOf(UPDATE_PARTICIPANT),
        answer=ParticipantShape,
        sid=SidKind.PARTICIPANT,
        refusals=(409,),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteParticipant",
        summary="Remove a participant; its row stays with the session",
        handler=delete,
        reads=Nothing(),
        status=204,
        sid=SidKind.PARTICIPANT,
    ),
)
