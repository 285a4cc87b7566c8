"""What holds for every operation: credentials, errors, methods, limits, readiness."""

import base64
import logging
from itertools import count

import httpx
import pytest
from starlette.types import Message

from engine.api.app import OPERATIONS, create_app
from engine.api.settings import ApiSettings
from engine.core.model.errors import ApiError, Code, StoreUnavailable
from engine.core.model.records import Account
from engine.core.model.sids import SidKind
from tests.api.conftest import BASE, Rest, client_of
from tests.api.fake_control import NOW, sid_of

pytestmark = pytest.mark.anyio

NOBODY = "KS" + "0" * 32


def assert_error(response: httpx.Response, status: int, code: int) -> str:
    """Check the error body and return its message."""
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/json"
    assert list(body) == ["code", "message", "more_info", "status"]
    assert body["status"] == status
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    return str(body["message"])


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer token",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no-colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic " + base64.b64encode(b"ACx:wrong").decode(),
    ],
)
async def test_bad_credentials_are_401(rest: Rest, authorization: str) -> None:
    """20003 with a challenge, whatever is wrong with them."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rest.app), base_url=BASE) as stranger:
        response = await stranger.get("/v1/Services", headers={"authorization": authorization})

    assert_error(response, 401, 20003)
    assert response.headers["www-authenticate"] == 'Basic realm="Twilio API"'


async def test_api_key_and_its_secret_are_credentials(rest: Rest) -> None:
    """Until the key is revoked."""
    key, secret = await rest.control.create_api_key(rest.account.sid, "ci")
    async with client_of(rest.app, key.sid, secret) as client:
        before = await client.get("/v1/Services")
        await rest.control.revoke_api_key(key.sid)
        after = await client.get("/v1/Services")

    assert before.status_code == 200
    assert_error(after, 401, 20003)


async def test_account_in_the_path_must_be_the_authenticated_one(rest: Rest) -> None:
    """The 2010 API names the account; another one's path is refused as wrong credentials."""
    other = Account(sid="AC" + "c" * 32, auth_token="d" * 32, friendly_name="second")
    rest.control.accounts_by_sid[other.sid] = other

    response = await rest.client.get(f"/2010-04-01/Accounts/{other.sid}/IncomingPhoneNumbers.json")

    assert_error(response, 401, 20003)


async def test_nothing_of_another_account_is_visible(rest: Rest) -> None:
    """Existing resources of others are 404, as if they did not exist."""
    path, _ = await rest.make_session()
    other = Account(sid="AC" + "c" * 32, auth_token="d" * 32, friendly_name="second")
    rest.control.accounts_by_sid[other.sid] = other

    async with client_of(rest.app, other.sid, other.auth_token) as stranger:
        assert_error(await stranger.get(path), 404, 20404)
        assert_error(await stranger.delete("/".join(path.split("/")[:4])), 404, 20404)
        assert (await stranger.get("/v1/Services")).json()["services"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/Services/",
        "/v2/Services",
        "/v1/Services/KS1/Sessions",
        f"/v1/Services/{NOBODY}",
        f"/v1/Services/{NOBODY}/Sessions/{sid_of(SidKind.SESSION, 1)}/Participants/KC{'0' * 32}",
        "/v1/Services/%FF",
        f"/v1/Services/{NOBODY}/Sessions/",
    ],
)
async def test_what_names_nothing_is_404(rest: Rest, path: str) -> None:
    """Unknown paths, malformed SIDs and unknown resources alike."""
    message = assert_error(await rest.client.get(path), 404, 20404)

    assert path in message


