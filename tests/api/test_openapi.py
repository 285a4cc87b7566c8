"""The OpenAPI document describes what is served."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest

from engine.api.app import OPERATIONS
from tests.api.conftest import BASE, Rest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def document(rest: Rest) -> dict[str, Any]:
    """Fetch the document, without credentials."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rest.app), base_url=BASE) as stranger:
        body: dict[str, Any] = (await stranger.get("/openapi.json")).json()
    return body


async def test_document_names_every_operation_once(document: dict[str, Any]) -> None:
    """At the address that clients use."""
    described = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]

    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": BASE}]
    assert sorted(described) == sorted(operation.name for operation in OPERATIONS)


async def test_every_reference_of_the_document_resolves(document: dict[str, Any]) -> None:
    """No shape is missing."""

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            found = {node["$ref"]} if "$ref" in node else set()
            return found.union(*(references(value) for value in node.values()))
        if isinstance(node, list):
            return set().union(*(references(value) for value in node))
        return set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    assert references(document) <= known


async def test_document_tells_fields_statuses_and_path_parameters(document: dict[str, Any]) -> None:
    """The row of the table, as the document shows it."""
    operation = document["paths"]["/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Participants"]["post"]

    body = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert body["required"] == ["Identifier"]
    assert set(body["properties"]) == {
        "Identifier",
        "FriendlyName",
        "ProxyIdentifier",
        "ProxyIdentifierSid",
        "FailOnParticipantConflict",
    }
    assert sorted(operation["responses"]) == ["201", "400", "401", "404", "405", "409", "413", "429", "500", "503"]
    assert [one["schema"]["pattern"][:3] for one in operation["parameters"]] == ["^KS", "^KC"]


async def test_what_was_made_links_to_its_operations_and_lists(document: dict[str, Any]) -> None:
    """So that a tool can walk from a new service down to a message."""
    made = document["paths"]["/v1/Services/{ServiceSid}/Sessions"]["post"]["responses"]["201"]["links"]

    assert sorted(made) == [
        "CreateParticipant",
        "DeleteSession",
        "FetchSession",
        "ListInteraction",
        "ListParticipant",
        "UpdateSession",
    ]
    assert made["ListParticipant"]["parameters"] == {
        "ServiceSid": "$request.path.ServiceSid",
        "SessionSid": "$response.body#/sid",
    }


def described(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return what checks values against a schema of the document, formats too."""
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def schemas(node: object) -> Iterator[dict[str, Any]]:
    """Walk all objects of the document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from schemas(inner)


async def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    """Those of dates were not: no day after the 28th was."""
    found = [(schema, example) for schema in schemas(document) for example in schema.get("examples", ())]

    wrong = [(schema, example) for schema, example in found if not described(document, schema).is_valid(example)]

    assert wrong == []
    assert len(found) >= 10
    assert {"+14155550100", "2031-07-30T20:00:00Z"} <= {example for _, example in found}


@pytest.mark.parametrize("day", ["2031-01-29", "2031-01-30", "2031-12-31", "2032-02-29", "1970-01-01", "9999-12-31"])
async def test_every_day_may_be_sent(document: dict[str, Any], day: str) -> None:
    """In forms, lists and batches; what is no time may not."""
    dates = [schema for schema in schemas(document) if schema.get("format") == "date-time" and "examples" in schema]

    assert len(dates) >= 5
    for schema in dates:
        assert described(document, schema).is_valid(f"{day}T23:59:59Z")
        assert not described(document, schema).is_valid("soon")
        assert "pattern" not in schema


async def test_what_generators_stumble_over_is_left_out(document: dict[str, Any]) -> None:
    """Enumerations without a type, and a choice at the root of a form, which becomes a type without fields."""
    untyped = [schema for schema in schemas(document) if "enum" in schema and "type" not in schema]
    forms = [
        content["application/x-www-form-urlencoded"]["schema"]
        for content in (schema.get("content", {}) for schema in schemas(document))
        if "application/x-www-form-urlencoded" in content
    ]

    assert untyped == []
    assert len(forms) >= 10
    assert [form for form in forms if form["type"] != "object" or form.keys() & {"anyOf", "oneOf", "allOf"}] == []


async def test_answers_are_of_the_form_that_is_promised(rest: Rest, document: dict[str, Any]) -> None:
    """Dates, URLs and enumerations too, of a resource of each kind, its list and a refusal."""
    service = await rest.make(
        "/v1/Services", UniqueName="shop", CallbackUrl="https://app.example.com/hook", DefaultTtl="60"
    )
    code, base = await rest.own_short_code("55123"), f"/v1/Services/{service}"
    account = f"/2010-04-01/Accounts/{rest.account.sid}"
    number = await rest.make(f"{account}/IncomingPhoneNumbers.json", PhoneNumber="+14155550100")
    await rest.make(f"{base}/PhoneNumbers", Sid=number)
    await rest.make(f"{base}/ShortCodes", Sid=code)
    session = await rest.make(f"{base}/Sessions", UniqueName="ride", DateExpiry="2031-07-30T20:00:00Z")
    path = f"{base}/Sessions/{session}"
    participant = await rest.make(f"{path}/Participants", Identifier="+14155550123")
    await rest.make(f"{path}/Participants/{participant}/MessageInteractions", Body="hello")
    asked = {
        "/v1/Services/{Sid}": base,
        "/v1/Services": "/v1/Services",
        "/v1/Services/{ServiceSid}/PhoneNumbers": f"{base}/PhoneNumbers",
        "/v1/Services/{ServiceSid}/ShortCodes": f"{base}/ShortCodes",
        "/v1/Services/{ServiceSid}/Sessions/{Sid}": path,
        "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Participants": f"{path}/Participants",
        "/v1/Services/{ServiceSid}/Sessions/{SessionSid}/Interactions": f"{path}/Interactions",
        "/2010-04-01/Accounts/{AccountSid}.json": f"{account}.json",
        "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json": (
            f"{account}/IncomingPhoneNumbers/{number}.json"
        ),
        "/2010-04-01/Accounts/{AccountSid}/SMS/ShortCodes.json": f"{account}/SMS/ShortCodes.json",
    }

    for template, url in asked.items():
        answer = await rest.client.get(url)
        responses = document["paths"][template]["get"]["responses"]
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        assert answer.status_code == 200
        described(document, schema).validate(answer.json())
        wrong = answer.text.replace("T20:00:00Z", " at eight").replace("https://masks", "masks")
        assert wrong == answer.text or not described(document, schema).is_valid(msgspec.json.decode(wrong))
