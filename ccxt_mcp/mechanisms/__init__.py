"""Small concurrency mechanisms that know neither CCXT nor MCP."""