async def test_message_does_not_repeat_a_phone_number(rest: Rest) -> None:
    """A name that holds a number is masked when it is not found."""
    message = assert_error(await rest.client.get("/v1/Services/order%2B14155550123"), 404, 20404)

    assert "14155550123" not in message
    assert "1415555XXXX" in message


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/Services", "GET, HEAD, POST"),
        ("PATCH", f"/v1/Services/{NOBODY}", "DELETE, GET, HEAD, POST"),
        ("PUT", f"/v1/Services/{NOBODY}/Sessions/KC{'0' * 32}/Participants/KP{'0' * 32}", "DELETE, GET, HEAD, POST"),
        ("POST", f"/v1/Services/{NOBODY}/Sessions/KC{'0' * 32}/Interactions", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_405(rest: Rest, method: str, path: str, allowed: str) -> None:
    """20004, and which methods there are."""
    response = await rest.client.request(method, path)

    assert_error(response, 405, 20004)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/Services", f"/v1/Services/{NOBODY}", "/v1/Alerts"])
async def test_head_is_get_without_a_body(rest: Rest, path: str) -> None:
    """Its status and headers, also of what is not there (RFC 9110 9.3.2)."""
    read = await rest.client.get(path)
    head = await rest.client.head(path)

    assert head.status_code == read.status_code
    assert head.headers == read.headers


@pytest.mark.parametrize("sent", [b"", b"UniqueName=sh"])
async def test_a_client_that_leaves_in_its_body_is_no_failure(
    rest: Rest, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """It is counted as 499, told at debug only, and nothing is done."""
    told: list[Message] = [{"type": "http.request", "body": sent, "more_body": True}, {"type": "http.disconnect"}]
    messages = iter(told)
    answered: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        answered.append(message)

    token = base64.b64encode(f"{rest.account.sid}:{rest.account.auth_token}".encode())
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/Services",
        "raw_path": b"/v1/Services",
        "query_string": b"",
        "headers": [(b"authorization", b"Basic " + token)],
    }
    with caplog.at_level(logging.DEBUG, logger="maskline.api"):
        await rest.app(scope, receive, send)

    assert answered == []
    assert rest.observer.requests == [("POST", "/v1/Services", 499)]
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert not (await rest.client.get("/v1/Services")).json()["services"]


async def test_refusal_of_the_rules_keeps_its_code_and_message(rest: Rest) -> None:
    """The status is the catalogue's."""
    rest.control.failure = ApiError(Code.DUPLICATE_PARTICIPANT_REQUEST, "try again")

    response = await rest.client.post("/v1/Services", data={"UniqueName": "shop"})

    assert assert_error(response, 409, 80623) == "try again"


async def test_failed_commit_is_80501_and_says_what_to_do(rest: Rest) -> None:
    """Nothing was stored, and the operator is told about disk space."""
    rest.control.failure = StoreUnavailable("disk full")

    response = await rest.client.post("/v1/Services", data={"UniqueName": "shop"})

    assert "Free space" in assert_error(response, 500, 80501)


async def test_engine_that_is_not_ready_answers_503(rest: Rest) -> None:
    """Before credentials are looked at, since they may not have been read yet."""
    rest.is_ready[0] = False

    response = await rest.client.get("/v1/Services")

    assert_error(response, 503, 20503)
    assert response.headers["retry-after"] == "1"


async def test_what_was_read_is_not_told_by_an_engine_that_may_have_been_replaced_meanwhile(
    rest: Rest, account: Account, api_settings: ApiSettings
) -> None:
    """A change tells what came of its commit all the same."""
    ready = iter([True, False, True])
    app = create_app(
        rest.control, settings=api_settings, clock=rest.clock, observer=rest.observer, is_ready=lambda: next(ready)
    )

    async with client_of(app, account.sid, account.auth_token) as client:
        read = await client.get("/v1/Services")
        changed = await client.post("/v1/Services", data={"UniqueName": "shop"})

    assert_error(read, 503, 20503)
    assert changed.status_code == 201


async def test_oversized_body_is_413(rest: Rest) -> None:
    """Declared, or found out while it streams in."""

    async def stream() -> object:
        for _ in range(20):
            yield b"Body=" + b"x" * 1000

    declared = await rest.client.post("/v1/Services", content=b"x" * 10_001)
    streamed = await rest.client.post("/v1/Services", content=stream())  # type: ignore[arg-type]

    assert_error(declared, 413, 80701)
    assert_error(streamed, 413, 80701)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"UniqueName": "shop"}', "application/json"),
        (b"UniqueName=%FF", "application/x-www-form-urlencoded"),
        (b"UniqueName=\xff", "application/x-www-form-urlencoded"),
        (b"a=1&" * 1001 + b"UniqueName=shop", "application/x-www-form-urlencoded"),
    ],
)
async def test_body_that_is_no_form_is_400(rest: Rest, content: bytes, content_type: str) -> None:
    """Only urlencoded forms in UTF-8 are read."""
    response = await rest.client.post("/v1/Services", content=content, headers={"content-type": content_type})

    assert "body" in assert_error(response, 400, 80701)


async def test_form_needs_no_content_type(rest: Rest) -> None:
    """A body without a type counts as a form."""
    response = await rest.client.post("/v1/Services", content=b"UniqueName=shop")

    assert response.status_code == 201


async def test_requests_are_counted_by_route_not_by_path(rest: Rest) -> None:
    """Labels come from closed sets: no SID, no number, no made-up method."""
    await rest.client.get(f"/v1/Services/{NOBODY}")
    await rest.client.get("/nowhere/14155550123")
    await rest.client.request("BREW", "/v1/Services")

    assert rest.observer.requests == [
        ("GET", "/v1/Services/{Sid}", 404),
        ("GET", "unknown", 404),
        ("OTHER", "/v1/Services", 405),
    ]


@pytest.fixture
def limited(rest: Rest) -> httpx.AsyncClient:
    """Return a client of the same engine with the documented limit."""
    app = create_app(rest.control, settings=ApiSettings(public_url=BASE), clock=rest.clock, observer=rest.observer)
    return client_of(app, rest.account.sid, rest.account.auth_token)


