"""`ccxt-mcp doctor` on set-ups that are broken in one way each: it is named, with its remedy."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from ccxt_mcp.doctor.examination import examine
from ccxt_mcp.doctor.report import Check, Outcome
from ccxt_mcp.serving import bind
from ccxt_mcp.simulation import (
    Fault,
    SimulatedExchange,
    SimulationConfig,
    demo_accounts,
    demo_venue,
)
from tests.e2e.conftest import running_stack
from tests.e2e.setups import Dialect, answered_by, certificate, only, report_on, served_by, written

DIALECTS: list[Dialect] = ["binance", "kraken"]


@pytest.fixture
async def sim() -> AsyncIterator[SimulatedExchange]:
    venue, _ = demo_venue(seed=7)
    async with SimulatedExchange(SimulationConfig(rate_limit=None), venue=venue) as running:
        yield running


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_healthy_set_up_is_all_ok(
    tmp_path: Path, sim: SimulatedExchange, dialect: Dialect
) -> None:
    report = await report_on(written(tmp_path, sim, dialect=dialect, default_exchange="paper"))
    assert {each.outcome for each in report.findings} == {Outcome.OK}, report.findings
    assert [each.check for each in report.findings if each.subject in ("paper", "main")] == [
        *(Check.CONNECTION, Check.CLOCK, Check.MARKETS, Check.CREDENTIALS, Check.PERMISSIONS)
    ]
    assert "may not withdraw" in only(report, Check.PERMISSIONS).found
    assert report.exit_code == 0


# --- The ten broken set-ups ---


@pytest.mark.parametrize(
    ("dialect", "key", "words"),
    [
        ("binance", "k" * 64, "does not know the key"),
        ("binance", "short-key", "does not accept the key"),
        ("kraken", "k" * 56, "does not accept the key"),
    ],
)
async def test_a_wrong_key(
    tmp_path: Path, sim: SimulatedExchange, dialect: Dialect, key: str, words: str
) -> None:
    """Binance answers a key of the right form that it does not know with three possible causes."""
    report = await report_on(written(tmp_path, sim, dialect=dialect, account={"api_key": key}))
    found = only(report, Check.CREDENTIALS, "main")
    assert found.outcome is Outcome.FAILED
    assert words in found.found
    assert "list of keys" in found.remedy
    assert key not in str(report.as_dict())
    assert only(report, Check.PERMISSIONS).outcome is Outcome.SKIPPED
    assert report.exit_code == 1


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_wrong_secret(tmp_path: Path, sim: SimulatedExchange, dialect: Dialect) -> None:
    wrong = "d3Jvbmctc2VjcmV0LW9mLXRoZS1hY2NvdW50LW1haW4h"
    report = await report_on(written(tmp_path, sim, dialect=dialect, account={"secret": wrong}))
    found = only(report, Check.CREDENTIALS, "main")
    assert found.outcome is Outcome.FAILED
    assert "the secret does not belong to it" in found.found
    assert "`secret`" in found.remedy
    assert wrong not in str(report.as_dict())
    assert report.exit_code == 1


async def test_a_secret_that_cannot_even_sign(tmp_path: Path, sim: SimulatedExchange) -> None:
    """Kraken's are base64; what is not never leaves this machine."""
    report = await report_on(written(tmp_path, sim, dialect="kraken", account={"secret": "abcde"}))
    found = only(report, Check.CREDENTIALS, "main")
    assert found.outcome is Outcome.FAILED
    assert "has not the form" in found.found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("offset", "way"), [(-90_000, "ahead of"), (90_000, "behind")])
async def test_a_skewed_clock(
    tmp_path: Path, sim: SimulatedExchange, dialect: Dialect, offset: int, way: str
) -> None:
    """It is measured; the server can work with it (Binance: corrected; Kraken: counts only)."""
    sim.venue.set_clock_offset(offset)
    report = await report_on(written(tmp_path, sim, dialect=dialect))
    found = only(report, Check.CLOCK, "paper")
    assert found.outcome is Outcome.WARNING
    assert f"{way} the exchange's" in found.found
    # Kraken's whole seconds leave half a second open, a slow answer a little more.
    assert re.search(r"clock is (89|9\d)\.\d s ", found.found)
    assert "time synchronisation" in found.remedy
    assert ("corrects signed requests" in found.found) is (dialect == "binance")
    assert only(report, Check.CREDENTIALS).outcome is Outcome.OK
    assert report.exit_code == 0


