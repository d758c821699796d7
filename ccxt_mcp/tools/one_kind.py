"""Questions about all markets that CCXT puts about one kind of them: the words for it.

Owns: when an answer may lack the other kinds, and saying so. Refuses: asking about them as well,
which would multiply what a question costs of a rate limit.
"""

from __future__ import annotations

from collections.abc import Iterable

from ccxt_mcp.calls.bounds import Answer, remarked
from ccxt_mcp.exchanges.listing import Listing

__all__ = ["of_one_kind"]


def of_one_kind(
    answer: Answer,
    listing: Listing,
    named: object,
    argument: str,
    seen: Iterable[str] = (),
) -> Answer:
    """The answer; where nothing was named and there are several kinds, it says which it is about.

    Args:
        answer: about all markets, as far as CCXT asks about them.
        listing: what the exchange lists.
        named: what the question was narrowed by; ``None`` if by nothing.
        argument: what a caller passes to be told of another kind.
        seen: kinds that the exchange told of all the same.
    """
    if named is not None or not listing.kinds - {listing.kind}:
        return answer
    others = sorted(listing.kinds - {listing.kind, *seen})
    if not others:
        return answer
    return remarked(
        answer,
        f"Without `{argument}`, {listing.exchange} is asked as for {listing.kind} markets; what is"
        f" of other kinds ({', '.join(others)}) may be missing and is found by `{argument}`.",
    )
