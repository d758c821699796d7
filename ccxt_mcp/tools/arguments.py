"""What a tool takes: typed models, their JSON Schemas, and refusals in our own words.

Owns: turning any JSON into typed arguments or into one ``invalid_argument`` failure that names
every violation at once. Tolerant of a number or an array sent as a JSON string (clients and models
do that), of one name or names with commas where a list of names is wanted, and of ``null`` for an
optional argument; strict about everything else. Refuses: repeating
a value that looks like a credential, and knowing exchanges (a symbol or a timeframe is checked
where the market tables are).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from ccxt_mcp.calls.cursors import MAX_CURSOR
from ccxt_mcp.errors import Code, Failure

__all__ = [
    "UNSAFE_WORDS",
    "Account",
    "Arguments",
    "Cursor",
    "Exchange",
    "Identifier",
    "MaxAge",
    "Since",
    "Symbol",
    "did_you_mean",
    "is_credential_name",
    "is_identifier",
    "looks_secret",
    "milliseconds",
    "names_in",
    "parse",
    "schema",
    "shown_name",
]


class Arguments(BaseModel):
    """Base of every tool's arguments: flat, strict, nothing extra."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


_A = TypeVar("_A", bound=Arguments)

_MAX_MILLIS = 253_402_300_799_999  # the last millisecond of the year 9999
_NOT_MILLIS = range(10_000_000, 100_000_000_000)
"""Numbers that would be times between 1970 and 1973, when nothing was traded: they are seconds, or
dates such as 20260131. Taken for milliseconds, they would ask for the oldest data there is."""


def milliseconds(value: Any) -> int | None:
    """A time as ``Since`` takes it, in milliseconds since 1970; ``None`` for what is none."""
    try:
        return int(_since(value))
    except PydanticCustomError:
        return None


def is_credential_name(name: str) -> bool:
    """Whether a value of this name would be a credential."""
    return _CREDENTIAL_NAME.search(name) is not None


def _since(value: Any) -> Any:
    """Milliseconds since 1970 from a number or from ISO 8601 (UTC where no zone is given)."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value in _NOT_MILLIS:
            raise PydanticCustomError("seconds", "must be in milliseconds or ISO 8601")
        if 0 <= value <= _MAX_MILLIS:
            return value
    elif isinstance(value, str) and len(value) <= 40:
        try:
            moment = datetime.fromisoformat(value.strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            millis = round(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            millis = -1
        if millis >= 0:
            return millis
    raise PydanticCustomError(
        "time", "must be a time as ISO 8601 (2026-01-31T00:00:00Z) or in milliseconds since 1970"
    )


_UNSAFE = re.compile(r"[/\\?#%&{}\s]|\.\.|^\.$")
UNSAFE_WORDS = "spaces, `/ \\ ? # % & { }` and `..`"
"""What an identifier has none of, in words."""


def is_identifier(value: str) -> bool:
    """Whether a text can name a thing wherever CCXT puts it: into a path as well, where a slash or
    two dots would make a request of another endpoint, and what is behind a question mark further
    parameters. CCXT encodes neither."""
    return value.isprintable() and _UNSAFE.search(value) is None


def _identifier(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and not is_identifier(value):
        raise PydanticCustomError("identifier", "must be an identifier")
    return value


Identifier = Annotated[
    str,
    BeforeValidator(_identifier, json_schema_input_type=str),
    Field(min_length=1, max_length=128),
]
"""A name that an exchange or a caller gave to something; numbers are read as their digits."""

Exchange = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="From list_exchanges; default: the server's.",
    ),
]
Account = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        description="From list_accounts; default: the exchange's default.",
    ),
]
Symbol = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="BTC/USDT (spot), BTC/USDT:USDT (swap); BTCUSDT works too.",
    ),
]
Since = Annotated[
    int,
    BeforeValidator(_since, json_schema_input_type=str),
    Field(description="From this time on: ISO 8601, or ms since 1970; UTC."),
]

Cursor = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CURSOR,
        description="`nextCursor` of a result, to go on; the rest as before.",
    ),
]
MaxAge = Annotated[
    int,
    Field(
        ge=0,
        le=60_000,
        description="Oldest answer to accept, ms; 0 asks anew.",
    ),
]

_CREDENTIAL_NAME = re.compile(
    r"api_?-?key|secret|pass(word|phrase)?$|private_?-?key|token|credential|login|twofa|mnemonic",
    re.IGNORECASE,
)
_CREDENTIAL_RUN = re.compile(r"[A-Za-z0-9+/=_\-.]{20,}", re.ASCII)

_MAX_NAMED = 20
"""Violations that one refusal names."""

_KINDS = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
}


@cache
def schema(model: type[Arguments]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments: no references, no unions with null, no titles."""
    raw = model.model_json_schema(mode="validation")
    properties = {}
    for name, spec in raw.get("properties", {}).items():
        spec = dict(spec)
        variants = [v for v in spec.pop("anyOf", ()) if v.get("type") != "null"]
        if len(variants) == 1:
            spec = {**variants[0], **spec}
        if spec.get("default", 0) is None:
            del spec["default"]
        spec.pop("title", None)
        properties[name] = spec
    out: dict[str, Any] = {"type": "object", "properties": properties}
    if raw.get("required"):
        out["required"] = raw["required"]
    out["additionalProperties"] = False
    return out


