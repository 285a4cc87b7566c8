"""What an operation is: one row that says what is asked, who answers, and with which statuses and shape.

The tables of rows are in the modules of the resources; `engine.api.app` makes the routes from them and
`engine.api.openapi` the document, so that what is described is what is served.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from engine.api.shapes import Meta
from engine.api.show import page_links, page_meta
from engine.core.model.errors import invalid_parameter
from engine.core.model.sids import SidKind
from engine.core.ports.lists import Page, Record
from engine.core.ports.operations import ControlPlane
from engine.formats.fields import Form
from engine.formats.values import (
    MAX_NAME_SHOWN,
    PAGE_PARAMETERS,
    OwnHost,
    PageRequest,
    check_known,
    page_request,
    parse_form,
)

Asked = TypeVar("Asked")
Asked_co = TypeVar("Asked_co", covariant=True)

PARENT_KINDS = {
    "ServiceSid": SidKind.SERVICE,
    "SessionSid": SidKind.SESSION,
    "ParticipantSid": SidKind.PARTICIPANT,
    "AccountSid": SidKind.ACCOUNT,
}
"""Path parameters that name a parent, and what they must be."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request, as a handler sees it."""

    control: ControlPlane
    account_sid: str
    """Whose credentials came with it."""
    base: str
    """Public base URL without a trailing slash."""
    own_host: OwnHost
    path: str
    """Path of the request, percent-encoded."""
    media_type: str
    """What the body claims to be, without parameters; empty when it does not say."""
    names: dict[str, str]
    """Path parameters, decoded; SIDs have been checked for their form."""

    @property
    def sid(self) -> str:
        """The resource itself."""
        return self.names["Sid"]

    @property
    def service_sid(self) -> str:
        """The parent service."""
        return self.names["ServiceSid"]

    @property
    def session_sid(self) -> str:
        """The parent session."""
        return self.names["SessionSid"]

    @property
    def participant_sid(self) -> str:
        """The parent participant."""
        return self.names["ParticipantSid"]


class Reader(Protocol[Asked_co]):
    """Makes what a handler is asked from what was sent."""

    def read(self, query: bytes, body: bytes, /) -> Asked_co:
        """Read it; raises ApiError."""


class FormOf(msgspec.Struct, Generic[Asked], frozen=True):
    """The operation takes a form."""

    form: Form[Asked]

    def read(self, query: bytes, body: bytes, /) -> Asked:
        """Read the body."""
        _refuse_query(query)
        return self.form.read(parse_form(body))


class PageOf(msgspec.Struct, frozen=True):
    """The operation lists resources of a kind."""

    kind: SidKind

    def read(self, query: bytes, _body: bytes, /) -> PageRequest:
        """Read the page wanted."""
        values = parse_form(query)
        check_known(values, PAGE_PARAMETERS)
        return page_request(values, self.kind)


class FilteredPageOf(msgspec.Struct, Generic[Asked], frozen=True):
    """The operation lists those resources of a kind that its query asks for."""

    kind: SidKind
    filters: Form[Asked]
    """Fields of the query."""

    def read(self, query: bytes, _body: bytes, /) -> tuple[PageRequest, Asked]:
        """Read the page and the filters wanted."""
        values = parse_form(query)
        wanted = self.filters.read({name: sent for name, sent in values.items() if name not in PAGE_PARAMETERS})
        given = {field.name: values[field.name][-1] for field in self.filters.fields if field.name in values}
        return msgspec.structs.replace(page_request(values, self.kind), filters=urlencode(given)), wanted


class Nothing(msgspec.Struct, frozen=True):
    """The operation takes nothing beyond its path."""

    def read(self, _query: bytes, _body: bytes, /) -> None:
        """Ignore both."""


class Batch(msgspec.Struct, frozen=True):
    """The operation takes many items; its handler reads them, in slices."""

    def read(self, query: bytes, body: bytes, /) -> bytes:
        """Leave the body as it is."""
        _refuse_query(query)
        return body


def _refuse_query(query: bytes) -> None:
    """Refuse parameters behind the path of what takes a body: they would be dropped in silence."""
    for name in parse_form(query):
        raise invalid_parameter(name[:MAX_NAME_SHOWN], "send it in the body, not behind the path")


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is sent in parts."""

    media_type: str
    parts: AsyncIterator[bytes]


class Operation(msgspec.Struct, Generic[Asked], frozen=True, kw_only=True):
    """One method on one path."""

    method: str
    path: str
    """Template; `{Sid}` is the resource, other names are parents."""
    name: str
    """operationId."""
    summary: str
    handler: Callable[[Call, Asked], Awaitable[msgspec.Struct | Stream | None]]
    reads: Reader[Asked]
    status: int = 200
    """When it succeeds."""
    answer: type[msgspec.Struct] | None = None
    """Shape of the body, of each result of a batch; None when there is none."""
    sid: SidKind | None = None
    """What `{Sid}` must be; None when it may also be a unique name."""
    refusals: tuple[int, ...] = ()
    """Statuses of refusals beyond those that every operation has."""

    @property
    def takes_body(self) -> bool:
        """Tell whether the operation reads a form or a batch."""
        return isinstance(self.reads, FormOf | Batch)


AnyOperation = Operation[Any]


class HasSid(Protocol):
    """A shape that shows the SID of its record."""

    @property
    def sid(self) -> str:
        """The SID."""


Shape = TypeVar("Shape", bound=HasSid)


def listed(
    call: Call, key: str, *, asked: PageRequest, page: Page[Record], show: Callable[[Record, str], Shape]
) -> tuple[tuple[Shape, ...], Meta]:
    """Show a page of records and where it stands in its list."""
    shapes = tuple(show(record, call.base) for record in page.records)
    ends = (shapes[0].sid, shapes[-1].sid) if shapes else None
    return shapes, page_meta(key, asked, page_links(call.base + call.path, asked, page, ends))
