"""Any replica serves any session: over one process's memory and over a real server."""

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccxt_mcp.cluster import holding, node
from ccxt_mcp.errors import Code, Failure
from ccxt_mcp.settings import Settings
from ccxt_mcp.store.memory import MemoryStore
from ccxt_mcp.transport.session import Kind
from tests.cluster.conftest import MakePlace, Place, in_memory, placed
from tests.cluster.exceptions import EXCEPTIONS
from tests.cluster.replicas import replicas, sessions_of
from tests.unit.transport.asgi import Request
from tests.unit.transport.test_endpoint import MODERN, modern
from tests.unit.transport.toy import INITIALIZE, Toy, call


def session(name: str) -> dict[str, str]:
    return {"Mcp-Session-Id": name}


async def opened(place: Place, at: int) -> str:
    answer = await place.at(at).post("/mcp", json=INITIALIZE)
    assert answer.status_code == 200, answer.text
    return answer.headers["mcp-session-id"]


async def echoed(place: Place, at: int | None, name: str, value: str = "x") -> httpx.Response:
    return await place.at(at).post("/mcp", json=call("echo", value), headers=session(name))


def failure(answer: httpx.Response) -> str:
    """The code of a failed call."""
    body = answer.json()
    if "error" in body:
        return str(body["error"]["data"]["code"])
    return str(body["result"]["_meta"]["ccxt-mcp/failure"]["code"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_session_that_one_replica_opened_is_served_and_ended_by_the_others(
    place: MakePlace,
) -> None:
    here = await place()
    minted = await opened(here, 0)
    for at in (0, 1, 2):
        answer = await echoed(here, at, minted, str(at))
        assert answer.json()["result"]["structuredContent"] == {"value": str(at)}
    parts = sessions_of(here.router)
    assert len(parts) == 3
    assert {each.protocol_version for each in parts} == {"2025-11-25"}
    assert {each.client_params.client_info.name for each in parts if each.client_params} == {"test"}
    assert (await here.at(2).delete("/mcp", headers=session(minted))).status_code == 204
    for at in (0, 1, 2):
        gone = await echoed(here, at, minted)
        assert gone.status_code == 404
        assert failure(gone) == "session_not_found"
    assert sessions_of(here.router) == []


async def test_in_no_session_do_two_calls_overlap_whichever_replicas_they_come_to(
    place: MakePlace,
) -> None:
    """With the lane of each replica alone, three calls of one session run at once: an order is
    sent before the one that it was to follow."""
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    class Counting(Toy):
        async def wait(self, value: str) -> None:
            running[value] += 1
            calls[value] += 1
            most[value] = max(most[value], running[value])
            await asyncio.sleep(0.001)
            running[value] -= 1

    here = await place(Counting())
    draw = random.Random(8)
    names = [f"workflow-{number}" for number in range(6)] * 12
    draw.shuffle(names)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(echoed(here, None, name, name) for name in names))
    assert {answer.status_code for answer in answers} == {200}
    assert not [a.text for a in answers if '"isError":true' in a.text]
    assert calls == Counter(names)
    assert set(most.values()) == {1}


async def test_a_warm_call_costs_two_round_trips_and_a_list_none(place: MakePlace) -> None:
    here = await place()
    for name in ("a", "b", "c"):
        await echoed(here, 1, name)
    await settled(here)
    before = here.trips()
    for name in ("a", "b", "c"):
        await echoed(here, 1, name)
    await settled(here)
    assert here.trips() - before == 3 * 2
    before = here.trips()
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await here.at(1).post("/mcp", json=listing, headers=session("a"))
    assert "result" in answer.json()
    await settled(here)
    assert here.trips() == before


async def settled(place: Place) -> None:
    """Let what nobody waits for arrive."""
    nodes = [app.state.cluster.node for app in place.router.apps]
    await until(lambda: not any(node._under_way for node in nodes))


async def test_the_turn_of_a_call_is_asked_for_while_the_call_is_read(place: MakePlace) -> None:
    """Asked for after that, each call waits for the store for as long as the whole way takes."""
    asked: list[int] = []

    async def looking(ctx: Any, call_next: Any) -> Any:
        leases = [app.state.cluster.leases for app in here.router.apps]
        asked.extend(len(each._waiting) + len(each) for each in leases)
        return await call_next(ctx)

    here = await place(Watched(looking))
    for _ in range(2):
        await echoed(here, 1, "a")
    assert asked == [0, 1, 0] * 2


class Watched(Toy):
    """With a middleware, which is before the lane."""

    def __init__(self, middleware: Any) -> None:
        super().__init__()
        self.middleware = middleware

    def server(self) -> Any:
        server = super().server()
        server.middleware.append(self.middleware)
        return server


@pytest.mark.parametrize("refused", ["by its parameters", "by the client", "by a middleware"])
async def test_the_turn_of_a_call_that_never_came_to_it_is_given_back(
    place: MakePlace, refused: str
) -> None:
    """Kept, it would make the session's next call wait for the end of the lease, six seconds."""
    entered = asyncio.Event()

    async def stopping(ctx: Any, call_next: Any) -> Any:
        value = ctx.params["arguments"]["value"]
        if value == "by a middleware":
            raise RuntimeError(value)
        if value == "by the client":
            entered.set()
            await asyncio.Event().wait()
        return await call_next(ctx)

    here = await place(Watched(stopping))
    await echoed(here, 0, "a")
    body = call("echo", refused, 7)
    if refused == "by its parameters":
        del body["params"]["name"]
    async with asyncio.timeout(3):
        first = asyncio.create_task(here.at(0).post("/mcp", json=body, headers=session("a")))
        if refused == "by the client":
            await entered.wait()
            await here.at(2).post("/mcp", json=cancel(7), headers=session("a"))
        assert "error" in (await first).json()
        answer = await echoed(here, 1, "a")
    assert answer.json()["result"]["structuredContent"] == {"value": "x"}


class HeldUp(Watched):
    """Calls with the value "first" are held up before the lane."""

    def __init__(self) -> None:
        super().__init__(self.hold_up)
        self.entered, self.free = asyncio.Event(), asyncio.Event()

    async def hold_up(self, ctx: Any, call_next: Any) -> Any:
        if ctx.params["arguments"]["value"] == "first":
            self.entered.set()
            await self.free.wait()
        return await call_next(ctx)

    async def overtaken(self, here: Place, at: int) -> None:
        """The first of two calls, at replica 0, is overtaken by the second; both are answered."""
        async with asyncio.timeout(3):
            first = asyncio.create_task(echoed(here, 0, "a", "first"))
            await self.entered.wait()
            answer = await echoed(here, at, "a", "second")
            assert answer.json()["result"]["structuredContent"] == {"value": "second"}
            self.free.set()
            answer = await first
            assert answer.json()["result"]["structuredContent"] == {"value": "first"}
        assert self.order[-2:] == ["second", "first"]


async def test_a_call_that_another_overtakes_before_the_lane_does_not_keep_it_waiting(
    place: MakePlace,
) -> None:
    """Its turn was asked for first: the other one would have this replica's lane and wait for the
    store's, which the first would have and could not use."""
    toy = HeldUp()
    await toy.overtaken(await place(toy), at=0)


async def test_a_call_that_waits_before_the_lane_keeps_no_turn_from_other_replicas(
    place: MakePlace,
) -> None:
    """The turn that was asked for it would be its until the end of the lease, six seconds."""
    toy = HeldUp()
    here = await place(toy)
    await echoed(here, 1, "a")
    await toy.overtaken(here, at=1)


async def test_a_bound_of_the_store_does_not_end_what_is_waited_for_before_the_lane() -> None:
    """It ends whatever its task does just then: a middleware's own wait, and with it the request,
    without an answer."""
    toy, store = HeldUp(), MemoryStore()
    late = asyncio.Event()

    async def hangs() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            late.set()

    router = replicas(Settings(), toy.server(), store=lambda: store)
    async with placed(router, toy) as here:
        await echoed(here, 0, "a")
        store.trouble = hangs
        async with asyncio.timeout(3):
            first = asyncio.create_task(echoed(here, 0, "a", "first"))
            await toy.entered.wait()
            await asyncio.sleep(0.05)
            toy.free.set()
            answer = await first
        assert late.is_set()
        assert answer.json()["result"]["structuredContent"] == {"value": "first"}


async def test_a_refused_call_gives_its_turn_back_before_its_client_takes_the_answer(
    place: MakePlace,
) -> None:
    """A slow client would have the session's next call wait."""
    toy = Toy()
    here = await place(toy)
    await echoed(here, 0, "a")
    body = call("echo", "refused")
    del body["params"]["name"]
    refused = Request(here.router.apps[0], "POST", body, slow=True, mcp_session_id="a")
    async with asyncio.timeout(3):
        await refused.blocked.wait()
        assert not here.router.apps[0].state.cluster.leases._waiting
        answer = await echoed(here, 1, "a")
        assert answer.json()["result"]["structuredContent"] == {"value": "x"}
        refused.let_go()
        await refused.done()


async def test_two_replicas_that_adopt_one_name_at_once_have_one_session(
    place: MakePlace,
) -> None:
    here = await place()
    async with asyncio.timeout(10):
        tasks = []
        for at in (0, 1, 2):
            tasks.append(asyncio.create_task(hold(here, at, "shared")))
            await asyncio.sleep(0)
        await here.toy.started.wait()
        await until(lambda: len(sessions_of(here.router)) == 3)
        assert here.toy.running == 1
        here.toy.go.set()
        answers = await asyncio.gather(*tasks)
    assert {answer.status_code for answer in answers} == {200}
    assert here.toy.most_running == 1
    count, listed = await here.router.apps[0].state.registry.shared.page(10, 0)
    assert count == 1
    assert [each["sessionId"] for each in listed] == ["shared"]


def hold(place: Place, at: int, name: str, request_id: int = 1) -> Any:
    return place.at(at).post(
        "/mcp", json=call("hold", request_id=request_id), headers=session(name)
    )


async def test_what_a_session_has_done_is_counted_wherever_it_did_it(place: MakePlace) -> None:
    here = await place()
    for at in (0, 1, 2):
        await echoed(here, at, "a")
    await settled(here)
    (_, (shown,)) = await here.router.apps[1].state.registry.shared.page(10, 0)
    assert (shown["calls"], shown["errors"]) == (3, 0)
    assert shown["latencyMs"] is not None
    assert shown["inFlight"] == 0


async def test_deleting_a_session_ends_what_runs_and_waits_in_it_elsewhere(
    place: MakePlace,
) -> None:
    here = await place()
    async with asyncio.timeout(10):
        first = asyncio.create_task(hold(here, 0, "a"))
        await here.toy.started.wait()
        second = asyncio.create_task(hold(here, 1, "a"))
        await until(lambda: any(s.running for s in parts_at(here, 1)))
        ended = await here.at(2).delete("/mcp", headers=session("a"))
        assert ended.status_code == 204
        for answer in await asyncio.gather(first, second):
            assert "session was ended" in answer.text
        assert here.toy.running == 0
        again = await echoed(here, 1, "a")
        assert again.json()["result"]["structuredContent"] == {"value": "x"}


def parts_at(place: Place, number: int) -> list[Any]:
    return sessions_of(place.router.apps[number])


def cancel(request_id: int) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": request_id},
    }


