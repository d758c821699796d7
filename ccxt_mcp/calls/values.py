"""Single values on their way out: text, numbers, exact decimals, times.

Owns: the rule that a value leaves in its documented form or not at all. Each function returns the
value, or None for "not known", which leaves the field out of the result. NaN and infinity are
never known. Refuses: whole structures (``projection/``).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["MAX_TEXT", "boolean", "decimal", "integer", "number", "text", "trigger"]

MAX_TEXT = 200
"""Characters of one text that an exchange can put into a result."""

_is_plain = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?", re.ASCII).fullmatch

# A decimal written out longer than this is no amount of anything; it is left out, so that
# "1e999999" does not become a megabyte of zeros.
_MAX_EXPONENT = 60


def text(value: Any) -> str | None:
    """A string; a whole number becomes its digits (some exchanges number their orders)."""
    if type(value) is str and len(value) <= MAX_TEXT and value.isascii():
        # Nearly all values, hundreds of times a call: nothing to clean.
        return value or None
    if isinstance(value, str):
        # A lone surrogate, which JSON can spell, cannot leave as UTF-8.
        clean: str = value if value.isascii() else value.encode("utf-8", "replace").decode()
        if len(clean) > MAX_TEXT:
            clean = clean[: MAX_TEXT - 1] + "…"
        return clean or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def number(value: Any) -> int | float | None:
    """A finite JSON number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else float(value) if abs(value) < 1e300 else None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and math.isfinite(value):
        return value
    return None


def integer(value: Any) -> int | None:
    """A whole number that fits into 64 bits (times, counters)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if len(value) <= 20 else None
        except ValueError:
            return None
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def boolean(value: Any) -> bool | None:
    """True or false, nothing that merely counts as one."""
    return value if isinstance(value, bool) else None


def decimal(value: Any) -> str | None:
    """An exact decimal in plain digits: ``"0.00000001"``, never ``1e-08``.

    Digits are kept as the exchange sent them, trailing zeros included. A float is written with the
    fewest digits that name the same float.
    """
    if isinstance(value, str):
        if len(value) <= 60 and value.replace(".", "", 1).isdecimal() and value.isascii():
            # Nearly all values: digits with at most one point. Those at the ends are not plain.
            if value[0] != "." and value[-1] != ".":
                return value
        elif _is_plain(value):
            return value
    elif isinstance(value, bool):
        return None
    elif isinstance(value, float):
        value = repr(value)
    elif isinstance(value, int):
        return str(value) if abs(value) < 10**_MAX_EXPONENT else None
    elif not isinstance(value, Decimal):
        return None
    try:
        exact = Decimal(value)
    except InvalidOperation:
        return None
    if not exact.is_finite() or len(exact.as_tuple().digits) > 80:
        return None
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        return None
    return format(exact, "f")


def trigger(value: Any) -> str | None:
    """An exact price at which something starts.

    Zero is how exchanges say that there is none: passed on, a plain limit order looks like one that
    waits.
    """
    exact = decimal(value)
    return exact if exact is not None and exact.strip("-0.") else None
