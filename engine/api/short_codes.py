"""Owned short codes, at the path and in the shapes of the neighbouring 2010 API: to learn their SIDs, to release them.

The operator's import makes an account own one; releasing is an addition, that API has none.
"""

from engine.api.operations import AnyOperation, Call, FilteredPageOf, FormOf, Nothing, Operation
from engine.api.owned_forms import LIST_SHORT_CODES, UPDATE_SHORT_CODE, ShortCodeQuery
from engine.api.shapes import OwnedShortCodePage, OwnedShortCodeShape
from engine.api.show import older_page, owned_short_code_shape
from engine.core.model.requests import NumberUpdate
from engine.core.model.sids import SidKind
from engine.formats.values import PageRequest

_ALL = "/2010-04-01/Accounts/{AccountSid}/SMS/ShortCodes.json"
_ONE = "/2010-04-01/Accounts/{AccountSid}/SMS/ShortCodes/{Sid}.json"


async def page(call: Call, query: tuple[PageRequest, ShortCodeQuery]) -> OwnedShortCodePage:
    """List owned short codes."""
    asked, wanted = query
    found = call.control.owned_numbers_page(call.account_sid, asked.cursor, wanted.wanted)
    codes = tuple(owned_short_code_shape(number) for number in found.records)
    return OwnedShortCodePage(short_codes=codes, **older_page(call.path, asked, found))


async def fetch(call: Call, _: None) -> OwnedShortCodeShape:
    """Read an owned short code."""
    return owned_short_code_shape(call.control.owned_number(call.account_sid, call.sid))


async def update(call: Call, request: NumberUpdate) -> OwnedShortCodeShape:
    """Rename an owned short code."""
    return owned_short_code_shape(await call.control.update_owned_number(call.account_sid, call.sid, request))


async def release(call: Call, _: None) -> None:
    """Stop owning a short code."""
    await call.control.release_number(call.account_sid, call.sid)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path=_ALL,
        name="ListOwnedShortCode",
        summary="List owned short codes, newest first",
        handler=page,
        reads=FilteredPageOf(SidKind.SHORT_CODE, LIST_SHORT_CODES),
        answer=OwnedShortCodePage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="FetchOwnedShortCode",
        summary="Read an owned short code",
        handler=fetch,
        reads=Nothing(),
        answer=OwnedShortCodeShape,
        sid=SidKind.SHORT_CODE,
    ),
    Operation(
        method="POST",
        path=_ONE,
        name="UpdateOwnedShortCode",
        summary="Rename an owned short code",
        handler=update,
        reads=FormOf(UPDATE_SHORT_CODE),
        answer=OwnedShortCodeShape,
        sid=SidKind.SHORT_CODE,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="DeleteOwnedShortCode",
        summary="Stop owning a short code; refused while it is in a pool",
        handler=release,
        reads=Nothing(),
        status=204,
        sid=SidKind.SHORT_CODE,
        refusals=(409,),
    ),
)
