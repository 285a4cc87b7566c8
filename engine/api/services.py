"""Services. Source: behaviour 3.1."""

from engine.api.forms import CREATE_SERVICE, UPDATE_SERVICE
from engine.api.operations import AnyOperation, Call, FormOf, Nothing, Operation, PageOf, listed
from engine.api.shapes import ServicePage, ServiceShape
from engine.api.show import service_shape
from engine.core.model.errors import invalid_parameter
from engine.core.model.requests import ServiceRequest
from engine.core.model.sids import SidKind
from engine.formats.values import PageRequest

_ALL = "/v1/Services"
_ONE = "/v1/Services/{Sid}"


async def create(call: Call, request: ServiceRequest) -> ServiceShape:
    """Make a service."""
    _refuse_own_urls(call, request)
    return service_shape(await call.control.create_service(call.account_sid, request), call.base)


async def page(call: Call, asked: PageRequest) -> ServicePage:
    """List services."""
    found = call.control.services_page(call.account_sid, asked.cursor)
    return ServicePage(*listed(call, "services", asked=asked, page=found, show=service_shape))


async def fetch(call: Call, _: None) -> ServiceShape:
    """Read a service by SID or unique name."""
    return service_shape(call.control.service(call.account_sid, call.sid), call.base)


async def update(call: Call, request: ServiceRequest) -> ServiceShape:
    """Change a service."""
    _refuse_own_urls(call, request)
    return service_shape(await call.control.update_service(call.account_sid, call.sid, request), call.base)


async def delete(call: Call, _: None) -> None:
    """Erase a service and all in it."""
    await call.control.delete_service(call.account_sid, call.sid)


def _refuse_own_urls(call: Call, request: ServiceRequest) -> None:
    for name, url in (
        ("CallbackUrl", request.callback_url),
        ("InterceptCallbackUrl", request.intercept_callback_url),
        ("OutOfSessionCallbackUrl", request.out_of_session_callback_url),
    ):
        if isinstance(url, str) and call.own_host.covers(url):
            raise invalid_parameter(name, "it points at this server, which would call itself")


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path=_ALL,
        name="CreateService",
        summary="Make a service",
        handler=create,
        reads=FormOf(CREATE_SERVICE),
        status=201,
        answer=ServiceShape,
    ),
    Operation(
        method="GET",
        path=_ALL,
        name="ListService",
        summary="List services, newest first",
        handler=page,
        reads=PageOf(SidKind.SERVICE),
        answer=ServicePage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchService",
        summary="Read a service by SID or unique name",
        handler=fetch,
        reads=Nothing(),
        answer=ServiceShape,
    ),
    Operation(
        method="POST",
        path=_ONE,
        name="UpdateService",
        summary="Change a service",
        handler=update,
        reads=FormOf(UPDATE_SERVICE),
        answer=ServiceShape,
        sid=SidKind.SERVICE,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteService",
        summary="Erase a service with its sessions; its numbers leave the pool",
        handler=delete,
        reads=Nothing(),
        status=204,
        sid=SidKind.SERVICE,
    ),
)
