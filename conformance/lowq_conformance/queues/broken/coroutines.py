"""Queues of coroutines that are wrong between two awaits, where another call, a kill or a cancellation comes."""

from __future__ import annotations

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from lowq import Item, Pushed
from lowq_conformance.queues.broken.register import enter
from lowq_conformance.queues.sound.spool import RETRY, Claimed, Client, Spool, State
from lowq_conformance.queues.sound.values import encode


def breaks(*clauses: str) -> Callable[[type[Client]], type[Spool]]:
    """Register a client under its name, and put the harness that opens it in its place."""

    def register(client: type[Client]) -> type[Spool]:
        enter(client, clauses)
        names = {"__doc__": client.__doc__, "__module__": client.__module__, "_client": client}
        more = {"promises": Spool.promises | {"cancel"}} if hasattr(client, "cancel") else {}
        return type(client.__name__, (Spool,), {**names, **more})

    return register


@breaks("RACE-9")
class LocksOutOthersOnly(Client):
    """The lock is on a file that a client opens once: it keeps out other clients, and no other calls of this one."""

    def turn(self) -> Any:
        return nullcontext()


@breaks("RACE-9")
class WritesWhatItReadBefore(Client):
    """A push reads the file before it awaits its turn, and writes that with its work: what came meanwhile is gone."""

    async def push_many(self, items: Iterable[Item]) -> None:
        texts = [encode(item.work) for item in items]
        before = self.read()
        await asyncio.sleep(0)
        async with self.alone() as state:
            state.clear()
            state.update(before)
            for text in texts:
                state["last"] += 1
                state["tasks"].append([state["last"], text, None])


@breaks("RACE-1", "DELIVER-3", "RACE-9")
class SelectsThenAwaits(Client):
    """A claim looks for the first task, awaits the answer, and then marks it, whoever has done so meanwhile."""

    async def claim(self) -> Claimed | None:
        async with self.alone() as state:
            found = next((task[0] for task in state["tasks"] if task[2] is None), None)
        if found is None:
            return None
        async with self.alone() as state:
            for task in state["tasks"]:
                if task[0] == found:
                    task[2] = f"{id(task)}"
                    return Claimed(json.loads(task[1]), task[0], task[2])
        return None


@breaks("CANCEL-2", "RACE-9")
class AwaitsThenCancels(Client):
    """A cancel awaits what the queue says of the task, and then takes it out, whoever has it by then."""

    async def push(self, work: Any) -> Pushed:  # type: ignore[override]  # where the other says nothing
        text = encode(work)
        async with self.alone() as state:
            state["last"] += 1
            state["tasks"].append([state["last"], text, None])
            return Pushed(state["last"], added=True)

    async def cancel(self, id: int) -> bool:
        """The task is gone, as it seems where nobody has it."""
        async with self.alone() as state:
            waits = [task for task in state["tasks"] if task[0] == id and task[2] is None]
        if not waits:
            return False
        async with self.alone() as state:
            left = [task for task in state["tasks"] if task[0] != id]
            went = len(left) < len(state["tasks"])
            state["tasks"] = left
            return went


@breaks("CRASH-1")
class PushesInTheBackground(Client):
    """A push is written by a task of its own, a moment after it has returned."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._writing: set[asyncio.Task[None]] = set()

    async def push_many(self, items: Iterable[Item]) -> None:
        batch = list(items)
        for item in batch:
            encode(item.work)
        task = asyncio.ensure_future(self._write_later(batch))
        self._writing.add(task)

    async def _write_later(self, batch: list[Item]) -> None:
        await asyncio.sleep(0.02)
        await super().push_many(batch)

    async def claim(self) -> Claimed | None:
        await self._settle()
        return await super().claim()

    async def close(self) -> None:
        await self._settle()
        await super().close()

    async def _settle(self) -> None:
        """What this client has pushed is written."""
        while self._writing:
            await self._writing.pop()


@breaks("CRASH-3")
class BatchItemByItem(Client):
    """The items of a batch are written one after the other, and each write is awaited."""

    async def push_many(self, items: Iterable[Item]) -> None:
        batch = list(items)
        for item in batch:
            encode(item.work)
        for item in batch:
            await super().push_many([item])


@breaks("CRASH-6")
class AwaitsHalfAFile(Client):
    """The file is written where it stands, half of it before an await and half of it behind."""

    async def write(self, state: State) -> None:
        text = json.dumps(state)
        self._file.write_text(text[: len(text) // 2])
        await asyncio.sleep(0)
        self._file.write_text(text)


@breaks("INTERRUPT-2")
class KeepsItsTurnWhenCancelled(Client):
    """A call that is cancelled while it awaits something keeps the client's lock for ever."""

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[State]:
        await self._turn.acquire()
        try:
            while not self.lock():
                await asyncio.sleep(RETRY)
            state = self.read()
            await asyncio.sleep(0)
            before = json.dumps(state)
            yield state
            if json.dumps(state) != before:
                await self.write(state)
        except Exception:
            self._let_go()
            raise
        self._let_go()

    def _let_go(self) -> None:
        """Others come to it."""
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._turn.release()


@breaks("INTERRUPT-2")
class LetsGoOfOthersTurns(Client):
    """A call that is cancelled while it waits for its turn lets the turn go, whosever it is."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        try:
            await self._turn.acquire()
            yield
        finally:
            if self._turn.locked():
                self._turn.release()

    async def write(self, state: State) -> None:
        await asyncio.sleep(RETRY)
        await super().write(state)


@breaks("INTERRUPT-2")
class WritesForAll(Client):
    """Who pushes first writes for whoever pushes meanwhile, and they hear that it is over, also of one cancelled."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._together: list[Item] = []
        self._over: asyncio.Event | None = None

    async def push_many(self, items: Iterable[Item]) -> None:
        batch = list(items)
        for item in batch:
            encode(item.work)
        self._together += batch
        if self._over is not None:
            await self._over.wait()
            return
        self._over = over = asyncio.Event()
        try:
            await asyncio.sleep(0)
            together, self._together, self._over = self._together, [], None
            await super().push_many(together)
        finally:
            if self._over is over:
                self._together, self._over = [], None
            over.set()


@breaks("INTERRUPT-2")
class PutsBackWhatWasBefore(Client):
    """A push that is cancelled puts back what there was when it came, whatever others have pushed since."""

    async def push_many(self, items: Iterable[Item]) -> None:
        before = self.read()
        try:
            await super().push_many(items)
        except asyncio.CancelledError:
            self._file.write_text(json.dumps(before))
            raise
