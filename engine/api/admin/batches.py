"""The admin API's batch of sessions: as that of the public interface, with results that name no real number."""

from starlette.requests import Request

from engine.api.admin.batch_shapes import SessionsBatched, session_outcome
from engine.api.admin.request import read_bytes
from engine.api.admin.services import service_of
from engine.api.batch import carry_out, read
from engine.api.batch_shapes import BatchForm
from engine.core.ports.operations import ControlPlane


async def batch_sessions(control: ControlPlane, request: Request) -> SessionsBatched:
    """Make, change and close sessions of any account's service."""
    service = service_of(control, request.path_params["service"])
    asked = await read(await read_bytes(request), BatchForm.ARRAY)
    outcomes = await carry_out(control, service.account_sid, service.sid, asked)
    return SessionsBatched(results=tuple(map(session_outcome, outcomes)))
