"""The console over ports in memory, and browsers that look at it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

import httpx
import msgspec
from starlette.types import ASGIApp

from engine.console.app import create_console
from engine.console.settings import ConsoleSettings
from engine.core.model.errors import Code
from engine.core.model.exchanges import Exchanges, WebhookExchange
from engine.core.model.logins import LoginSession, LoginSessions
from engine.core.model.outbox import OutboxCallback, OutboxEntry
from engine.core.model.overview import History, HostStatus, Minute, PoolReport, PoolReports
from engine.core.model.records import (
    Account,
    DebuggerEvent,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    ProxyNumber,
    Service,
    Session,
    WebhookTrace,
)
from engine.core.model.requests import NumberRequest, ParticipantRequest, ServiceRequest, SessionRequest
from engine.core.model.sids import SidKind
from engine.core.pools.pool import PoolState
from engine.core.ports.lists import OutboxFilter, OutboxKind, OutboxKinds, PageCursor
from engine.core.ports.observing import LoginEnd
from engine.core.ports.operations import Explanation
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.core.sessions.search import FoundSession, FoundSessions, SessionSought
from engine.telemetry.labels import CONSOLE_STATUSES
from tests.api.fake_control import NOW, FakeControl

BASE: Final = "http://masks.test"

FORM: Final = re.compile(r'name="(form|csrf)" value="([^"]*)"')
"""The secrets of a form."""


class FakeClock:
    """A clock that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class FakePlane:
    """Satisfies `ConsolePlane` over the records of a fake control plane."""

    def __init__(self, control: FakeControl, clock: FakeClock) -> None:
        self._control = control
        self._clock = clock
        self._secrets = count(1)
        self.logins = LoginSessions()
        self.statuses: tuple[HostStatus, ...] = (HostStatus(name="host-0", is_ready=True, started_at=NOW),)
        self.pool_state = PoolState(1, 1, 0, 1)
        self.minutes: tuple[Minute, ...] = ()
        self.exchanged: list[WebhookExchange] = []
        self.unused_numbers: dict[str, tuple[ProxyNumber, ...]] = {}
        self.silent: tuple[str, ...] = ()
        self.looked_back_to: float | None = None
        self.readings = 0

    async def hosts(self) -> tuple[HostStatus, ...]:
        """Tell what the test says."""
        self.readings += 1
        return self.statuses

    async def pools(self, account_sid: str | None, *, most: int) -> PoolReports:
        """Tell of a pool for each service."""
        mine = [one for one in self._control.services.values() if account_sid in {None, one.account_sid}]
        reports = tuple(
            PoolReport(
                service_sid=one.sid,
                account_sid=one.account_sid,
                unique_name=one.unique_name,
                active_sessions=1,
                state=self.pool_state,
            )
            for one in mine
        )
        return PoolReports(reports[:most], len(mine), self.silent)

    async def busiest(self, service_sids: Sequence[str]) -> Mapping[str, str]:
        """Name the same person for all."""
        return dict.fromkeys(service_sids, "+1415555XXXX")

    async def unused(self, service_sids: Sequence[str]) -> Mapping[str, tuple[ProxyNumber, ...]]:
        """Tell of what the test has put in."""
        return {sid: self.unused_numbers[sid] for sid in service_sids if sid in self.unused_numbers}

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count the entries of the fake control plane, as if each failed in its own way."""
        found = (await self._control.outbox_page(wanted, PageCursor(limit=100, is_part_enough=True))).records
        kinds = (
            OutboxKind(
                one.account_sid,
                one.destination,
                one.date_died is not None,
                one.last_error,
                1,
                one.date_created,
                one.date_created,
            )
            for one in found
        )
        return OutboxKinds(tuple(kinds), is_cut=False, silent=self.silent)

    async def history(self, since: float) -> History:
        """Tell what the test says."""
        return History(tuple(one for one in self.minutes if one.at >= since), self.silent)

    async def exchanges(self, account_sid: str, about: str) -> Exchanges:
        """Tell of those that the test has put in."""
        found = tuple(one for one in self.exchanged if (one.account_sid, one.about) == (account_sid, about))
        return Exchanges(found, self.silent)

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Compare with every session."""
        found = []
        for session in self._control.sessions.values():
            people = tuple(one for one in self._control.people.values() if one.session_sid == session.sid)
            identifiers = [one.identifier for one in people]
            fits = (
                session.unique_name == sought.name
                or sought.whole in identifiers
                or (sought.ending is not None and any(one.endswith(sought.ending) for one in identifiers))
            )
            if fits and account_sid in {None, session.account_sid}:
                found.append(FoundSession(session, people))
        looked_back_to = None if sought.is_thorough else self.looked_back_to
        is_cut = len(found) > most or looked_back_to is not None
        return FoundSessions(tuple(found[:most]), is_cut, self.silent, looked_back_to)

    async def begin_login(self, account_sid: str | None, credential: str, proof: bytes = b"") -> LoginSession:
        """Let somebody in."""
        number = next(self._secrets)
        login = LoginSession(
            token=f"0.token{number}",
            csrf=f"csrf{number}",
            account_sid=account_sid,
            credential=credential,
            begun_at=self._clock(),
            proof=proof,
        )
        self.logins.begin(login)
        return login

    async def find_login(self, token: str, *, is_active: bool) -> LoginSession | None:
        """Find a login session."""
        return self.logins.find(token, now=self._clock(), is_active=is_active)

    async def end_login(self, token: str) -> None:
        """End a login session."""
        self.logins.end(token)

    async def offer_link(self) -> str:
        """Make a code."""
        code = f"0.code{next(self._secrets)}"
        self.logins.offer(code, now=self._clock())
        return code

    async def follow_link(self, code: str) -> LoginSession | None:
        """Use a code up."""
        return await self.begin_login(None, "") if self.logins.follow(code, now=self._clock()) else None


