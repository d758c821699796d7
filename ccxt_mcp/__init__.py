"""ccxt-mcp: one shared, safe door to crypto exchanges for trading workflows."""

__all__ = ["__version__"]

__version__ = "0.1.0"
