"""One run for cron: the worth of the account to standard output, and an exit code.

    */5 * * * *  CCXT_MCP_URL=http://127.0.0.1:3000 python cron_job.py >>worth.csv 2>>worth.log

Exit codes: 0 done, 75 (EX_TEMPFAIL) try again at the next run, 1 somebody has to look at it.
"""

import asyncio
import csv
import os
import sys
from datetime import UTC, datetime

from ccxt_mcp.client import CallFailed, Workflow

URL = os.environ.get("CCXT_MCP_URL", "http://127.0.0.1:3000")
TOKEN = os.environ.get("CCXT_MCP_TOKEN")
RUN_SECONDS = float(os.environ.get("RUN_SECONDS", "60"))
"""The whole run's, so that two runs of cron never overlap."""

DONE, BROKEN, LATER = 0, 1, 75


async def main() -> int:
    try:
        async with asyncio.timeout(RUN_SECONDS), Workflow("cron", URL, token=TOKEN) as workflow:
            answer = await workflow.call("account_balance")
    except CallFailed as failure:
        print(f"{failure.code}: {failure.message} {failure.hint or ''}", file=sys.stderr)
        return LATER if failure.retryable else BROKEN
    except TimeoutError:
        print(f"no answer within {RUN_SECONDS:g} s", file=sys.stderr)
        return LATER
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = csv.writer(sys.stdout)
    for each in answer["balances"]:
        # Decimal strings, as they came: floats would round what the account owns.
        rows.writerow([now, each["currency"], each["free"], each["total"]])
    return DONE


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