class ExplainedControl(FakeControl):
    """A fake control plane that explains with what the test says."""

    explanation: Explanation | None = None

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        """Explain."""
        return self.explanation or await super().explain(proxy=proxy, sender=sender)


class FakeObserver:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.statuses = Counter[int]()
        self.logins: list[LoginEnd] = []

    def console_answered(self, status: int) -> None:
        """Count a status, one of those that read 0 before they happen."""
        assert (str(status),) in CONSOLE_STATUSES
        self.statuses[status] += 1

    def console_login(self, end: LoginEnd) -> None:
        """Keep how it ended."""
        self.logins.append(end)


class Screen:
    """A browser: keeps cookies, fills forms in with their secrets."""

    def __init__(self, app: ASGIApp, *, base: str = BASE, source: str = "192.0.2.1") -> None:
        transport = httpx.ASGITransport(app, client=(source, 1))
        self.http = httpx.AsyncClient(transport=transport, base_url=base)

    async def get(self, path: str = "") -> httpx.Response:
        """Load a page of the console."""
        return await self.http.get(f"/console{path}")

    async def submit(self, path: str, **fields: str) -> httpx.Response:
        """Load the page with a form, fill it in and send it."""
        form = dict(FORM.findall((await self.get(path)).text))
        return await self.http.post(f"/console{path}", data={**form, **fields})

    async def log_in(self, username: str, password: str) -> httpx.Response:
        """Log in."""
        return await self.submit("/login", username=username, password=password)


class Console(msgspec.Struct):
    """The console and everything around it."""

    control: ExplainedControl
    plane: FakePlane
    clock: FakeClock
    monotonic: FakeClock
    is_ready: list[bool]
    observer: FakeObserver
    app: ASGIApp

    def screen(self, *, base: str = BASE, source: str = "192.0.2.1") -> Screen:
        """Open a browser."""
        return Screen(self.app, base=base, source=source)

    async def screen_of(self, account: Account) -> Screen:
        """Open a browser that is logged in with an account's credentials."""
        screen = self.screen()
        assert (await screen.log_in(account.sid, account.auth_token)).status_code == 303
        return screen

    async def operators_screen(self) -> Screen:
        """Open a browser that has followed the operator's link."""
        screen = self.screen()
        code = await self.plane.offer_link()
        form = dict(FORM.findall((await screen.get(f"/open?code={code}")).text))
        assert (await screen.http.post("/console/open", data={**form, "code": code})).status_code == 303
        return screen


def make_console(settings: ConsoleSettings | None = None) -> Console:
    """Make a console that nobody has furnished."""
    control, clock, monotonic, is_ready = ExplainedControl(), FakeClock(NOW), FakeClock(1_000.0), [True]
    plane, observer = FakePlane(control, clock), FakeObserver()
    app = create_console(
        control,
        plane,
        settings=settings or ConsoleSettings(requests_per_second=0),
        observer=observer,
        clock=clock,
        monotonic=monotonic,
        is_ready=lambda: is_ready[0],
    )
    return Console(control, plane, clock, monotonic, is_ready, observer, app)


