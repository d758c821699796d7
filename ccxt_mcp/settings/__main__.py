"""``python -m ccxt_mcp.settings`` prints ``docs/CONFIGURATION.md``."""

import sys

from ccxt_mcp.settings.reference import configuration_reference

if __name__ == "__main__":
    sys.stdout.write(configuration_reference())
