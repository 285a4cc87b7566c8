"""The OpenAPI 3.1 document, made from the table of operations, their forms and the shapes of their answers."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.api.batch_shapes import BatchForm, item_schemas
from engine.api.operations import PARENT_KINDS, AnyOperation, Batch, FilteredPageOf, FormOf, PageOf
from engine.core.model.sids import SidKind
from engine.core.sessions.batch import MAX_ITEMS
from engine.formats.fields import Form, JsonSchema, sid_pattern
from engine.formats.responses import ErrorBody
from engine.formats.values import DEFAULT_PAGE_SIZE, MAX_PAGE, MAX_PAGE_SIZE

_NAME = re.compile(r"\{(\w+)\}")
_SCHEMAS = "#/components/schemas/{name}"

_MEANINGS = {
    200: "Done",
    201: "Made",
    204: "Gone",
    400: "A parameter is missing or wrong, or the rules refuse the request; the code says which",
    401: "Credentials are missing or wrong (20003)",
    404: "No such resource (20404)",
    405: "The path does not know the method (20004)",
    409: "Another request or state is in the way",
    413: "The body is too large",
    415: "The body is in no form that is taken",
    429: "Too many requests; Retry-After says when to come back (20429)",
    500: "Storage refused the commit (80501), or an internal error (20500)",
    503: "The engine is starting, or the store or another host does not answer (20503)",
}
_CREATED = 201
_EVERYWHERE = (401, 404, 405, 429, 500, 503)


def openapi_document(operations: Sequence[AnyOperation], base: str) -> dict[str, Any]:
    """Describe the operations as served at `base`."""
    shapes = [operation.answer for operation in operations if operation.answer is not None]
    _, components = msgspec.json.schema_components([*dict.fromkeys(shapes), ErrorBody], ref_template=_SCHEMAS)
    components |= item_schemas()[1]
    _name_types(components)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation)
        if links := _links(operation, operations):
            described["responses"][str(operation.status)]["links"] = links
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Maskline",
            "version": "v1",
            "description": "Masked calls and messages; compatible with Twilio Proxy v1.",
        },
        "servers": [{"url": base}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Account SID and auth token, or API key SID and secret",
                }
            },
        },
    }


def _name_types(node: object) -> None:
    """Say of every enumeration of texts that it is one; generators know it by its type."""
    if isinstance(node, dict):
        values = node.get("enum")
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            node.setdefault("type", "string")
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _name_types(inner)


def _operation(operation: AnyOperation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _path_parameters(operation),
        "responses": {str(status): _response(operation, status) for status in _statuses(operation)},
    }
    if isinstance(operation.reads, FilteredPageOf):
        described["parameters"] += [
            {"name": field.name, "in": "query", "schema": field.schema} for field in operation.reads.filters.fields
        ]
    if isinstance(operation.reads, PageOf | FilteredPageOf):
        described["parameters"] += _PAGE_PARAMETERS
    if isinstance(operation.reads, FormOf):
        described["requestBody"] = _request_body(operation.reads.form)
    if isinstance(operation.reads, Batch):
        described["requestBody"] = _batch_body()
    return described


def _statuses(operation: AnyOperation) -> list[int]:
    statuses = {operation.status, *_EVERYWHERE, *operation.refusals}
    if isinstance(operation.reads, PageOf | FilteredPageOf):
        statuses.add(400)
    if operation.takes_body:
        statuses |= {400, 413}
    return sorted(statuses)


def _response(operation: AnyOperation, status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _MEANINGS[status]}
    shape = operation.answer if status == operation.status else ErrorBody
    if shape is None:
        return described
    reference = {"$ref": _SCHEMAS.format(name=shape.__name__)}
    if isinstance(operation.reads, Batch) and status == operation.status:
        described["content"] = _batch_content({"type": "array", "items": reference})
    else:
        described["content"] = {"application/json": {"schema": reference}}
    return described


def _links(made: AnyOperation, operations: Sequence[AnyOperation]) -> dict[str, Any]:
    """Say which operations take the SID of what was made: those on the resource itself and on its lists."""
    if made.status != _CREATED:
        return {}
    resource = made.path.removesuffix(".json") + "/{Sid}"
    parents = {name: f"$request.path.{name}" for name in _NAME.findall(made.path)}
    links: dict[str, Any] = {}
    for operation in operations:
        *above, name = _NAME.findall(operation.path) or [""]
        is_itself = name == "Sid" and operation.path.removesuffix(".json") == resource
        is_below = name != "Sid" and operation.path.startswith(resource.replace("{Sid}", f"{{{name}}}/"))
        if above == list(parents) and (is_itself or is_below):
            links[operation.name] = {
                "operationId": operation.name,
                "parameters": {**parents, name: "$response.body#/sid"},
            }
    return links


def _path_parameters(operation: AnyOperation) -> list[dict[str, Any]]:
    described = []
    for name in _NAME.findall(operation.path):
        kind = PARENT_KINDS.get(name, operation.sid)
        schema: JsonSchema = {"type": "string", "minLength": 1}
        if isinstance(kind, SidKind):
            schema = {"type": "string", "pattern": sid_pattern(kind)}
        described.append({"name": name, "in": "path", "required": True, "schema": schema})
    return described


def _request_body(form: Form[Any]) -> dict[str, Any]:
    properties = {field.name: field.schema for field in form.fields}
    required = [field.name for field in form.fields if field.is_required]
    schema: JsonSchema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if form.at_least_one:  # as words: generators make of a choice at the root a type without fields
        schema["description"] = f"Give {' or '.join(form.at_least_one)}"
    content: dict[str, Any] = {"schema": schema}
    repeated = [field.name for field in form.fields if field.parse_all is not None]
    if repeated:
        content["encoding"] = {name: {"style": "form", "explode": True} for name in repeated}
    return {"required": bool(required or form.at_least_one), "content": {"application/x-www-form-urlencoded": content}}


def _batch_body() -> dict[str, Any]:
    references, _ = item_schemas()
    items: JsonSchema = {"type": "array", "items": {"oneOf": references}, "maxItems": MAX_ITEMS}
    return {"required": True, "content": _batch_content(items)}


def _batch_content(array: JsonSchema) -> dict[str, Any]:
    lines: JsonSchema = {"type": "string", "description": "The members of the array, one a line"}
    return {BatchForm.ARRAY: {"schema": array}, BatchForm.LINES: {"schema": lines}}


_PAGE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "PageSize",
        "in": "query",
        "description": f"Records on a page; more than {MAX_PAGE_SIZE} count as {MAX_PAGE_SIZE}",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE_SIZE},
    },
    {
        "name": "Page",
        "in": "query",
        "description": "What the client calls this page; the token decides",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_PAGE},
    },
    {
        "name": "PageToken",
        "in": "query",
        "description": "From the URL of a neighbouring page",
        "schema": {"type": "string"},
    },
]
