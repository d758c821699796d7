"""A Redis Cluster: several servers, each with a part of the keys.

Owns: which server has which slot, as far as is known, and being led from one to another. Refuses:
the way to one server (a link of its own for each, so that one that hangs holds up nobody else's),
repetition where a connection failed, and the words of failures (``wire``).

The library's own client for clusters is not used: whatever goes wrong with one connection makes it
close others that are in use, and calls to servers that are well fail with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as Disconnected

from ccxt_mcp.store.redis.links import FAULTS, Link
from ccxt_mcp.store.redis.pipe import Command

__all__ = ["Address", "Sharded"]

Address = tuple[str, int]

_log = logging.getLogger("ccxt_mcp.store")

_SLOTS = 16384
_PAUSE = 0.05
"""Seconds after which what is being moved is asked for again."""
_HOPS = 4
"""Servers that one is led to without a pause."""
_LOOK = 0.2
"""Seconds between looks for who has what."""
_SCRIPTS = ("EVALSHA", "EVAL")


class Sharded:
    """See ``links.Link``. A command without keys goes to all servers, whose texts are put together.

    Args:
        seeds: servers of the cluster, some of which are there.
        link: makes the way to one server.
        patience: seconds for a round trip, with all that it needs.

    Mutable: ``_links`` (by server), ``_owners`` (by slot; empty until known), ``_doubted`` (servers
    that could not be asked since the last look), ``_looked`` (when, in seconds of the loop),
    ``_looking`` (a look that is under way, for all who wait for it), ``_closed`` (never unset).
    """

    def __init__(
        self, seeds: Sequence[Address], link: Callable[[Address], Link], patience: float
    ) -> None:
        self._seeds = tuple(seeds)
        self._make = link
        self._patience = patience
        self._links: dict[Address, Link] = {}
        self._owners: list[Address | None] = []
        self._doubted: set[Address] = set()
        self._looked = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def execute(self, commands: Sequence[Command], *, large: bool = False) -> list[Any]:
        async with asyncio.timeout(self._patience):
            if len(commands) == 1:
                return [await self._ask(commands[0], large)]
            return await self._ask_all(commands, large)

    async def connection(self, key: str) -> AbstractConnection:
        async with asyncio.timeout(self._patience):
            address = await self._owner(key_slot(key.encode()))
            try:
                return await self._link(address).connection(key)
            except FAULTS:
                self._doubted.add(address)
                raise

    async def close(self) -> None:
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.close() for link in links))

    async def _ask_all(self, commands: Sequence[Command], large: bool) -> list[Any]:
        """Each server is asked once for all that it has."""
        parts: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            parts.setdefault(await self._owner(_slot(command)), []).append(number)
        replies: list[Any] = [None] * len(commands)

        async def ask(address: Address, part: list[int]) -> None:
            said = await self._say(address, [commands[number] for number in part], large)
            for number, reply in zip(part, said, strict=True):
                if _leads_elsewhere(reply):
                    reply = await self._follow(commands[number], reply, address, large)
                replies[number] = reply

        # All are asked, whatever becomes of one.
        ended = await asyncio.gather(
            *(ask(address, part) for address, part in parts.items()), return_exceptions=True
        )
        for each in ended:
            if each is not None:
                raise each
        return replies

    async def _ask(self, command: Command, large: bool) -> Any:
        if command[0] not in _SCRIPTS:
            return await self._ask_everybody(command, large)
        address = await self._owner(_slot(command))
        [reply] = await self._say(address, [command], large)
        if _leads_elsewhere(reply):
            return await self._follow(command, reply, address, large)
        return reply

    async def _ask_everybody(self, command: Command, large: bool) -> Any:
        await self._owner(0)
        every = {address for address in self._owners if address is not None}
        said = await asyncio.gather(*(self._say(each, [command], large) for each in every))
        replies = [reply for [reply] in said]
        error = next((each for each in replies if isinstance(each, RedisError)), None)
        return error or b"\n".join(replies)

    async def _follow(self, command: Command, reply: Any, address: Address, large: bool) -> Any:
        """Go where a reply leads, until there is one to the command itself."""
        led = 0
        while True:
            led += isinstance(reply, AskError)
            if led > _HOPS and isinstance(reply, AskError):
                # In a circle, while those who hand a slot over do not agree on it yet.
                await asyncio.sleep(_PAUSE)
            if isinstance(reply, MovedError):
                address = (reply.host or address[0], reply.port)
                self._owners[reply.slot_id] = address
                [reply] = await self._say(address, [command], large)
            elif isinstance(reply, AskError):
                to = (reply.host or address[0], reply.port)
                # In one breath: the permission is for what follows on the same connection.
                [_, reply] = await self._say(to, [("ASKING",), command], large)
            elif isinstance(reply, TryAgainError):
                # A part of its keys has been moved: both ends refuse until the rest has.
                await asyncio.sleep(_PAUSE)
                address = await self._owner(_slot(command))
                [reply] = await self._say(address, [command], large)
            else:
                return reply

    async def _say(self, address: Address, commands: Sequence[Command], large: bool) -> list[Any]:
        try:
            replies = await self._link(address).execute(commands, large=large)
        except FAULTS:
            self._doubted.add(address)
            raise
        if any(isinstance(each, ClusterDownError | Disconnected) for each in replies):
            self._doubted.add(address)
        return replies

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            if self._closed:
                raise Disconnected("the store was left")
            link = self._links[address] = self._make(address)
        return link

    async def _owner(self, slot: int) -> Address:
        """Who has a slot. Raises one of FAULTS, where nobody can be asked or nobody has it."""
        if not self._owners or self._owners[slot] is None or self._owners[slot] in self._doubted:
            await self._look()
        owner = self._owners[slot]
        if owner is None:
            raise Disconnected("no server of the cluster has this slot")
        return owner

    async def _look(self) -> None:
        """Learn who has what, unless that has been tried a moment ago."""
        if self._looking is None:
            loop = asyncio.get_running_loop()
            if self._owners and loop.time() - self._looked < _LOOK:
                return
            self._looked = loop.time()
            self._looking = asyncio.create_task(self._learn())
            self._looking.add_done_callback(self._learned)
        looking = self._looking
        # Whoever leaves does not take it away from the others.
        await asyncio.wait([looking])
        if looking.cancelled():
            raise Disconnected("the store was left")
        if not self._owners:
            looking.result()

    def _learned(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("who has what in the store's cluster is not known: %s", error)

    async def _learn(self) -> None:
        known = dict.fromkeys(each for each in (*self._links, *self._seeds))
        error: BaseException = Disconnected("the cluster has no server")
        # Those that have just failed last, and none for so long that no other could be asked.
        for address in sorted(known, key=lambda each: each in self._doubted):
            try:
                async with asyncio.timeout(self._patience / 3):
                    [said] = await self._link(address).execute([("CLUSTER", "SLOTS")])
                if isinstance(said, RedisError):
                    raise said
            except FAULTS as failed:
                error = failed
                continue
            self._owners = _owners(said, address[0])
            self._doubted.clear()
            await self._forget({*filter(None, self._owners), *self._seeds})
            return
        raise error

    async def _forget(self, there: Iterable[Address]) -> None:
        """Leave the servers that are no part of it any more."""
        for address in self._links.keys() - set(there):
            await self._links.pop(address).close()


def _slot(command: Command) -> int:
    return key_slot(str(command[3]).encode())


def _leads_elsewhere(reply: Any) -> bool:
    return isinstance(reply, AskError | TryAgainError)


def _owners(said: Any, host: str) -> list[Address | None]:
    owners: list[Address | None] = [None] * _SLOTS
    for first, last, primary, *_ in said:
        # A server that does not know its own address is where it was asked.
        name = primary[0].decode() if primary[0] else host
        owners[first : last + 1] = [(name, primary[1])] * (last - first + 1)
    return owners
