"""The HTTP side of MCP: guard, sessions, both protocol eras. Knows MCP, not CCXT."""
