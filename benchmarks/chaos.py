"""Sessions in disorder: ``python -m benchmarks.chaos --seed 1 --sessions 200 --calls 50``.

Owns: what the sessions do (calls in bursts, cut connections, cancellations, repeated ids, DELETE,
streams, pings in between), all drawn from one seed, and the verdict. Refuses: knowing what happens
inside the server (`witness.py`) and how a connection is cut (`raw.py`).

Verdict: in each session the calls that ran did so one at a time and in the order of their arrival;
every answer belongs to its request and comes once; nothing is left afterwards; nothing was logged
as an error. The seed decides what is done; when a packet arrives stays the machine's affair.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.chaos_calls import Asked, checked, draw
from benchmarks.raw import LEGACY, MODERN, Answer, Gone, Leaving, Line, initialize, tool, wire
from benchmarks.stand import Stand, standing
from benchmarks.witness import CALL, HEADER, OWNER
from ccxt_mcp.simulation import Fault, FaultKind

__all__ = ["Outcome", "chaos", "main"]

FAULTS: tuple[FaultKind, ...] = ("hang", "status", "reset", "truncated", "empty", "latency")
PATIENCE = 60.0
"""Seconds after which an answer counts as lost; far above every timeout of the stand."""
IDLE = 30.0
"""Seconds for which a connection is kept; the server closes it after 75 s."""

Era = Literal["minted", "named", "modern"]


@dataclass(slots=True)
class Outcome:
    """What a run saw."""

    calls: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ran: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        return [
            f"{sum(self.calls.values())} calls in {self.seconds:.1f} s, {self.ran} ran",
            "calls  " + json.dumps(dict(self.calls.most_common())),
            "deeds  " + json.dumps(dict(self.deeds.most_common())),
        ]


class _Actor:
    """One session of one client, for as long as it has calls to make."""

    def __init__(
        self,
        stand: Stand,
        seen: Outcome,
        number: int,
        dice: random.Random,
        numbers: itertools.count[int],
    ) -> None:
        self.stand = stand
        self.seen = seen
        self.number = number
        self.dice = dice
        self.numbers = numbers
        self.era: Era = ("minted", "named", "modern")[number % 3]
        self.life = 0
        self.session = ""
        self.kept: list[tuple[float, Line]] = []

    # What is sent

    def headers(self, method: str, name: str | None = None) -> dict[str, str]:
        if self.era == "modern":
            named = {} if name is None else {"Mcp-Name": name}
            return {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **named}
        return {"Mcp-Session-Id": self.session}

    def meta(self) -> dict[str, Any]:
        if self.era != "modern":
            return {}
        return {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "chaos", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "ccxt-mcp/workflow": self.session,
        }

    async def begin(self) -> None:
        """Open the session, or the next one after it was ended."""
        self.life += 1
        if self.era == "named" and self.life > 1 and self.dice.random() < 0.5:
            return  # under the same name: it opens again by itself
        self.session = f"chaos-{self.number}-{self.life}"
        if self.era == "minted":
            answer = await self.once(wire("POST", initialize(), last=True))
            assert answer is not None
            self.session = answer.headers["mcp-session-id"]
            body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await self.once(wire("POST", body, {"Mcp-Session-Id": self.session}, last=True))

    async def once(self, data: bytes) -> Answer | None:
        """One request on a connection of its own, which the server closes after the answer."""
        line = await Line.open(self.stand.address)
        try:
            answer = await line.ask(data)
            if more := await line.rest():
                self.seen.wrong.append(f"more than one answer: {more[:200]!r}")
            return answer
        finally:
            line.leave()

    async def aside(self, data: bytes, deed: str) -> Answer | None:
        """Something that is no call: it has to be answered, whatever the lane does."""
        self.seen.deeds[deed] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.once(data)
        except (Gone, TimeoutError) as error:
            self.seen.wrong.append(f"{deed} of session {self.number} was not answered: {error!r}")
            return None

    # What is done

    async def run(self, calls: int) -> None:
        await self.begin()
        left = calls
        while left > 0:
            burst = min(left, self.dice.choice((1, 2, 3, 4, 6, 12)))
            left -= burst
            async with asyncio.TaskGroup() as group:
                ids: list[int | str] = []
                # Calls that take no time pass the lane on in every step of the loop, and each is
                # cancelled meanwhile: what is granted and cancelled at once must not stay held.
                sprint = burst > 2 and self.dice.random() < 0.3
                for place in range(burst):
                    asked = draw(self.dice, next(self.numbers), local=sprint and place > 0)
                    ids.append(asked.request_id)
                    group.create_task(self.call(asked))
                    if sprint and place > 0:
                        group.create_task(self.cancel(asked.request_id))
                    elif self.dice.random() < 0.3:
                        await asyncio.sleep(self.dice.uniform(0, 0.02))
                for deed in self.between(ids):
                    group.create_task(deed)
        for _, line in self.kept:
            line.leave(self.dice.choice(("close", "reset")))

    def between(self, ids: list[int | str]) -> list[Coroutine[Any, Any, None]]:
        """What goes on beside a burst."""
        dice, chosen = self.dice, []
        if dice.random() < 0.4:
            chosen.append(self.ping())
        if dice.random() < 0.4:
            chosen.append(self.cancel(dice.choice([*ids, "unknown", -1])))
        if self.era != "modern" and dice.random() < 0.15:
            chosen.append(self.listen(dice.uniform(0, 0.1)))
        if dice.random() < 0.05:
            chosen.append(self.end(dice.uniform(0, 0.05)))
        return chosen

    async def call(self, asked: Asked) -> None:
        """One call, and what its client makes of it."""
        dice = self.dice
        meta = self.meta() | {CALL: asked.number, OWNER: self.number}
        if dice.random() < 0.3:
            meta["progressToken"] = asked.number
        body = tool(asked.tool, asked.arguments, asked.request_id, meta)
        headers = self.headers("tools/call", asked.tool) | {HEADER.decode(): str(asked.number)}
        fate = dice.choices(
            ("wait", "leave", "half-close", "half-request", "kept"), (55, 15, 5, 5, 20)
        )[0]
        how: Leaving = dice.choice(("close", "reset"))
        patience = dice.choice((0.0, 0.001, 0.01, 0.05, 0.2))
        line: Line | None = None
        answer: Answer | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                if fate == "kept":
                    line = self.reused()
                if line is None:
                    line = await Line.open(self.stand.address)
                data = wire("POST", body, headers, last=fate not in ("kept", "leave"))
                if fate == "half-request":
                    line.send(data[: dice.randrange(1, len(data))])
                    await asyncio.sleep(patience)
                    line.leave(how)
                    self.seen.calls["half a request"] += 1
                    return
                line.send(data)
                if fate == "half-close":
                    line.half_close()
                if fate == "leave":
                    # Before the answer, within it, or after it: left to chance.
                    try:
                        async with asyncio.timeout(patience):
                            answer = await line.answer()
                    except TimeoutError:
                        self.seen.calls[f"left by {how}"] += 1
                        return
                else:
                    answer = await line.answer()
                    if fate != "kept" and (more := await line.rest()):
                        self.seen.wrong.append(f"call {asked.number}: more came: {more[:200]!r}")
        except (Gone, TimeoutError) as error:
            if fate == "half-close" and isinstance(error, Gone):
                self.seen.calls["half-closed, hung up on"] += 1
                return
            self.seen.wrong.append(f"call {asked.number} ({fate}) was not answered: {error!r}")
            return
        finally:
            if line is not None and (fate != "kept" or answer is None):
                line.leave(how)
        if fate == "kept":
            self.kept.append((time.monotonic(), line))
        outcome, wrong = checked(asked, answer, ran=self.stand.witness.ran[asked.number])
        self.seen.calls[outcome] += 1
        self.seen.wrong += wrong

    def reused(self) -> Line | None:
        """A kept-alive connection, young enough that the server has not closed it as idle."""
        while self.kept:
            since, line = self.kept.pop()
            if time.monotonic() - since < IDLE:
                return line
            line.leave()
        return None

    async def ping(self) -> None:
        """Passes while the lane is busy; the same call runs before and after it."""
        method = "tools/list" if self.era == "modern" or self.dice.random() < 0.3 else "ping"
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": "ping", "method": method}
        if self.era == "modern":
            body["params"] = {"_meta": self.meta()}
        before = self.stand.witness.holders.get(self.number)
        answer = await self.aside(wire("POST", body, self.headers(method), last=True), method)
        if before is not None and self.stand.witness.holders.get(self.number) == before:
            self.seen.deeds["passed a running call"] += 1
        if answer is not None and answer.status == 200 and answer.replies()[0]["id"] != "ping":
            self.seen.wrong.append(f"{method} got the answer {answer.messages}")

    async def cancel(self, request_id: int | str) -> None:
        body: dict[str, Any] = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": request_id},
        }
        await asyncio.sleep(self.dice.uniform(0, 0.03))
        await self.aside(wire("POST", body, self.legacy(), last=True), "cancel")

    async def listen(self, seconds: float) -> None:
        """Open the session's stream and drop it."""
        self.seen.deeds["stream"] += 1
        how: Leaving = self.dice.choice(("close", "reset"))
        try:
            line = await Line.open(self.stand.address)
            try:
                async with asyncio.timeout(PATIENCE):
                    line.send(wire("GET", headers=self.legacy()))
                    status, _ = await line.head()
                if status == 200:
                    await asyncio.sleep(seconds)
                elif status not in (404, 409):
                    self.seen.wrong.append(f"a stream was refused with {status}")
            finally:
                line.leave(how)
        except (Gone, TimeoutError) as error:
            self.seen.wrong.append(f"a stream was not opened: {error!r}")

    async def end(self, after: float) -> None:
        """DELETE, while calls run and wait; what comes later opens the next life."""
        await asyncio.sleep(after)
        session = self.session
        await self.aside(wire("DELETE", headers=self.legacy(), last=True), "delete")
        if self.session == session:
            await self.begin()

    def legacy(self) -> dict[str, str]:
        return {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": LEGACY}


async def _trouble(stand: Stand, dice: random.Random) -> None:
    """Faults at both venues, for as long as it is let."""
    while True:
        await asyncio.sleep(dice.uniform(0.05, 0.3))
        venue = dice.choice(stand.venues)
        venue.faults.add(
            Fault(
                kind=dice.choice(FAULTS),
                times=dice.randint(1, 3),
                status=dice.choice((500, 502, 503, 504)),
                milliseconds=200,
            )
        )


async def chaos(sessions: int, calls: int, seed: int) -> Outcome:
    """One round on a server of its own."""
    dice, seen, numbers = random.Random(seed), Outcome(), itertools.count()
    # As few slots as make the sessions wait for them, and sometimes in vain.
    async with standing(
        seed,
        lane_queue_max=8,
        lane_wait_max=2.0,
        max_calls=max(8, sessions // 2),
        call_queue_max=max(4, sessions // 2),
    ) as stand:
        began = time.monotonic()
        trouble = asyncio.create_task(_trouble(stand, random.Random(dice.random())))
        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                own = random.Random(dice.random())
                group.create_task(_Actor(stand, seen, number, own, numbers).run(calls))
        trouble.cancel()
        await asyncio.wait({trouble})
        seen.wrong += await stand.left()
        seen.seconds = time.monotonic() - began
        seen.wrong += await stand.drained()
        witness = stand.witness
        seen.wrong += witness.disorder()
        seen.wrong += [f"{number} ran {n} times" for number, n in witness.ran.items() if n > 1]
        seen.ran = witness.ran.total()
    seen.wrong += [f"logged: {each[:1500]}" for each in witness.complaints.said]
    return seen


def main() -> int:
    """The command line; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    wrong: list[str] = []
    for seed in range(arguments.seed, arguments.seed + arguments.rounds):
        seen = asyncio.run(chaos(arguments.sessions, arguments.calls, seed))
        print(f"seed {seed}", *seen.lines(), sep="\n  ", flush=True)
        wrong += [f"seed {seed}: {each}" for each in seen.wrong]
    print("\n".join(wrong[:50]) or "held: order, one at a time, own answers, nothing left")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
