"""A queue under test: a harness that was loaded, its promises and traits, and the clients opened through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from lowq_conformance.contract.harness import brings
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.contract.promises import (
    BrokenHarness,
    Traits,
)
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.program import Journal, ProgramCall, format_call
from lowq_conformance.subject.served_place import ServedPlace
from lowq_conformance.subject.target import Maker, make_harness
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.subject.worker_client import WorkerClient, WorkerTurns
from lowq_conformance.support.signatures import keywords
from lowq_conformance.support.text import describe_error


class RolledBack(Exception):
    """Ends the block of a transaction that is to be rolled back."""


ROOM = 10_000
"""Room for tasks where a queue is given its capacity and no clause asks for less."""
VERBS = ("push", "claim", "extend", "ack", "release", "dead_letter", "tasks")
"""The methods of a client that may or may not take a keyword."""


class Subject(UnderTest):
    """A harness in use: made once for each test, with every client and call of that test."""

    def __init__(
        self, target: str, make: Maker, harness: Any, promises: frozenset[str], traits: Traits, journal: Journal
    ) -> None:
        super().__init__(target, harness, promises, traits, journal)
        self.only_pushes = False
        """Whether its clients, of which one was opened, leave claiming to the queue's own worker."""
        self.known: Mapping[str, Fault] = {}
        """The faults that the harness states, by clause."""
        self._make = make
        self._clients: list[Client] = []
        self._places: set[Path] = set()
        self.asynchronous = False
        """Whether its clients, of which one was opened, have async methods."""
        self.redrives = True
        """Whether they have the method `redrive`, which may be missing where tasks are set aside."""
        self._turns: dict[Path, WorkerTurns] = {}
        self._served: list[ServedPlace] = []

    def fresh(self) -> Subject:
        """The same queue by a harness made anew, with no clients and an empty journal."""
        made = make_harness(self._make, self.target)
        again = Subject(self.target, self._make, made, self.promises, self.traits, self.journal.fresh())
        again.only_pushes, again.known = self.only_pushes, self.known
        again.shape = dict(self.shape)
        again.asynchronous, again.redrives = self.asynchronous, self.redrives
        return again

    def open(
        self, place: Path, name: str | None = None, capacity: int | None = None, address: str | None = None
    ) -> Client:
        """A new client of the queue at `place`; what else is given is passed. Raises Refused."""
        label = self.next_label("q")
        self._places.add(place)
        if "capacity" in self.promises and capacity is None:
            capacity = ROOM
        asked: dict[str, str | int | None] = {"name": name, "capacity": capacity, "address": address}
        given = {keyword: value for keyword, value in asked.items() if value is not None}
        call = self.journal.begin(f"{label} = {format_call('open', [self.name_place(place)], given)}")
        began = time.monotonic()
        try:
            raw = self.loop(place).result(self._harness.open(place, **given))
        except Exception as error:
            self.journal.end(call, describe_error(error))
            self.note_refusal(call.text, error, began)
            raise Refused(call.text, error) from error
        if raw is None:
            raise BrokenHarness(f"{self.target}: open: expected a client, got None")
        self.journal.end(call, "")
        client = self._client(raw, label, place)
        self._clients.append(client)
        return client

    @contextmanager
    def transaction(self, place: Path) -> Iterator[Client]:
        """A client inside a transaction of the application's, which is committed at the end of the block.

        RolledBack, raised inside, rolls it back, and goes no further. Raises Refused where the harness fails.
        """
        label = self.next_label("tx")
        manager = self._harness.transaction(place)
        call = self.journal.begin(f"with {format_call('transaction', [self.name_place(place)], {})} as {label}:")
        raw = self._within(call, manager.__enter__)
        try:
            yield Client(self, raw, label, place)
        except BaseException as error:
            call = self.journal.begin(f"{label} is rolled back")
            with suppress(type(error)):
                self._within(call, partial(manager.__exit__, type(error), error, error.__traceback__), error)
            if not isinstance(error, RolledBack):
                raise
        else:
            self._within(self.journal.begin(f"{label} is committed"), partial(manager.__exit__, None, None, None))

    def _within(self, call: ProgramCall, step: Callable[[], Any], own: BaseException | None = None) -> Any:
        """What the step of a transaction gives. Raises Refused where it raises any other error than its `own`."""
        try:
            given = step()
        except Exception as error:
            if error is own:
                self.journal.end(call, "")
                raise
            self.journal.end(call, describe_error(error))
            raise Refused(call.text, error) from error
        self.journal.end(call, "")
        return given

    def serve(self, place: Path) -> ServedPlace:
        """What keeps the queue of the place, which nobody has opened yet, and the way to it. Raises BrokenHarness."""
        self._places.add(place)
        self.disturbed = True
        served = ServedPlace(self, place)
        self._served.append(served)
        return served

    def _client(self, raw: Any, label: str, place: Path) -> Client:
        if not self.shape:
            self.shape = {verb: keywords(getattr(raw, verb, None)) for verb in VERBS}
            self.asynchronous = any(iscoroutinefunction(getattr(raw, verb, None)) for verb in VERBS)
            self.redrives = brings(raw, "redrive")
        self.only_pushes = "worker" in self.promises and not brings(raw, "claim")
        if not self.only_pushes:
            return Client(self, raw, label, place)
        return WorkerClient(self, raw, label, place, self._turns.setdefault(place, WorkerTurns(self, place)))

    def close(self) -> None:
        """Every client that is still open, the workers, the loops and the journal's file are let go."""
        for served in self._served:
            served.restore()
        for turns in self._turns.values():
            turns.close()
        while self._clients:
            # And forgotten: of a queue without close that alone frees its files, and a ring would keep what the
            # harness has open until somebody looks for garbage.
            self._clients.pop(0).let_go()
        try:
            for place in self._places:
                self.close_place(place)
        finally:
            while self._served:
                self._served.pop().close()
            self._places.clear()
            for loop in self._loops.values():
                loop.close()
            self.journal.close()