async def test_a_call_is_cancelled_through_any_replica_whether_it_runs_or_waits(
    place: MakePlace,
) -> None:
    here = await place()
    async with asyncio.timeout(10):
        first = asyncio.create_task(hold(here, 0, "a", 1))
        await here.toy.started.wait()
        second = asyncio.create_task(hold(here, 1, "a", 2))
        await until(lambda: any(s.running for s in parts_at(here, 1)))
        for request_id, task in ((2, second), (1, first)):
            told = await here.at(2).post("/mcp", json=cancel(request_id), headers=session("a"))
            assert told.status_code == 202
            assert (await task).json()["error"]["code"] == -32800
        assert (await echoed(here, 2, "a")).status_code == 200


async def test_the_bounds_on_sessions_are_common_and_the_longest_idle_named_one_makes_room(
    place: MakePlace,
) -> None:
    here = await place(max_sessions=3)
    minted = await opened(here, 0)
    await echoed(here, 1, "older")
    await echoed(here, 2, "newer")
    await echoed(here, 0, "newest")
    assert (await echoed(here, 1, minted)).status_code == 200
    count, _ = await here.router.apps[0].state.registry.shared.page(10, 0)
    assert count == 3
    assert await listed(here) == {"newer", "newest"}


async def listed(place: Place, *, minted: bool = False) -> set[str]:
    """The sessions of all replicas: those with a name, or the others."""
    _, shown = await place.router.apps[0].state.registry.shared.page(100, 0)
    return {each["sessionId"] for each in shown if (each["kind"] == "minted") is minted}


