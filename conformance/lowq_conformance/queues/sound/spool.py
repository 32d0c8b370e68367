"""A queue for coroutines: one file of JSON, read and written anew by each call, with awaits in the middle of it.

Two locks keep calls apart: one of asyncio between the calls of a client, and one on a file between clients, which is
asked for again and again, because to wait for it would keep the loop from whoever has it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from lowq import Item, LeaseLost
from lowq_conformance.queues.sound.values import encode

State = dict[str, Any]
RETRY = 0.0005
"""Seconds after which the lock on the file is asked for again."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task in hand: its work, its number, and the word that its latest claim was given."""

    work: Any
    id: int
    token: str


class Client:
    """A client of the queue in one folder."""

    def __init__(self, place: Path) -> None:
        self._file = place / "tasks.json"
        self._lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._turn = asyncio.Lock()

    async def push(self, work: Any) -> None:
        """The work waits, behind all others."""
        await self.push_many([Item(work)])

    async def push_many(self, items: Iterable[Item]) -> None:
        """The works wait, behind all others."""
        texts = [encode(item.work) for item in items]
        async with self.alone() as state:
            for text in texts:
                state["last"] += 1
                state["tasks"].append([state["last"], text, None])

    async def claim(self) -> Claimed | None:
        """The first task that nobody has is in hand, or None."""
        async with self.alone() as state:
            for task in state["tasks"]:
                if task[2] is None:
                    task[2] = token = token_hex(8)
                    return Claimed(json.loads(task[1]), task[0], token)
        return None

    async def ack(self, claimed: Claimed) -> None:
        """The task is gone."""
        async with self.alone() as state:
            state["tasks"].remove(self.held(state, claimed))

    async def release(self, claimed: Claimed) -> None:
        """The task waits again in its old place."""
        async with self.alone() as state:
            self.held(state, claimed)[2] = None

    async def close(self) -> None:
        """The lock's file is let go."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def held(self, state: State, claimed: Claimed) -> list[Any]:
        """The task that is in the claim's hand."""
        for task in state["tasks"]:
            if task[0] == claimed.id and task[2] == claimed.token:
                found: list[Any] = task
                return found
        raise LeaseLost(f"task {claimed.id} was settled already")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[State]:
        """What the queue holds, which nobody else touches meanwhile; it is written when the block is over."""
        async with self.turn():
            while not self.lock():
                await asyncio.sleep(RETRY)
            try:
                state = self.read()
                await asyncio.sleep(0)  # as a database or a thread would be awaited
                before = json.dumps(state)
                yield state
                if json.dumps(state) != before:
                    await self.write(state)
            finally:
                if self._lock >= 0:
                    fcntl.flock(self._lock, fcntl.LOCK_UN)

    def turn(self) -> Any:
        """No other call of this client is at it meanwhile."""
        return self._turn

    def lock(self) -> bool:
        """Whether no other client is at it; then none comes to it."""
        if self._lock < 0:
            raise ValueError("this client was closed; open the queue again")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def read(self) -> State:
        """What the queue holds."""
        if not self._file.exists():
            return {"last": 0, "tasks": []}
        state: State = json.loads(self._file.read_text())
        return state

    async def write(self, state: State) -> None:
        """The queue holds this."""
        new = self._file.with_suffix(f".{token_hex(8)}")
        new.write_text(json.dumps(state))
        await asyncio.sleep(0)
        os.replace(new, self._file)


class Spool:
    """A queue of coroutines: order and giving back, but no leases, keys, priorities or times."""

    promises: ClassVar[set[str]] = set(
        "fifo fenced shared_lease release batch json prompt close"
        " persistent threads processes coroutines crash".split()
    )
    _client: ClassVar[type[Client]] = Client

    async def open(self, place: Path) -> Client:
        """A client of the queue at `place`."""
        return self._client(place)