async def test_a_skewed_clock_that_is_not_corrected(tmp_path: Path, sim: SimulatedExchange) -> None:
    """Who configures a difference has measured it; with the wrong one, Binance refuses."""
    sim.venue.set_clock_offset(-90_000)
    report = await report_on(written(tmp_path, sim, profile={"options": {"timeDifference": 0}}))
    assert "are not corrected" in only(report, Check.CLOCK).found
    found = only(report, Check.CREDENTIALS, "main")
    assert found.outcome is Outcome.FAILED
    assert "time or nonce wrong" in found.found
    assert "time synchronisation" in found.remedy
    assert report.exit_code == 1


async def test_an_unreachable_host(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        report = await report_on(written(tmp_path, None, profile={"base_url": address}))
    found = only(report, Check.CONNECTION, "paper")
    assert found.outcome is Outcome.FAILED
    assert "refused" in found.found
    assert "`base_url`" in found.remedy
    for check in (Check.CLOCK, Check.MARKETS, Check.CREDENTIALS):
        assert only(report, check).outcome is Outcome.SKIPPED
    assert report.exit_code == 1


async def test_a_name_that_does_not_resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    address = "http://api.exchange.invalid"
    report = await report_on(written(tmp_path, None, profile={"base_url": address}))
    found = only(report, Check.CONNECTION, "paper")
    assert found.outcome is Outcome.FAILED
    assert "api.exchange.invalid:80: the host's name does not resolve" in found.found
    assert "spelling" in found.remedy


@pytest.mark.parametrize(
    ("host", "expired", "trusted", "words", "remedy"),
    [
        ("127.0.0.1", False, False, "not trusted", "ca_file"),
        ("127.0.0.1", True, True, "has expired", "renewed"),
        ("other.example.org", False, True, "for another host", "base_url"),
    ],
)
async def test_a_bad_certificate(
    tmp_path: Path, host: str, expired: bool, trusted: bool, words: str, remedy: str
) -> None:
    file = certificate(tmp_path, host=host, expired=expired)
    async with served_by(file) as address:
        profile = {"base_url": address, "ca_file": str(file) if trusted else None}
        report = await report_on(written(tmp_path, None, profile=profile))
    found = only(report, Check.CONNECTION, "paper")
    assert found.outcome is Outcome.FAILED
    assert words in found.found
    assert remedy in found.remedy
    assert report.exit_code == 1


async def test_a_port_in_use(tmp_path: Path) -> None:
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with listener:
        report = await report_on(written(tmp_path, None, port=port), offline=True)
    found = only(report, Check.PORT)
    assert found.outcome is Outcome.FAILED
    assert "another program listens there" in found.found
    assert "`--port`" in found.remedy
    assert report.exit_code == 1


async def test_a_port_that_a_server_of_ours_uses_may_be_fine(tmp_path: Path) -> None:
    async with running_stack() as stack:
        port = int(stack.url.rpartition(":")[2])
        report = await report_on(written(tmp_path, None, port=port), offline=True)
    assert only(report, Check.PORT).outcome is Outcome.WARNING
    assert "ccxt-mcp server is running" in only(report, Check.PORT).found


def _missing(path: Path) -> None:
    pass


def _directory(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_text("")


def _locked(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0)


@pytest.mark.parametrize(
    ("make", "words", "remedy"),
    [
        (_missing, "No such file", "right to read that file"),
        (_directory, "Is a directory", "right to read that file"),
        (_empty, "is empty", "docs/CONFIGURATION.md"),
        pytest.param(
            _locked,
            "Permission denied",
            "chown",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file"),
        ),
    ],
)
async def test_an_unreadable_secret_file(
    tmp_path: Path, sim: SimulatedExchange, make: object, words: str, remedy: str
) -> None:
    """For root every file is readable, so that the last one is tried by other users only."""
    assert callable(make)
    make(tmp_path / "main.secret")
    report = await report_on(written(tmp_path, sim, account={"secret": "file:main.secret"}))
    found = only(report, Check.CONFIGURATION)
    assert found.outcome is Outcome.FAILED
    assert "accounts.main.secret" in found.found
    assert words in found.found
    assert remedy in found.remedy
    assert only(report, Check.CONNECTION).outcome is Outcome.SKIPPED
    assert report.exit_code == 1


@pytest.mark.parametrize(("mode", "who"), [(0o644, "everybody"), (0o640, "its group")])
async def test_a_secret_file_that_others_may_read(
    tmp_path: Path, sim: SimulatedExchange, mode: int, who: str
) -> None:
    file = tmp_path / "main.secret"
    file.write_text(demo_accounts(7)[0].secret + "\n")
    file.chmod(mode)
    report = await report_on(written(tmp_path, sim, account={"secret": "file:main.secret"}))
    found = only(report, Check.FILES, str(file))
    assert found.outcome is Outcome.WARNING
    assert who in found.found
    assert f"chmod 600 {file}" in found.remedy
    assert only(report, Check.CREDENTIALS).outcome is Outcome.OK
    assert report.exit_code == 0


async def test_a_configuration_with_secrets_that_others_may_read(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    file = written(tmp_path, sim)
    file.chmod(0o644)
    found = only(await report_on(file, offline=True), Check.FILES, str(file))
    assert found.outcome is Outcome.WARNING
    assert "holds secrets" in found.found


async def test_an_unknown_exchange(tmp_path: Path) -> None:
    report = await report_on(written(tmp_path, None, profile={"exchange": "binanse"}))
    found = only(report, Check.CONFIGURATION)
    assert found.outcome is Outcome.FAILED
    assert "did you mean 'binance'?" in found.found
    assert "CCXT's id" in found.remedy
    assert report.exit_code == 1


async def test_a_misspelt_setting(tmp_path: Path) -> None:
    """All problems at once, one finding each; what needs no settings is checked all the same."""
    report = await report_on(written(tmp_path, None, prot=3000, max_sesions=4))
    wrong = [each for each in report.findings if each.check is Check.CONFIGURATION]
    assert [each.outcome for each in wrong] == [Outcome.FAILED] * 2
    assert "did you mean port?" in wrong[0].found
    assert "did you mean max_sessions?" in wrong[1].found
    assert all("Correct the name" in each.remedy for each in wrong)
    assert only(report, Check.VERSIONS, "ccxt").outcome is Outcome.OK
    assert only(report, Check.PORT).outcome is Outcome.SKIPPED
    assert report.exit_code == 1


# --- Beyond the ten ---


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_that_may_withdraw_is_warned_of(
    tmp_path: Path, sim: SimulatedExchange, dialect: Dialect
) -> None:
    for account in sim.venue.accounts.values():
        account.may_withdraw = True
    report = await report_on(written(tmp_path, sim, dialect=dialect))
    found = only(report, Check.PERMISSIONS)
    assert found.outcome is Outcome.WARNING
    assert "may withdraw" in found.found
    assert "Take the permission" in found.remedy
    assert report.exit_code == 0


async def test_permissions_that_an_exchange_does_not_tell_are_not_invented(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    sim.faults.add(Fault(kind="status", status=404, route="/sapi/v1/account/apiRestrictions"))
    found = only(await report_on(written(tmp_path, sim)), Check.PERMISSIONS)
    assert found.outcome is Outcome.SKIPPED
    assert "could not be asked" in found.found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [403, 451])
async def test_an_address_that_is_blocked(
    tmp_path: Path, sim: SimulatedExchange, dialect: Dialect, status: int
) -> None:
    sim.faults.add(Fault(kind="status", status=status, body="<html>no</html>"))
    report = await report_on(written(tmp_path, sim, dialect=dialect))
    found = only(report, Check.CLOCK, "paper")
    assert found.outcome is Outcome.FAILED
    assert "blocks this address" in found.found
    assert "`proxy`" in found.remedy
    assert report.exit_code == 1


async def test_an_exchange_that_never_answers_ends_with_the_time_for_one_request(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    sim.faults.add(Fault(kind="hang"))
    file = written(tmp_path, sim, ccxt_timeout=0.3, tool_timeout=1.0)
    found = only(await report_on(file), Check.CLOCK, "paper")
    assert found.outcome is Outcome.FAILED
    assert "no answer in time" in found.found
    assert "firewall" in found.remedy


async def test_nothing_outlasts_the_time_for_all(tmp_path: Path, sim: SimulatedExchange) -> None:
    """Without the bound this would wait for CCXT's ten seconds, several times over."""
    sim.faults.add(Fault(kind="hang"))
    async with asyncio.timeout(8):
        report = await report_on(written(tmp_path, sim), timeout=0.5)
    late = [each for each in report.findings if "not done within 0.5 seconds" in each.found]
    assert {each.check for each in late} >= {Check.CLOCK, Check.MARKETS}
    assert all("--timeout" in each.remedy for each in late)
    assert report.exit_code == 1


async def test_one_exchange_that_is_ill_does_not_hide_the_others(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    file = written(tmp_path, sim)
    with file.open("a") as more:
        more.write('[exchanges.ill]\nexchange = "kraken"\nbase_url = "http://127.0.0.1:1"\n')
    report = await report_on(file)
    assert only(report, Check.CONNECTION, "ill").outcome is Outcome.FAILED
    assert only(report, Check.CREDENTIALS, "main").outcome is Outcome.OK


async def test_an_exchange_s_words_cannot_steer_the_terminal(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    body = {"code": -1002, "msg": "\x1b[2Jno\x07"}
    sim.faults.add(Fault(kind="status", status=401, body=body, route="/api/v3/account"))
    report = await report_on(written(tmp_path, sim))
    found = only(report, Check.CREDENTIALS).found
    assert "[2Jno" in found
    assert all(character.isprintable() for character in found)


async def test_a_key_that_an_exchange_repeats_is_not_shown(
    tmp_path: Path, sim: SimulatedExchange
) -> None:
    """`report_on` looks for the demonstration's keys in every report."""
    key = demo_accounts(7)[0]
    body = {"code": -1002, "msg": f"no rights for {key.api_key} with {key.secret}"}
    sim.faults.add(Fault(kind="status", status=401, body=body, route="/api/v3/account"))
    report = await report_on(written(tmp_path, sim))
    assert "no rights for *** with ***" in only(report, Check.CREDENTIALS).found


async def test_a_secret_under_a_misspelt_key_is_not_shown(tmp_path: Path) -> None:
    key = demo_accounts(7)[0]
    report = await report_on(written(tmp_path, None, account={"secrt": key.secret}))
    assert "did you mean secret?" in only(report, Check.CONFIGURATION).found


async def test_a_proxy_that_is_not_there(tmp_path: Path, sim: SimulatedExchange) -> None:
    """Its password is shown nowhere."""
    profile = {"proxy": "http://user:proxy-password@127.0.0.1:1"}
    report = await report_on(written(tmp_path, sim, profile=profile))
    found = only(report, Check.CONNECTION, "paper")
    assert "(by 127.0.0.1:1): the proxy cannot be reached" in found.found
    assert "`proxy`" in found.remedy
    assert "proxy-password" not in str(report.as_dict())


async def test_an_exchange_without_a_clock_is_measured_by_its_http_header(tmp_path: Path) -> None:
    """CCXT has no `fetchTime` for bitstamp; every HTTP server tells its time all the same."""

    async def late(_: web.BaseRequest) -> web.Response:
        date = formatdate(time.time() - 90, usegmt=True)
        return web.Response(status=404, headers={"Date": date})

    async with answered_by(late) as address:
        profile = {"exchange": "bitstamp", "base_url": address}
        report = await report_on(written(tmp_path, None, profile=profile))
    assert only(report, Check.CONNECTION, "paper").outcome is Outcome.OK
    found = only(report, Check.CLOCK, "paper")
    assert found.outcome is Outcome.WARNING
    assert re.search(
        r"clock is (89|9\d)\.\d s ahead of the exchange's \(by .*`Date`\)", found.found
    )
    assert only(report, Check.MARKETS, "paper").outcome is Outcome.FAILED


async def test_a_variable_that_is_ignored_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "ccxt-mcp.toml"
    file.write_text("port = 0\n")
    report = await examine(file, {"BINANCE_PASSWORD": "not-for-us"}, offline=True)
    found = only(report, Check.CONFIGURATION, "environment")
    assert found.outcome is Outcome.WARNING
    assert "BINANCE_PASSWORD" in found.found
    assert "Unset" in found.remedy
    assert "not-for-us" not in str(report.as_dict())


async def test_a_server_for_everybody_without_a_token_is_refused(tmp_path: Path) -> None:
    report = await report_on(written(tmp_path, None, host="0.0.0.0"), offline=True)
    found = only(report, Check.CONFIGURATION)
    assert found.outcome is Outcome.FAILED
    assert "reachable from other machines" in found.found


@pytest.mark.parametrize("text", ["port = \n", b"\xff\xfe"])
async def test_a_file_that_cannot_be_read_is_a_case_of_its_own(
    tmp_path: Path, text: str | bytes
) -> None:
    file = tmp_path / "ccxt-mcp.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    report = await report_on(file)
    assert only(report, Check.CONFIGURATION).outcome is Outcome.FAILED
    assert report.exit_code == 2
    assert (await report_on(tmp_path / "no-such.toml")).exit_code == 2


async def test_a_doctor_leaves_nothing_on_disk(tmp_path: Path, sim: SimulatedExchange) -> None:
    """One that runs as another user would leave files that the server cannot write."""
    await report_on(written(tmp_path, sim, data_dir=str(tmp_path / "data")))
    assert [each.name for each in tmp_path.iterdir()] == ["ccxt-mcp.toml"]


async def test_a_certificate_file_that_is_missing_is_not_taken_for_the_configuration(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, None, profile={"ca_file": str(tmp_path / "no-such.pem")})
    found = only(await report_on(file, offline=True), Check.CONFIGURATION)
    assert "names a file that does not exist" in found.found
    assert "PEM file" in found.remedy
    assert "ccxt-mcp init" not in found.remedy
