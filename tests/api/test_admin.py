"""The operator's admin API."""

import httpx
import msgspec
import pytest

from engine.api.admin.shapes import (
    AccountChange,
    AccountCreate,
    AccountCreated,
    AccountDeleted,
    AccountList,
    AccountShape,
    ApiKeyCreated,
    ApiKeyList,
    ApiKeyShape,
    ExplanationShape,
    NumberRow,
    NumbersImport,
    NumbersImported,
    SessionReport,
    TokenRotate,
    TokenRotated,
)
from engine.core.model.errors import PeerUnavailable, StoreUnavailable
from engine.core.model.records import Account, Capability, Kind, Leg, LegStatus
from engine.core.model.requests import ParticipantRequest, ServiceRequest, SessionRequest, TokenRotation
from tests.api.fake_control import FakeControl

pytestmark = pytest.mark.anyio


async def send(admin: httpx.AsyncClient, path: str, body: msgspec.Struct) -> httpx.Response:
    return await admin.post(path, content=msgspec.json.encode(body))


async def test_account_shows_its_token_once(admin: httpx.AsyncClient, control: FakeControl) -> None:
    """In the answer that makes it, and nowhere else."""
    response = await send(admin, "/accounts", AccountCreate(friendly_name="second", argentina=True))
    made = msgspec.json.decode(response.content, type=AccountCreated)
    listed = await admin.get("/accounts")
    shown = await admin.get(f"/accounts/{made.account.sid}")

    assert response.status_code == 201
    assert made.auth_token == control.accounts_by_sid[made.account.sid].auth_token
    assert made.account.argentina
    assert msgspec.json.decode(shown.content, type=AccountShape) == made.account
    assert [one.friendly_name for one in msgspec.json.decode(listed.content, type=AccountList).accounts] == [
        "first",
        "second",
    ]
    assert made.auth_token not in listed.text + shown.text


async def test_account_change_leaves_what_is_not_named(admin: httpx.AsyncClient, account: Account) -> None:
    """False is a value, absent is not."""
    path = f"/accounts/{account.sid}"
    await admin.patch(path, content=msgspec.json.encode(AccountChange(allow_participant_conflict=True)))

    response = await admin.patch(path, content=msgspec.json.encode(AccountChange(argentina=False)))

    changed = msgspec.json.decode(response.content, type=AccountShape)
    assert changed.allow_participant_conflict
    assert not changed.argentina
    assert changed.friendly_name == "first"


