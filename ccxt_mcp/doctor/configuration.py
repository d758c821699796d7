"""Whether the configuration is one that the server would start with.

Owns: reading it as ``serve`` does, all that is wrong as one finding each, and the settings and the
product for the checks after it. Refuses: checks of its own; what is valid is for the rooms that own
it to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ccxt_mcp.cluster.cluster import Cluster
from ccxt_mcp.doctor.report import Check, Finding, Outcome
from ccxt_mcp.errors import ConfigurationError
from ccxt_mcp.product import Product, assemble
from ccxt_mcp.settings import Settings, check_exposure, load_settings

__all__ = ["Configuration", "read_configuration"]

_ELSEWHERE = "Correct it where the message says; docs/CONFIGURATION.md lists every setting."
_IGNORED = (
    "Unset what is not meant for the server, complete what is, or set"
    " CCXT_MCP_EXCHANGE_KEYS_FROM_ENV=false."
)
_REMEDIES = (
    # The first whose words are in the problem; most problems name their remedy themselves.
    ("cannot be read", "Give the user that runs the server the right to read that file (`chown`,"
     " `chmod 600`), or correct the path."),
    ("names a file that", "Name a PEM file that the server's user may read, or leave `ca_file` out:"
     " the certificate authorities that everybody knows are trusted without it."),
    ("does not exist", "Correct the path, or write a file to begin with: `ccxt-mcp init`."),
    ("is a directory", "Name the file itself."),
    ("is not valid TOML", "Correct the line that the message names; `ccxt-mcp init` writes a file"
     " to compare with."),
    ("environment variable", "Set the variable for the user that runs the server (in a service file"
     " or a container too), or correct its name."),
    ("is not a setting", "Correct the name; docs/CONFIGURATION.md and `ccxt-mcp init` list them"
     " all."),
    ("is not a key of this table", "Correct the name to one of the keys that are listed."),
    ("no exchange", "Write CCXT's id of the exchange, or the name of an [exchanges.NAME] table."),
    ("neither an exchange", "Write CCXT's id of the exchange, or the name of an [exchanges.NAME]"
     " table."),
    ("reachable from other machines", "Do one of the three things that the message names."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Configuration:
    """What could be had of it: all, the settings alone, or nothing.

    ``cluster``: the store that the settings name, not opened and no part of the product, which is
    examined whether the store is there or not.
    """

    findings: tuple[Finding, ...]
    settings: Settings | None = None
    product: Product | None = None
    cluster: Cluster | None = None
    unreadable: bool = False


def read_configuration(
    path: Path | None, environ: Mapping[str, str], *, load_apart: bool = True
) -> Configuration:
    """Read and join everything, as ``serve`` does, without keeping anything on disk.

    Args:
        path: as in ``load_settings``.
        load_apart: as in ``assemble``.
    """
    settings: Settings | None = None
    try:
        settings = load_settings(path, environ)
        subject = str(settings.config_file or "environment")
        check_exposure(settings)
        # Nothing on disk: a doctor that runs as another user must not leave files there that the
        # server cannot write, nor reserve nonces of keys that it is using.
        product, cluster = _joined(settings, environ, load_apart)
    except ConfigurationError as error:
        subject = str(path or (settings and settings.config_file) or "configuration")
        findings = tuple(_problem(subject, each) for each in error.problems)
        return Configuration(findings, settings, unreadable=error.unreadable)
    if cluster is not None:
        product.redactor.add(*cluster.secrets)
    accounts = len(product.accounts.all())
    words = f"valid: {accounts} account{'s' * (accounts != 1)},"
    words += f" {len(settings.exchanges)} exchange profile{'s' * (len(settings.exchanges) != 1)},"
    words += f" {len(settings.tokens)} token{'s' * (len(settings.tokens) != 1)}"
    fine = Finding(Check.CONFIGURATION, subject, Outcome.OK, words)
    # Those about the file itself are for the check of files.
    warned = (w for w in product.accounts.warnings if not w.startswith(f"{settings.config_file} "))
    ignored = (
        Finding(Check.CONFIGURATION, "environment", Outcome.WARNING, words, _IGNORED)
        for words in warned
    )
    return Configuration((fine, *ignored), settings, product, cluster)


def _joined(
    settings: Settings, environ: Mapping[str, str], load_apart: bool
) -> tuple[Product, Cluster | None]:
    problems: list[str] = []
    cluster = None
    try:
        cluster = Cluster.from_settings(settings, environ)
    except ConfigurationError as error:
        problems += error.problems
    try:
        product = assemble(settings, environ=environ, keep_on_disk=False, load_apart=load_apart)
    except ConfigurationError as error:
        raise ConfigurationError.listing([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError.listing(problems)
    return product, cluster


def _problem(subject: str, problem: str) -> Finding:
    # Problems are free of values by contract (`settings.loading`).
    remedy = next((remedy for words, remedy in _REMEDIES if words in problem), _ELSEWHERE)
    return Finding(Check.CONFIGURATION, subject, Outcome.FAILED, problem, remedy)
