"""Applications and carriers at work on one service, and what they were told: the model that a restart is held against.

Each worker has its own sessions and does one thing at a time; people and proxy numbers are shared by all. An answer
counts as soon as it has been read; what is under way when the server goes is in doubt and may have happened or not.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import httpx
import msgspec

from tests.e2e.carrier import Carrier, Heard, call_form, heard, message_form, resource_sid
from tests.e2e.live import NO_TLS, LiveServer
from tests.e2e.tenant import Endpoint, Json, Service, Tenant, participants, written

AGAIN_SECONDS = 0.1

PAIR_TAKEN = {80208, 80604, 80623}
"""Refusals that are right when people meet often: no free number, or the pair is active elsewhere."""


class ServerGone(Exception):  # noqa: N818 - a state of the test, not an error
    """The server does not answer any more."""


class Passed(msgspec.Struct):
    """A call or message that was routed and answered."""

    path: str
    form: dict[str, str]
    content: bytes
    """The answer, byte for byte."""
    status_url: str
    is_completed: bool = False
    """The end of its outbound leg was reported and taken."""

    @property
    def interaction(self) -> str:
        """The KI… that our status URL names."""
        return httpx.URL(self.status_url).params["interaction"]


class Ride(msgspec.Struct, kw_only=True):
    """What is known of a session."""

    path: str
    sid: str
    endpoints: dict[str, Endpoint | None]
    """Live participants by identifier; None = joined, the number not read yet."""
    is_live: bool = True
    is_deleted: bool = False
    in_doubt: bool = False
    """A change of it was under way when the server went."""
    talks_in_doubt: int = 0
    """Calls and messages that were under way then."""
    passed: list[Passed] = msgspec.field(default_factory=list)

    @property
    def sides(self) -> Iterator[tuple[Endpoint, Endpoint]]:
        """Who calls and who is reached, both directions; nothing unless two are there."""
        endpoints = [endpoint for endpoint in self.endpoints.values() if endpoint is not None]
        if len(endpoints) == len(self.endpoints) == 2:
            yield endpoints[0], endpoints[1]
            yield endpoints[1], endpoints[0]


class Wire:
    """REST and webhooks of one account on one server, asynchronously."""

    def __init__(self, server: LiveServer, tenant: Tenant, *, patience_seconds: float = 0.0) -> None:
        """Speak to a server for an account; what it cannot answer now is asked again for so long."""
        self._patience_seconds = patience_seconds
        self.server = server
        self.account_sid = tenant.sid
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._carrier = Carrier(server, tenant.sid, tenant.token)
        self._http = httpx.AsyncClient(
            base_url=server.address, auth=(tenant.sid, tenant.token), verify=NO_TLS, timeout=30, limits=limits
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._carrier.close()
        await self._http.aclose()

    async def ask(self, method: str, path: str, **form: object) -> tuple[int, Json]:
        """Ask REST; raises ServerGone."""
        response = await self._send(method, f"/v1{path}", data=written(form) or None)
        return response.status_code, response.json() if response.content else {}

    async def everything(self, path: str, key: str) -> list[Json]:
        """Read a list to its end."""
        found: list[Json] = []
        url: str | None = f"{path}?PageSize=100"
        while url is not None:
            status, page = await self.ask("GET", url)
            assert status == HTTPStatus.OK, page
            found += page[key]
            url = page["meta"]["next_page_url"]
            url = url and url.removeprefix(f"{self.server.public_url}/v1")
        return found

    async def webhook(self, url: str, form: dict[str, str]) -> Heard:
        """Post a signed webhook; raises ServerGone."""
        path = url.removeprefix(self.server.public_url)
        headers = {"X-Twilio-Signature": self._carrier.signature(path, form)}
        return heard(await self._send("POST", path, data=form, headers=headers))

    async def _send(
        self, method: str, path: str, *, data: dict[str, str | list[str]] | dict[str, str] | None, **options: object
    ) -> httpx.Response:
        until = asyncio.get_running_loop().time() + self._patience_seconds
        headers = options.get("headers")
        while True:
            with suppress(httpx.TransportError):
                response = await self._http.request(
                    method, path, data=data, headers=headers if isinstance(headers, dict) else None
                )
                if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:  # it is stopping, or a host is away
                    return response
            if asyncio.get_running_loop().time() >= until:
                raise ServerGone
            await asyncio.sleep(AGAIN_SECONDS)


class Load:
    """Everything that happens to one service."""

    def __init__(self, service: Service, *, seed: int, workers: int, people: int) -> None:
        """Load a service, the same way for the same seed as far as answers come in the same order."""
        self.service = service
        self.people = [f"+1628234{index:04d}" for index in range(people)]
        self.rides: list[list[Ride]] = [[] for _ in range(workers)]
        self.acknowledged = 0
        self.creates_in_doubt = 0
        self._randoms = [random.Random(f"{seed}-{index}") for index in range(workers)]  # noqa: S311 - a test's dice

    def every_ride(self) -> Iterator[Ride]:
        """Walk all that was ever created."""
        for rides in self.rides:
            yield from rides

    async def run(self, wire: Wire, on_answer: Callable[[], None], *, over: asyncio.Event | None = None) -> None:
        """Work until the server is gone for each, or all is over; `on_answer` is called at every answer."""
        over = over or asyncio.Event()

        async def work(index: int) -> None:
            worker = _Worker(self, wire, self.rides[index], self._randoms[index], on_answer)
            try:
                while not over.is_set():
                    await worker.step()
            except ServerGone:
                pass

        async with asyncio.TaskGroup() as tasks:
            for index in range(len(self.rides)):
                tasks.create_task(work(index))


class _Worker:
    """One application with its carrier."""

    def __init__(  # noqa: PLR0917 - what a worker works with
        self, load: Load, wire: Wire, rides: list[Ride], dice: random.Random, on_answer: Callable[[], None]
    ) -> None:
        self._load = load
        self._wire = wire
        self._rides = rides
        self._dice = dice
        self._on_answer = on_answer

    async def step(self) -> None:
        """Do one thing."""
        rides = [ride for ride in self._rides if not ride.is_deleted]
        if not rides or self._dice.random() < 0.2:
            await self._create()
            return
        ride = self._dice.choice(rides)
        if not ride.is_live:
            await self._dice.choices((self._reopen, self._delete), (3, 1))[0](ride)
        elif len(ride.endpoints) < 2:
            await self._dice.choices((self._join, self._close), (5, 1))[0](ride)
        else:
            does = (self._talk, self._finish, self._close, self._remove, self._delete)
            await self._dice.choices(does, (10, 3, 3, 1, 1))[0](ride)

    def _answered(self) -> None:
        self._load.acknowledged += 1
        self._on_answer()

    async def _create(self) -> None:
        people = self._dice.sample(self._load.people, 2)
        form: dict[str, object] = {}
        if self._dice.random() < 0.7:
            form["Participants"] = participants(*people)
        path = f"{self._load.service.path}/Sessions"
        self._load.creates_in_doubt += 1
        status, made = await self._wire.ask("POST", path, **form)
        self._load.creates_in_doubt -= 1
        if status != HTTPStatus.CREATED:
            _assert_pair_taken(status, made)
            return
        endpoints: dict[str, Endpoint | None] = dict.fromkeys(people if form else ())
        ride = Ride(path=f"{path}/{made['sid']}", sid=made["sid"], endpoints=endpoints)
        self._rides.append(ride)
        self._answered()
        if form:
            _, page = await self._wire.ask("GET", f"{ride.path}/Participants")
            ride.endpoints.update({one["identifier"]: _endpoint(one) for one in page["participants"]})
            assert ride.endpoints.keys() == set(people)

    async def _join(self, ride: Ride) -> None:
        there = [one for one in self._load.people if one not in ride.endpoints]
        ride.in_doubt = True
        status, made = await self._wire.ask("POST", f"{ride.path}/Participants", Identifier=self._dice.choice(there))
        ride.in_doubt = False
        if status == HTTPStatus.CREATED:
            ride.endpoints[made["identifier"]] = _endpoint(made)
            self._answered()
        else:
            assert made["code"] == 80612 or _assert_pair_taken(status, made)

    async def _talk(self, ride: Ride) -> None:
        caller, partner = self._dice.choice([*ride.sides])
        account = self._wire.account_sid
        if self._dice.random() < 0.5:
            path, form = "/inbound/voice", call_form(account, caller.identifier, caller.proxy)
        else:
            path = "/inbound/message"
            form = message_form(account, caller.identifier, caller.proxy) | {"Body": "on my way"}
        ride.talks_in_doubt += 1
        answer = await self._wire.webhook(path, form)
        ride.talks_in_doubt -= 1
        assert answer.reached == (partner.identifier, partner.proxy), answer
        ride.passed.append(Passed(path, form, answer.content, answer.twiml.status_url))
        self._answered()

    async def _finish(self, ride: Ride) -> None:
        calls = [one for one in ride.passed if "CallSid" in one.form and not one.is_completed]
        if not calls:
            await self._talk(ride)
            return
        call = self._dice.choice(calls)
        form = {"AccountSid": self._wire.account_sid, "CallSid": resource_sid("CA"), "CallStatus": "completed"}
        answer = await self._wire.webhook(call.status_url, form)
        assert answer.status == HTTPStatus.NO_CONTENT
        call.is_completed = True
        self._answered()

    async def _close(self, ride: Ride) -> None:
        ride.in_doubt = True
        status, answer = await self._wire.ask("POST", ride.path, Status="closed")
        ride.in_doubt = False
        assert status == HTTPStatus.OK, answer
        ride.is_live = False
        self._answered()

    async def _reopen(self, ride: Ride) -> None:
        ride.in_doubt = True
        status, answer = await self._wire.ask("POST", ride.path, Status="in-progress")
        ride.in_doubt = False
        if status == HTTPStatus.OK:
            ride.is_live = True
            self._answered()
        else:
            _assert_pair_taken(status, answer)

    async def _remove(self, ride: Ride) -> None:
        endpoint = self._dice.choice([one for one in ride.endpoints.values() if one is not None])
        ride.in_doubt = True
        status, answer = await self._wire.ask("DELETE", f"{ride.path}/Participants/{endpoint.sid}")
        ride.in_doubt = False
        assert status == HTTPStatus.NO_CONTENT, answer
        del ride.endpoints[endpoint.identifier]
        self._answered()

    async def _delete(self, ride: Ride) -> None:
        ride.in_doubt = True
        status, answer = await self._wire.ask("DELETE", ride.path)
        ride.in_doubt = False
        assert status == HTTPStatus.NO_CONTENT, answer
        ride.is_deleted, ride.is_live = True, False
        self._answered()


def _endpoint(shape: Json) -> Endpoint:
    return Endpoint(shape["sid"], shape["identifier"], shape["proxy_identifier"])


def _assert_pair_taken(status: int, answer: Json) -> bool:
    assert status in {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT}, answer
    assert answer["code"] in PAIR_TAKEN, answer
    return True


def described(ride: Ride) -> str:
    """Describe a ride for a failure."""
    return json.dumps(msgspec.to_builtins(ride), indent=1, default=str)[:2000]
