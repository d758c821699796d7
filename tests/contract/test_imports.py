"""Imports point one way (docs/ARCHITECTURE.md): every import of the package is read."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ccxt_mcp"
WORDS = {
    "errors",
    "model",
    "settings",
    "accounts",
    "callers",
    "redaction",
    "state_keys",
    "telemetry",
    "__init__",
}
MAY_IMPORT = {
    "mechanisms": WORDS,
    "store": WORDS | {"mechanisms"},
    "cluster": WORDS | {"mechanisms", "store"},
    "transport": WORDS | {"mechanisms", "store", "cluster"},
    "exchanges": WORDS | {"mechanisms", "store", "cluster"},
    "calls": WORDS | {"mechanisms", "store", "cluster", "exchanges"},
    "tools": WORDS | {"mechanisms", "exchanges", "calls"},
    "api": WORDS | {"mechanisms", "transport"},
    "ops": WORDS,
    "connections": WORDS,
    "simulation": set(),
    "client": set(),
    "doctor": WORDS | {"store", "cluster", "exchanges", "calls", "product", "serving"},
}
"""Room → rooms it may import. Rooms that are not listed are composition and may import all."""
OUTSIDE = {
    "ccxt": {"exchanges"},
    "mcp": {"transport", "tools", "product", "app"},
    "mcp_types": {"transport", "tools", "app"},
    "starlette": {"transport", "api", "ops", "app", "serving"},
    "uvicorn": {"serving", "connections"},
    "httptools": {"connections"},
    "aiohttp": {"exchanges", "simulation"},
    "prometheus_client": {"ops"},
    "opentelemetry": {"telemetry", "ops"},
    "redis": {"store"},
    "hiredis": {"store"},
    "rich": {"cli"},
    "shtab": {"cli"},
}
"""Library → the only rooms that may import it."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they point"
            assert node.module is not None
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "ccxt_mcp"
                else {node.module}
            )
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_package_was_found() -> None:
    assert len(FILES) > 30


def may_import(room: str, name: str) -> bool:
    top, *rest = name.split(".")
    if top == "ccxt_mcp" and rest and not rest[0].startswith("__"):
        allowed = WORDS if room in WORDS else MAY_IMPORT.get(room)
        return allowed is None or rest[0] in allowed | {room}
    return room in OUTSIDE.get(top, {room})


def test_every_file_imports_downwards_only() -> None:
    assert [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in FILES
        for name in imported(path)
        if not may_import(room_of(path), name)
    ] == []
