"""What a JSON value of the fuzz may be, and how rarely what is right gives way to what is odd.

Owns: odd scalars, ids and texts, the secret that is planted among them, and drawing from them.
Refuses: to know JSON-RPC (``fuzz_bodies.py``) and HTTP (``fuzz_cases.py``).

Generated texts contain no ASCII letters outside the fixed lists, so that no case can name one of
CCXT's exchanges: what leaves this process goes to the simulated one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "IDS",
    "MODERN",
    "PLANTED",
    "SCALARS",
    "VALUES",
    "WORKFLOWS",
    "Raw",
    "mostly",
    "pick",
    "rarely",
    "upto",
]

PLANTED = "Zq7xPLANTED0KeyA1b2C3d4E5f6G7h8I9j0K1l2M"
"""What a user pastes in the wrong place; no answer and no log line may repeat it."""
MODERN = "2026-07-28"


class Raw(str):
    """JSON, or what is put in its place, as it goes into the body."""

    __slots__ = ()


@cache
def upto(last: int) -> st.SearchStrategy[int]:
    """Strategies are made once: that costs more than drawing from them."""
    return st.integers(0, last)


def rarely(draw: st.DrawFn, one_in: int) -> bool:
    """One time in so many. The number that decides is none of those that hypothesis is fond of."""
    return draw(upto(one_in - 1)) == one_in // 2 + 1


def pick(draw: st.DrawFn, options: Sequence[Any]) -> Any:
    return options[draw(upto(len(options) - 1))]


@st.composite
def mostly(
    draw: st.DrawFn, good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], n: int
) -> Any:
    """What is right, but one time in ``n``; ``one_of`` would give both the same weight."""
    return draw(odd if rarely(draw, n) else good)


_TEXT = st.text(
    "0123 -_./:*\"'\\{}[]<>&%$\n\t\0\x7f\u00e9\u00df\u4e2d\u202e\ufeff\U0001f4b8", max_size=12
)
_NUMBERS = st.sampled_from(
    (
        0,
        -1,
        1,
        2,
        7,
        500,
        1001,
        2**31,
        2**53 + 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**64),
        10**30,
        0.5,
        1e300,
    )
)
_BROKEN = st.sampled_from(
    tuple(
        map(
            Raw,
            (
                *(
                    "NaN",
                    "-Infinity",
                    "1e999",
                    "-0",
                    "01",
                    "1.",
                    "9" * 400,
                    "9" * 5000,
                    "0." + "1" * 99,
                ),
                *('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\0"', '"\\x"', '"', "'a'", "tru"),
                *("[" * 300 + "]" * 300, "[" * 3000 + "]" * 3000, '{"a":' * 200 + "1" + "}" * 200),
                *('{"a":1,"a":2}', '{"\\ud800":1}', '{"__proto__":{}}', "", ",", "/**/", "\ufeff1"),
            ),
        )
    )
)
SCALARS = st.one_of(
    st.sampled_from((None, True, False, "", "a", "x" * 5000, "__class__", "../../etc")),
    _NUMBERS,
    _TEXT,
    _BROKEN,
)
_PASTED = st.one_of(SCALARS, SCALARS, st.just(PLANTED))
"""Where a secret may stand: not in ids, tokens and names, which are there to be repeated."""
VALUES = st.one_of(
    _PASTED,
    st.lists(_PASTED, max_size=3),
    st.dictionaries(st.sampled_from(("", "a", "name", "_meta", PLANTED)), _PASTED, max_size=2),
)
_GOOD_IDS = st.sampled_from(
    (*range(1, 9), "a", "1", "", 0, -5, 2**53, 2**63, 2**64 - 1, "\u00e9\U0001f4b8", "x" * 500)
)
IDS = mostly(_GOOD_IDS, SCALARS, 12)
WORKFLOWS = mostly(st.sampled_from(tuple(f"flow-{n}" for n in range(12))), SCALARS, 4)