async def test_a_session_in_use_makes_no_room_and_where_there_is_none_it_is_503(
    place: MakePlace,
) -> None:
    here = await place(max_sessions_per_client=2)
    async with asyncio.timeout(10):
        first = asyncio.create_task(hold(here, 0, "busy"))
        await here.toy.started.wait()
        await echoed(here, 1, "idle")
        await settled(here)
        await opened(here, 2)
        assert await listed(here) == {"busy"}
        refused = await here.at(1).post("/mcp", json=INITIALIZE)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert failure(refused) == "overloaded"
        refused = await echoed(here, 1, "one more")
        assert refused.status_code == 400
        refused = await echoed(here, 1, "one-more")
        assert refused.status_code == 503
        here.toy.go.set()
        assert (await first).status_code == 200


async def test_a_modern_workflow_is_one_at_all_replicas(place: MakePlace) -> None:
    here = await place()
    headers = MODERN | {"Mcp-Name": "hold"}
    body = modern("hold", "x", **{"ccxt-mcp/workflow": "orders"})
    async with asyncio.timeout(10):
        tasks = []
        for at in (0, 1, 2):
            tasks.append(asyncio.create_task(here.at(at).post("/mcp", json=body, headers=headers)))
            await until(lambda at=at: parts_at(here, at))
        await here.toy.started.wait()
        here.toy.go.set()
        for task in tasks:
            assert (await task).json()["result"]["structuredContent"]
    assert here.toy.most_running == 1