async def test_key_shows_its_secret_once_and_can_be_revoked(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """The list keeps the revoked ones."""
    made = msgspec.json.decode((await admin.post(f"/accounts/{account.sid}/keys")).content, type=ApiKeyCreated)
    before = control.authenticate(made.key.sid, made.secret)
    revoked = msgspec.json.decode((await admin.delete(f"/keys/{made.key.sid}")).content, type=ApiKeyShape)
    listed = await admin.get(f"/accounts/{account.sid}/keys")

    assert before == account
    assert revoked.date_revoked is not None
    assert msgspec.json.decode(listed.content, type=ApiKeyList).keys == (revoked,)
    assert made.secret not in listed.text


async def test_import_answers_row_by_row(admin: httpx.AsyncClient, control: FakeControl, account: Account) -> None:
    """Good rows are owned although others are refused; order is kept."""
    rows = (
        NumberRow(number="+14155550199", capabilities=("voice", "SMS-inbound"), friendly_name="desk"),
        NumberRow(number="+14155550198", capabilities=("fax",)),
        NumberRow(number="+14155550199"),
        NumberRow(number="+14155550197", country="usa"),
        NumberRow(number="12345", country="us", is_reserved=True),
        NumberRow(number="+14155550196", capabilities=()),
    )

    response = await send(admin, f"/accounts/{account.sid}/numbers", NumbersImport(rows=rows))

    results = msgspec.json.decode(response.content, type=NumbersImported).results
    assert [result.is_ok for result in results] == [True, False, False, False, True, False]
    assert [result.code for result in results] == [None, 80701, 80601, 80701, None, 80701]
    assert "reserve" in (results[4].message or "")
    owned = control.numbers[results[0].number_sid or ""]
    assert owned.capabilities == Capability.VOICE | Capability.SMS_INBOUND
    assert owned.friendly_name == "desk"
    assert control.numbers[results[4].number_sid or ""].iso_country == "US"


async def test_import_fills_the_pool_of_a_service(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """Named by its unique name, with the reserved ones reserved."""
    service = await control.create_service(account.sid, ServiceRequest(unique_name="shop"))
    rows = (NumberRow(number="+14155550199", is_reserved=True), NumberRow(number="+14155550198"))

    response = await send(admin, f"/accounts/{account.sid}/numbers", NumbersImport(rows=rows, service="shop"))

    results = msgspec.json.decode(response.content, type=NumbersImported).results
    assert [result.is_ok for result in results] == [True, True]
    pooled = [
        (await control.pool_entry(account.sid, service.sid, result.number_sid or "")).number for result in results
    ]
    assert [number.is_reserved for number in pooled] == [True, False]


@pytest.mark.parametrize(
    ("problem", "code"), [(StoreUnavailable("the disk is full"), 80501), (PeerUnavailable("host-1 is down"), 20503)]
)
async def test_a_number_that_reaches_no_pool_leaves_the_others_in_theirs(
    admin: httpx.AsyncClient, control: FakeControl, account: Account, *, problem: Exception, code: int
) -> None:
    """The row says so, by the SID of the number, which is owned."""
    await control.create_service(account.sid, ServiceRequest(unique_name="shop"))
    numbers = ("+14155550199", "+14155550198")
    control.pool_failures.append(problem)
    rows = tuple(NumberRow(number=one) for one in numbers)

    response = await send(admin, f"/accounts/{account.sid}/numbers", NumbersImport(rows=rows, service="shop"))

    results = msgspec.json.decode(response.content, type=NumbersImported).results
    assert response.status_code == 200
    assert [(result.is_ok, result.code) for result in results] == [(False, code), (True, None)]
    assert [control.numbers[result.number_sid or ""].address for result in results] == [*numbers]


async def test_import_into_an_unknown_service_owns_nothing(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """The mistake is found before the first number."""
    asked = NumbersImport(rows=(NumberRow(number="+14155550199"),), service="nowhere")

    response = await send(admin, f"/accounts/{account.sid}/numbers", asked)

    assert (response.status_code, response.json()["code"]) == (404, 20404)
    assert control.numbers == {}


async def test_session_report_masks_who_talks(admin: httpx.AsyncClient, control: FakeControl, account: Account) -> None:
    """Real numbers lose their last digits, what was said is left out, our own numbers are shown."""
    service = await control.create_service(account.sid, ServiceRequest(unique_name="shop"))
    people = (ParticipantRequest(identifier="+14155550100"), ParticipantRequest(identifier="+14155550101"))
    request = SessionRequest(ttl_seconds=60, participants=people)
    session = await control.create_session(account.sid, service.sid, request)
    leg = Leg(participant_sid=next(iter(control.people)), status=LegStatus.SENT)
    passed = [control.record(session, Kind.MESSAGE, leg, leg, body=f"secret {number}") for number in range(25)]

    response = await admin.get(f"/sessions/{session.sid}")

    report = msgspec.json.decode(response.content, type=SessionReport)
    assert [person.identifier for person in report.participants] == ["+1415555XXXX"] * 2
    assert report.participants[0].proxy_identifier == "+14155550199"
    assert len(report.interactions) == 20
    assert report.interactions[-1].sid == passed[-1].sid
    assert report.has_more_interactions
    assert report.expires_at == "2015-07-30T20:01:00Z"
    assert "+1415555010" not in response.text
    assert "secret" not in response.text


async def test_explanation_is_passed_on(admin: httpx.AsyncClient) -> None:
    """With the story and both decisions."""
    response = await admin.get("/explain", params={"to": "+14155550199", "from": "+14155550100"})

    explanation = msgspec.json.decode(response.content, type=ExplanationShape)
    assert (explanation.call.outcome, explanation.call.reason) == ("routed", "in-session")
    assert (explanation.message.outcome, explanation.message.code) == ("refused", 80902)
    assert explanation.story == ("It is ours.",)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/accounts/AC1", b"", 404, 20404),
        ("GET", "/sessions/KC1", b"", 404, 20404),
        ("GET", "/explain?to=%2B14155550199", b"", 400, 80701),
        ("POST", "/accounts", b"[]", 400, 80701),
        ("POST", "/accounts", b'{"argentina": "yes"}', 400, 80701),
        ("POST", "/accounts", b"{", 400, 80701),
        ("GET", "/nowhere", b"", 404, 20404),
        ("PUT", "/accounts", b"", 405, 20004),
    ],
)
async def test_refusals_have_the_public_error_body(  # noqa: PLR0917 - a table of requests
    admin: httpx.AsyncClient, method: str, path: str, content: bytes, status: int, code: int
) -> None:
    """Whatever is wrong."""
    response = await admin.request(method, path, content=content)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert set(response.json()) == {"code", "message", "more_info", "status"}


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/accounts", {"friendly_name": "a\0b"}, "friendly_name"),
        ("/accounts/{sid}/keys", {"friendly_name": "a\nb"}, "friendly_name"),
        (
            "/accounts/{sid}/numbers",
            {"rows": [{"number": "+14155550100"}, {"number": "+14155550101", "friendly_name": "\x1b[2J"}]},
            "rows[1].friendly_name",
        ),
    ],
)
async def test_control_characters_are_refused_by_their_place(  # noqa: PLR0917 - a table of requests
    admin: httpx.AsyncClient, control: FakeControl, account: Account, path: str, body: object, place: str
) -> None:
    """Nothing is made: what an operator reads is text."""
    response = await admin.post(path.format(sid=account.sid), json=body)

    assert (response.status_code, response.json()["code"]) == (400, 80701)
    assert f"Invalid parameter {place}: holds the control character" in response.json()["message"]
    assert control.numbers == {}


