"""The OpenAPI document describes what is served."""

from typing import Any

import httpx
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
