"""Harnesses, good and bad, over a list in memory.

Long: each is a few lines, and a test finds them all in one place.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet


@dataclass
class Claimed:
    work: Any


class Client:
    def __init__(self, works: list[Any]) -> None:
        self.works = works

    def push(self, work: Any) -> None:
        self.works.append(work)

    def claim(self) -> Claimed | None:
        return Claimed(self.works.pop(0)) if self.works else None

    def ack(self, claimed: Claimed) -> None:
        pass


class Sound:
    promises: ClassVar[Any] = {"fifo", "prompt"}

    def __init__(self) -> None:
        self._places: dict[Path, list[Any]] = defaultdict(list)

    def open(self, place: Path) -> Any:
        return Client(self._places[place])


class Slow(Sound):
    """Each call takes its time."""

    def open(self, place: Path) -> Any:
        return SlowClient(self._places[place])


class SlowClient(Client):
    def push(self, work: Any) -> None:
        time.sleep(0.03)
        super().push(work)


class SmallBatches(Sound):
    """No batch has more than ten works."""

    promises: ClassVar[Any] = {"fifo", "prompt", "batch"}

    def open(self, place: Path) -> Any:
        return SmallBatchesClient(self._places[place])


class SmallBatchesClient(Client):
    def push_many(self, items: list[Any]) -> None:
        if len(items) > 10:
            raise ValueError(f"expected at most ten works in a batch, got {len(items)}")
        self.works += [item.work for item in items]


class Async(Sound):
    def open(self, place: Path) -> Any:
        return AsyncClient(super().open(place))


class AsyncClient:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def push(self, work: Any) -> None:
        await asyncio.sleep(0)
        self.client.push(work)

    async def claim(self) -> Claimed | None:
        return self.client.claim()

    async def ack(self, claimed: Claimed) -> None:
        self.client.ack(claimed)


class LastFirst(Sound):
    class Client(Client):
        def claim(self) -> Claimed | None:
            return Claimed(self.works.pop()) if self.works else None

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


class Hangs(Sound):
    class Client(Client):
        def claim(self) -> Claimed | None:
            if seen := os.environ.get("SEEN_HANGING"):
                Path(seen).touch()
            time.sleep(600)
            return None

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


class Dies(Sound):
    class Client(Client):
        def claim(self) -> Claimed | None:
            if self.works:
                os._exit(7)
            return None

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


class DiesAndLeavesOneBehind(Sound):
    """Its process ends while another one that it forked is in a call."""

    class Client(Client):
        def claim(self) -> Claimed | None:
            if pid := os.fork():
                with open(os.environ["LEFT_BEHIND"], "a", encoding="ascii") as file:
                    file.write(f"{pid}\n")
                os._exit(7)
            while True:
                signal.pause()

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


def function(place: Path) -> Client:
    return Client([])


class UnknownPromise(Sound):
    promises: ClassVar[Any] = {"fiffo"}


class PromisesText(Sound):
    promises: ClassVar[Any] = "fifo"


class MisspeltTrait(Sound):
    dedup = "until_done"


class MisspeltPromises(Sound):
    promise: ClassVar[Any] = {"fifo"}


class UnknownValue(Sound):
    dedupe = "always"


class BareNumber(Sound):
    patience = 5


class NoMethod(Sound):
    promises: ClassVar[Any] = {"fifo", "release"}


class NoCoroutines(Sound):
    promises: ClassVar[Any] = {"fifo", "coroutines"}


class NoKeyword(Sound):
    promises: ClassVar[Any] = {"fifo", "priority"}


class TakesArguments(Sound):
    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server


class CannotOpen(Sound):
    def open(self, place: Path) -> Any:
        raise ConnectionError(f"no server at 10.0.0.1\nfor {place}")


class OpensNothing(Sound):
    def open(self, place: Path) -> Any:
        place.touch()


class CannotBeOpened:
    promises: ClassVar[Any] = {"fifo"}


class NoWork(Sound):
    class Client(Client):
        def claim(self) -> Any:
            return self.works.pop(0) if self.works else None

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


instance = Sound()


class OwnAttributes(Sound):
    bug = "what is wrong with it"
    row = 7
    server: ClassVar[Any] = {"host": "localhost"}

    def __init__(self) -> None:
        super().__init__()
        self.opened = WeakSet[Any]()
        self.started = self.closed = 0

    def helper(self) -> None:
        pass


class MisspeltMethod(Sound):
    def closeplace(self, place: Path) -> None:
        pass


class MisspeltFlag(Sound):
    one_at_time = True


class MisspeltInTheInstance(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.fixed_leases = timedelta(seconds=3)


class UnknownRefusal(Sound):
    refuses: ClassVar[Any] = {"nil"}


class UnknownMemory(Sound):
    remembers: ClassVar[Any] = {"acked"}


class RemembersWithoutDedupe(Sound):
    remembers: ClassVar[Any] = {"done"}


class NoRoom(Sound):
    room = 0


class KeysWithoutKeys(Sound):
    dedupe = "until_done"
    dedupe_by = "key"


class ThreadsOfTheMainThread(Sound):
    promises: ClassVar[Any] = {"threads"}
    main_thread = True


class FixedWithoutLease(Sound):
    fixed_lease = timedelta(seconds=3)


class LimitOfNone(Sound):
    max_deliveries = 0


class LimitAsText(Sound):
    max_deliveries = "3"


class MisspeltLimit(Sound):
    maxdeliveries = 3


class MisspeltDeliveries(Sound):
    max_delivery = 3


class ReleasesOfNoLimit(Sound):
    counts_release = False


class HoldsLong(Sound):
    """Every lease is of thirty seconds, and no clock is moved."""

    promises: ClassVar[Any] = {*Sound.promises, "lease"}
    fixed_lease = timedelta(seconds=30)


class ZeroOfNoLease(Sound):
    promises = frozenset({"fifo"})
    zero_lease = True


class NotAFlag(Sound):
    one_at_a_time = 1


class CannotClose(Sound):
    def close_place(self, place: Path) -> None:
        raise ConnectionError(f"no server at 10.0.0.1 for {place.name}")


class Unreadable(Sound):
    """What it hands out cannot be asked for its work."""

    class Client(Client):
        def claim(self) -> Any:
            return Unreadable.Claimed() if self.works else None

    class Claimed:
        @property
        def work(self) -> Any:
            raise KeyError("work")

    def open(self, place: Path) -> Any:
        return self.Client(self._places[place])


class KnownLastFirst(LastFirst):
    known: ClassVar[Any] = {"ORDER-11": "https://example.org/issues/167"}


class KnownButKept(Sound):
    known: ClassVar[Any] = {"ORDER-11": "https://example.org/issues/167"}


class SometimesButKept(Sound):
    sometimes: ClassVar[Any] = {"ORDER-11": "https://example.org/issues/167"}


class UnknownKnown(Sound):
    known: ClassVar[Any] = {"ODER-1": "https://example.org/issues/167"}


class KnownSet(Sound):
    known: ClassVar[Any] = {"ORDER-1"}


class KnownNumber(Sound):
    known: ClassVar[Any] = {"ORDER-1": 167}


class KnownTwice(Sound):
    known: ClassVar[Any] = {"ORDER-1": "https://example.org/issues/167"}
    sometimes: ClassVar[Any] = {"ORDER-1": "https://example.org/issues/167"}


class MisspeltKnown(Sound):
    knowns: ClassVar[Any] = {"ORDER-1": "https://example.org/issues/167"}


class BlocksInStart(Sound):
    promises: ClassVar[Any] = {"worker", "fifo"}

    def start(self, place: Path, handler: Any) -> None:
        time.sleep(600)
        raise TimeoutError(place, handler)


class BlocksInOpen(Sound):
    def open(self, place: Path) -> Any:
        time.sleep(600)
        raise TimeoutError(place)


class OnAServer(Sound):
    """One that a server keeps: `given` is what the harness tells of it."""

    promises: ClassVar[Any] = {"server"}
    given: ClassVar[Any] = None

    def server(self, place: Path) -> Any:  # noqa: ARG002
        return self.given


class ServerOfNothing(OnAServer):
    pass


class ServerAtNoAddress(OnAServer):
    given = "somewhere"

    def open(self, place: Path, address: str | None = None) -> Any:  # noqa: ARG002
        return super().open(place)


class ServerNobodyGoesTo(OnAServer):
    given = "127.0.0.1:1"


class ServerMisspelt(OnAServer):
    class given:  # noqa: N801
        def restrat(self) -> None:
            pass


class ServerOnlyKilled(OnAServer):
    class given:  # noqa: N801
        address = "127.0.0.1:1"

        def kill(self) -> None:
            pass


class ServerNeverThawed(OnAServer):
    class given:  # noqa: N801
        address = "127.0.0.1:1"

        def freeze(self) -> None:
            pass


class ServerThatFails(OnAServer):
    def server(self, place: Path) -> Any:  # noqa: ARG002
        raise RuntimeError("no server in sight")


class MisspeltServer(Sound):
    def servr(self, place: Path) -> Any:
        pass


class PromisesAServer(Sound):
    promises: ClassVar[Any] = {"server"}


class Unfinished(Sound):
    def open(self, place: Path, **words: Any) -> Any:
        opened = super().open(place, **words)

        def push(work: Any, **_: Any) -> None:
            raise NameError("name 'encode' is not defined")

        opened.push = push
        return opened
