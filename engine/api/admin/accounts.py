"""Of the admin API: an account's token, and disabling, enabling and deleting an account."""

from starlette.requests import Request

from engine.api.admin.request import read_body, read_query
from engine.api.admin.shapes import AccountDelete, AccountDeleted, AccountShape, TokenRotate, TokenRotated
from engine.api.admin.show import account_shape
from engine.core.model.errors import ApiError, Code
from engine.core.model.requests import TokenRotation
from engine.core.ports.operations import ControlPlane


async def rotate_token(control: ControlPlane, request: Request) -> TokenRotated:
    """Give an account a fresh token, shown this once."""
    asked = await read_body(request, TokenRotate)
    rotation = TokenRotation(overlap_seconds=asked.overlap_seconds, is_instead=asked.is_instead)
    account = await control.rotate_token(request.path_params["account"], rotation)
    return TokenRotated(account=account_shape(account), auth_token=account.auth_token)


async def end_previous_token(control: ControlPlane, request: Request) -> AccountShape:
    """Let only the newest token be good from now on."""
    return account_shape(await control.end_previous_token(request.path_params["account"]))


async def disable(control: ControlPlane, request: Request) -> AccountShape:
    """Let an account do nothing any more."""
    return account_shape(await control.enable_account(request.path_params["account"], is_enabled=False))


async def enable(control: ControlPlane, request: Request) -> AccountShape:
    """Let an account do what it did before."""
    return account_shape(await control.enable_account(request.path_params["account"], is_enabled=True))


async def delete(control: ControlPlane, request: Request) -> AccountDeleted:
    """Erase a disabled account, and what it has where that is asked for; goes on where an earlier try has stopped."""
    account_sid = request.path_params["account"]
    asked = read_query(request, AccountDelete)
    account, left = control.account(account_sid), control.account_holdings(account_sid)
    if not account.is_disabled:
        raise ApiError(Code.CONFLICT, "The account is active: disable it first")
    if asked.everything:
        for service_sid in left.services:
            await control.delete_service(account_sid, service_sid)
        for number_sid in left.numbers:
            await control.release_number(account_sid, number_sid)
    await control.delete_account(account_sid)
    return AccountDeleted(services=len(left.services), numbers=len(left.numbers))
