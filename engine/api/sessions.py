"""Sessions. Source: behaviour 3.4."""

from engine.api.forms import CREATE_SESSION, UPDATE_SESSION
from engine.api.operations import AnyOperation, Call, FormOf, Nothing, Operation, PageOf, listed
from engine.api.shapes import SessionPage, SessionShape
from engine.api.show import session_shape
from engine.core.model.requests import SessionRequest, SessionUpdate
from engine.core.model.sids import SidKind
from engine.formats.values import PageRequest

_ALL = "/v1/Services/{ServiceSid}/Sessions"
_ONE = "/v1/Services/{ServiceSid}/Sessions/{Sid}"


async def create(call: Call, request: SessionRequest) -> SessionShape:
    """Make a session with its participants."""
    session = await call.control.create_session(call.account_sid, call.service_sid, request)
    return session_shape(session, call.base)


async def page(call: Call, asked: PageRequest) -> SessionPage:
    """List sessions."""
    found = await call.control.sessions_page(call.account_sid, call.service_sid, asked.cursor)
    return SessionPage(*listed(call, "sessions", asked=asked, page=found, show=session_shape))


async def fetch(call: Call, _: None) -> SessionShape:
    """Read a session by SID or unique name."""
    return session_shape(await call.control.session(call.account_sid, call.service_sid, call.sid), call.base)


async def update(call: Call, request: SessionUpdate) -> SessionShape:
    """Change, close or re-open a session."""
    session = await call.control.update_session(call.account_sid, call.service_sid, call.sid, request)
    return session_shape(session, call.base)


async def delete(call: Call, _: None) -> None:
    """Erase a session."""
    await call.control.delete_session(call.account_sid, call.service_sid, call.sid)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path=_ALL,
        name="CreateSession",
        summary="Make a session, with up to two participants",
        handler=create,
        reads=FormOf(CREATE_SESSION),
        status=201,
        answer=SessionShape,
        refusals=(409,),
    ),
    Operation(
        method="GET",
        path=_ALL,
        name="ListSession",
        summary="List sessions, newest first",
        handler=page,
        reads=PageOf(SidKind.SESSION),
        answer=SessionPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchSession",
        summary="Read a session by SID or unique name",
        handler=fetch,
        reads=Nothing(),
        answer=SessionShape,
    ),
    Operation(
        method="POST",
        path=_ONE,
        name="UpdateSession",
        summary="Change, close or re-open a session",
        handler=update,
        reads=FormOf(UPDATE_SESSION),
        answer=SessionShape,
        sid=SidKind.SESSION,
        refusals=(409,),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteSession",
        summary="Erase a session with its participants and interactions",
        handler=delete,
        reads=Nothing(),
        status=204,
        sid=SidKind.SESSION,
    ),
)