async def test_without_the_store_what_needs_it_is_refused_as_retryable_and_the_rest_goes_on(
    place: MakePlace,
) -> None:
    here = await place()
    minted = await opened(here, 0)
    await echoed(here, 0, minted)
    for each in here.router.stores:
        each.dead = True
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for at, name, status in ((0, minted, 503), (1, minted, 503), (1, "new", 503)):
        answer = await echoed(here, at, name)
        assert answer.status_code == status
        assert answer.headers["retry-after"]
        assert answer.json()["id"] == 1
        assert answer.json()["error"]["data"]["retryable"] is True
        assert failure(answer) == "store_unavailable"
    assert (await here.at(1).post("/mcp", json=INITIALIZE)).status_code == 503
    assert (await here.at(0).delete("/mcp", headers=session(minted))).status_code == 503
    live = await here.at(0).post("/mcp", json=listing, headers=session(minted))
    assert "result" in live.json()
    headers = MODERN | {"Mcp-Name": "echo"}
    alone = await here.at(0).post("/mcp", json=modern("echo", "x"), headers=headers)
    assert alone.json()["result"]["structuredContent"] == {"value": "x"}
    body = modern("echo", "x", **{"ccxt-mcp/workflow": "w"})
    refused = await here.at(0).post("/mcp", json=body, headers=headers)
    assert refused.status_code == 200
    assert failure(refused) == "store_unavailable"
    for each in here.router.stores:
        each.dead = False
    for at in (0, 1, 2):
        assert (await echoed(here, at, minted)).status_code == 200


async def test_what_waits_for_a_look_at_the_store_is_refused_together() -> None:
    """Each looked for itself, after the one before it: of requests that a store let hang for a
    second, the thirtieth was refused after thirty."""
    asked, end = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        asked.set()
        await end.wait()
        raise Failure(Code.STORE_UNAVAILABLE, "the store did not answer in time", retry_after=1.0)

    async with in_memory() as (here, store):
        minted = await opened(here, 0)
        principal = sessions_of(here.router)[0].principal
        app = here.router.apps[1]
        store.trouble = hangs
        waiting = [
            asyncio.create_task(app.state.registry.shared.arrive(principal, minted, "127.0.0.1"))
            for _ in range(5)
        ]
        async with asyncio.timeout(5):
            await asked.wait()
            end.set()
            refused = await asyncio.gather(*waiting, return_exceptions=True)
        store.trouble = None
        assert [getattr(each, "status", each) for each in refused] == [503] * 5
        assert app.state.cluster.trips.failed["records.read"] == 1


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("there", [False, True], ids=["opened", "found"])
async def test_a_request_that_is_cancelled_on_its_way_to_a_session_leaves_it_whole(
    there: bool, beside: bool
) -> None:
    """Cancelled after each number of steps of the loop. If that ended the look at the store, a
    session would stay that counts for nobody, or has no record; whoever waited for the same look
    would be cancelled too; and if the look were not forgotten, the next request would wait in
    vain."""

    async def slow() -> None:
        await asyncio.sleep(0)

    async with in_memory() as (here, store), asyncio.timeout(30):
        await echoed(here, 0, "any")
        principal = sessions_of(here.router)[0].principal
        directory = here.router.apps[1].state.registry.shared
        await here.at(0).delete("/mcp", headers=session("any"))
        cancelled = 0
        over = False
        while not over:
            name = f"w{cancelled}"
            if there:
                await echoed(here, 0, name)
            await settled(here)
            store.trouble = slow
            tasks = [
                asyncio.create_task(directory.arrive(principal, name, "127.0.0.1", Kind.NAMED))
                for _ in range(1 + beside)
            ]
            for _ in range(cancelled):
                await asyncio.sleep(0)
            over = tasks[0].done()
            tasks[0].cancel()
            cancelled += 1
            await asyncio.gather(*tasks[1:])
            await until(lambda: not directory._leading)
            store.trouble = None
            assert not directory._void
            part = directory.parts.known(principal, name)
            count, listed = await directory.page(10, 0)
            # Cancelled before it had begun, it has left nothing.
            whole = 1 if there or beside or cancelled > 1 else 0
            assert (count, len(listed)) == (whole, whole), f"{cancelled=}"
            assert (part is not None) == (beside or cancelled > 1)
            if whole:
                answer = await here.at(2).delete("/mcp", headers=session(name))
                assert answer.status_code == 204
            await settled(here)
            assert sessions_of(here.router) == []
            assert await directory.page(10, 0) == (0, [])
            assert not store.records._documents.live()
            assert not any(store.roster._rosters.values())
        assert cancelled > 5


