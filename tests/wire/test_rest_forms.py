"""Forms of the REST wire, apart from HTTP."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import ApiError
from engine.core.records import GeoMatchLevel, Mode, SessionStatus
from engine.core.requests import ParticipantRequest, ServiceRequest, SessionRequest
from engine.wire import rest_forms
from engine.wire.rest_fields import Form
from engine.wire.rest_forms import (
    ADD_PARTICIPANT,
    CREATE_SERVICE,
    CREATE_SESSION,
    UPDATE_SERVICE,
    UPDATE_SESSION,
    read_participants,
)

FORMS = [(name, form) for name, form in vars(rest_forms).items() if isinstance(form, Form)]


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


def test_repeated_scalar_takes_the_last_value() -> None:
    """As most servers do."""
    assert CREATE_SERVICE.read({"UniqueName": ["a", "b"]}) == ServiceRequest(unique_name="b")


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
