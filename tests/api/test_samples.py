"""Every answer has the keys and the value formats of the contract's samples."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.core.model.records import Kind, Leg, LegStatus
from tests.api.conftest import BASE, Rest

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parent / "samples"
SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def sample(resource: str, case: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((SAMPLES / f"{resource}.json").read_text())[case]["body"]
    return body


def kind_of(name: str, value: object) -> str:
    """Classify a value by what a client would do with it."""
    if isinstance(value, str):
        if SID.fullmatch(value):
            return value[:2]
        if DATE.fullmatch(value):
            return "date"
        if value.startswith(("http://", "https://")):
            path = re.sub(r"^https?://[^/]*", "", value)
            return "url " + re.sub(r"[0-9a-f]{32}", "", path)
    return type(value).__name__


def assert_same_form(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare keys, and kinds of values; what is null today is null because nothing has happened yet."""
    assert answer.keys() == expected.keys()
    for name, value in answer.items():
        wanted = expected[name]
        if name == "capabilities":
            assert set(wanted) <= set(value)
            assert all(isinstance(held, bool) for held in value.values())
        elif isinstance(value, dict):
            assert_same_form(value, wanted)
        elif value is not None and wanted is not None:
            assert kind_of(name, value) == kind_of(name, wanted), name


async def test_service_has_the_form_of_the_sample(rest: Rest) -> None:
    """Create, fetch, update and list of services."""
    form = {
        "UniqueName": "My Service",
        "DefaultTtl": "3600",
        "CallbackUrl": "http://www.example.com",
        "InterceptCallbackUrl": "http://www.example.com",
        "OutOfSessionCallbackUrl": "http://www.example.com",
        "ChatInstanceSid": "IS" + "a" * 32,
    }

    created = await rest.client.post("/v1/Services", data=form)
    fetched = await rest.client.get(created.json()["url"])
    updated = await rest.client.post(created.json()["url"], data={"DefaultTtl": "60"})

    assert created.status_code == 201
    assert_same_form(created.json(), sample("service", "create"))
    assert_same_form(fetched.json(), sample("service", "fetch"))
    assert_same_form(updated.json(), sample("service", "update"))
    assert updated.json()["default_ttl"] == 60
    given = {name: created.json()[name] for name in ("unique_name", "callback_url", "chat_instance_sid")}
    assert given == {name: sample("service", "create")[name] for name in given}


async def test_session_has_the_form_of_the_sample(rest: Rest) -> None:
    """Create and update of sessions; what has not happened is null."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    form = {"UniqueName": "Order #1234", "Ttl": "3600", "DateExpiry": "2035-07-30T20:00:00Z"}

    created = await rest.client.post(rest.url(service, "Sessions"), data=form)
    updated = await rest.client.post(created.json()["url"], data={"Status": "in-progress"})

    assert_same_form(created.json(), sample("session", "create"))
    assert_same_form(updated.json(), sample("session", "update"))
    assert created.json()["date_expiry"] == "2035-07-30T20:00:00Z"
    assert created.json()["closed_reason"] is None
    assert created.json()["date_started"] is None


@pytest.mark.parametrize("case", ["create", "create_channel"])
async def test_participant_has_the_form_of_the_sample(rest: Rest, case: str) -> None:
    """Create and fetch of participants."""
    path, _ = await rest.make_session()
    expected = sample("participant", case)
    form = {
        "Identifier": expected["identifier"],
        "ProxyIdentifier": expected["proxy_identifier"],
        "FriendlyName": expected["friendly_name"],
    }

    created = await rest.client.post(f"{path}/Participants", data=form)
    fetched = await rest.client.get(created.json()["url"])

    assert_same_form(created.json(), expected)
    assert fetched.json() == created.json()
    assert created.json()["identifier"] == expected["identifier"]
    assert created.json()["friendly_name"] == expected["friendly_name"]
    assert created.json()["date_deleted"] is None


async def test_interaction_has_the_form_of_the_sample(rest: Rest) -> None:
    """A message that passed."""
    path, session = await rest.make_session()
    expected = sample("interaction", "fetch")
    inbound = Leg(participant_sid="KP" + "a" * 32, resource_sid="SM" + "a" * 32, status=LegStatus.SENT)
    outbound = Leg(participant_sid="KP" + "b" * 32, resource_sid="SM" + "b" * 32, status=LegStatus.SENT)
    passed = rest.control.record(rest.control.sessions[session], Kind.MESSAGE, inbound, outbound, body="some message")

    fetched = await rest.client.get(f"{path}/Interactions/{passed.sid}")

    assert_same_form(fetched.json(), expected)
    given = {
        name: value for name, value in expected.items() if name.startswith(("inbound", "outbound", "data", "type"))
    }
    assert {name: fetched.json()[name] for name in given} == given


async def test_call_tells_its_length_as_text_once_it_has_ended(rest: Rest) -> None:
    """`data` is empty during a call and JSON text after it."""
    path, session = await rest.make_session()
    leg = Leg(participant_sid="KP" + "a" * 32, resource_sid="CA" + "a" * 32, status=LegStatus.IN_PROGRESS)
    running = rest.control.record(rest.control.sessions[session], Kind.VOICE, leg, Leg())
    ended = rest.control.record(rest.control.sessions[session], Kind.VOICE, leg, leg, duration_seconds=5)

    during = (await rest.client.get(f"{path}/Interactions/{running.sid}")).json()
    after = (await rest.client.get(f"{path}/Interactions/{ended.sid}")).json()

    assert (during["type"], during["data"], during["inbound_resource_type"]) == ("voice", "", "Call")
    assert during["outbound_resource_type"] is None
    assert after["data"] == '{"duration":"5"}'


async def test_message_interaction_has_the_form_of_the_sample(rest: Rest) -> None:
    """Create and fetch of what the application pushes."""
    path, _ = await rest.make_session()
    person = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    expected = sample("message_interaction", "create")

    created = await rest.client.post(f"{path}/Participants/{person}/MessageInteractions", data={"Body": "some message"})
    fetched = await rest.client.get(created.json()["url"])

    assert created.status_code == 201
    assert_same_form(created.json(), expected)
    assert fetched.json() == created.json()
    assert created.json()["participant_sid"] == created.json()["outbound_participant_sid"] == person
    assert created.json()["outbound_resource_status"] == "queued"
    assert created.json()["outbound_resource_type"] == "Message"
    assert all(value is None for name, value in created.json().items() if name.startswith("inbound"))
    assert created.json()["data"] == expected["data"]


async def test_pool_entries_have_the_form_of_the_samples(rest: Rest) -> None:
    """Create, update, fetch and list of phone numbers and short codes."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    owned = await rest.make(
        f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers.json", PhoneNumber="+14155550199"
    )
    code = await rest.own_short_code("12345")

    for resource, collection, key, sid in (
        ("phone_number", "PhoneNumbers", "phone_numbers", owned),
        ("short_code", "ShortCodes", "short_codes", code),
    ):
        path = rest.url(service, collection)
        created = await rest.client.post(path, data={"Sid": sid})
        updated = await rest.client.post(created.json()["url"], data={"IsReserved": "true"})
        listed = await rest.client.get(path)

        assert created.status_code == 201
        assert_same_form(created.json(), sample(resource, "create"))
        assert_same_form(updated.json(), sample(resource, "update"))
        assert updated.json()["is_reserved"] is True
        assert_same_form(listed.json()["meta"], sample(resource, "read_full")["meta"])
        assert listed.json()[key] == [updated.json()]
        assert listed.json()["meta"]["key"] == key
        assert len(created.json()["capabilities"]) == 6


