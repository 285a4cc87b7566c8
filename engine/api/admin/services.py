"""The admin API's part about services, as `engine.api.admin.service_shapes` says."""

from starlette.requests import Request

from engine.api.admin.request import read_body
from engine.api.admin.service_shapes import ServiceChange, ServiceList, ServiceReport, service_report, service_request
from engine.core.model.errors import ApiError, Code, not_found
from engine.core.model.records import Service
from engine.core.model.sids import SidKind, is_sid
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import ControlPlane

_PAGE = 100


async def list_services(control: ControlPlane, request: Request) -> ServiceList:
    """List the services of an account."""
    after = request.query_params.get("after")
    page = control.services_page(
        control.account(request.path_params["account"]).sid, PageCursor(limit=_PAGE, after=after)
    )
    shown = tuple(service_report(service) for service in page.records)
    return ServiceList(shown, shown[-1].sid if page.has_next else None)


async def show_service(control: ControlPlane, request: Request) -> ServiceReport:
    """Show a service of any account."""
    return service_report(service_of(control, request.path_params["service"]))


async def change_service(control: ControlPlane, request: Request) -> ServiceReport:
    """Change a service of any account."""
    change = await read_body(request, ServiceChange, takes_lines=True)
    service = service_of(control, request.path_params["service"])
    asked = service_request(service, change)
    return service_report(await control.update_service(service.account_sid, service.sid, asked))


def service_of(control: ControlPlane, service_sid: str) -> Service:
    """Find a service of any account by its SID; ApiError NOT_FOUND."""
    for account in control.accounts() if is_sid(service_sid, SidKind.SERVICE) else ():
        try:
            return control.service(account.sid, service_sid)
        except ApiError as problem:
            if problem.code is not Code.NOT_FOUND:
                raise
    raise not_found(f"/services/{service_sid}")
