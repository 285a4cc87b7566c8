"""What the query of a list means; what cannot be read means any."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request

from engine.core.model.errors import Level
from engine.core.model.sids import SidKind, is_sid
from engine.core.ports.lists import AlertFilter, OutboxFilter

AGES: Final = {"10min": 600.0, "1h": 3_600.0, "24h": 86_400.0, "7d": 604_800.0}
"""How long ago events may have been raised, seconds, by what is written."""

STATES: Final = {"dead": True, "pending": False}
"""Of entries of the outbox: whether they are dead."""

_MOST_DIGITS = 6


def events_query(request: Request) -> Mapping[str, str]:
    """Return the filters of the list of debugger events as they are written, those that mean something."""
    given = {name: request.query_params.get(name, "").strip() for name in ("level", "code", "service", "age")}
    good = {
        "level": given["level"].upper() in set(Level),
        "code": given["code"].isascii() and given["code"].isdigit() and len(given["code"]) <= _MOST_DIGITS,
        "service": is_sid(given["service"], SidKind.SERVICE),
        "age": given["age"] in AGES,
    }
    return {name: text for name, text in given.items() if good[name]}


def events_wanted(request: Request, *, now: float) -> AlertFilter:
    """Return which debugger events are meant."""
    query = events_query(request)
    return AlertFilter(
        level=Level(query["level"].upper()) if "level" in query else None,
        code=int(query["code"]) if "code" in query else None,
        service_sid=query.get("service"),
        since=now - AGES[query["age"]] if "age" in query else None,
    )


def outbox_query(request: Request) -> Mapping[str, str]:
    """Return the filters of the list of the outbox as they are written."""
    state = request.query_params.get("state", "")
    return {"state": state} if state in STATES else {}


def outbox_wanted(request: Request, account_sid: str | None) -> OutboxFilter:
    """Return which entries of an account (None = of all) are meant."""
    return OutboxFilter(account_sid=account_sid, is_dead=STATES.get(outbox_query(request).get("state", "")))


def written(query: Mapping[str, str]) -> str:
    """Write a query for others to be put behind it; empty for none."""
    return f"{urlencode(query)}&" if query else ""