async def test_too_many_rows_are_refused(admin: httpx.AsyncClient, account: Account) -> None:
    """A longer file is sent in several requests."""
    asked = NumbersImport(rows=tuple(NumberRow(number="+14155550199") for _ in range(1001)))

    response = await send(admin, f"/accounts/{account.sid}/numbers", asked)

    assert (response.status_code, response.json()["code"]) == (400, 80701)


async def test_a_rotated_token_is_shown_once(admin: httpx.AsyncClient, account: Account, control: FakeControl) -> None:
    """In the answer that makes it; what was asked for reaches the control plane."""
    path = f"/accounts/{account.sid}/token"

    response = await send(admin, path, TokenRotate(overlap_seconds=60, is_instead=True))
    shown = await admin.get(f"/accounts/{account.sid}")
    ended = await admin.delete(path)

    rotated = msgspec.json.decode(response.content, type=TokenRotated)
    assert (response.status_code, rotated.auth_token) == (201, "f" * 32)
    assert control.asked == [TokenRotation(overlap_seconds=60, is_instead=True)]
    assert rotated.account.previous_token_ends is not None
    assert rotated.auth_token not in shown.text
    assert msgspec.json.decode(ended.content, type=AccountShape).previous_token_ends is None


async def test_an_account_is_disabled_and_enabled(admin: httpx.AsyncClient, account: Account) -> None:
    """Each answers with what it is now."""
    path = f"/accounts/{account.sid}"
    shapes = [
        msgspec.json.decode((await admin.post(f"{path}/{act}")).content, type=AccountShape)
        for act in ("disable", "enable")
    ]

    assert [shape.date_disabled is not None for shape in shapes] == [True, False]


async def test_an_account_goes_with_what_it_has_only_when_asked(
    admin: httpx.AsyncClient, account: Account, control: FakeControl
) -> None:
    """Refused while it is active, and while it has something that was not named."""
    path = f"/accounts/{account.sid}"
    await control.create_service(account.sid, ServiceRequest(unique_name="rides"))

    active = await admin.delete(path, params={"everything": "true"})
    await admin.post(f"{path}/disable")
    owning = await admin.delete(path)
    unread = await admin.delete(path, params={"everything": "perhaps"})
    gone = await admin.delete(path, params={"everything": "true"})
    again = await admin.delete(path)

    assert [one.status_code for one in (active, owning, unread, gone, again)] == [409, 409, 400, 200, 404]
    assert msgspec.json.decode(gone.content, type=AccountDeleted) == AccountDeleted(services=1, numbers=0)
    assert control.services == {}
