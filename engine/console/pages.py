"""The pages' templates: everything that is put into them is escaped, and functions that show values are at hand."""

import math
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from engine.console.available import Missing
from engine.console.http import home_of, path_below, root_of
from engine.core.model.errors import CATALOGUE
from engine.core.model.logins import LoginSession
from engine.core.numbers.masking import mask_text

_HERE: Final = Path(__file__).parent
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TITLES: Final = {code.value: entry.title for code, entry in CATALOGUE.items()}
_FEW = 10.0
_TOLD_BY = 8
_MANY = 100.0
_A_PERCENT = 0.01

LEVELS: Final = {code.value: entry.level for code, entry in CATALOGUE.items()}
"""Severity by code."""

STATIC: Final = _HERE / "static"
"""The script and the style sheet."""


def when(at: float | None) -> str:
    """Write a time, UTC."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def moment(at: float | None) -> str:
    """Write a time, UTC, so that the pages' script can write it in another zone."""
    text = when(at)
    return text and Markup('<time datetime="{}Z">{}</time>').format(text.replace(" ", "T"), text)


def lasting(seconds: float | None) -> str:
    """Write a length of time in its largest unit."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def rate(per_second: float | None) -> str:
    """Write how often something happens."""
    if per_second is None:
        return "…"
    return f"{per_second:,.1f}" if 0 < per_second < _FEW else f"{per_second:,.0f}"


def percent(share: float) -> str:
    """Write a share of all in percent; a little is not nothing, and nearly all is not all."""
    if 0 < share < _A_PERCENT:
        return "<1 %"
    return ">99 %" if 1 - _A_PERCENT < share < 1 else f"{100 * share:.0f} %"


def clock(at: float) -> str:
    """Write the time of a day, UTC, to the minute."""
    return time.strftime("%H:%M", time.gmtime(at))


def short(value: float) -> str:
    """Write a figure with three digits at most, unless it is greater; an infinite one as such."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= _MANY else f"{value:.3g}"


def short_sid(sid: str) -> str:
    """Write a SID's kind and its end, for where the whole is a link's address."""
    return f"{sid[:2]}…{sid[-_TOLD_BY:]}"


def title_of(code: int) -> str:
    """Return the title of a debugger event's code."""
    return _TITLES.get(code, "")


@cache
def _templates() -> jinja2.Environment:
    """Make what compiles each template when it is first used, for all consoles of a process."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters.update(
        masked=mask_text,
        when=moment,
        clock=clock,
        lasting=lasting,
        rate=rate,
        percent=percent,
        short=short,
        short_sid=short_sid,
        title_of=title_of,
    )
    templates.globals["levels"] = LEVELS
    templates.tests["missing"] = lambda part: isinstance(part, Missing)
    return templates


def render(request: Request, name: str, values: Mapping[str, object]) -> str:
    """Return a template's HTML; `root` and `home` lead to what is below the console and to the overview."""
    where: dict[str, object] = {
        "root": root_of(request.scope),
        "home": home_of(request.scope),
        "here": path_below(request.scope),
    }
    return _templates().get_template(name).render({**where, **values})


def page(
    request: Request, name: str, values: Mapping[str, object], *, login: LoginSession | None, status: int = 200
) -> Response:
    """Answer with a page."""
    return HTMLResponse(render(request, name, {"login": login, **values}), status_code=status)
