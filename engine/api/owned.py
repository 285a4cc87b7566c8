"""Owned phone numbers, at the path and in the shapes of the neighbouring 2010 API, so that `PN` SIDs exist.

Buying is not ours: a number is declared to be owned. Its webhooks are settings of its carrier: to set them is refused.
"""

from engine.api.operations import AnyOperation, Call, FilteredPageOf, FormOf, Nothing, Operation
from engine.api.owned_forms import LIST_OWNED_NUMBERS, OWN_NUMBER, UPDATE_OWNED_NUMBER, Origin, OwnedNumberQuery
from engine.api.shapes import OwnedNumberPage, OwnedNumberShape
from engine.api.show import older_page, owned_number_shape
from engine.core.model.errors import ApiError, Code
from engine.core.model.records import ProxyNumber
from engine.core.model.requests import NumberRequest, NumberUpdate
from engine.core.model.sids import SidKind
from engine.core.numbers.e164 import mask_address
from engine.core.ports.lists import Page
from engine.formats.values import PageRequest

_ALL = "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers.json"
_ONE = "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json"


async def create(call: Call, request: NumberRequest) -> OwnedNumberShape:
    """Own a phone number."""
    if not request.address.startswith("+"):
        raise ApiError(
            Code.NUMBER_INVALID, f"{mask_address(request.address)} is not in E.164 form, such as +14155550100"
        )
    return owned_number_shape(await call.control.own_number(call.account_sid, request))


async def page(call: Call, query: tuple[PageRequest, OwnedNumberQuery]) -> OwnedNumberPage:
    """List owned phone numbers."""
    asked, wanted = query
    found = Page[ProxyNumber]((), has_next=False, has_previous=False)
    if wanted.origin in {None, Origin.HOSTED}:
        found = call.control.owned_numbers_page(call.account_sid, asked.cursor, wanted.wanted)
    numbers = tuple(owned_number_shape(number) for number in found.records)
    return OwnedNumberPage(incoming_phone_numbers=numbers, **older_page(call.path, asked, found))


async def fetch(call: Call, _: None) -> OwnedNumberShape:
    """Read an owned phone number."""
    return owned_number_shape(call.control.owned_number(call.account_sid, call.sid))


async def update(call: Call, request: NumberUpdate) -> OwnedNumberShape:
    """Rename an owned phone number."""
    return owned_number_shape(await call.control.update_owned_number(call.account_sid, call.sid, request))


async def release(call: Call, _: None) -> None:
    """Stop owning a phone number."""
    await call.control.release_number(call.account_sid, call.sid)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path=_ALL,
        name="CreateIncomingPhoneNumber",
        summary="Own a phone number",
        handler=create,
        reads=FormOf(OWN_NUMBER),
        status=201,
        answer=OwnedNumberShape,
    ),
    Operation(
        method="GET",
        path=_ALL,
        name="ListIncomingPhoneNumber",
        summary="List owned phone numbers, newest first",
        handler=page,
        reads=FilteredPageOf(SidKind.PHONE_NUMBER, LIST_OWNED_NUMBERS),
        answer=OwnedNumberPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchIncomingPhoneNumber",
        summary="Read an owned phone number",
        handler=fetch,
        reads=Nothing(),
        answer=OwnedNumberShape,
        sid=SidKind.PHONE_NUMBER,
    ),
    Operation(
        method="POST",
        path=_ONE,
        name="UpdateIncomingPhoneNumber",
        summary="Rename an owned phone number",
        handler=update,
        reads=FormOf(UPDATE_OWNED_NUMBER),
        answer=OwnedNumberShape,
        sid=SidKind.PHONE_NUMBER,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteIncomingPhoneNumber",
        summary="Stop owning a phone number; refused while it is in a pool",
        handler=release,
        reads=Nothing(),
        status=204,
        sid=SidKind.PHONE_NUMBER,
        refusals=(409,),
    ),
)
