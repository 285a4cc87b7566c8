"""Lists: pages of at most 100, tokens both ways, and what is refused."""

import re

import pytest

from engine.api.app import OPERATIONS
from engine.api.operations import PARENT_KINDS, AnyOperation, FilteredPageOf, PageOf
from engine.core.model.records import Kind, Leg, LegStatus
from engine.core.model.requests import NumberRequest
from tests.api.conftest import BASE, Rest
from tests.api.test_conventions import assert_error

pytestmark = pytest.mark.anyio


async def test_250_sessions_are_three_pages_without_repeats(rest: Rest) -> None:
    """A page size of 1000 counts as 100; the next URL leads on, the last page has none."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    made = [await rest.make(rest.url(service, "Sessions")) for _ in range(250)]

    url: str | None = rest.url(service, "Sessions?PageSize=1000")
    pages = []
    while url is not None:
        pages.append((await rest.client.get(url)).json())
        url = pages[-1]["meta"]["next_page_url"]

    assert [len(page["sessions"]) for page in pages] == [100, 100, 50]
    assert [session["sid"] for page in pages for session in page["sessions"]] == made[::-1]
    assert [page["meta"]["page"] for page in pages] == [0, 1, 2]
    assert {page["meta"]["page_size"] for page in pages} == {100}
    assert {page["meta"]["key"] for page in pages} == {"sessions"}


async def test_previous_page_leads_back(rest: Rest) -> None:
    """To the same records, and to the first page in the end."""
    for number in range(5):
        await rest.make("/v1/Services", UniqueName=f"shop {number}")
    first = (await rest.client.get("/v1/Services?PageSize=2")).json()
    second = (await rest.client.get(first["meta"]["next_page_url"])).json()
    third = (await rest.client.get(second["meta"]["next_page_url"])).json()

    back = (await rest.client.get(third["meta"]["previous_page_url"])).json()
    start = (await rest.client.get(back["meta"]["previous_page_url"])).json()

    assert back["services"] == second["services"]
    assert start["services"] == first["services"]
    assert start["meta"]["page"] == 0
    assert start["meta"]["previous_page_url"] is None
    assert third["meta"]["first_page_url"] == f"{BASE}/v1/Services?PageSize=2&Page=0"
    assert re.fullmatch(re.escape(f"{BASE}/v1/Services?PageSize=2&Page=2&PageToken=") + r"[\w-]+", third["meta"]["url"])


async def test_new_records_do_not_shift_the_pages(rest: Rest) -> None:
    """A token names a record, not an offset."""
    made = [await rest.make("/v1/Services", UniqueName=f"shop {number}") for number in range(4)]
    first = (await rest.client.get("/v1/Services?PageSize=2")).json()
    await rest.make("/v1/Services", UniqueName="new")

    second = (await rest.client.get(first["meta"]["next_page_url"])).json()

    assert [service["sid"] for service in second["services"]] == [made[1], made[0]]


async def test_interactions_are_listed_oldest_first(rest: Rest) -> None:
    """And pushed messages are among them, under the same key."""
    path, session = await rest.make_session()
    person = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    leg = Leg(participant_sid=person, resource_sid="CA" + "0" * 32, status=LegStatus.COMPLETED)
    call = rest.control.record(rest.control.sessions[session], Kind.VOICE, leg, leg, duration_seconds=1).sid
    pushed = await rest.make(f"{path}/Participants/{person}/MessageInteractions", Body="hello")

    everything = (await rest.client.get(f"{path}/Interactions")).json()
    only_pushed = (await rest.client.get(f"{path}/Participants/{person}/MessageInteractions")).json()

    assert [interaction["sid"] for interaction in everything["interactions"]] == [call, pushed]
    assert [interaction["sid"] for interaction in only_pushed["interactions"]] == [pushed]
    assert only_pushed["meta"]["key"] == "interactions"
    assert "participant_sid" not in everything["interactions"][1]
    assert only_pushed["interactions"][0]["participant_sid"] == person


@pytest.mark.parametrize("name", ["PageSize", "Page"])
@pytest.mark.parametrize("value", ["-1", "many", "1.5", "9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}"])
async def test_unusable_page_numbers_are_400(rest: Rest, name: str, value: str) -> None:
    """80701 names the parameter."""
    assert f" {name}:" in assert_error(await rest.client.get("/v1/Services", params={name: value}), 400, 80701)


async def test_page_size_of_zero_is_400(rest: Rest) -> None:
    """There is no empty page to ask for."""
    assert_error(await rest.client.get("/v1/Services?PageSize=0"), 400, 80701)


@pytest.mark.parametrize("token", ["x", "Ã", "QUtD", "QUtT" + "0" * 43, "%00"])
async def test_token_that_we_never_issued_is_400(rest: Rest, token: str) -> None:
    """21481, on the first look."""
    assert_error(await rest.client.get("/v1/Services", params={"PageToken": token}), 400, 21481)


async def test_token_of_another_list_is_400(rest: Rest) -> None:
    """A token of sessions says nothing about services."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    for _ in range(2):
        await rest.make(rest.url(service, "Sessions"))
    page = (await rest.client.get(rest.url(service, "Sessions?PageSize=1"))).json()
    token = page["meta"]["next_page_url"].rpartition("=")[2]

    assert_error(await rest.client.get("/v1/Services", params={"PageToken": token}), 400, 21481)


