"""The operator's admin API: accounts, keys, number import, sessions, explanations; shapes: `engine.api.admin.shapes`.

Served on a Unix socket that only the operator can open, or called in process; it asks for no credentials and has no
rate limit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from engine.api.admin import accounts as admin_accounts
from engine.api.admin import batches as admin_batches
from engine.api.admin import delivery as admin_delivery
from engine.api.admin import lists as admin_lists
from engine.api.admin import services as admin_services
from engine.api.admin.peers import SmppPeerList, SmppPeerShape
from engine.api.admin.request import Answer, read_body
from engine.api.admin.shapes import (
    MAX_IMPORT_ROWS,
    AccountChange,
    AccountCreate,
    AccountCreated,
    AccountList,
    AccountShape,
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyList,
    ApiKeyShape,
    ConsoleLink,
    ExplanationShape,
    NumberResult,
    NumbersImport,
    NumbersImported,
    SessionReport,
)
from engine.api.admin.show import (
    account_shape,
    account_update,
    api_key_shape,
    explanation_shape,
    number_request,
    number_result,
    session_report,
)
from engine.api.http import CLIENT_LEFT, encode
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnavailable, answer_to, invalid_parameter
from engine.core.model.records import Address, ProxyNumber
from engine.core.model.requests import NumberRequest
from engine.core.model.sids import SidKind
from engine.core.numbers.e164 import canonical
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import ControlPlane
from engine.core.routing.asking import explained, swapped
from engine.formats.responses import error_body, retry_after
from engine.formats.values import OwnHost

RECENT_INTERACTIONS = 20
"""How many a session report shows."""

MakeLink = Callable[[], Awaitable[str]]
"""Makes the URL of a link to the console."""

ReadPeers = Callable[[], Sequence[SmppPeerShape]]
"""Tells how the SMPP peers fare."""

_LATER_THAN_ALL = f"{SidKind.INTERACTION}{'f' * 32}"

_log = logging.getLogger("maskline.admin")


def create_admin_app(
    control: ControlPlane,
    *,
    public_url: str = "",
    console_link: MakeLink | None = None,
    smpp_peers: ReadPeers | None = None,
    sip_peers: Answer | None = None,
    pools: Answer | None = None,
) -> ASGIApp:
    """Make the application; webhooks at our own `public_url` are refused.

    `console_link` makes a link to the console, once for each time it is asked for; None where no console is served.
    `smpp_peers` and `sip_peers` tell how the peers fare, `pools` how the pools do; None where nothing is served.
    """

    def route(method: str, path: str, answer: Answer, *, status: int = 200) -> Route:
        return Route(path, _endpoint(control, answer, status), methods=[method], name=f"{method} {path}")

    return Starlette(
        routes=[
            route("POST", "/accounts", _create_account, status=201),
            route("GET", "/accounts", _list_accounts),
            route("GET", "/accounts/{account}", _show_account),
            route("PATCH", "/accounts/{account}", partial(_change_account, OwnHost(public_url))),
            route("POST", "/accounts/{account}/token", admin_accounts.rotate_token, status=201),
            route("DELETE", "/accounts/{account}/token", admin_accounts.end_previous_token),
            route("POST", "/accounts/{account}/disable", admin_accounts.disable),
            route("POST", "/accounts/{account}/enable", admin_accounts.enable),
            route("DELETE", "/accounts/{account}", admin_accounts.delete),
            route("POST", "/accounts/{account}/keys", _create_key, status=201),
            route("GET", "/accounts/{account}/keys", _list_keys),
            route("DELETE", "/keys/{key}", _revoke_key),
            route("POST", "/accounts/{account}/numbers", _import_numbers),
            route("GET", "/numbers", admin_lists.list_numbers),
            route("GET", "/services/{service}/sessions", admin_lists.list_sessions),
            route("GET", "/sids", admin_lists.find_sid),
            route("GET", "/sessions/{session}", _show_session),
            route("GET", "/explain", _explain),
            route("GET", "/accounts/{account}/services", admin_services.list_services),
            route("GET", "/services/{service}", admin_services.show_service),
            route("PATCH", "/services/{service}", admin_services.change_service),
            route("POST", "/services/{service}/sessions", admin_batches.batch_sessions),
            route("GET", "/outbox", admin_delivery.list_outbox),
            route("GET", "/outbox/count", admin_delivery.count_outbox),
            route("POST", "/outbox/replay", admin_delivery.replay),
            route("POST", "/outbox/drop", admin_delivery.drop),
            route("GET", "/accounts/{account}/alerts", admin_delivery.list_alerts),
            route("GET", "/pools", pools or _no_pools),
            route("GET", "/smpp/peers", partial(_list_smpp_peers, smpp_peers)),
            route("GET", "/sip/peers", sip_peers or _no_sip_peers),
            route("POST", "/console/links", partial(_make_console_link, console_link), status=201),
        ],
        exception_handlers={HTTPException: _unknown},
    )


async def _create_account(control: ControlPlane, request: Request) -> AccountCreated:
    account = await control.create_account(account_update(await read_body(request, AccountCreate)))
    return AccountCreated(account=account_shape(account), auth_token=account.auth_token)


async def _list_accounts(control: ControlPlane, _: Request) -> AccountList:
    return AccountList(tuple(account_shape(account) for account in control.accounts()))


async def _show_account(control: ControlPlane, request: Request) -> AccountShape:
    return account_shape(control.account(request.path_params["account"]))


async def _change_account(own_host: OwnHost, control: ControlPlane, request: Request) -> AccountShape:
    change = account_update(await read_body(request, AccountChange))
    if isinstance(change.debugger_url, str) and own_host.covers(change.debugger_url):
        raise invalid_parameter("debugger_url", "it points at this server, which would call itself")
    return account_shape(await control.update_account(request.path_params["account"], change))


async def _create_key(control: ControlPlane, request: Request) -> ApiKeyCreated:
    asked = await read_body(request, ApiKeyCreate)
    key, secret = await control.create_api_key(request.path_params["account"], asked.friendly_name)
    return ApiKeyCreated(key=api_key_shape(key), secret=secret)


async def _list_keys(control: ControlPlane, request: Request) -> ApiKeyList:
    return ApiKeyList(tuple(api_key_shape(key) for key in control.api_keys(request.path_params["account"])))


async def _revoke_key(control: ControlPlane, request: Request) -> ApiKeyShape:
    return api_key_shape(await control.revoke_api_key(request.path_params["key"]))


async def _import_numbers(control: ControlPlane, request: Request) -> NumbersImported:
    account_sid = request.path_params["account"]
    asked = await read_body(request, NumbersImport)
    if len(asked.rows) > MAX_IMPORT_ROWS:
        raise invalid_parameter("rows", f"at most {MAX_IMPORT_ROWS} at once")
    service_sid = None if asked.service is None else control.service(account_sid, asked.service).sid
    requests = [number_request(row) for row in asked.rows]
    owned = iter(await control.own_numbers(account_sid, [one for one in requests if isinstance(one, NumberRequest)]))
    outcomes = [next(owned) if isinstance(one, NumberRequest) else one for one in requests]
    if service_sid is None:
        return NumbersImported(
            results=tuple(
                number_result(outcome, is_unpooled_reserved=row.is_reserved)
                for outcome, row in zip(outcomes, asked.rows, strict=True)
            )
        )
    reserved = [row.is_reserved for row in asked.rows]
    mine = {one.address: one for one in control.numbers_of(account_sid)}
    to_pool = [_owned_by_now(row.number, outcome, mine) for row, outcome in zip(asked.rows, outcomes, strict=True)]
    return NumbersImported(results=await _pool_all(control, service_sid, to_pool, reserved))


def _owned_by_now(
    number: str, outcome: ProxyNumber | Exception, mine: Mapping[Address, ProxyNumber]
) -> ProxyNumber | Exception:
    """Take a number that the account has owned before for one that it owns now: it joins the pool as it is."""
    if isinstance(outcome, ApiError) and outcome.code is Code.NUMBER_NOT_AVAILABLE:
        return mine.get(canonical(number.strip()), outcome)
    return outcome


async def _pool_all(
    control: ControlPlane, service_sid: str, outcomes: Sequence[ProxyNumber | Exception], reserved: Sequence[bool]
) -> tuple[NumberResult, ...]:
    async def pool(outcome: ProxyNumber | Exception, *, is_reserved: bool) -> NumberResult:
        if not isinstance(outcome, ProxyNumber):
            return number_result(outcome)
        try:
            await control.add_to_pool(
                outcome.account_sid, service_sid, number_sid=outcome.sid, address=None, is_reserved=is_reserved
            )
        except (ApiError, StoreUnavailable, PeerUnavailable) as problem:  # the rows before it stand
            return number_result(answer_to(problem), number_sid=outcome.sid)
        return number_result(outcome)

    pairs = zip(outcomes, reserved, strict=True)
    return tuple(await asyncio.gather(*(pool(outcome, is_reserved=is_reserved) for outcome, is_reserved in pairs)))


async def _show_session(control: ControlPlane, request: Request) -> SessionReport:
    session, participants = await control.find_session(request.path_params["session"])
    cursor = PageCursor(limit=RECENT_INTERACTIONS, before=_LATER_THAN_ALL)
    page = await control.interactions_page(session.account_sid, session.service_sid, session.sid, cursor)
    return session_report(session, participants, page)


async def _explain(control: ControlPlane, request: Request) -> ExplanationShape:
    proxy, sender = request.query_params.get("to"), request.query_params.get("from")
    if not proxy or not sender:
        raise invalid_parameter("to" if not proxy else "from", "is required")
    explanation = await explained(control, to=proxy, sender=sender)
    if explanation.account_sid is None and (other := await swapped(control, to=proxy, sender=sender)) is not None:
        hint = f"{other.proxy} is, in that of service {other.service_sid}: to and from seem to be swapped."
        explanation = msgspec.structs.replace(explanation, story=(*explanation.story, hint))
    return explanation_shape(explanation)


async def _list_smpp_peers(read: ReadPeers | None, _: ControlPlane, __: Request) -> SmppPeerList:
    if read is None:
        raise ApiError(Code.UNAVAILABLE, "No server runs on this data directory, so no SMPP peer is bound")
    return SmppPeerList(tuple(read()))


async def _no_sip_peers(_: ControlPlane, __: Request) -> NoReturn:
    raise ApiError(Code.UNAVAILABLE, "No server runs on this data directory, so no SIP peer is heard")


async def _no_pools(_: ControlPlane, __: Request) -> NoReturn:
    raise ApiError(Code.UNAVAILABLE, "No server runs on this data directory, so nobody uses its pools")


async def _make_console_link(console_link: MakeLink | None, _: ControlPlane, __: Request) -> ConsoleLink:
    if console_link is None:
        raise ApiError(
            Code.UNAVAILABLE, "No console is served: either no server runs on this data directory, or it has none"
        )
    return ConsoleLink(await console_link())


def _endpoint(control: ControlPlane, answer: Answer, status: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return Response(encode(await answer(control, request)), status, media_type="application/json")
        except ClientDisconnect:
            _log.debug("the client of an admin request left in the middle of it")
            return Response(status_code=CLIENT_LEFT)
        except Exception as problem:  # noqa: BLE001 - the boundary of the listener's task: logged and answered
            refused = answer_to(problem)
            if refused is not problem:
                _log.error("an admin request failed: %s", problem, exc_info=refused.is_unforeseen)
            return _refusal(refused)

    return endpoint


async def _unknown(_: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    code = Code.METHOD_NOT_ALLOWED if status == 405 else Code.NOT_FOUND  # noqa: PLR2004 - the router raises 404 and 405
    return _refusal(ApiError(code, "The admin API has no such path and method", http_status=status))


def _refusal(answer: ApiError) -> Response:
    """Answer with the error body; the operator learns which host or which fault of the disk it was."""
    shown = f"{answer.message} ({answer.detail})" if answer.detail else answer.message
    named = ApiError(answer.code, shown, http_status=answer.http_status)
    return Response(error_body(named), named.http_status, retry_after(named), "application/json")