@pytest.mark.parametrize(
    ("resource", "below"),
    [
        ("service", ""),
        ("session", "/{service}/Sessions"),
        ("participant", "/{service}/Sessions/{session}/Participants"),
        ("interaction", "/{service}/Sessions/{session}/Interactions"),
        ("message_interaction", "/{service}/Sessions/{session}/Participants/{person}/MessageInteractions"),
    ],
)
async def test_empty_list_is_the_sample_but_for_the_host(rest: Rest, resource: str, below: str) -> None:
    """Same keys, same values, our own host and SIDs."""
    path, session = await rest.make_session()
    person = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    service = path.split("/")[3]
    if resource in {"service", "session", "participant"}:
        rest.control.people.clear()
    if resource in {"service", "session"}:
        rest.control.sessions.clear()
    if resource == "service":
        rest.control.services.clear()

    listed = await rest.client.get("/v1/Services" + below.format(service=service, session=session, person=person))

    text = json.dumps(sample(resource, "read_empty")).replace("https://proxy.twilio.com", BASE)
    for prefix, sid in (("KS", service), ("KC", session), ("KP", person)):
        text = text.replace(prefix + "a" * 32, sid)
    assert listed.status_code == 200
    assert listed.json() == json.loads(text)


@pytest.mark.parametrize("resource", ["service", "session", "participant", "interaction", "phone_number", "short_code"])
def test_samples_delete_with_204(resource: str) -> None:
    """The contract that the next test holds us to."""
    assert json.loads((SAMPLES / f"{resource}.json").read_text())["delete"] == {"http_status": 204, "body": None}


async def test_deleting_answers_204_and_nothing(rest: Rest) -> None:
    """Every resource that can be deleted."""
    path, session = await rest.make_session()
    service_path = "/".join(path.split("/")[:4])
    person = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    passed = rest.control.record(rest.control.sessions[session], Kind.MESSAGE, Leg(), Leg(), body="hello")
    owned_path = f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers"
    number = await rest.make(f"{owned_path}.json", PhoneNumber="+14155550199")
    code = await rest.own_short_code("12345")
    await rest.make(f"{service_path}/PhoneNumbers", Sid=number)
    await rest.make(f"{service_path}/ShortCodes", Sid=code)

    for target in (
        f"{path}/Interactions/{passed.sid}",
        f"{path}/Participants/{person}",
        path,
        f"{service_path}/PhoneNumbers/{number}",
        f"{service_path}/ShortCodes/{code}",
        service_path,
        f"{owned_path}/{number}.json",
    ):
        response = await rest.client.delete(target)
        assert (response.status_code, response.content) == (204, b""), target
        assert "content-type" not in response.headers
