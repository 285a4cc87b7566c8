"""Shapes of the admin API about services: what operators set beside the public fields; see `engine.api.admin.shapes`.

    GET    /accounts/{account}/services?after=…            200 ServiceList
    GET    /services/{service}                             200 ServiceReport
    PATCH  /services/{service}            ServiceChange    200 ServiceReport

`options` has the fields of `engine.core.model.records.ServiceOptions`: all of them in answers, in requests those to
change.
"""

import msgspec
from msgspec import UNSET

from engine.core.model.errors import invalid_parameter
from engine.core.model.records import Service, ServiceOptions
from engine.core.model.requests import ServiceRequest
from engine.core.numbers.masking import mask_text
from engine.formats.answers import MAX_ANSWER, HookAnswer, out_of_session_verdict
from engine.formats.signatures import signed_url

Options = dict[str, bool | str | None]

TWIML_OPTIONS = tuple(option.name for option in msgspec.structs.fields(ServiceOptions) if option.type == str | None)
"""Options that hold a document."""


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A service, as the operator sets it; what applications have named is masked, passwords in URLs are left out."""

    sid: str
    account_sid: str
    unique_name: str
    callback_url: str | None
    intercept_callback_url: str | None
    out_of_session_callback_url: str | None
    inserts_mexican_one: bool
    options: Options


class ServiceList(msgspec.Struct, frozen=True):
    """Services, newest first."""

    services: tuple[ServiceReport, ...]
    after: str | None
    """Where the next page goes on; None at the end."""


class ServiceChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Change a service; what is absent stays."""

    inserts_mexican_one: bool | None = None
    options: Options = {}


def service_report(service: Service) -> ServiceReport:
    """Show a service."""
    return ServiceReport(
        sid=service.sid,
        account_sid=service.account_sid,
        unique_name=mask_text(service.unique_name),
        callback_url=_shown(service.callback_url),
        intercept_callback_url=_shown(service.intercept_callback_url),
        out_of_session_callback_url=_shown(service.out_of_session_callback_url),
        inserts_mexican_one=service.inserts_mexican_one,
        options={name: getattr(service.options, name) for name in ServiceOptions.__struct_fields__},
    )


def service_request(service: Service, change: ServiceChange) -> ServiceRequest:
    """Read a change of a service; raises ApiError for an option that there is not, or whose value cannot be."""
    options = service_report(service).options
    for name, value in change.options.items():
        if name not in options:
            raise invalid_parameter(name, f"no option of a service; there are {', '.join(options)}")
        options[name] = _document(name, value) if name in TWIML_OPTIONS and isinstance(value, str) else value
    try:
        read = msgspec.convert(options, ServiceOptions)
    except msgspec.ValidationError as problem:
        raise invalid_parameter("options", str(problem)) from problem
    mexican = UNSET if change.inserts_mexican_one is None else change.inserts_mexican_one
    return ServiceRequest(inserts_mexican_one=mexican, options=read if change.options else UNSET)


def _shown(url: str | None) -> str | None:
    return None if url is None else mask_text(signed_url(url))


def _document(name: str, text: str) -> str:
    content = text.encode()
    verdict = out_of_session_verdict(
        HookAnswer(status=200, content_type="text/xml; charset=utf-8", body=content, is_cut=len(content) > MAX_ANSWER)
    )
    if verdict.twiml is None:
        raise invalid_parameter(
            name, f"expected TwiML: well-formed XML of at most {MAX_ANSWER} bytes whose root is <Response>"
        )
    return verdict.twiml
