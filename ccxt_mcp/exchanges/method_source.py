"""``methods.json``: the facts of each reading method, from CCXT's source.

Owns: what is read there of a method: its arguments, who answers it to a key only, who may change
something on its way, the exchanges' limits. ``python -m ccxt_mcp.exchanges.method_source`` writes
the file to its output. Refuses: deciding which methods are allowed (``methods.py``), and running in
a server.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections import Counter
from typing import Any

from ccxt_mcp.exchanges.catalog import catalog, snake_case
from ccxt_mcp.exchanges.methods import ACCOUNT, MARKET, WRITES

__all__ = ["generate"]

_KINDS = {
    **dict.fromkeys(("symbols", "codes"), "strings"),
    "since": "time",
    "limit": "integer",
    "amount": "number",
}
"""Argument → kind; the annotations of CCXT's exchanges agree, where they have any. Others: text."""
_FEATURES = ("limit", "daysBack", "symbolRequired")


def generate() -> dict[str, Any]:
    """The table as JSON values. Imports every exchange and reads its source (15 s)."""
    import ccxt.async_support as ccxt

    from ccxt_mcp.exchanges.reach import Endpoint, endpoints, is_signed

    facts = catalog().exchanges
    classes = {exchange: getattr(ccxt, exchange) for exchange in facts}
    signatures: dict[str, list[tuple[inspect.Parameter, ...]]] = {}
    reached: dict[tuple[str, str], frozenset[Endpoint]] = {}
    for name in sorted(MARKET | ACCOUNT):
        for exchange, cls in classes.items():
            function = getattr(cls, snake_case(name), None)
            if facts[exchange].has.get(name) and function is not None:
                own = tuple(inspect.signature(function).parameters.values())[1:]
                signatures.setdefault(name, []).append(own)
                reached[name, exchange] = endpoints(cls, snake_case(name))
    made = {exchange: cls() for exchange, cls in classes.items()}
    keyed: dict[str, list[str]] = {}
    writes: dict[str, list[str]] = {}
    posts: set[str] = set()
    for (name, exchange), asked in reached.items():
        alone = bool(asked) and all(is_signed(made[exchange], each) for each in asked)
        if alone and name in MARKET:
            keyed.setdefault(name, []).append(exchange)
        private = name in ACCOUNT or alone
        if private and any(each.path in WRITES.get(exchange, ()) for each in asked):
            writes.setdefault(name, []).append(exchange)
        if private:
            posts |= {f"{exchange} {each}" for each in asked if each.method != "GET"}
    limits = {exchange: _features(each.features) for exchange, each in made.items()}
    return {
        "ccxtVersion": ccxt.__version__,
        "methods": {
            name: {
                "arguments": _arguments(each),
                "keyed": keyed.get(name, []),
                "writes": writes.get(name, []),
            }
            for name, each in signatures.items()
        },
        "limits": {exchange: each for exchange, each in limits.items() if each},
        # For whoever reviews a new CCXT: a line that is new here has to be looked at.
        "posts": sorted(posts),
    }


def _arguments(signatures: list[tuple[inspect.Parameter, ...]]) -> list[dict[str, Any]]:
    """The arguments that all exchanges have in common, which are the ones that each has."""
    names = [each.name for each in signatures[0]]
    if any([each.name for each in own] != names for own in signatures) or names[-1] != "params":
        raise ValueError(f"exchanges disagree about {names}")
    out = []
    for place, name in enumerate(names[:-1]):
        same = [own[place] for own in signatures]
        # Most of them say what the rest is given too, where a later argument follows.
        defaults = Counter(each.default for each in same)
        row: dict[str, Any] = {
            "name": name,
            "kind": _KINDS.get(name, "string"),
            "required": any(each.default is inspect.Parameter.empty for each in same),
        }
        common = defaults.most_common(1)[0][0]
        if not row["required"] and common is not None:
            row["default"] = common
        out.append(row)
    return out


def _features(features: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind, rows in (features or {}).items():
        parts = rows.values() if isinstance(rows, dict) and kind != "spot" else [rows]
        for part in parts:
            for method, told in part.items() if isinstance(part, dict) else ():
                if method in MARKET | ACCOUNT and isinstance(told, dict):
                    known = {key: told[key] for key in _FEATURES if told.get(key)}
                    if known:
                        out.setdefault(method, {}).setdefault(kind, known)
    return out


def _main() -> None:
    made = generate()
    # One method, one exchange per line: a new CCXT build shows up as a readable difference.
    parts = [f' "ccxtVersion": {json.dumps(made["ccxtVersion"])}']
    for key in ("methods", "limits"):
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in made[key].items())
        parts.append(f' "{key}": {{\n{lines}\n }}')
    posts = ",\n".join(f"  {json.dumps(each)}" for each in made["posts"])
    parts.append(f' "posts": [\n{posts}\n ]')
    sys.stdout.write("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    _main()
