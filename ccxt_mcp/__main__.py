"""``python -m ccxt_mcp``."""

import sys

from ccxt_mcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