async def test_a_request_that_comes_as_a_look_for_its_session_ends_does_not_wait_for_it() -> None:
    """In the step in which the store said that there is none, and nobody has heard of it yet. It
    waited again and again for what had ended, without ever letting anything else run: two requests
    of a session that is not there were enough to stop a replica for good."""
    later: list[asyncio.Task[None]] = []

    async with in_memory() as (here, store), asyncio.timeout(30):
        await echoed(here, 0, "any")
        principal = sessions_of(here.router)[0].principal
        directory = here.router.apps[1].state.registry.shared

        async def one_more_comes() -> None:
            if len(later) < 3:
                coming = directory.arrive(principal, "gone", "127.0.0.1", None)
                later.append(asyncio.create_task(coming))

        def stuck(*_: Any) -> None:
            raise AssertionError("the loop stands still")

        before = signal.signal(signal.SIGALRM, stuck)
        signal.setitimer(signal.ITIMER_REAL, 5, 0.5)
        try:
            store.trouble = one_more_comes
            await directory.arrive(principal, "gone", "127.0.0.1", None)
            await asyncio.gather(*later)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            store.trouble = None
        assert len(later) == 3
        assert not directory._leading


@pytest.mark.parametrize("ended", [False, True], ids=["while", "after"])
async def test_a_session_that_is_opened_again_when_it_has_been_ended_is_counted(
    ended: bool,
) -> None:
    """With any one of the questions to the store slow, and that may be the one by which the ended
    session leaves the lists: the new one of the name was in none, so no bound counted it and no
    list of ``/health`` had it."""
    late, asked = -1, 0

    async def one_is_slow() -> None:
        nonlocal asked
        asked += 1
        for _ in range(60 if asked == late else 1):
            await asyncio.sleep(0)

    async with in_memory() as (here, store), asyncio.timeout(30):
        first, second = (app.state.registry.shared for app in here.router.apps[:2])
        for late in range(16):
            name = f"w{late}"
            await echoed(here, 0, name)
            await settled(here)
            (part,) = parts_at(here, 0)
            store.trouble, asked = one_is_slow, 0
            ending = asyncio.create_task(first.end(part))
            await asyncio.gather(*[ending] * ended)
            await second.arrive(part.principal, name, "127.0.0.1", Kind.NAMED)
            await ending
            await settled(here)
            store.trouble = None
            if not second.parts.known(part.principal, name):
                # It was found before it was ended, and not opened again.
                assert not ended
                assert not store.records._documents.live()
                await second.arrive(part.principal, name, "127.0.0.1", Kind.NAMED)
            count, listed = await second.page(10, 0)
            assert (count, [each["sessionId"] for each in listed]) == (1, [name]), f"{late=}"
            assert [sorted(each) for each in store.roster._rosters.values()] == [
                [part.part.name]
            ] * 4
            await second.end(second.parts.known(part.principal, name))
            await settled(here)
            assert not store.records._documents.live()
            assert not any(store.roster._rosters.values())


