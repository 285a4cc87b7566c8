"""What stops a request is answered in one way, whichever interface the request came by."""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, NoReturn

import httpx
import pytest

from actors.cluster.rpc import HostRpc
from actors.control.batch import SessionBatches
from engine.api.admin.app import create_admin_app
from engine.api.app import create_app
from engine.api.settings import ApiSettings
from engine.core.model.errors import (
    CATALOGUE,
    ApiError,
    Code,
    MasklineError,
    PeerUnavailable,
    StoreUnavailable,
    StoreUnreadable,
    answer_to,
    not_ready,
)
from engine.core.model.records import Account
from engine.core.model.requests import SessionRequest
from engine.core.routing.decide import undecided
from engine.core.routing.traffic import Outcome, Reason
from engine.core.sessions.batch import CreateItem, ItemRefused
from tests.api.fake_control import NOW, FakeControl
from tests.console.fakes import add_account, make_console
from tests.silent import SilentObserver

pytestmark = pytest.mark.anyio

SECRET = "the row of +14155550110"
FAILURES: tuple[tuple[Exception, Code], ...] = (
    (StoreUnavailable("the disk is full"), Code.STORAGE_FAILED),
    (PeerUnavailable("host-1 is down"), Code.UNAVAILABLE),
    (LookupError(SECRET), Code.INTERNAL_ERROR),
    (not_ready(), Code.UNAVAILABLE),
    (ApiError(Code.TOO_MANY_REQUESTS, "too many"), Code.TOO_MANY_REQUESTS),
    (ApiError(Code.INVALID_PARAMETER, "it is wrong"), Code.INVALID_PARAMETER),
    (StoreUnreadable("the database is away"), Code.UNAVAILABLE),
)


class Answered(NamedTuple):
    """What came back."""

    code: int | None
    """None where pages are for people."""
    http_status: int
    retry_after: str | None
    text: str


def over_http(response: httpx.Response, *, has_code: bool = True) -> Answered:
    code = response.json()["code"] if has_code else None
    return Answered(code, response.status_code, response.headers.get("retry-after"), response.text)


def failing(problem: Exception) -> tuple[FakeControl, Account]:
    control, account = FakeControl(), Account(sid="AC" + "a" * 32, auth_token="b" * 32, friendly_name="first")
    control.accounts_by_sid[account.sid] = account
    control.failure = problem
    return control, account


async def rest(problem: Exception) -> Answered:
    control, account = failing(problem)
    settings = ApiSettings(public_url="http://masks.test", rate_limit_per_second=0)
    app = create_app(control, settings=settings, clock=lambda: NOW, observer=SilentObserver())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://masks.test", auth=(account.sid, account.auth_token)
    ) as client:
        return over_http(await client.post("/v1/Services", data={"UniqueName": "shop"}))


async def admin(problem: Exception) -> Answered:
    app = create_admin_app(failing(problem)[0])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        return over_http(await client.post("/accounts"))


async def console(problem: Exception) -> Answered:
    async def fail(_: str) -> NoReturn:
        raise problem

    made = make_console()
    screen = await made.screen_of(add_account(made, "a"))
    made.control.find_session = fail  # type: ignore[assignment,method-assign] # a control plane that fails
    return over_http(await screen.get(f"/sessions/KC{'1' * 32}"), has_code=False)


class Failing:
    """Something of another host."""

    def __init__(self, problem: Exception) -> None:
        self._problem = problem

    async def change(self) -> None:
        """Fail."""
        raise self._problem


class Wire:
    """Carries messages to another host of this process."""

    me, count = 0, 2

    def __init__(self) -> None:
        self.other: HostRpc | None = None

    async def ask(self, host: int, message: bytes) -> bytes:
        """Have it answer."""
        assert host == 1
        assert self.other is not None
        return await self.other.answer(message)


async def another_host(problem: Exception) -> Answered:
    wire = Wire()
    wire.other = HostRpc(wire)
    wire.other.serve(Failing(problem))
    with pytest.raises(MasklineError) as raised:
        await HostRpc(wire).ask(1, Failing.change)
    kinds = {Code.STORAGE_FAILED: StoreUnavailable, Code.UNAVAILABLE: PeerUnavailable}
    assert type(raised.value) is kinds.get(answer_to(problem).code, ApiError)
    return as_answered(answer_to(raised.value))


async def item_of_a_batch(problem: Exception) -> Answered:
    class Coordinator:
        async def create_with_participants(self, *_: object, **__: object) -> NoReturn:
            raise problem

    batches = SessionBatches(None)  # type: ignore[arg-type] # an item without a key needs nothing of its host
    item = CreateItem(request=SessionRequest(participants=()))
    result = await batches.result(Coordinator(), item)  # type: ignore[arg-type] # what an item asks of one
    assert isinstance(result, ItemRefused)
    again = CATALOGUE[Code(result.code)].retry_after_seconds
    return Answered(result.code, result.http_status, None if again is None else str(again), result.message)


def as_answered(answer: ApiError) -> Answered:
    again = answer.retry_after_seconds
    return Answered(answer.code, answer.http_status, None if again is None else str(again), answer.message)


INTERFACES: tuple[Callable[[Exception], Awaitable[Answered]], ...] = (
    rest,
    admin,
    console,
    another_host,
    item_of_a_batch,
)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda one: one.__name__)
@pytest.mark.parametrize(("problem", "code"), FAILURES, ids=lambda one: getattr(one, "name", ""))
async def test_a_failure_has_one_answer_on_every_interface(
    interface: Callable[[Exception], Awaitable[Answered]],
    problem: Exception,
    code: Code,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Code, status and when to try again are the catalogue's; neither hosts nor bugs of ours are shown."""
    entry = CATALOGUE[code]
    with caplog.at_level(logging.CRITICAL):
        answered = await interface(problem)

    assert answered.code in {None, code.value}
    assert answered.http_status == entry.http_status
    assert answered.retry_after == (None if entry.retry_after_seconds is None else str(entry.retry_after_seconds))
    assert SECRET not in answered.text
    assert "host-1" not in answered.text or interface in {admin, another_host}


@pytest.mark.parametrize("interface", [rest, admin, console, item_of_a_batch], ids=lambda one: one.__name__)
@pytest.mark.parametrize(("problem", "code"), FAILURES, ids=lambda one: getattr(one, "name", ""))
async def test_what_is_not_the_callers_fault_is_logged(
    interface: Callable[[Exception], Awaitable[Answered]],
    problem: Exception,
    code: Code,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, as an error; with its traceback where it is a bug of ours."""
    with caplog.at_level(logging.ERROR):
        await interface(problem)

    expected = [] if isinstance(problem, ApiError) else [code is Code.INTERNAL_ERROR]
    assert [bool(record.exc_info) for record in caplog.records] == expected


def test_traffic_that_a_failure_left_undecided_is_sent_again() -> None:
    """How each channel says so is in its contract; a host that is away takes none of its peers from this one."""
    decisions = [undecided(problem) for problem, _ in FAILURES[:3]]

    assert {decision.outcome for decision in decisions} == {Outcome.NOT_READY}
    assert [decision.reason for decision in decisions] == [
        Reason.STORE_UNAVAILABLE,
        Reason.REBUILDING,
        Reason.STORE_UNAVAILABLE,
    ]


def test_the_operator_alone_learns_which_host_it_was() -> None:
    """An application has no business with our hosts and disks."""
    answer = answer_to(PeerUnavailable("host-1 is down"))

    assert ("host-1" in answer.message, answer.detail) == (False, "host-1 is down")
