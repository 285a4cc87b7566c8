"""Logging in and out: with the credentials of an account, or with the link that the operator's command line prints."""

import hmac
import logging
import math
import re
import secrets
from collections.abc import Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from engine.console.context import ConsoleContext
from engine.console.http import FORM_COOKIE, LOGIN_COOKIE, bad_form, forget, keep, read_form, redirect
from engine.console.pages import page
from engine.core.model.logins import LoginSession
from engine.core.ports.observing import LoginEnd

_log = logging.getLogger("maskline.console")

_FORM_SECRET_BYTES = 24
_FORM_SECRET = re.compile(r"[\w-]{32}", re.ASCII)
_MOST_CODE = 200

STALE = "That form has expired, or the browser keeps no cookies here: try again, over the server's public URL."
WRONG = "That is not the SID and token of an account, nor an API key and its secret."
USED = "That link was used already, has expired, or is none of this server's: ask for another."


async def show_login(context: ConsoleContext, request: Request) -> Response:
    """Ask for credentials."""
    return _form(context, request, "login.html")


async def login(context: ConsoleContext, request: Request) -> Response:
    """Let somebody in who has credentials of an account."""
    form = await read_form(request)
    if not _is_ours(request, form.get("form", "")):
        return _form(context, request, "login.html", problem=STALE, status=403)
    source, now = _source(request), context.monotonic()
    wait = context.failed_logins.wait_seconds(source, now=now)
    if wait:
        context.observer.console_login(LoginEnd.HELD_BACK)
        return _too_many(context, request, wait)
    credential = form.get("username", "").strip()
    proof = sha256(form.get("password", "").strip().encode()).digest()
    account = context.control.knows(credential, proof)
    if account is None:
        context.failed_logins.failed(source, now=now)
        context.observer.console_login(LoginEnd.REFUSED)
        _log.warning("a login failed", extra={"source": source})
        return _form(context, request, "login.html", problem=WRONG, status=403)
    _log.info("a login", extra={"account_sid": account.sid, "credential": credential, "source": source})
    return _let_in(context, request, await context.plane.begin_login(account.sid, credential, proof))


async def show_link(context: ConsoleContext, request: Request) -> Response:
    """Ask whether to come in: a link that is only fetched, by a preview, is not used up."""
    return _form(context, request, "open.html", code=request.query_params.get("code", "")[:_MOST_CODE])


async def follow_link(context: ConsoleContext, request: Request) -> Response:
    """Let the operator in, also while logins have to wait: no code can be guessed in five minutes."""
    form = await read_form(request)
    if not _is_ours(request, form.get("form", "")):
        return _form(context, request, "login.html", problem=STALE, status=403)
    login = await context.plane.follow_link(form.get("code", "")[:_MOST_CODE])
    if login is None:
        context.observer.console_login(LoginEnd.REFUSED)
        return _form(context, request, "login.html", problem=USED, status=403)
    _log.info("the operator's link was followed", extra={"source": _source(request)})
    return _let_in(context, request, login)


async def logout(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """End a login session."""
    await read_own_form(request, login)
    await context.plane.end_login(login.token)
    response = redirect(request, "login")
    forget(response, LOGIN_COOKIE, is_secure=context.settings.is_secure)
    return response


async def read_own_form(request: Request, login: LoginSession) -> Mapping[str, str]:
    """Read a form that was made for a login session; raises ApiError."""
    form = await read_form(request)
    if not hmac.compare_digest(form.get("csrf", "").encode(), login.csrf.encode()):
        raise bad_form("That form was not made for this login session: load the page again", 403)
    return form


def _let_in(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    context.observer.console_login(LoginEnd.IN)
    response = redirect(request)
    keep(response, LOGIN_COOKIE, login.token, is_secure=context.settings.is_secure)
    forget(response, FORM_COOKIE, is_secure=context.settings.is_secure)
    return response


def _too_many(context: ConsoleContext, request: Request, wait: float) -> Response:
    problem = f"Too many logins have failed: wait {math.ceil(wait)} seconds, or use the link of `maskline console`."
    response = _form(context, request, "login.html", problem=problem, status=429)
    response.headers["retry-after"] = str(math.ceil(wait))
    return response


def _form(
    context: ConsoleContext, request: Request, template: str, *, problem: str = "", code: str = "", status: int = 200
) -> Response:
    """Answer with a form whose secret is in a cookie too: another site can read neither."""
    known = request.cookies.get(FORM_COOKIE, "")
    secret = known if _FORM_SECRET.fullmatch(known) else secrets.token_urlsafe(_FORM_SECRET_BYTES)
    response = page(request, template, {"form": secret, "problem": problem, "code": code}, login=None, status=status)
    keep(response, FORM_COOKIE, secret, is_secure=context.settings.is_secure)
    return response


def _is_ours(request: Request, secret: str) -> bool:
    known = request.cookies.get(FORM_COOKIE, "")
    return bool(known) and hmac.compare_digest(known.encode(), secret.encode())


def _source(request: Request) -> str:
    return "" if request.client is None else request.client.host
