"""Every knob of the server, and how it gets its value.

Owns: the one table that defines the settings (``table``), the sources and their order
(``loading``), values that point at a secret (``references``) and the reference page made from the
table (``reference``). Refuses: to resolve secrets (``accounts`` and ``callers`` do) and to know
CCXT: whether an exchange exists is for ``exchanges`` to say.
"""

from ccxt_mcp.settings.loading import check_exposure, load_settings
from ccxt_mcp.settings.reference import configuration_reference
from ccxt_mcp.settings.table import AccountSettings, ExchangeProfile, Settings, TokenSettings

__all__ = [
    "AccountSettings",
    "ExchangeProfile",
    "Settings",
    "TokenSettings",
    "check_exposure",
    "configuration_reference",
    "load_settings",
]
