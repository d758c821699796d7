"""The OpenAPI document: valid, complete, and the same each time."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from ccxt_mcp.api.document import openapi
from ccxt_mcp.api.statuses import STATUSES, failed
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.tools.arguments import schema
from ccxt_mcp.tools.server import TOOLS

LISTED = [tool.wire() for tool in TOOLS]


def document(*, tokens: bool = False) -> dict[str, Any]:
    made = openapi(LISTED, version="1.2.3", tokens_required=tokens)
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


@pytest.mark.parametrize("tokens", [False, True])
def test_it_is_a_valid_document(tokens: bool) -> None:
    validate(document(tokens=tokens), cls=OpenAPIV31SpecValidator)


def test_every_reference_leads_somewhere() -> None:
    made = document()

    def look(node: Any) -> int:
        found = 0
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = made
                for step in node["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
                found += 1
            found += sum(map(look, node.values()))
        elif isinstance(node, list):
            found += sum(map(look, node))
        return found

    assert look(made) > len(TOOLS)


def test_every_tool_has_a_path_with_its_words_and_schemas() -> None:
    paths = document()["paths"]
    assert list(paths) == [
        *("/api/tools", "/api/openapi.json"),
        *(f"/api/tools/{tool.name}" for tool in TOOLS),
    ]
    for tool in TOOLS:
        (method,) = paths[f"/api/tools/{tool.name}"].items()
        assert method[0] == "post"
        operation = method[1]
        assert operation["operationId"] == tool.name
        assert operation["description"] == tool.description
        taken = operation["requestBody"]
        assert taken["content"]["application/json"]["schema"] == schema(tool.arguments)
        assert taken["required"] is bool(schema(tool.arguments).get("required"))
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert answered == tool.output
        jsonschema.Draft202012Validator.check_schema(answered)
        assert {str(status) for status in STATUSES.values()} <= operation["responses"].keys()


@pytest.mark.parametrize("code", Code)
def test_every_failure_fits_the_schema_of_its_status(code: Code) -> None:
    made = document()
    failure = Failure(code, "Wrong", exchange="x", operation="y", retry_after=1, details={"a": 1})
    status, body, _ = failed(failure)
    at = made["paths"]["/api/tools/get_ticker"]["post"]["responses"][str(status)]["$ref"]
    answer = made["components"]["responses"][at.rsplit("/", 1)[1]]
    assert f"`{code.value}`" in answer["description"]
    assert answer["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Failure"
    }
    jsonschema.validate(json.loads(body), made["components"]["schemas"]["Failure"])


def test_tokens_are_asked_for_where_the_server_asks_for_them() -> None:
    open_one, closed = document(), document(tokens=True)
    assert "security" not in open_one
    assert "401" not in open_one["paths"]["/api/tools"]["get"]["responses"]
    assert closed["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert closed["security"] == [{"token": []}]
    assert "401" in closed["paths"]["/api/tools"]["get"]["responses"]
