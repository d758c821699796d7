"""The OpenAPI document of the plain HTTP interface, made from the list of tools.

Owns: the document (OpenAPI 3.1, one path per tool). Refuses: words and schemas of tools, which it
repeats as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from ccxt_mcp.api.statuses import STATUSES
from ccxt_mcp.errors import Code

__all__ = ["SESSION_HEADER", "openapi"]

SESSION_HEADER = "Mcp-Session-Id"

_REFUSALS = {401: "The token is missing or not known.", 421: "This Host is not served here."}
_BODIES = {
    413: "The body is larger than `max_body_bytes`.",
    415: "The body is not `application/json`.",
}
_ABOUT = """\
The tools of ccxt-mcp by plain HTTP: the same as by MCP, with the same limits, scopes and \
failures. A failure is `{"error": {"code", "message", "retryable", "hint", …}}`; wait \
`Retry-After` seconds where it is given. Calls with the same `Mcp-Session-Id` run one after the \
other.\
"""


def openapi(
    tools: Sequence[Mapping[str, Any]], *, version: str, tokens_required: bool
) -> dict[str, Any]:
    """The document.

    Args:
        tools: entries of ``tools/list``.
        version: of this product.
        tokens_required: whether every request needs a bearer token.
    """
    refusals = {403: "", 421: _REFUSALS[421], 400: ""}
    if tokens_required:
        refusals[401] = _REFUSALS[401]
    by_status: dict[int, str] = {}
    for code, status in STATUSES.items():
        by_status[status] = ", ".join(filter(None, (by_status.get(status, ""), f"`{code.value}`")))
    described = {status: f"A failure: {codes}." for status, codes in by_status.items()}
    for status, words in (refusals | _BODIES).items():
        described[status] = " ".join(filter(None, (described.get(status, ""), words)))
    always = {str(status): _answer_at(status) for status in sorted(refusals)}
    calls = {str(status): _answer_at(status) for status in sorted(described)}
    listed = {
        "type": "object",
        "properties": {"tools": {"type": "array", "items": {"type": "object"}}},
        "required": ["tools"],
    }
    paths: dict[str, Any] = {
        "/api/tools": _get("list_tools", "List the tools and their schemas", listed, always),
        "/api/openapi.json": _get("get_openapi", "This document", {"type": "object"}, always),
    }
    for tool in tools:
        paths[f"/api/tools/{tool['name']}"] = {"post": _call(tool, calls)}
    document: dict[str, Any] = {
        "openapi": "3.1.1",
        "info": {"title": "ccxt-mcp", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Failure": _FAILURE},
            "parameters": {"Session": _SESSION},
            "responses": {
                _name(status): {
                    "description": described[status],
                    **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
                    "content": _json({"$ref": "#/components/schemas/Failure"}),
                }
                for status in sorted(described)
            },
        },
    }
    if tokens_required:
        scheme = {"type": "http", "scheme": "bearer", "description": "A token of `[tokens.NAME]`."}
        document["components"]["securitySchemes"] = {"token": scheme}
        document["security"] = [{"token": []}]
    return document


def _call(tool: Mapping[str, Any], refusals: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool["inputSchema"]
    return {
        "operationId": tool["name"],
        "summary": tool["title"],
        "description": tool["description"],
        "parameters": [{"$ref": "#/components/parameters/Session"}],
        "requestBody": {"required": bool(schema.get("required")), "content": _json(schema)},
        "responses": {
            "200": {"description": "What the tool found.", "content": _json(tool["outputSchema"])},
            **refusals,
        },
    }


def _get(
    name: str, summary: str, schema: dict[str, Any], refusals: Mapping[str, Any]
) -> dict[str, Any]:
    found = {"200": {"description": f"{summary}.", "content": _json(schema)}}
    return {"get": {"operationId": name, "summary": summary, "responses": {**found, **refusals}}}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answer_at(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/{_name(status)}"}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


_FAILURE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "enum": [code.value for code in Code]},
                "message": {"type": "string"},
                "retryable": {
                    "type": "boolean",
                    "description": "Whether the same request may succeed later.",
                },
                "hint": {"type": "string", "description": "The next step."},
                "exchange": {"type": "string"},
                "operation": {"type": "string", "description": "CCXT's unified name."},
                "retryAfterMs": {"type": "integer", "minimum": 0},
                "details": {"type": "object"},
            },
            "required": ["code", "message", "retryable", "hint"],
        }
    },
    "required": ["error"],
}

_SESSION = {
    "name": SESSION_HEADER,
    "in": "header",
    "required": False,
    "description": "Names a workflow: calls under one name run one after the other, in the order "
    "of arrival, and are counted together in /health. Without it, calls run side by side.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}

_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
