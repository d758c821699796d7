"""A helper process that misbehaves; run as a program by `test_helper`.

The job's option `does` says how.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.exchanges import jobs
from ccxt_mcp.exchanges.snapshots import HEAD, frame


def main() -> None:
    line = sys.stdin.buffer.readline()
    does = json.loads(line)["options"]["does"]
    out = sys.stdout.buffer
    if does == "leaves":
        sys.exit("I cannot run here: s3cr3t")
    out.write(frame(jobs.READY, {}))
    out.flush()
    if does == "crashes":
        sys.exit("out of order: s3cr3t")
    if does == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "prints":
        out.write(b"Traceback (most recent call last): no frame at all")
    if does == "babbles":
        out.write(frame(HEAD, {"format": 1, "fingerprint": "another's"}))
    if does == "stops":
        out.write(frame(HEAD, {"format": 1})[:9])
    if does == "cannot send":
        out.write(frame(jobs.UNSENDABLE, {"where": "options.x holds a lock"}))
    if does == "shows its environment":
        words = " ".join(f"{name}={value}" for name, value in os.environ.items())
        body = jobs.failure_words(Failure(Code.BAD_RESPONSE, words))
        out.write(frame(jobs.FAILED, body))
    out.flush()
    if does == "hangs":
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
