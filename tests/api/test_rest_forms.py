"""Forms of the REST wire, apart from HTTP."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import alert_shapes as rest_alerts
from engine.api import forms as rest_forms
from engine.api import owned_forms as rest_owned
from engine.api.forms import (
    ADD_PARTICIPANT,
    ADD_SHORT_CODE,
    CREATE_SERVICE,
    CREATE_SESSION,
    RESERVE,
    SEND_MESSAGE,
    UPDATE_SERVICE,
    UPDATE_SESSION,
    read_participants,
)
from engine.core.model.errors import ApiError
from engine.core.model.records import GeoMatchLevel, Mode, SessionStatus
from engine.core.model.requests import ParticipantRequest, ServiceRequest, SessionRequest
from engine.formats.fields import Form

FORMS = [
    (name, form)
    for module in (rest_forms, rest_owned, rest_alerts)
    for name, form in vars(module).items()
    if isinstance(form, Form)
]


@pytest.mark.parametrize(("name", "form"), FORMS, ids=[name for name, _ in FORMS])
def test_fields_of_every_form_are_attributes_of_its_request(name: str, form: Form[msgspec.Struct]) -> None:
    """The table and the Struct cannot drift apart unseen."""
    assert isinstance(form.make, type)
    assert {field.attribute for field in form.fields} <= {field.name for field in msgspec.structs.fields(form.make)}
    assert len({field.name for field in form.fields}) == len(form.fields)


@pytest.mark.parametrize("form", [form for _, form in FORMS], ids=[name for name, _ in FORMS])
@given(data=st.data())
def test_any_values_make_a_request_or_a_refusal(form: Form[msgspec.Struct], data: st.DataObject) -> None:
    """Whatever is sent under the right names."""
    names = st.sampled_from([field.name for field in form.fields])
    sent = data.draw(st.dictionaries(names, st.lists(st.text(max_size=30), min_size=1, max_size=3)))

    try:
        request = form.read(sent)
    except ApiError:
        return
    assert isinstance(request, msgspec.Struct)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda some: (
            st.lists(some)
            | st.dictionaries(st.sampled_from(["Identifier", "identifier", "FriendlyName", "Other", ""]), some)
        ),
        max_leaves=6,
    )
)
def test_any_json_is_participants_or_a_refusal(value: object) -> None:
    """Never another exception."""
    try:
        participants = read_participants([json.dumps(value)])
    except (ApiError, ValueError):
        return
    assert all(isinstance(participant, ParticipantRequest) for participant in participants)


def test_a_scalar_with_two_values_is_refused() -> None:
    """Neither can be dropped in silence; the same one twice is one."""
    assert CREATE_SERVICE.read({"UniqueName": ["a", "a"]}) == ServiceRequest(unique_name="a")
    with pytest.raises(ApiError, match="UniqueName: is given more than once"):
        CREATE_SERVICE.read({"UniqueName": ["a", "b"]})


@pytest.mark.parametrize("form", [form for _, form in FORMS], ids=[name for name, _ in FORMS])
@pytest.mark.parametrize(
    ("name", "advice"), [("Colour", ""), ("participants", "Participants"), ("Participants[0]", "Participants")]
)
def test_a_parameter_that_no_form_has_is_named(form: Form[msgspec.Struct], name: str, advice: str) -> None:
    """Whatever its value: what it was to do would not be done."""
    with pytest.raises(ApiError) as refused:
        form.read({name: [""]})

    assert f"Invalid parameter {name}: there is no such parameter here" in refused.value.message
    assert advice in refused.value.message or "Participants" not in [field.name for field in form.fields]


@pytest.mark.parametrize("form", [form for _, form in FORMS], ids=[name for name, _ in FORMS])
@pytest.mark.parametrize("mark", ["\0", "\x1b", "\x7f", "\x85"])
def test_no_field_of_any_form_takes_a_control_character(form: Form[msgspec.Struct], mark: str) -> None:
    """Not even where dates and numbers would be read around it."""
    for field in form.fields:
        alone = Form(dict[str, object], (field,))
        for value in (f"a{mark}", mark, f"2031-07-30T20:00:00{mark}Z", f"5{mark}", f"https://a.example/{mark}"):
            with pytest.raises(ApiError, match=field.name):
                alone.read({field.name: [value]})


def test_a_text_may_have_lines_and_a_name_may_not() -> None:
    """Only the body of a message is more than a line."""
    assert SEND_MESSAGE.read({"Body": ["a\r\n\tb"]}).body == "a\r\n\tb"
    with pytest.raises(ApiError, match="FriendlyName: holds the control character U\\+000A"):
        ADD_PARTICIPANT.read({"Identifier": ["+14155550100"], "FriendlyName": ["a\nb"]})


@pytest.mark.parametrize("form", [CREATE_SERVICE, UPDATE_SERVICE, CREATE_SESSION])
@pytest.mark.parametrize("name", ["KS" + "0" * 32, "KC" + "aB" * 16, "a/b", "/", ".", ".."])
def test_a_name_that_no_path_can_name_is_refused(form: Form[msgspec.Struct], name: str) -> None:
    """It would be found never, or something else by it."""
    with pytest.raises(ApiError, match="UniqueName"):
        form.read({"UniqueName": [name]})


def test_an_alias_is_named_as_it_was_sent() -> None:
    """The parameter of an error is one of the request."""
    with pytest.raises(ApiError, match="parameter ReturnErrorOnDuplicateRequest: expected true or false"):
        UPDATE_SESSION.read({"ReturnErrorOnDuplicateRequest": ["maybe"]})


@pytest.mark.parametrize(("sent", "read"), [("1", True), ("0", False), (" TRUE", True), ("False", False)])
def test_booleans_are_read_as_words_or_digits(sent: str, read: bool) -> None:  # noqa: FBT001 - an expected value
    """PHP writes digits."""
    assert RESERVE.read({"IsReserved": [sent]}).is_reserved is read
    assert ADD_SHORT_CODE.read({"Sid": ["SC" + "0" * 32], "IsReserved": [sent]}).is_reserved is read


def test_keys_of_participants_come_in_every_spelling() -> None:
    """Pascal, camel and snake case; one of them at a time."""
    for key in ("ProxyIdentifier", "proxyIdentifier", "proxy_identifier"):
        (one,) = read_participants([json.dumps({"Identifier": "+14155550100", key: "+14155550101"})])
        assert one.proxy_identifier == "+14155550101"
    with pytest.raises(ValueError, match="Identifier is given more than once"):
        read_participants(['{"Identifier": "+14155550100", "identifier": "+14155550101"}'])
    with pytest.raises(ApiError, match=r"Participants\[0\]\.Name: there is no such parameter"):
        read_participants(['{"Identifier": "+14155550100", "name": "Alice"}'])


def test_a_type_of_participant_is_taken_only_where_it_changes_nothing() -> None:
    """SDKs of 2017 sent it."""
    number = {"Identifier": ["+14155550100"]}

    assert ADD_PARTICIPANT.read(number | {"ParticipantType": ["phone"]}) == ADD_PARTICIPANT.read(number)
    with pytest.raises(ApiError, match="ParticipantType: is not supported"):
        ADD_PARTICIPANT.read(number | {"ParticipantType": ["sms"]})


def test_nothing_sent_keeps_every_default() -> None:
    """Absent is not empty."""
    assert CREATE_SESSION.read({}) == SessionRequest()
    assert UPDATE_SERVICE.read({}) == ServiceRequest()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("country", GeoMatchLevel.COUNTRY),
        ("AREA-CODE", GeoMatchLevel.AREA_CODE),
        ("extended-area-code", GeoMatchLevel.EXTENDED_AREA_CODE),
        ("extended_area_code", GeoMatchLevel.EXTENDED_AREA_CODE),
        ("overlay", GeoMatchLevel.OVERLAY),
        ("radius", GeoMatchLevel.RADIUS),
    ],
)
def test_every_spelling_of_a_geo_level_is_taken(text: str, level: GeoMatchLevel) -> None:
    """Prose, machine enumeration and the underscores of old SDKs."""
    assert UPDATE_SERVICE.read({"GeoMatchLevel": [text]}).geo_match_level is level


def test_old_spellings_of_modes_and_states_are_taken() -> None:
    """Of SDKs before 2017-12."""
    request = CREATE_SESSION.read({"Mode": ["message_only"], "Status": ["in_progress"]})

    assert (request.mode, request.status) == (Mode.MESSAGE_ONLY, SessionStatus.IN_PROGRESS)
    assert UPDATE_SESSION.read({"Status": ["in-progess"]}).status is SessionStatus.IN_PROGRESS


def test_conflict_switch_is_taken_everywhere_under_both_names() -> None:
    """On create, update and participants."""
    for form in (CREATE_SESSION, UPDATE_SESSION):
        assert form.read({"FailOnParticipantConflict": ["true"]}).fail_on_participant_conflict is True
    sent = {"Identifier": ["+14155550100"], "ReturnErrorOnDuplicateRequest": ["TRUE"]}
    assert ADD_PARTICIPANT.read(sent).fail_on_participant_conflict is True
    assert read_participants(['{"Identifier": "a", "FailOnParticipantConflict": true}'])[0].fail_on_participant_conflict
