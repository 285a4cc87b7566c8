"""What forms may hold, through the whole application."""

import pytest
from msgspec import UNSET

from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.records import GeoMatchLevel, Mode, NumberSelectionBehavior, SessionStatus
from engine.core.model.requests import ParticipantRequest, ServiceRequest, SessionRequest, SessionUpdate
from tests.api.conftest import BASE, Rest
from tests.api.test_conventions import assert_error

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({}, "UniqueName"),
        ({"UniqueName": ""}, "UniqueName"),
        ({"UniqueName": "x" * 192}, "UniqueName"),
        ({"DefaultTtl": "soon"}, "DefaultTtl"),
        ({"DefaultTtl": "-1"}, "DefaultTtl"),
        ({"DefaultTtl": "2147483647"}, "DefaultTtl"),
        ({"DefaultTtl": "9" * 5000}, "DefaultTtl"),
        ({"GeoMatchLevel": "planet"}, "GeoMatchLevel"),
        ({"NumberSelectionBehavior": "random"}, "NumberSelectionBehavior"),
        ({"CallbackUrl": "ftp://example.com"}, "CallbackUrl"),
        ({"CallbackUrl": "http://" + "x" * 4000}, "CallbackUrl"),
        ({"CallbackUrl": "http://[::1"}, "CallbackUrl"),
        ({"CallbackUrl": "http://example.com:99999"}, "CallbackUrl"),
        ({"InterceptCallbackUrl": "/relative"}, "InterceptCallbackUrl"),
        ({"OutOfSessionCallbackUrl": "https:///nowhere"}, "OutOfSessionCallbackUrl"),
        ({"ChatInstanceSid": "IS1"}, "ChatInstanceSid"),
    ],
)
async def test_wrong_parameter_of_a_service_is_named(rest: Rest, form: dict[str, str], name: str) -> None:
    """80701 says which one."""
    sent = {"UniqueName": "shop", **form} if name != "UniqueName" else form

    message = assert_error(await rest.client.post("/v1/Services", data=sent), 400, 80701)

    assert f"parameter {name}:" in message
    assert rest.control.services == {}


@pytest.mark.parametrize("own", [BASE, "http://masks.example.com/hook", "https://MASKS.example.com.:443/x"])
@pytest.mark.parametrize("name", ["CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"])
async def test_callback_on_our_own_host_is_refused(rest: Rest, own: str, name: str) -> None:
    """Neither on create nor on update."""
    service = await rest.make("/v1/Services", UniqueName="shop")

    created = await rest.client.post("/v1/Services", data={"UniqueName": "other", name: own})
    updated = await rest.client.post(rest.url(service), data={name: own})

    assert name in assert_error(created, 400, 80701)
    assert name in assert_error(updated, 400, 80701)


async def test_form_of_a_service_reaches_the_rules(rest: Rest) -> None:
    """Old spellings of enumerations included."""
    form = {
        "UniqueName": "Übung №1",
        "GeoMatchLevel": "AREA_CODE",
        "NumberSelectionBehavior": "avoid_sticky",
        "DefaultTtl": " 60 ",
        "CallbackUrl": "http://masks.example.com:9000/hook",
    }

    await rest.make("/v1/Services", **form)

    assert rest.control.asked == [
        ServiceRequest(
            unique_name="Übung №1",
            geo_match_level=GeoMatchLevel.AREA_CODE,
            number_selection_behavior=NumberSelectionBehavior.AVOID_STICKY,
            default_ttl_seconds=60,
            callback_url="http://masks.example.com:9000/hook",
        )
    ]


async def test_service_is_fetched_by_a_name_with_reserved_characters(rest: Rest) -> None:
    """All but the one that parts a path, which many clients and proxies decode."""
    await rest.make("/v1/Services", UniqueName="a%2Fb #1?")

    response = await rest.client.get("/v1/Services/a%252Fb%20%231%3F")

    assert response.json()["unique_name"] == "a%2Fb #1?"


async def test_a_service_can_be_made_by_the_name_of_its_name_of_2017(rest: Rest) -> None:
    """FriendlyName, before it was renamed."""
    service = await rest.make("/v1/Services", FriendlyName="shop")

    assert (await rest.client.get(rest.url(service))).json()["unique_name"] == "shop"


