"""Debugger events as the neighbouring Monitor API shows them: the query of the list, the shapes; sans-IO.

What Monitor would tell of requests made to us is null: our events concern webhooks and traffic. Source: behaviour 16
and the official SDK's Alert resource.
"""

from enum import StrEnum

import msgspec

from engine.api.shapes import DateTime, Meta
from engine.core.model.errors import CATALOGUE, Code, Level
from engine.core.model.records import DebuggerEvent
from engine.core.ports.lists import AlertFilter
from engine.formats.fields import Form, choice, date
from engine.formats.responses import Url
from engine.formats.values import API_VERSION, format_date, parse_date

_DAY_SECONDS = 86_400.0
_KNOWN = frozenset(code.value for code in Code)


class LogLevel(StrEnum):
    """Severities that may be asked for; no event of ours is a notice or for debugging."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"
    DEBUG = "debug"


_LEVELS = {LogLevel.ERROR: Level.ERROR, LogLevel.WARNING: Level.WARNING}


class AlertQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for."""

    log_level: LogLevel | None = None
    since: float | None = None
    before: float | None = None

    @property
    def is_hopeless(self) -> bool:
        """Tell whether no event can match."""
        return self.log_level is not None and self.log_level not in _LEVELS

    @property
    def wanted(self) -> AlertFilter:
        """The same for the control plane."""
        level = None if self.log_level is None else _LEVELS.get(self.log_level)
        return AlertFilter(level=level, since=self.since, before=self.before)


class AlertShape(msgspec.Struct, frozen=True, kw_only=True):
    """A debugger event in a list."""

    sid: str
    account_sid: str
    service_sid: str | None
    resource_sid: str | None
    error_code: str
    log_level: LogLevel
    alert_text: str
    more_info: Url
    api_version: str
    request_method: str | None
    request_url: str | None
    request_headers: str | None
    date_generated: DateTime
    date_created: DateTime
    date_updated: DateTime
    url: Url


class AlertDetail(AlertShape, frozen=True, kw_only=True):
    """A debugger event fetched alone: also what we sent to a webhook, and what came back."""

    request_variables: str | None
    response_headers: str | None
    response_body: str | None


class AlertPage(msgspec.Struct, frozen=True):
    """A page of debugger events."""

    alerts: tuple[AlertShape, ...]
    meta: Meta


def level_of(code: int) -> Level:
    """Return the severity of a code; one that the catalogue no longer has is an error."""
    return CATALOGUE[Code(code)].level if code in _KNOWN else Level.ERROR


def alert_shape(event: DebuggerEvent, base: str) -> AlertShape:
    """Show an event as lists do; an event about no call, message or number names its session."""
    at, webhook = format_date(event.at), event.webhook
    return AlertShape(
        sid=event.sid,
        account_sid=event.account_sid,
        service_sid=event.service_sid,
        resource_sid=event.resource_sid or event.session_sid,
        error_code=str(event.code),
        log_level=LogLevel(level_of(event.code).lower()),
        alert_text=event.message if webhook is None or not webhook.problem else f"{event.message}: {webhook.problem}",
        more_info=f"https://www.twilio.com/docs/errors/{event.code}",
        api_version=API_VERSION,
        request_method=None if webhook is None else webhook.method,
        request_url=None if webhook is None else webhook.url,
        request_headers=None,
        date_generated=at,
        date_created=at,
        date_updated=at,
        url=f"{base}/v1/Alerts/{event.sid}",
    )


def alert_detail(event: DebuggerEvent, base: str) -> AlertDetail:
    """Show an event with the request and the response at fault."""
    shape, webhook = alert_shape(event, base), event.webhook
    return AlertDetail(
        **{name: getattr(shape, name) for name in AlertShape.__struct_fields__},
        request_variables=None if webhook is None else webhook.parameters,
        response_headers=None if webhook is None else webhook.headers,
        response_body=None if webhook is None else webhook.body,
    )


def _to_its_end(text: str) -> float:
    """Read a last moment, which counts: the whole second, or the whole day."""
    return parse_date(text) + (1.0 if "T" in text else _DAY_SECONDS)


LIST_ALERTS = Form(
    AlertQuery,
    (
        choice("LogLevel", "log_level", LogLevel),
        date("StartDate", "since"),
        msgspec.structs.replace(date("EndDate", "before"), parse=_to_its_end),
    ),
)
