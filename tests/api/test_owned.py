"""Owned numbers at the neighbouring API's path: found by what is asked, and nothing dropped in silence."""

import pytest

from engine.core.model.requests import NumberRequest
from tests.api.conftest import Rest
from tests.api.test_conventions import assert_error

pytestmark = pytest.mark.anyio

NUMBERS = ["+14153490200", "+14153490201", "+493012345678", "+4930123456"]


@pytest.fixture
async def path(rest: Rest) -> str:
    """Own four numbers, one of them the beginning of another; returns the path of their list."""
    for count, number in enumerate(NUMBERS):
        request = NumberRequest(address=number, friendly_name=f"line {count}")
        await rest.control.own_number(rest.account.sid, request)
    return f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers.json"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"PhoneNumber": "+14153490200"}, NUMBERS[:1]),
        ({"PhoneNumber": "+1 (415) 349-0200"}, NUMBERS[:1]),
        ({"PhoneNumber": " 14153490200"}, NUMBERS[:1]),
        ({"PhoneNumber": "+4930123456"}, NUMBERS[3:]),
        ({"PhoneNumber": "+14153490299"}, []),
        ({"PhoneNumber": "+1415"}, NUMBERS[:2]),
        ({"PhoneNumber": "0201"}, NUMBERS[1:2]),
        ({"PhoneNumber": "+1415349*201"}, NUMBERS[1:2]),
        ({"PhoneNumber": ""}, NUMBERS),
        ({"FriendlyName": "line 2"}, NUMBERS[2:3]),
        ({"FriendlyName": "line"}, []),
        ({"FriendlyName": "line 1", "PhoneNumber": "+14153490200"}, []),
        ({"Beta": "false"}, NUMBERS),
        ({"Beta": "true"}, NUMBERS),
        ({"Origin": "hosted"}, NUMBERS),
        ({"Origin": "twilio"}, []),
    ],
)
async def test_only_the_numbers_asked_for_are_listed(
    rest: Rest, path: str, query: dict[str, str], found: list[str]
) -> None:
    """Whoever deletes the first of them deletes the one they meant."""
    answer = await rest.client.get(path, params=query)

    assert sorted(one["phone_number"] for one in answer.json()["incoming_phone_numbers"]) == sorted(found)


@pytest.mark.parametrize(
    ("name", "value"), [("PhoneNumber", "line"), ("PhoneNumber", "1+4"), ("Beta", "x"), ("Origin", "x"), ("Sid", "x")]
)
async def test_a_filter_that_cannot_be_meant_is_400(rest: Rest, path: str, name: str, value: str) -> None:
    """By its name."""
    assert f"parameter {name}:" in assert_error(await rest.client.get(path, params={name: value}), 400, 80701)


async def test_neighbouring_pages_keep_the_filter(rest: Rest, path: str) -> None:
    """The second page shows no number that the first would not."""
    first = (await rest.client.get(path, params={"PhoneNumber": "+1415", "PageSize": "1"})).json()

    second = (await rest.client.get(first["next_page_uri"])).json()

    assert [one["phone_number"] for one in second["incoming_phone_numbers"]] == NUMBERS[:1]
    assert second["next_page_uri"] is None


@pytest.mark.parametrize(
    "name", ["VoiceUrl", "SmsUrl", "VoiceApplicationSid", "StatusCallback", "AreaCode", "TrunkSid"]
)
async def test_settings_that_are_the_carriers_are_refused(rest: Rest, path: str, name: str) -> None:
    """A number whose calls go elsewhere than its owner said would be worse; empty they ask for nothing."""
    form = {"PhoneNumber": "+14155550199"}

    refused = await rest.client.post(path, data={**form, name: "https://app.example.com/voice"})
    owned = await rest.client.post(path, data={**form, name: "", "VoiceMethod": "POST", "BundleSid": "BU1"})

    assert f"parameter {name}: is not supported" in assert_error(refused, 400, 80701)
    assert owned.status_code == 201


async def test_a_number_is_not_moved_to_another_account_in_silence(rest: Rest, path: str) -> None:
    """The public API would move it."""
    number = (await rest.client.get(path)).json()["incoming_phone_numbers"][0]

    moved = await rest.client.post(number["uri"], data={"AccountSid": "AC" + "1" * 32, "FriendlyName": "other"})

    assert "parameter AccountSid:" in assert_error(moved, 400, 80701)
    assert (await rest.client.get(number["uri"])).json()["friendly_name"] == number["friendly_name"]


async def test_an_account_reads_itself(rest: Rest) -> None:
    """What set-up scripts ask first; the token is told nowhere."""
    response = await rest.client.get(f"/2010-04-01/Accounts/{rest.account.sid}.json")

    shown = response.json()
    assert response.status_code == 200
    assert (shown["sid"], shown["friendly_name"], shown["status"]) == (rest.account.sid, "first", "active")
    assert shown["uri"] == f"/2010-04-01/Accounts/{rest.account.sid}.json"
    assert rest.account.auth_token not in response.text
    assert (await rest.client.get(shown["subresource_uris"]["incoming_phone_numbers"])).status_code == 200
    assert (await rest.client.get(shown["subresource_uris"]["short_codes"])).status_code == 200


async def test_another_account_is_not_to_be_seen(rest: Rest) -> None:
    """Whether there is one or not."""
    for sid in ("AC" + "9" * 32, "nobody"):
        assert_error(await rest.client.get(f"/2010-04-01/Accounts/{sid}.json"), 401, 20003)


async def test_short_codes_are_listed_apart_from_numbers(rest: Rest, path: str) -> None:
    """Found by their digits or their name, renamed, and released by their owner alone."""
    first, second = [await rest.own_short_code(digits) for digits in ("55123", "55124")]
    codes = f"/2010-04-01/Accounts/{rest.account.sid}/SMS/ShortCodes"

    async def listed(**query: str) -> list[str]:
        page = (await rest.client.get(f"{codes}.json", params=query)).json()
        return [one["sid"] for one in page["short_codes"]]

    renamed = (await rest.client.post(f"{codes}/{first}.json", data={"FriendlyName": "votes"})).json()

    assert await listed() == [second, first]
    assert await listed(ShortCode="55124") == [second]
    assert await listed(ShortCode="5512") == []
    assert await listed(FriendlyName="votes") == [first]
    assert (renamed["short_code"], renamed["friendly_name"]) == ("55123", "votes")
    assert len((await rest.client.get(path)).json()["incoming_phone_numbers"]) == len(NUMBERS)
    assert_error(await rest.client.get(f"{codes}/PN{first[2:]}.json"), 404, 20404)
    assert (await rest.client.delete(f"{codes}/{first}.json")).status_code == 204
    assert await listed() == [second]


async def test_webhooks_of_short_codes_are_the_carriers(rest: Rest) -> None:
    """As those of numbers."""
    sid = await rest.own_short_code("55123")
    path = f"/2010-04-01/Accounts/{rest.account.sid}/SMS/ShortCodes/{sid}.json"

    assert "SmsUrl" in assert_error(await rest.client.post(path, data={"SmsUrl": "https://a.example"}), 400, 80701)
    assert (await rest.client.post(path, data={"SmsUrl": "", "SmsMethod": "POST"})).status_code == 200