async def test_151st_request_in_five_seconds_is_429(rest: Rest, limited: httpx.AsyncClient) -> None:
    """20429 with when to come back, one debugger warning 80621; other services and endpoints are unaffected."""
    path, _ = await rest.make_session()
    sessions = path.rpartition("/")[0]
    other = await rest.make("/v1/Services", UniqueName="other")

    statuses = [(await limited.get(sessions)).status_code for _ in range(150)]
    refused = await limited.get(sessions)
    again = await limited.get(sessions)
    elsewhere = await limited.get(rest.url(other, "Sessions"))
    posted = await limited.post(sessions)
    rest.clock.now += 5.0
    later = await limited.get(sessions)

    assert set(statuses) == {200}
    assert_error(refused, 429, 20429)
    assert_error(again, 429, 20429)
    assert refused.headers["retry-after"] == "5"
    assert [(event.code, event.service_sid, event.at) for event in rest.observer.events] == [
        (80621, sessions.split("/")[3], NOW)
    ]
    assert (elsewhere.status_code, posted.status_code, later.status_code) == (200, 201, 200)


async def test_limit_is_per_account(rest: Rest, limited: httpx.AsyncClient) -> None:
    """The list of services is limited for each account on its own."""
    other = Account(sid="AC" + "c" * 32, auth_token="d" * 32, friendly_name="second")
    rest.control.accounts_by_sid[other.sid] = other
    for _ in range(150):
        await limited.get("/v1/Services")

    mine = await limited.get("/v1/Services")
    theirs = await limited.get("/v1/Services", auth=(other.sid, other.auth_token))

    assert (mine.status_code, theirs.status_code) == (429, 200)


def test_every_operation_of_the_contract_is_served() -> None:
    """Behaviour 3.0 whole, the account, what it owns, the debugger's events, batches and the update of participants."""
    session = "/v1/Services/{ServiceSid}/Sessions"
    expected = {
        "/v1/Services": "GET POST",
        "/v1/Services/{Sid}": "DELETE GET POST",
        session: "GET POST",
        session + "/Batch": "POST",
        session + "/{Sid}": "DELETE GET POST",
        session + "/{SessionSid}/Participants": "GET POST",
        session + "/{SessionSid}/Participants/{Sid}": "DELETE GET POST",
        session + "/{SessionSid}/Interactions": "GET",
        session + "/{SessionSid}/Interactions/{Sid}": "DELETE GET",
        session + "/{SessionSid}/Participants/{ParticipantSid}/MessageInteractions": "GET POST",
        session + "/{SessionSid}/Participants/{ParticipantSid}/MessageInteractions/{Sid}": "GET",
        "/v1/Alerts": "GET",
        "/v1/Alerts/{Sid}": "GET",
        "/v1/Services/{ServiceSid}/PhoneNumbers": "GET POST",
        "/v1/Services/{ServiceSid}/PhoneNumbers/{Sid}": "DELETE GET POST",
        "/v1/Services/{ServiceSid}/ShortCodes": "GET POST",
        "/v1/Services/{ServiceSid}/ShortCodes/{Sid}": "DELETE GET POST",
        "/2010-04-01/Accounts/{AccountSid}.json": "GET",
        "/2010-04-01/Accounts/{AccountSid}/SMS/ShortCodes.json": "GET",
        "/2010-04-01/Accounts/{AccountSid}/SMS/ShortCodes/{Sid}.json": "DELETE GET POST",
        "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers.json": "GET POST",
        "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json": "DELETE GET POST",
    }
    served: dict[str, list[str]] = {}
    for operation in OPERATIONS:
        served.setdefault(operation.path, []).append(operation.method)

    assert {path: " ".join(sorted(methods)) for path, methods in served.items()} == expected


async def test_a_request_is_timed_until_its_answer_is_made(rest: Rest) -> None:
    """By a clock that nobody sets back; here each look at it takes a second."""
    ticks = count()
    app = create_app(
        rest.control,
        settings=ApiSettings(public_url=BASE),
        clock=rest.clock,
        monotonic=lambda: float(next(ticks)),
        observer=rest.observer,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        await client.get("/v1/Services")

    assert rest.observer.durations == [1.0]


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("/tel", "/tel/v1/Services", 200),
        ("/tel", "/v1/Services", 200),
        ("/tel", "/telv1/Services", 404),
        ("/tel", "/tel/tel/v1/Services", 404),
        ("/v1", "/v1/Services", 200),
        ("/v1", "/v1/v1/Services", 200),
        ("", "//v1/Services", 404),
    ],
)
async def test_the_prefix_of_the_public_url_may_be_there_or_not(
    rest: Rest, prefix: str, path: str, status: int
) -> None:
    """A proxy strips it or leaves it; our own links have it."""
    settings = ApiSettings(public_url=f"https://edge.example.com{prefix}", rate_limit_per_second=0)
    app = create_app(rest.control, settings=settings, clock=rest.clock, observer=rest.observer)
    async with client_of(app, rest.account.sid, rest.account.auth_token) as client:
        answer = await client.get(BASE + path)

    assert answer.status_code == status
