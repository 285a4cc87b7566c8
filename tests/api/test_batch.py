"""The batch of sessions over REST: two forms in, the same form out, one result per item."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from engine.api.app import create_app
from engine.api.settings import ApiSettings
from engine.core.model.records import SessionStatus
from engine.core.model.requests import SessionUpdate
from engine.core.sessions.batch import CreateItem, UpdateItem
from tests.api.conftest import BASE, Rest, client_of

pytestmark = pytest.mark.anyio

ARRAY, LINES = "application/json", "application/x-ndjson"
NOBODY = "KS" + "0" * 32

ANNA = {"Identifier": "+14155550100"}
BERT = {"Identifier": "+14155550101", "FriendlyName": "Bert"}


async def service_of(rest: Rest) -> str:
    """Make a service; returns the path of its batches."""
    return rest.url(await rest.make(rest.url(), UniqueName="shop"), "Sessions", "Batch")


async def send(rest: Rest, path: str, items: list[object], form: str = ARRAY) -> httpx.Response:
    text = json.dumps(items) if form == ARRAY else "\n".join(map(json.dumps, items))
    return await rest.client.post(path, content=text, headers={"content-type": form})


def results(response: httpx.Response) -> list[dict[str, Any]]:
    """Read the results, in the form in which they came."""
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == ARRAY:
        found: list[dict[str, Any]] = response.json()
        return found
    assert response.headers["content-type"] == LINES
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("form", [ARRAY, LINES])
async def test_each_item_has_a_result_of_its_own(rest: Rest, form: str) -> None:
    """In the order of the batch, in the form in which it came, with the status it would have had alone."""
    path = await service_of(rest)
    _, *made = results(await send(rest, path, [{}, {"UniqueName": "ride"}], form))

    answers = results(
        await send(
            rest,
            path,
            [
                {"Participants": [ANNA, BERT]},
                {"Ttl": "soon"},
                {"Operation": "update", "UniqueName": "ride", "Ttl": 60},
                {"Operation": "close", "Sid": "KC" + "0" * 32},
                {"Operation": "close", "Sid": made[0]["session"]["sid"]},
            ],
            form,
        )
    )

    assert [(one["index"], one["status"], one.get("code")) for one in answers] == [
        (0, 201, None),
        (1, 400, 80701),
        (2, 200, None),
        (3, 404, 20404),
        (4, 200, None),
    ]
    assert answers[1]["message"] == "Invalid parameter [1].Ttl: expected `int | null`, got `str`"
    assert list(answers[1]) == ["index", "status", "code", "message"]
    assert list(answers[2]) == ["index", "status", "session"]
    assert (answers[2]["session"]["ttl"], answers[4]["session"]["status"]) == (60, "closed")


async def test_what_was_made_is_shown_as_it_is_elsewhere(rest: Rest) -> None:
    """So that the caller need not ask again."""
    path = await service_of(rest)

    (answer,) = results(await send(rest, path, [{"Participants": [ANNA, BERT]}]))

    session = f"{path.removesuffix('/Batch')}/{answer['session']['sid']}"
    people = (await rest.client.get(f"{session}/Participants")).json()["participants"]
    assert answer["session"] == (await rest.client.get(session)).json()
    assert answer["participants"] == people[::-1]
    assert [one["identifier"] for one in answer["participants"]] == ["+14155550100", "+14155550101"]


async def test_the_control_plane_is_asked_once_for_what_can_be_read(rest: Rest) -> None:
    """Item by item, typed; what cannot is left out."""
    path = await service_of(rest)

    await send(rest, path, [{"Ttl": 5}, {"Wrong": 1}, {"Operation": "close", "UniqueName": "ride"}])

    (asked,) = rest.control.batches
    first, second = asked
    assert isinstance(first, CreateItem)
    assert first.request.ttl_seconds == 5
    assert second == UpdateItem(session="ride", update=SessionUpdate(status=SessionStatus.CLOSED))


@pytest.mark.parametrize("form", [ARRAY, LINES])
async def test_an_empty_batch_has_no_results(rest: Rest, form: str) -> None:
    """And is no mistake."""
    assert results(await send(rest, await service_of(rest), [], form)) == []


@pytest.mark.parametrize("count", [1, 49, 50, 51, 120])
@pytest.mark.parametrize("form", [ARRAY, LINES])
async def test_results_come_in_parts_that_fit_together(rest: Rest, form: str, count: int) -> None:
    """However many there are."""
    answers = results(await send(rest, await service_of(rest), [{}] * count, form))

    assert [one["index"] for one in answers] == list(range(count))


@pytest.mark.parametrize(
    ("form", "body", "place"),
    [(ARRAY, "[{}, {]", "item 1"), (LINES, "{}\n\n{", "line 3"), (LINES, "{}\n" * 10_001, "more than 10000 items")],
)
async def test_a_batch_that_cannot_be_read_does_nothing(rest: Rest, form: str, body: str, place: str) -> None:
    """It is refused whole, with the place."""
    path = await service_of(rest)

    response = await rest.client.post(path, content=body, headers={"content-type": form})

    assert (response.status_code, response.json()["code"]) == (400, 80701)
    assert place in response.json()["message"]
    assert rest.control.batches == []


@pytest.mark.parametrize("claimed", ["", "application/x-www-form-urlencoded", "text/plain"])
async def test_another_form_is_415(rest: Rest, claimed: str) -> None:
    """Parameters of the right one make no difference."""
    path = await service_of(rest)

    refused = await rest.client.post(path, content="[]", headers={"content-type": claimed})
    taken = await rest.client.post(path, content="[]", headers={"content-type": "Application/JSON; charset=utf-8"})

    assert (refused.status_code, refused.json()["code"]) == (415, 80701)
    assert taken.status_code == 200


async def test_a_batch_has_a_limit_of_its_own(rest: Rest) -> None:
    """413 beyond it; it is larger than that of a form."""
    path = await service_of(rest)

    taken = await rest.client.post(path, content="\n" * 20_000, headers={"content-type": LINES})
    refused = await rest.client.post(path, content="\n" * 1_000_001, headers={"content-type": LINES})

    assert taken.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (413, 80701)
    assert "1000000 bytes" in refused.json()["message"]


async def test_a_service_that_is_not_there_refuses_the_batch(rest: Rest) -> None:
    """404, for a batch of nothing too."""
    response = await send(rest, rest.url(NOBODY, "Sessions", "Batch"), [])

    assert (response.status_code, response.json()["code"]) == (404, 20404)


async def test_batches_are_limited_as_an_endpoint_of_their_own(rest: Rest, api_settings: ApiSettings) -> None:
    """Making sessions one by one goes on."""
    settings = replace(api_settings, rate_limit_per_second=1, rate_limit_window_seconds=1)
    path = await service_of(rest)
    app = create_app(rest.control, settings=settings, clock=rest.clock, observer=rest.observer)

    async with client_of(app, rest.account.sid, rest.account.auth_token) as client:
        answers = [await client.post(path, content="[]", headers={"content-type": ARRAY}) for _ in range(2)]
        single = await client.post(path.removesuffix("/Batch"))

    assert [one.status_code for one in answers] == [200, 429]
    assert single.status_code == 201
    assert ("POST", "/v1/Services/{ServiceSid}/Sessions/Batch", 200) in rest.observer.requests


async def test_an_account_may_have_some_batches_under_way_and_no_more(rest: Rest) -> None:
    """429 until one of them has been answered; those of another account make no difference."""
    path = await service_of(rest)
    held = asyncio.Event()
    begun = asyncio.Semaphore(0)

    async def upload() -> AsyncIterator[bytes]:
        begun.release()
        await held.wait()
        yield b"[]"

    headers = {"content-type": ARRAY}
    uploads = [asyncio.create_task(rest.client.post(path, content=upload(), headers=headers)) for _ in range(8)]
    for _ in range(8):
        await asyncio.wait_for(begun.acquire(), 10)

    refused = await send(rest, path, [])
    held.set()
    answers = await asyncio.gather(*uploads)
    taken = await send(rest, path, [])

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, 20429, "1")
    assert [one.status_code for one in answers] == [200] * 8
    assert taken.status_code == 200


async def test_a_session_named_as_the_path_is_still_read_by_its_name(rest: Rest) -> None:
    """Only POST is a batch; anything else on the path says so."""
    path = await service_of(rest)
    sid = await rest.make(path.removesuffix("/Batch"), UniqueName="Batch")

    read = await rest.client.get(path)
    deleted = await rest.client.delete(path)

    assert (read.status_code, read.json()["sid"]) == (200, sid)
    assert (deleted.status_code, deleted.headers["allow"]) == (405, "POST")


async def test_the_document_describes_items_and_results(rest: Rest) -> None:
    """Both forms of each."""
    document = (await rest.client.get("/openapi.json")).json()

    operation = document["paths"]["/v1/Services/{ServiceSid}/Sessions/Batch"]["post"]
    body = operation["requestBody"]["content"]
    assert body[ARRAY]["schema"]["maxItems"] == 10_000
    assert [one["$ref"].rpartition("/")[2] for one in body[ARRAY]["schema"]["items"]["oneOf"]] == [
        "BatchCreate",
        "BatchUpdate",
        "BatchClose",
    ]
    assert set(body) == set(operation["responses"]["200"]["content"]) == {ARRAY, LINES}
    assert sorted(operation["responses"]) == ["200", "400", "401", "404", "405", "413", "415", "429", "500", "503"]
    assert "required" not in document["components"]["schemas"]["BatchCreate"]


async def test_a_client_that_reads_slowly_is_sent_part_by_part(rest: Rest) -> None:
    """No part is made before the one before is taken."""
    path = await service_of(rest)
    asked = len(rest.control.batches)
    body = b"{}\n" * 500
    credentials = rest.client.auth
    assert isinstance(credentials, httpx.BasicAuth)
    request = rest.client.build_request("POST", f"{BASE}{path}", content=body, headers={"content-type": LINES})
    request = next(credentials.auth_flow(request))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send_part(message: Any) -> None:  # noqa: ANN401 - ASGI's form
        sent.append(dict(message))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
    }
    await rest.app(scope, receive, send_part)

    assert len(rest.control.batches) == asked + 1
    assert [one["type"] for one in sent] == ["http.response.start"] + ["http.response.body"] * 11
    assert [one.get("more_body", False) for one in sent[1:]] == [True] * 10 + [False]
    assert not [name for name, _ in sent[0]["headers"] if name == b"content-length"]


@pytest.mark.parametrize("form", [ARRAY, LINES])
async def test_a_body_may_begin_with_a_byte_order_mark(rest: Rest, form: str) -> None:
    """As a file does that was written on Windows."""
    path = await service_of(rest)
    text = '[{"UniqueName": "ride"}]' if form == ARRAY else '{"UniqueName": "ride"}\r\n'

    answers = results(await rest.client.post(path, content=f"\ufeff{text}".encode(), headers={"content-type": form}))

    assert [one["status"] for one in answers] == [201]
