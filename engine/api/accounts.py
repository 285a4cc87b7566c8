"""The account that asks, at the path and in the shape of the neighbouring 2010 API: what set-up scripts ask first."""

from engine.api.operations import AnyOperation, Call, Nothing, Operation
from engine.api.shapes import AccountResourceShape
from engine.api.show import account_resource_shape


async def fetch(call: Call, _: None) -> AccountResourceShape:
    """Read the account of the credentials; another one is not to be seen with them."""
    return account_resource_shape(call.control.account(call.account_sid))


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/2010-04-01/Accounts/{AccountSid}.json",
        name="FetchAccount",
        summary="Read the account that asks",
        handler=fetch,
        reads=Nothing(),
        answer=AccountResourceShape,
    ),
)
