"""The batch of sessions: read in slices, carried out, answered in slices, so that calls are decided in between."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Sequence
from itertools import islice

import msgspec

from engine.api.batch_shapes import BatchForm, BatchResult, read_items, result_shape
from engine.api.operations import AnyOperation, Batch, Call, Operation, Stream
from engine.core.model.errors import ApiError
from engine.core.ports.operations import ControlPlane
from engine.core.sessions.batch import BatchItem, ItemResult

READ_AT_ONCE = 250
"""Items that are decoded in one turn of the loop."""

SHOWN_AT_ONCE = 50
"""Results that are encoded in one turn of the loop, and sent together."""

_encoder = msgspec.json.Encoder()


async def batch(call: Call, body: bytes) -> Stream:
    """Make, change and close many sessions."""
    form = BatchForm(call.media_type)
    asked = await read(body, form)
    outcomes = await carry_out(call.control, call.account_sid, call.service_sid, asked)
    return Stream(media_type=form, parts=_written(asked, outcomes, form, call.base))


async def carry_out(
    control: ControlPlane, account_sid: str, service_sid: str, asked: Sequence[BatchItem | ApiError]
) -> list[ItemResult | ApiError]:
    """Carry out what could be read; returns what each item came to, those that could not in their places."""
    items = [one for one in asked if not isinstance(one, ApiError)]
    results = iter(await control.batch_sessions(account_sid, service_sid, items))
    return [one if isinstance(one, ApiError) else next(results) for one in asked]


async def read(body: bytes, form: BatchForm) -> list[BatchItem | ApiError]:
    """Read a batch, as `read_items` does; other work is done in between."""
    asked: list[BatchItem | ApiError] = []
    unread = read_items(body.removeprefix(codecs.BOM_UTF8), form)  # a file that Windows wrote begins with it
    while some := list(islice(unread, READ_AT_ONCE)):
        asked += some
        await asyncio.sleep(0)
    return asked


async def _written(
    asked: Sequence[BatchItem | ApiError], outcomes: Sequence[ItemResult | ApiError], form: BatchForm, base: str
) -> AsyncIterator[bytes]:
    """Write the results, in their order, some in each part."""
    is_array = form is BatchForm.ARRAY
    for start in range(0, len(asked), SHOWN_AT_ONCE):
        some = range(start, min(start + SHOWN_AT_ONCE, len(asked)))
        shapes = [result_shape(index, asked[index], outcomes[index], base) for index in some]
        if is_array:
            yield (b"," if start else b"[") + _encoder.encode(shapes)[1:-1]
        else:
            yield _encoder.encode_lines(shapes)
        await asyncio.sleep(0)
    if is_array:
        yield b"]" if asked else b"[]"


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/v1/Services/{ServiceSid}/Sessions/Batch",
        name="BatchSession",
        summary="Make, change and close many sessions; each item has a result of its own",
        handler=batch,
        reads=Batch(),
        answer=BatchResult,
        refusals=(415,),
    ),
)