@pytest.mark.parametrize("path", ["/v1/Services/KS" + "0" * 32, "/v1/Services", "/v1/Services/{}/Sessions/Batch"])
async def test_parameters_behind_the_path_of_a_change_are_refused(rest: Rest, path: str) -> None:
    """Not dropped, with 200 and nothing done."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    kind = {"content-type": "application/json"} if path.endswith("Batch") else {}

    response = await rest.client.post(f"{path.format(service)}?Status=closed", content=b"", headers=kind)

    assert "parameter Status: send it in the body" in assert_error(response, 400, 80701)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_writing_needs_the_sid(rest: Rest, method: str) -> None:
    """A unique name is only for reading."""
    await rest.make("/v1/Services", UniqueName="shop")

    assert_error(await rest.client.request(method, "/v1/Services/shop"), 404, 20404)


async def test_absent_and_empty_differ_on_update(rest: Rest) -> None:
    """Absent leaves a setting, empty clears it."""
    service = await rest.make("/v1/Services", UniqueName="shop", CallbackUrl="https://example.com")

    kept = await rest.client.post(rest.url(service), data={"InterceptCallbackUrl": "https://example.com/2"})
    cleared = await rest.client.post(rest.url(service), data={"CallbackUrl": "", "UniqueName": "", "DefaultTtl": ""})

    assert kept.json()["callback_url"] == "https://example.com"
    assert cleared.json()["callback_url"] is None
    assert cleared.json()["intercept_callback_url"] == "https://example.com/2"
    assert cleared.json()["unique_name"] == "shop"


async def test_form_of_a_session_reaches_the_rules(rest: Rest) -> None:
    """Dates without a time, old spellings, the older name of the conflict switch."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    form = {
        "UniqueName": "order",
        "DateExpiry": "2031-07-31",
        "Ttl": "0",
        "Mode": "voice_only",
        "Status": "in-progess",
        "ReturnErrorOnDuplicateRequest": "True",
    }

    await rest.make(rest.url(service, "Sessions"), **form)

    assert rest.control.asked[-1] == SessionRequest(
        unique_name="order",
        date_expiry=1_943_222_400.0,
        ttl_seconds=0,
        mode=Mode.VOICE_ONLY,
        status=SessionStatus.IN_PROGRESS,
        fail_on_participant_conflict=True,
    )


async def test_update_of_a_session_clears_its_expiry_when_sent_empty(rest: Rest) -> None:
    """As clients do that mean "keep open"."""
    path, _ = await rest.make_session()

    await rest.client.post(path, content=b"DateExpiry=&Ttl=0")
    await rest.client.post(path, data={"Status": "closed"})

    assert rest.control.asked[-2:] == [
        SessionUpdate(date_expiry=None, ttl_seconds=0, status=UNSET),
        SessionUpdate(status=SessionStatus.CLOSED),
    ]


@pytest.mark.parametrize(
    "participants",
    [
        [
            '{"Identifier": "+14155550100", "FriendlyName": "A"}',
            '{"identifier": "+14155550101", "ProxyIdentifier": null}',
        ],
        ['[{"Identifier": "+14155550100", "friendlyName": "A"}, {"Identifier": "+14155550101"}]'],
    ],
)
async def test_participants_come_repeated_or_as_one_array(rest: Rest, participants: list[str]) -> None:
    """SDKs repeat the parameter, hand-written clients send an array."""
    service = await rest.make("/v1/Services", UniqueName="shop")

    response = await rest.client.post(rest.url(service, "Sessions"), data={"Participants": participants})

    assert response.status_code == 201
    requested = [request for request in rest.control.asked if isinstance(request, SessionRequest)]
    assert requested[0].participants == (
        ParticipantRequest(identifier="+14155550100", friendly_name="A"),
        ParticipantRequest(identifier="+14155550101"),
    )


@pytest.mark.parametrize(
    ("participants", "named"),
    [
        ("no json", "Participants:"),
        ("[1]", "Participants:"),
        ("[" * 3_000, "Participants:"),
        ('{"Identifier": "\\ud800"}', "Participants:"),
        ('{"Identifier": {"a": 1}}', "Identifier must be a string"),
        ("{}", "Participants[0].Identifier:"),
        (
            '[{"Identifier": "+14155550100"}, {"Identifier": "x", "FriendlyName": "' + "x" * 256 + '"}]',
            "[1].FriendlyName",
        ),
    ],
)
async def test_malformed_participants_are_named(rest: Rest, participants: str, named: str) -> None:
    """80701 with the index and the field."""
    service = await rest.make("/v1/Services", UniqueName="shop")

    response = await rest.client.post(rest.url(service, "Sessions"), data={"Participants": participants})

    assert named in assert_error(response, 400, 80701)


