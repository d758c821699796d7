"""The fixed contents of the conformance fixture: what its tools, resources and prompts answer.

Owns: the values that the public suite looks for. Refuses: behaviour.
"""

import base64
import json
import struct
import zlib
from typing import Any

import mcp_types as types

__all__ = [
    "AUDIO",
    "EMBEDDED",
    "IMAGE",
    "JSON_SCHEMA_2020_12",
    "MIXED",
    "RESOURCES",
    "TEMPLATE",
    "read",
    "text",
]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _red_pixel() -> str:
    """A PNG of one red pixel."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
        + _chunk(b"IEND", b"")
    )
    return base64.b64encode(png).decode()


def _silence() -> str:
    """A WAV of one silent sample."""
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 1)
    wav = b"RIFF" + struct.pack("<I", len(body) + 2) + body + b"\x80\x00"
    return base64.b64encode(wav).decode()


def text(words: str) -> types.TextContent:
    return types.TextContent(text=words)


IMAGE = types.ImageContent(data=_red_pixel(), mime_type="image/png")
AUDIO = types.AudioContent(data=_silence(), mime_type="audio/wav")
EMBEDDED = types.EmbeddedResource(
    resource=types.TextResourceContents(
        uri="test://embedded-resource",
        mime_type="text/plain",
        text="This is an embedded resource content.",
    )
)
MIXED = types.EmbeddedResource(
    resource=types.TextResourceContents(
        uri="test://mixed-content-resource",
        mime_type="application/json",
        text=json.dumps({"test": "data", "value": 123}),
    )
)

RESOURCES = [
    types.Resource(
        uri="test://static-text",
        name="static-text",
        description="A text that never changes",
        mime_type="text/plain",
    ),
    types.Resource(
        uri="test://static-binary",
        name="static-binary",
        description="An image that never changes",
        mime_type="image/png",
    ),
    types.Resource(
        uri="test://watched-resource",
        name="watched-resource",
        description="A text to subscribe to",
        mime_type="text/plain",
    ),
]
TEMPLATE = types.ResourceTemplate(
    uri_template="test://template/{id}/data",
    name="template",
    description="Data of one id",
    mime_type="application/json",
)
_TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "This is the content of the watched resource.",
}


def read(uri: str) -> types.TextResourceContents | types.BlobResourceContents | None:
    """What a resource holds; None where there is none."""
    if uri in _TEXTS:
        return types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])
    if uri == "test://static-binary":
        return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=IMAGE.data)
    before, _, rest = uri.partition("test://template/")
    name, _, after = rest.partition("/")
    if before or not name or after != "data":
        return None
    data = {"id": name, "templateTest": True, "data": f"Data for ID: {name}"}
    return types.TextResourceContents(
        uri=uri, mime_type="application/json", text=json.dumps(data, separators=(",", ":"))
    )


JSON_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""An input schema with the words that a server must not strip from it."""