async def test_a_session_whose_replica_died_while_it_opened_it_is_counted_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its record was there, so nobody put it into the lists any more: no bound counted it and no
    list of ``/health`` had it, however long it was used."""
    # What the dead one has left to say is not waited for.
    monkeypatch.setattr(node, "_TO_END", 0.1)
    dead, end = asyncio.Event(), asyncio.Event()

    async def dies() -> None:
        if store.records._documents.live():
            dead.set()
            await end.wait()

    async with in_memory() as (here, store), asyncio.timeout(10):
        store.trouble = dies
        lost = asyncio.create_task(echoed(here, 0, "w"))
        try:
            await dead.wait()
            store.trouble = None
            await here.router.kill(0)
            assert (await echoed(here, 1, "w")).status_code == 200
            await until(lambda: len([each for each in store.roster._rosters.values() if each]) == 4)
            _, listed = await here.router.apps[1].state.registry.shared.page(10, 0)
            assert [each["sessionId"] for each in listed] == ["w"]
        finally:
            end.set()
            await asyncio.wait([lost])


async def test_a_replica_that_may_have_missed_an_end_looks_before_it_believes(
    place: MakePlace,
) -> None:
    """Its part would answer for a session that its client has ended."""
    here = await place()
    minted = await opened(here, 0)
    await echoed(here, 1, minted)
    (part,) = parts_at(here, 1)
    await here.router.apps[0].state.cluster.store.records.remove(part.part.name)
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with asyncio.timeout(5):
        assert (
            "result"
            in (await here.at(1).post("/mcp", json=listing, headers=session(minted))).json()
        )
        here.router.apps[1].state.registry.shared._missed()
        gone = await here.at(1).post("/mcp", json=listing, headers=session(minted))
    assert gone.status_code == 404


async def test_a_call_of_a_session_whose_record_is_gone_says_so(place: MakePlace) -> None:
    here = await place()
    minted = await opened(here, 0)
    await echoed(here, 1, minted)
    (part,) = parts_at(here, 1)
    await here.router.apps[0].state.cluster.store.records.remove(part.part.name)
    gone = await echoed(here, 1, minted)
    assert gone.status_code == 404
    assert failure(gone) == "session_not_found"
    await until(lambda: not parts_at(here, 1))


async def test_a_named_session_whose_record_is_gone_opens_again_by_its_next_call(
    place: MakePlace,
) -> None:
    here = await place()
    await echoed(here, 1, "w")
    (part,) = parts_at(here, 1)
    await here.router.apps[0].state.cluster.store.records.remove(part.part.name)
    assert (await echoed(here, 1, "w")).status_code == 200
    assert await listed(here) == {"w"}


async def test_a_read_ends_when_its_replica_loses_the_turn_and_the_next_one_gets_it(
    place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is cut off from the store would go on beside whoever has the turn by then."""
    for name, value in (("LENGTH", 0.4), ("RENEW", 0.1), ("MARGIN", 0.05), ("_LOOK", 0.02)):
        monkeypatch.setattr(holding, name, value)
    here = await place()
    async with asyncio.timeout(10):
        first = asyncio.create_task(hold(here, 0, "w"))
        await here.toy.started.wait()
        here.router.stores[0].dead = True
        second = asyncio.create_task(echoed(here, 1, "w", "second"))
        lost = (await first).json()["result"]
        assert lost["_meta"]["ccxt-mcp/failure"]["code"] == "store_unavailable"
        assert lost["_meta"]["ccxt-mcp/failure"]["retryable"] is True
        answer = (await second).json()
        assert answer["result"]["structuredContent"] == {"value": "second"}
        assert here.toy.most_running == 1


async def test_sessions_live_as_long_as_any_replica_is_asked_for_them(place: MakePlace) -> None:
    here = await place(session_idle_timeout=0.8)
    minted = await opened(here, 0)
    await echoed(here, 1, minted)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with asyncio.timeout(10):
        # The first hears nothing of the session for longer than it would live.
        for _ in range(10):
            await asyncio.sleep(0.1)
            answer = await here.at(1).post("/mcp", json=ping, headers=session(minted))
            assert answer.status_code == 200
        assert (await echoed(here, 0, minted)).status_code == 200
        while await listed(here, minted=True):
            await asyncio.sleep(0.05)
        await until(lambda: not sessions_of(here.router))
        assert (await echoed(here, 2, minted)).status_code == 404


def test_every_exception_is_of_a_test_that_exists() -> None:
    sources = {path.name: path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py")}
    for name in EXCEPTIONS:
        file, _, test = name.partition("::")
        assert f"def {test}" in sources[file], name
