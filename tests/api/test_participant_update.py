"""POST on a participant: an extension that a service's operator has to allow."""

import pytest

from engine.core.model.records import ServiceOptions
from engine.core.model.requests import ParticipantUpdate, ServiceRequest
from tests.api.conftest import Rest

pytestmark = pytest.mark.anyio


async def participant_path(rest: Rest, *, is_allowed: bool) -> str:
    session, _ = await rest.make_session()
    (service,) = rest.control.services
    options = ServiceOptions(participants_may_change=is_allowed)
    await rest.control.update_service(rest.account.sid, service, ServiceRequest(options=options))
    participants = f"{session}/Participants"
    return f"{participants}/{await rest.make(participants, Identifier='+14155550100', FriendlyName='Ann')}"


async def test_update_is_not_allowed_by_default(rest: Rest) -> None:
    """As no SDK since 2018 knows it; the answer says which methods there are."""
    path = await participant_path(rest, is_allowed=False)

    response = await rest.client.post(path, data={"FriendlyName": "Bob"})

    assert (response.status_code, response.json()["code"]) == (405, 20004)
    assert response.headers["allow"] == "DELETE, GET, HEAD"


async def test_update_changes_what_is_named(rest: Rest) -> None:
    """And shows the participant."""
    path = await participant_path(rest, is_allowed=True)

    response = await rest.client.post(path, data={"Identifier": "+14155550123", "ProxyIdentifier": " 14155550198"})

    assert response.status_code == 200
    shown = response.json()
    assert (shown["identifier"], shown["proxy_identifier"]) == ("+14155550123", "+14155550198")
    assert shown["friendly_name"] == "Ann"


async def test_empty_friendly_name_clears_it(rest: Rest) -> None:
    """Other empty fields are no values."""
    path = await participant_path(rest, is_allowed=True)

    await rest.client.post(path, data={"FriendlyName": "", "Identifier": "", "ProxyIdentifierSid": ""})

    assert rest.control.asked[-1] == ParticipantUpdate(friendly_name=None)


async def test_a_sid_of_no_number_is_refused(rest: Rest) -> None:
    """Before the rules are asked."""
    path = await participant_path(rest, is_allowed=True)

    response = await rest.client.post(path, data={"ProxyIdentifierSid": "KS" + "0" * 32})

    assert (response.status_code, response.json()["code"]) == (400, 80701)
