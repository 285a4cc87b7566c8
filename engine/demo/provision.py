"""Sets the scene up in a running engine, as an application would: over its REST interface."""

import time
from collections.abc import Iterable
from http import HTTPStatus

import httpx
import msgspec

from engine.app import RunningEngine
from engine.core.model.records import Account, ServiceOptions, SessionStatus
from engine.core.model.requests import AccountUpdate, ServiceRequest
from engine.demo.application import ShopApplication
from engine.demo.scene import ARGENTINE_ACCOUNT, PLAIN_ACCOUNT, SCENE, DemoService, DemoSession


class Stage(msgspec.Struct, frozen=True):
    """The scene in place."""

    accounts: dict[str, Account]
    """By the scene's name."""
    services: dict[str, str]
    """Name to KS…"""
    sessions: dict[str, str]
    """Name to KC…"""
    ends: dict[str, float]
    """Name of each session with an idle limit to when it ends unless something passes, monotonic seconds."""


class Application:
    """An application of one account: speaks REST and expects to be answered."""

    def __init__(self, base_url: str, account: Account) -> None:
        """Speak to the engine at a URL with an account's credentials."""
        self._http = httpx.AsyncClient(base_url=f"{base_url}/v1", auth=(account.sid, account.auth_token))

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def post(self, path: str, **form: object) -> dict[str, str]:
        """Create or update; raises RuntimeError with the engine's own words when it refuses."""
        response = await self._http.post(path, data={key: _written(value) for key, value in form.items()})
        if not response.is_success:
            raise RuntimeError(f"the demo's request to {path} was refused: {response.text}")
        answer: dict[str, str] = response.json()
        return answer

    async def batch(self, service: str, items: list[bytes]) -> None:
        """Carry out the items of a batch; raises RuntimeError with the engine's own words when it refuses one."""
        response = await self._http.post(
            f"/Services/{service}/Sessions/Batch",
            content=b"\n".join(items),
            headers={"content-type": "application/x-ndjson"},
        )
        results = response.text.splitlines() if response.is_success else []
        refused = [line for line in results if msgspec.json.decode(line)["status"] >= HTTPStatus.BAD_REQUEST]
        if refused or len(results) != len(items):
            raise RuntimeError(f"a session was refused: {(refused or [response.text])[0]}")

    async def sessions(self, service: str) -> list[str]:
        """Name a service's sessions, page by page."""
        url: str | None = f"/Services/{service}/Sessions?PageSize=100"
        found: list[str] = []
        while url is not None:
            page = (await self._http.get(url)).raise_for_status().json()
            found += [session["sid"] for session in page["sessions"]]
            url = page["meta"]["next_page_url"]
        return found

    async def interactions(self, service: str, session: str) -> int:
        """Count a session's interactions, page by page."""
        url: str | None = f"/Services/{service}/Sessions/{session}/Interactions?PageSize=100"
        count = 0
        while url is not None:
            page = (await self._http.get(url)).raise_for_status().json()
            count += len(page["interactions"])
            url = page["meta"]["next_page_url"]
        return count


async def set_up(engine: RunningEngine, shop: ShopApplication) -> Stage:
    """Make accounts, services, pools and sessions; webhooks lead to the shop's application."""
    control = engine.host.control
    accounts = {
        PLAIN_ACCOUNT: await control.create_account(AccountUpdate(friendly_name="Demo rides")),
        ARGENTINE_ACCOUNT: await control.create_account(AccountUpdate(friendly_name="Demo parcels", argentina=True)),
    }
    stage = Stage(accounts, {}, {}, {})
    for service in SCENE:
        application = Application(engine.address, accounts[service.account])
        try:
            await _make_service(application, service, stage, urls=shop.urls if service.has_application else {})
        finally:
            await application.close()
        if service.has_application:
            shop.token = accounts[service.account].auth_token
        if service.document is not None:
            options = ServiceRequest(options=ServiceOptions(no_session_twiml=service.document))
            await control.update_service(accounts[service.account].sid, stage.services[service.name], options)
    return stage


async def _make_service(application: Application, service: DemoService, stage: Stage, *, urls: dict[str, str]) -> None:
    sid = (await application.post("/Services", UniqueName=service.name, **urls))["sid"]
    stage.services[service.name] = sid
    for number in service.pool:
        await application.post(
            f"/Services/{sid}/PhoneNumbers", PhoneNumber=number, IsReserved=number in service.reserved
        )
    for session in service.sessions:
        names_proxies = len(service.pool) > 1
        made = await application.post(
            f"/Services/{sid}/Sessions",
            UniqueName=session.name,
            Mode=session.mode,
            Ttl=session.ttl_seconds,
            Participants=_participants(session, names_proxies=names_proxies),
        )
        stage.sessions[session.name] = made["sid"]
        if session.ttl_seconds:
            stage.ends[session.name] = time.monotonic() + session.ttl_seconds
        if session.is_closed:
            await application.post(f"/Services/{sid}/Sessions/{made['sid']}", Status=SessionStatus.CLOSED)


def _participants(session: DemoSession, *, names_proxies: bool) -> Iterable[dict[str, str]]:
    return [
        {"Identifier": person.number, "FriendlyName": person.name}
        | ({"ProxyIdentifier": person.proxy} if names_proxies else {})
        for person in session.people
    ]


def _written(value: object) -> str | list[str]:
    """Write a form value: objects as JSON, one a repetition of the key."""
    if isinstance(value, list):
        return [msgspec.json.encode(one).decode() for one in value]
    return str(value)
