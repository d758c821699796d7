"""The store that replicas share: whether it lets this configuration in and does what is asked.

Owns: one round trip that reads and one turn that is taken and given back, which is what every call
of a session needs, and the remedy for each way in which that fails. Refuses: to leave anything
there, and another way to the store than the server's own.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from ccxt_mcp.doctor.report import Check, Finding, Outcome
from ccxt_mcp.errors import Failure
from ccxt_mcp.store.protocol import Store

__all__ = ["REMEDIES", "check_store"]

_SUBJECT = "store_url"
_LENGTH = 1.0
"""Seconds for which the turn would be held if this process ended in the middle."""

REMEDIES = {
    "the store cannot be reached": "Check host and port of `store_url` (`rediss://` where it speaks"
    " TLS), that the store runs, and the way to it.",
    "the store's certificate is not trusted": "Name its authority in `store_url`"
    " (`?ssl_ca_certs=FILE`), and the host as its certificate does.",
    "the store does not let this server in": "Correct user and password in `store_url`; both are"
    " percent-encoded.",
    "the store does not permit what this server asks": "Permit that user EVAL and EVALSHA, pub/sub"
    " and INFO on keys that begin with `store_prefix`.",
    "the store did not answer in time": "Look for a firewall between here and the store; if it is"
    " only far away, raise `store_timeout`.",
    "the store can only be read": "Name the primary in `store_url`, or its sentinels.",
    "the store is full": "Raise its `maxmemory`; nothing has to be deleted.",
}
"""What the store's ``Failure`` says → what to do."""

_NO_EVICTION = (
    "Set `maxmemory-policy noeviction`: a session, limit or nonce mark that was evicted is one that"
    " everybody forgot."
)
_ELSE = "See its own log, and the part about the store in docs/SCALING.md."


async def check_store(store: Store) -> Finding:
    """Whether a call of a session could take its turn. Opens and closes the store."""
    await store.open()
    evicted = None
    name = token = f"doctor-{uuid4().hex}"
    try:
        seconds = await store.ping()
        # A script that writes: what may be read may still be full, read-only or not permitted.
        await store.leases.claim(name, token, node=token, length=_LENGTH)
        await store.leases.release(name, token, length=_LENGTH)
        # A user that may not ask for it (INFO) can do without.
        with suppress(Failure):
            evicted = await store.evicts()
    except Failure as failure:
        remedy = REMEDIES.get(failure.message, _ELSE)
        return Finding(Check.STORE, _SUBJECT, Outcome.FAILED, failure.message, remedy)
    finally:
        await store.close()
    if evicted is not None:
        words = f"the store forgets when it is full (`maxmemory-policy` is {evicted})"
        return Finding(Check.STORE, _SUBJECT, Outcome.WARNING, words, _NO_EVICTION)
    words = f"answers in {seconds * 1000:.0f} ms and grants turns"
    return Finding(Check.STORE, _SUBJECT, Outcome.OK, words)
