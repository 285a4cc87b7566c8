"""Phone numbers and short codes of a service's pool. Source: behaviour 3.2, 3.3."""

from engine.api.forms import ADD_PHONE_NUMBER, ADD_SHORT_CODE, RESERVE, PoolRequest, ReserveRequest
from engine.api.operations import AnyOperation, Call, FormOf, Nothing, Operation, PageOf, listed
from engine.api.shapes import PhoneNumberPage, PhoneNumberShape, ShortCodePage, ShortCodeShape
from engine.api.show import phone_number_shape, short_code_shape
from engine.core.model.sids import SidKind
from engine.core.ports.operations import PoolEntry
from engine.formats.values import PageRequest

_NUMBERS = "/v1/Services/{ServiceSid}/PhoneNumbers"
_NUMBER = "/v1/Services/{ServiceSid}/PhoneNumbers/{Sid}"
_CODES = "/v1/Services/{ServiceSid}/ShortCodes"
_CODE = "/v1/Services/{ServiceSid}/ShortCodes/{Sid}"


async def add_number(call: Call, request: PoolRequest) -> PhoneNumberShape:
    """Put a phone number into the pool."""
    return phone_number_shape(await _add(call, request), call.base)


async def page_of_numbers(call: Call, asked: PageRequest) -> PhoneNumberPage:
    """List the pool's phone numbers."""
    found = await call.control.pool_page(call.account_sid, call.service_sid, asked.cursor, short_codes=False)
    return PhoneNumberPage(*listed(call, "phone_numbers", asked=asked, page=found, show=phone_number_shape))


async def fetch_number(call: Call, _: None) -> PhoneNumberShape:
    """Read a phone number of the pool."""
    return phone_number_shape(await call.control.pool_entry(call.account_sid, call.service_sid, call.sid), call.base)


async def update_number(call: Call, request: ReserveRequest) -> PhoneNumberShape:
    """Reserve or free a phone number."""
    return phone_number_shape(await _reserve(call, request), call.base)


async def add_code(call: Call, request: PoolRequest) -> ShortCodeShape:
    """Put a short code into the pool."""
    return short_code_shape(await _add(call, request), call.base)


async def page_of_codes(call: Call, asked: PageRequest) -> ShortCodePage:
    """List the pool's short codes."""
    found = await call.control.pool_page(call.account_sid, call.service_sid, asked.cursor, short_codes=True)
    return ShortCodePage(*listed(call, "short_codes", asked=asked, page=found, show=short_code_shape))


async def fetch_code(call: Call, _: None) -> ShortCodeShape:
    """Read a short code of the pool."""
    return short_code_shape(await call.control.pool_entry(call.account_sid, call.service_sid, call.sid), call.base)


async def update_code(call: Call, request: ReserveRequest) -> ShortCodeShape:
    """Reserve or free a short code."""
    return short_code_shape(await _reserve(call, request), call.base)


async def remove(call: Call, _: None) -> None:
    """Take a number or short code out of the pool."""
    await call.control.remove_from_pool(call.account_sid, call.service_sid, call.sid)


async def _add(call: Call, request: PoolRequest) -> PoolEntry:
    return await call.control.add_to_pool(
        call.account_sid,
        call.service_sid,
        number_sid=request.number_sid,
        address=request.address,
        is_reserved=request.is_reserved,
    )


async def _reserve(call: Call, request: ReserveRequest) -> PoolEntry:
    return await call.control.reserve(call.account_sid, call.service_sid, call.sid, is_reserved=request.is_reserved)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path=_NUMBERS,
        name="CreatePhoneNumber",
        summary="Put an owned phone number into the pool",
        handler=add_number,
        reads=FormOf(ADD_PHONE_NUMBER),
        status=201,
        answer=PhoneNumberShape,
    ),
    Operation(
        method="GET",
        path=_NUMBERS,
        name="ListPhoneNumber",
        summary="List the pool's phone numbers, newest first",
        handler=page_of_numbers,
        reads=PageOf(SidKind.PHONE_NUMBER),
        answer=PhoneNumberPage,
    ),
    Operation(
        method="GET",
        path=_NUMBER,
        name="FetchPhoneNumber",
        summary="Read a phone number of the pool",
        handler=fetch_number,
        reads=Nothing(),
        answer=PhoneNumberShape,
        sid=SidKind.PHONE_NUMBER,
    ),
    Operation(
        method="POST",
        path=_NUMBER,
        name="UpdatePhoneNumber",
        summary="Reserve or free a phone number",
        handler=update_number,
        reads=FormOf(RESERVE),
        answer=PhoneNumberShape,
        sid=SidKind.PHONE_NUMBER,
    ),
    Operation(
        method="DELETE",
        path=_NUMBER,
        name="DeletePhoneNumber",
        summary="Take a phone number out of the pool",
        handler=remove,
        reads=Nothing(),
        status=204,
        sid=SidKind.PHONE_NUMBER,
        refusals=(400,),
    ),
    Operation(
        method="POST",
        path=_CODES,
        name="CreateShortCode",
        summary="Put an owned short code into the pool",
        handler=add_code,
        reads=FormOf(ADD_SHORT_CODE),
        status=201,
        answer=ShortCodeShape,
    ),
    Operation(
        method="GET",
        path=_CODES,
        name="ListShortCode",
        summary="List the pool's short codes, newest first",
        handler=page_of_codes,
        reads=PageOf(SidKind.SHORT_CODE),
        answer=ShortCodePage,
    ),
    Operation(
        method="GET",
        path=_CODE,
        name="FetchShortCode",
        summary="Read a short code of the pool",
        handler=fetch_code,
        reads=Nothing(),
        answer=ShortCodeShape,
        sid=SidKind.SHORT_CODE,
    ),
    Operation(
        method="POST",
        path=_CODE,
        name="UpdateShortCode",
        summary="Reserve or free a short code",
        handler=update_code,
        reads=FormOf(RESERVE),
        answer=ShortCodeShape,
        sid=SidKind.SHORT_CODE,
    ),
    Operation(
        method="DELETE",
        path=_CODE,
        name="DeleteShortCode",
        summary="Take a short code out of the pool",
        handler=remove,
        reads=Nothing(),
        status=204,
        sid=SidKind.SHORT_CODE,
        refusals=(400,),
    ),
)