async def test_lost_plus_of_a_number_is_restored(rest: Rest) -> None:
    """A raw "+" in a form arrives as a space."""
    path, _ = await rest.make_session()

    await rest.client.post(f"{path}/Participants", content=b"Identifier=+14155550100&ProxyIdentifier=whatsapp:+1415")

    assert rest.control.asked[-1] == ParticipantRequest(identifier="+14155550100", proxy_identifier="whatsapp:+1415")


@pytest.mark.parametrize(
    ("collection", "form", "code"),
    [
        ("PhoneNumbers", {}, Code.INVALID_PARAMETER),
        ("PhoneNumbers", {"Sid": "PN1"}, Code.NUMBER_SID_INVALID),
        ("PhoneNumbers", {"Sid": "PN" + "0" * 32, "IsReserved": "maybe"}, Code.INVALID_PARAMETER),
        ("PhoneNumbers", {"Sid": "PN" + "0" * 32}, Code.NUMBER_SID_NOT_FOUND),
        ("ShortCodes", {}, Code.INVALID_PARAMETER),
        ("ShortCodes", {"Sid": "PN" + "0" * 32}, Code.INVALID_PARAMETER),
    ],
)
async def test_pool_refuses_what_names_no_number(rest: Rest, collection: str, form: dict[str, str], code: Code) -> None:
    """Neither SID nor number, or a malformed one."""
    service = await rest.make("/v1/Services", UniqueName="shop")

    response = await rest.client.post(rest.url(service, collection), data=form)

    assert_error(response, CATALOGUE[code].http_status or 0, code)


async def test_message_needs_a_body_or_media(rest: Rest) -> None:
    """80701 names Body; media alone is enough."""
    path, _ = await rest.make_session()
    person = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    messages = f"{path}/Participants/{person}/MessageInteractions"
    media = ["https://example.com/1", "https://example.com/2"]

    empty = await rest.client.post(messages, data={"Body": ""})
    pictures = await rest.client.post(messages, data={"MediaUrl": media})
    broken = await rest.client.post(messages, data={"MediaUrl": "nowhere"})

    assert "Body" in assert_error(empty, 400, 80701)
    assert pictures.status_code == 201
    assert [interaction.media for interaction in rest.control.passed.values()] == [tuple(media)]
    assert "MediaUrl" in assert_error(broken, 400, 80701)


async def test_message_interaction_is_found_only_below_its_participant(rest: Rest) -> None:
    """Neither below the partner, nor is a message that arrived one of them."""
    path, _ = await rest.make_session()
    first = await rest.make(f"{path}/Participants", Identifier="+14155550100")
    second = await rest.make(f"{path}/Participants", Identifier="+14155550101")
    sent = await rest.make(f"{path}/Participants/{first}/MessageInteractions", Body="hello")

    assert (await rest.client.get(f"{path}/Participants/{first}/MessageInteractions/{sent}")).status_code == 200
    assert (await rest.client.get(f"{path}/Interactions/{sent}")).status_code == 200
    assert_error(await rest.client.get(f"{path}/Participants/{second}/MessageInteractions/{sent}"), 404, 20404)


async def test_owned_number_needs_the_form_of_e164(rest: Rest) -> None:
    """A short code is not bought here; the number is masked in the message."""
    path = f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers.json"

    bare = await rest.client.post(path, data={"PhoneNumber": "4155550100"})
    none = await rest.client.post(path)

    assert "415555XXXX" in assert_error(bare, 400, 80406)
    assert "PhoneNumber" in assert_error(none, 400, 80701)


async def test_owned_number_in_a_pool_is_not_released(rest: Rest) -> None:
    """409 until it has left the pool."""
    service = await rest.make("/v1/Services", UniqueName="shop")
    path = f"/2010-04-01/Accounts/{rest.account.sid}/IncomingPhoneNumbers"
    number = await rest.make(f"{path}.json", PhoneNumber="+14155550199", FriendlyName="front desk")
    await rest.make(rest.url(service, "PhoneNumbers"), PhoneNumber="+14155550199")

    assert_error(await rest.client.delete(f"{path}/{number}.json"), 409, 20409)