def add_account(console: Console, letter: str, name: str = "") -> Account:
    """Make an account whose SID and token are made of a letter."""
    account = Account(sid="AC" + letter * 32, auth_token=letter * 32, friendly_name=name or f"Account {letter}")
    console.control.accounts_by_sid[account.sid] = account
    return account


class Holdings(msgspec.Struct):
    """What an account has, one of each."""

    service: Service
    session: Session
    interaction: Interaction
    event: DebuggerEvent
    entry: OutboxEntry
    number_sid: str

    @property
    def sids(self) -> tuple[str, ...]:
        """All their SIDs."""
        records = (self.service, self.session, self.interaction, self.event, self.entry)
        return (*(one.sid for one in records), self.number_sid, self.resource_sid)

    @property
    def resource_sid(self) -> str:
        """What the carrier calls the interaction."""
        return self.interaction.inbound.resource_sid or ""

    @property
    def paths(self) -> tuple[str, ...]:
        """The pages about one of them."""
        return (
            f"/services/{self.service.sid}",
            f"/sessions/{self.session.sid}",
            f"/events/{self.event.sid}",
            f"/interactions/{self.interaction.sid}",
            f"/services/{self.service.sid}/unused",
        )


async def furnish(
    console: Console,
    account: Account,
    *,
    identifiers: tuple[str, str] = ("+14155550110", "+14155550111"),
    name: str = "ride-1",
    text: str = "No active Session",
) -> Holdings:
    """Give an account one of each; `name` and `text` are put wherever people write something."""
    control = console.control
    service = await control.create_service(account.sid, ServiceRequest(unique_name=f"{name} of {account.sid}"))
    address = f"+1212555{1000 + len(control.numbers)}"
    number = await control.own_number(account.sid, NumberRequest(address=address))
    await control.add_to_pool(account.sid, service.sid, number_sid=number.sid, address=None, is_reserved=False)
    people = tuple(ParticipantRequest(identifier=one, friendly_name=name) for one in identifiers)
    request = SessionRequest(unique_name=name, participants=people)
    session = await control.create_session(account.sid, service.sid, request)
    endpoints = [one.sid for one in control.people.values() if one.session_sid == session.sid]
    message_sid = f"SM{account.sid[2:]}"
    inbound, outbound = (
        Leg(participant_sid=endpoint, resource_sid=resource, status=LegStatus.RECEIVED)
        for endpoint, resource in zip(endpoints, (message_sid, None), strict=True)
    )
    interaction = control.record(session, Kind.MESSAGE, inbound, outbound, body=f"{text} {identifiers[0]}")
    event = DebuggerEvent(
        code=Code.NO_ACTIVE_SESSION,
        account_sid=account.sid,
        service_sid=service.sid,
        session_sid=session.sid,
        resource_sid=message_sid,
        message=text,
        at=NOW,
        sid=control.new_sid(SidKind.DEBUGGER_EVENT),
        webhook=WebhookTrace(url=f"https://shop.example/{text}", problem=text),
    )
    control.events[event.sid] = event
    entry = OutboxEntry(
        sid=control.new_sid(SidKind.OUTBOX_ENTRY),
        account_sid=account.sid,
        service_sid=service.sid,
        session_sid=session.sid,
        content=OutboxCallback(url="https://shop.example/told", interaction=interaction),
        date_created=NOW - 60,
        attempts=3,
        last_error=text,
        date_died=NOW,
    )
    control.entries[entry.sid] = entry
    exchange = WebhookExchange(
        account_sid=account.sid,
        about=message_sid,
        kind="intercept",
        end="failed",
        url=f"https://shop.example/{text}",
        at=NOW,
        seconds=0.25,
        problem=text,
    )
    console.plane.exchanged.append(exchange)
    return Holdings(service, session, interaction, event, entry, number.sid)


def explained(holdings: Holdings, *, proxy: str = "+12125551000", sender: str = "+1415555XXXX") -> Explanation:
    """Explain why somebody reaches an account's session."""
    routed = Decision(Outcome.ROUTED, Reason.IN_SESSION, to=sender, caller_id=proxy, session_sid=holdings.session.sid)
    return Explanation(
        proxy=proxy,
        sender=sender,
        account_sid=holdings.service.account_sid,
        service_sid=holdings.service.sid,
        call=routed,
        message=routed,
        session=holdings.session,
        sender_sid="KP" + "1" * 32,
        partner_sid="KP" + "2" * 32,
        story=("Both are in an active session.",),
    )