def parse(model: type[_A], tool: str, arguments: Any) -> _A:
    """Typed arguments of a call.

    Args:
        model: the tool's arguments.
        tool: its name, for the texts.
        arguments: whatever the client sent; None counts as ``{}``.

    Raises:
        Failure: ``invalid_argument`` that names every violation.
    """
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise Failure(
            Code.INVALID_ARGUMENT,
            f"`arguments` of {tool} must be an object, not {_kind(arguments)}.",
        )
    prepared = _prepare(model, arguments)
    try:
        return model.model_validate(prepared)
    except ValidationError as error:
        raise _refusal(model, tool, error) from None


def _prepare(model: type[Arguments], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read numbers and arrays that came as JSON strings; drop nulls of optional arguments."""
    properties = schema(model)["properties"]
    required = schema(model).get("required", ())
    out: dict[str, Any] = {}
    for name, value in arguments.items():
        if value is None and name in properties and name not in required:
            continue
        kind = properties[name].get("type") if name in properties else None
        if isinstance(value, str) and kind in ("integer", "number", "object"):
            value = _from_json(value, kind)
        elif isinstance(value, str) and kind == "array":
            # Every array among the tools' arguments is one of names.
            value = names_in(value)
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)
        out[name] = value
    return out


def names_in(text: str) -> Any:
    """The list that a text stands for: a JSON array, or one name, or several with commas between
    them. The text itself if it is neither, such as an array that is not JSON."""
    if len(text) > _LONGEST:
        return text
    try:
        read = orjson.loads(text)
    except ValueError:
        read = text
    if isinstance(read, list):
        return read
    names = [name.strip() for name in (read if isinstance(read, str) else text).split(",")]
    return text if text.lstrip().startswith(("[", "{")) else [name for name in names if name]


_LONGEST = 100_000
"""Characters of a text that is read as something else."""


def _from_json(value: str, kind: str) -> Any:
    if len(value) > _LONGEST:
        return value
    try:
        read = orjson.loads(value)
    except ValueError:
        return value
    if kind == "object":
        return read if isinstance(read, dict) else value
    return read if isinstance(read, int | float) and not isinstance(read, bool) else value


def _refusal(model: type[Arguments], tool: str, error: ValidationError) -> Failure:
    known = tuple(model.model_fields)
    problems = []
    credentials = False
    violations = error.errors(include_url=False)
    for item in violations[:_MAX_NAMED]:
        path = ".".join(str(part) for part in item["loc"])
        value, kind, context = item["input"], item["type"], item.get("ctx", {})
        if kind == "missing":
            problems.append(f"`{path}` is required")
        elif kind == "extra_forbidden":
            shown = shown_name(path)
            credentials = credentials or _CREDENTIAL_NAME.search(path) is not None
            guess = did_you_mean(path, known)
            problems.append(f"`{shown}` is not an argument of {tool}{guess}")
        else:
            name, spec = path.split(".")[0], schema(model)["properties"]
            problems.append(
                f"`{shown_name(path)}` {_expectation(kind, context, spec.get(name, {}), value)}"
            )
    if len(violations) > _MAX_NAMED:
        problems.append(f"and {len(violations) - _MAX_NAMED} more")
    hint = None
    if credentials:
        hint = (
            "Credentials are configured on the server and never passed in a call; "
            "`list_accounts` has the names to use as `account`."
        )
    elif any("is not an argument" in problem for problem in problems):
        hint = f"Arguments of {tool}: {', '.join(known) or 'none'}."
    return Failure(
        Code.INVALID_ARGUMENT,
        "; ".join(problems) + ".",
        hint=hint,
        details={"violations": problems},
    )


def _expectation(kind: str, context: Mapping[str, Any], spec: Mapping[str, Any], value: Any) -> str:
    if kind == "time":
        return f"must be a time as ISO 8601 or in milliseconds since 1970, not {_shown(value)}"
    if kind == "identifier":
        return f"must be free of {UNSAFE_WORDS}"
    if kind == "seconds":
        return (
            "must be a time as ISO 8601 (2026-01-31T00:00:00Z) or in milliseconds since 1970, and "
            f"{_shown(value)} milliseconds is before 1974: multiply seconds by 1000"
        )
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {_shown(value)}"
    if kind in ("greater_than_equal", "less_than_equal", "int_parsing_size"):
        low, high = spec.get("minimum"), spec.get("maximum")
        if low is not None and high is not None:
            return f"must be from {low} to {high}, not {_shown(value)}"
        return f"must be {'at least' if high is None else 'at most'} {high if low is None else low}"
    if kind == "literal_error":
        choices = tuple(str(choice) for choice in spec.get("enum", ()))
        guess = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"must be one of {', '.join(choices)}, not {_shown(value)}{guess}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_too_long":
        return f"must have at most {context.get('max_length')} characters"
    if kind in ("too_short", "too_long"):
        return f"must have {'at least' if kind == 'too_short' else 'at most'} " + (
            f"{context.get('min_length', context.get('max_length'))} entries"
        )
    return f"is not valid: {_shown(value)}"


def did_you_mean(word: str, choices: tuple[str, ...]) -> str:
    """`` (did you mean `x`?)`` or nothing."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word[:64].lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean `{by_lower[close[0]]}`?)" if close else ""


def looks_secret(value: str) -> bool:
    """Whether a text contains what could be a key: long, with letters and digits mixed."""
    for run in _CREDENTIAL_RUN.findall(value):
        letters, digits = any(map(str.isalpha, run)), any(map(str.isdigit, run))
        if letters and digits and (len(run) >= 30 or not (run.islower() or run.isupper())):
            return True
    return False


def shown_name(name: str) -> str:
    """An argument's name for a text: printable, short, and no pasted credential."""
    if looks_secret(name):
        return "(a name that looks like a credential)"
    clean = "".join(char if char.isprintable() and char != "`" else "?" for char in name[:41])
    return clean if len(name) <= 40 else clean[:40] + "…"


def _shown(value: Any) -> str:
    """A value for a text: its kind, and itself where it is short and surely no credential."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        digits = str(value) if not isinstance(value, int) or abs(value) < 10**30 else ""
        return digits or "a number that long"
    if isinstance(value, str):
        if looks_secret(value):
            return "a string (not repeated here: it looks like a credential)"
        clean = "".join(char if char.isprintable() else "?" for char in value[:41])
        return f'"{clean}"' if len(value) <= 40 else f'"{clean[:40]}…"'
    return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bool):
        return "a boolean"
    return "a number" if isinstance(value, int | float) else "null"