LISTS = sorted(
    (operation for operation in OPERATIONS if isinstance(operation.reads, PageOf | FilteredPageOf)),
    key=lambda operation: operation.name,
)


@pytest.mark.parametrize("operation", LISTS, ids=[operation.name for operation in LISTS])
@pytest.mark.parametrize("query", ["Identifier=x", "page_size=5", "PageSize[]=5", "Status="])
async def test_no_list_drops_a_parameter_in_silence(rest: Rest, operation: AnyOperation, query: str) -> None:
    """A filter that does nothing would show, and let a client delete, what it did not ask for."""
    path = _path(operation, rest)

    message = assert_error(await rest.client.get(f"{path}?{query}"), 400, 80701)

    assert f"parameter {query.partition('=')[0]}:" in message


async def test_a_misspelt_parameter_is_told_its_name(rest: Rest) -> None:
    """As other libraries write them."""
    assert "PageSize?" in assert_error(await rest.client.get("/v1/Services?page_size=5"), 400, 80701)


@pytest.mark.parametrize("query", ["Page=1", "Page=7&PageToken="])
async def test_a_page_number_alone_is_400(rest: Rest, query: str) -> None:
    """Pages are reached by their token; the first one under another's number would be read again and again."""
    assert " Page:" in assert_error(await rest.client.get(f"/v1/Services?{query}"), 400, 80701)


async def test_empty_page_parameters_ask_for_nothing(rest: Rest) -> None:
    """The first page, of the usual size."""
    response = await rest.client.get("/v1/Services?PageSize=&PageToken=&Page=0")

    assert (response.status_code, response.json()["meta"]["page_size"]) == (200, 50)


async def test_two_values_of_a_page_parameter_are_400(rest: Rest) -> None:
    """Which one was meant is not known."""
    assert " PageSize:" in assert_error(await rest.client.get("/v1/Services?PageSize=5&PageSize=6"), 400, 80701)


def _path(operation: AnyOperation, rest: Rest) -> str:
    named = {name: f"{kind}{'0' * 32}" for name, kind in PARENT_KINDS.items()} | {"AccountSid": rest.account.sid}
    return operation.path.format_map(named)


async def test_owned_numbers_page_as_the_2010_api_does(rest: Rest) -> None:
    """Relative URIs and counters beside the records."""
    path = f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers.json"
    for number in range(3):
        await rest.control.own_number(rest.account.sid, NumberRequest(address=f"+1415555010{number}"))

    first = (await rest.client.get(f"{path}?PageSize=2")).json()
    second = (await rest.client.get(first["next_page_uri"])).json()

    assert [number["phone_number"] for number in first["incoming_phone_numbers"]] == ["+14155550102", "+14155550101"]
    assert [number["phone_number"] for number in second["incoming_phone_numbers"]] == ["+14155550100"]
    assert (first["start"], first["end"], second["start"], second["end"]) == (0, 1, 2, 2)
    assert second["next_page_uri"] is None
    assert (await rest.client.get(second["previous_page_uri"])).json()["incoming_phone_numbers"] == first[
        "incoming_phone_numbers"
    ]
