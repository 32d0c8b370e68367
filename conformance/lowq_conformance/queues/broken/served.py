"""Queues that a server keeps and that do wrong when it goes away: a few lines each on the one that does not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NoReturn

from lowq import Item, Pushed
from lowq_conformance.queues.broken.register import enter
from lowq_conformance.queues.lines import broken as servers
from lowq_conformance.queues.lines.server import LineServer
from lowq_conformance.queues.sound.forked import Worker
from lowq_conformance.queues.sound.served import (
    DAY,
    NOW,
    PATIENCE,
    Connection,
    Served,
    ServedQueue,
    ServedTask,
    ServedWorker,
    ServerAway,
)

Request = dict[str, Any]


def harness(name: str, said: str | None, clauses: tuple[str, ...], **parts: type) -> type[Served]:
    """The harness of that name, registered, with these parts in place of the sound ones."""
    made = type(name, (Served,), {"__doc__": said, "__module__": __name__, **parts})
    enter(made, clauses)
    return made


def breaks(*clauses: str) -> Callable[[type[ServedQueue]], type[Served]]:
    """Register a client under its name, and put the harness that opens it in its place."""
    return lambda queue: harness(queue.__name__, queue.__doc__, clauses, _queue=queue)


def runs(*clauses: str) -> Callable[[type[ServedWorker]], type[Served]]:
    """Register a worker likewise."""
    return lambda worker: harness(worker.__name__, worker.__doc__, clauses, _worker=worker)


def keeps(server: type[LineServer], *clauses: str) -> type[Served]:
    """Register a server under its name; the harness of it."""
    return harness(server.__name__, server.__doc__, clauses, _server=server)


WritesLater = keeps(servers.WritesLater, "SERVER-4")
TakesBackFromTheCut = keeps(servers.TakesBackFromTheCut, "SERVER-8")


class ClaimsAnew(ServedQueue):
    """A claim that was not answered is another claim."""

    def again(self, request: Request, end: float) -> Request:
        again = super().again(request, end)
        if request["do"] == "claim":
            return self.request("claim", {"lease": again["lease"], "wait": again["wait"]})
        return again


LosesWhatItHandsOut = harness(
    "LosesWhatItHandsOut",
    servers.LosesWhatItHandsOut.__doc__,
    ("SERVER-6",),
    _server=servers.LosesWhatItHandsOut,
    _queue=ClaimsAnew,
)


@breaks("SERVER-6")
class RepeatsWithoutANumber(ServedQueue):
    """What was not answered is asked again as something new, so that a push whose answer was lost is done twice."""

    def again(self, request: Request, end: float) -> Request:
        asked = {name: value for name, value in super().again(request, end).items() if name != "do"}
        return self.request(request["do"], {name: asked[name] for name in asked if name not in ("client", "number")})


@breaks("SERVER-1")
class AnswersForTheServer(ServedQueue):
    """A push returns when it was sent, and nobody reads what the server says."""

    def push(self, work: Any) -> Pushed:
        request = self.request("push", {"works": [work]})
        try:
            self.connect(PATIENCE.total_seconds()).socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            self.drop()
            return super().push(work)
        return Pushed(str(request["number"]), True)


@breaks("SERVER-1")
class SendsItemsOneByOne(ServedQueue):
    """A batch is as many pushes, and one that fails leaves those before it."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        pushed = []
        for item in items:
            try:
                answer = self.ask(self.request("push", {"works": [item.work]}), PATIENCE.total_seconds())
            except OSError as error:
                self.drop()
                raise ServerAway(f"the server went away within the batch: {error}") from error
            pushed.append(Pushed(str(answer["ids"][0]), True))
        return pushed


@breaks("SERVER-2")
class NeverConnectsAgain(ServedQueue):
    """The connection is the one with which the client began, whatever became of it."""

    def drop(self) -> None:
        pass


@breaks("SERVER-3")
class ForgetsThatItWaits(ServedQueue):
    """Who waits and loses the connection looks again when the time is over."""

    def again(self, request: Request, end: float) -> Request:
        if request.get("wait"):
            time.sleep(max(0.0, end - PATIENCE.total_seconds() - time.monotonic()))
        return super().again(request, end)


@breaks("SERVER-3")
class GivesUpWaiting(ServedQueue):
    """Who waits and loses the connection is told that there is nothing."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> ServedTask | None:
        if wait <= NOW:
            return super().claim(lease_for=lease_for)
        microsecond = timedelta(microseconds=1)
        asked = {"lease": lease_for // microsecond, "wait": wait // microsecond}
        try:
            answer = self.ask(self.request("claim", asked), PATIENCE.total_seconds())
        except OSError:
            self.drop()
            return None
        return ServedTask(*answer["task"]) if "task" in answer else None


@breaks("SERVER-5")
class SaysWhatTheSocketSays(ServedQueue):
    """That the server is away is told by whatever error the socket raised last."""

    def give_up(self, error: OSError, end: float) -> None:
        if time.monotonic() >= end:
            raise error


@breaks("SERVER-5", "SERVER-7")
class WaitsForTheServer(ServedQueue):
    """A call tries again and again, for as long as it takes."""

    def give_up(self, error: OSError, end: float) -> None:
        pass


@breaks("SERVER-5")
class FindsNothingThere(ServedQueue):
    """A claim that cannot ask the server says that nothing is due."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> ServedTask | None:
        try:
            return super().claim(lease_for=lease_for, wait=wait)
        except ServerAway:
            return None


@breaks("SERVER-7")
class WaitsForAnAnswer(ServedQueue):
    """Whoever is connected waits for an answer until it comes or the connection ends."""

    def ask(self, request: Request, seconds: float) -> Request:
        connection: Connection = self.connect(seconds)
        return connection.ask(request, None)


@runs("WORKER-13")
class EndsWithItsServer(ServedWorker):
    """A worker whose server is away ends, as it would of any error."""

    def next(self, queue: Any) -> Any:
        return Worker.next(self, queue)

    def done(self, queue: Any, lease: Any) -> None:
        Worker.done(self, queue, lease)


@runs("WORKER-13")
class StaysAndDoesNothing(ServedWorker):
    """A worker whose server is away waits to be told that it is there again, which nobody does."""

    def next(self, queue: Any) -> Any:
        try:
            return Worker.next(self, queue)
        except ServerAway:
            self.wait_for_ever()

    def done(self, queue: Any, lease: Any) -> None:
        try:
            Worker.done(self, queue, lease)
        except ServerAway:
            self.wait_for_ever()

    def wait_for_ever(self) -> NoReturn:
        """Nothing is done any more, until the worker is told to stop."""
        while not self.told_to_stop:
            time.sleep(0.05)
        os._exit(0)
