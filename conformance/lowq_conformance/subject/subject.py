"""A queue under test: a harness that was loaded, its promises and traits, and the clients opened through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lowq_conformance.contract.promises import (
    HARNESS_NAMES,
    PROMISES,
    TRAITS,
    BrokenHarness,
    Traits,
    check_names,
    read_promises,
    read_traits,
)
from lowq_conformance.subject.client import MINUTE, Client, Refused, keywords, raised
from lowq_conformance.subject.event_loop import Loop
from lowq_conformance.subject.handler import Handler
from lowq_conformance.subject.program import Journal, called
from lowq_conformance.subject.target import Maker, maker_of
from lowq_conformance.subject.worker_client import Desk, Worked

SLACK = timedelta(milliseconds=20)
"""Waited on top wherever time really passes, because sleeping and clocks are not exact."""


def load(target: str, promises: tuple[str, ...] = ()) -> Subject:
    """The queue that `target` names, tried out in a place of its own; `promises` are added to what it says.

    Raises BrokenHarness, in one line, where the target cannot be loaded or does not have what it promises.
    """
    make = maker_of(target)
    harness = _made(make, target)
    if not callable(getattr(harness, "open", None)):
        raise BrokenHarness(f"{target}: a harness has open(self, place); this {type(harness).__name__} has not")
    if make.checked:
        check_names(harness, target)
    traits = read_traits({name: getattr(harness, name) for name in TRAITS if hasattr(harness, name)}, target)
    added = read_words(promises)
    stated = getattr(harness, "promises", None)
    with TemporaryDirectory(prefix="lowq-probe-", ignore_cleanup_errors=True) as place:
        first = frozenset[str]() if stated is None else read_promises(read_promises(stated, target) | added, target)
        subject = Subject(target, make, harness, first, traits, Journal())
        try:
            client = subject.open(Path(place).resolve())
            if stated is None:
                subject.promises = read_promises(_spoken(client, harness) | added, target)
                subject.traits = read_traits(_traits_of(client, traits), target)
            _check_methods(subject, client, harness)
            _check_clock(subject, client)
        except Refused as refused:
            raise BrokenHarness(f"{target}: {refused}") from refused
        finally:
            subject.close()
    return subject.fresh()


class Subject:
    """A harness in use: made once for each test, with every client and call of that test."""

    def __init__(
        self, target: str, make: Maker, harness: Any, promises: frozenset[str], traits: Traits, journal: Journal
    ) -> None:
        self.target = target
        self.promises = promises
        self.traits = traits
        self.journal = journal
        self.only_pushes = False
        """Whether its clients, of which one was opened, leave claiming to the queue's own worker."""
        self._make = make
        self._harness = harness
        self._loops: dict[Path, Loop] = {}
        self._clients: list[Client] = []
        self._labels: dict[str, int] = {}
        self._passed: dict[Path, timedelta] = {}
        self._desks: dict[Path, Desk] = {}

    def fresh(self) -> Subject:
        """The same queue by a harness made anew, with no clients and an empty journal."""
        made = _made(self._make, self.target)
        again = Subject(self.target, self._make, made, self.promises, self.traits, self.journal.fresh())
        again.only_pushes = self.only_pushes
        return again

    @property
    def can_pass_time(self) -> bool:
        """Whether the queue's clock can be moved; if not, the suite really waits."""
        return callable(getattr(self._harness, "pass_time", None))

    @property
    def knows_now(self) -> bool:
        """Whether the harness tells its clock exactly."""
        return callable(getattr(self._harness, "now", None))

    @property
    def short_lease(self) -> timedelta:
        """A lease for tasks whose lease is to run out: as short as can be where the suite really waits."""
        return timedelta(minutes=1) if self.can_pass_time else self.traits.shortest_lease

    @property
    def delay(self) -> timedelta:
        """How far ahead a task is scheduled that is to fall due: a minute, or half a second really waited."""
        wanted = timedelta(minutes=1) if self.can_pass_time else max(timedelta(seconds=0.5), self.resolution * 4)
        return wanted if self.traits.max_delay is None else min(wanted, self.traits.max_delay)

    @property
    def resolution(self) -> timedelta:
        """How finely the queue keeps due times and leases."""
        return self.traits.resolution

    def open(self, place: Path, name: str | None = None) -> Client:
        """A new client of the queue at `place`; `name` is passed where it is given. Raises Refused."""
        label = self.next_label("q")
        given = {} if name is None else {"name": name}
        call = self.journal.begin(f"{label} = {called('open', [_Place()], given)}")
        try:
            raw = self.loop(place).result(self._harness.open(place, **given))
        except Exception as error:
            self.journal.end(call, raised(error))
            raise Refused(call.text, error) from error
        if raw is None:
            raise BrokenHarness(f"{self.target}: open: expected a client, got None")
        self.journal.end(call, "")
        client = self._client(raw, label, place)
        self._clients.append(client)
        return client

    def _client(self, raw: Any, label: str, place: Path) -> Client:
        self.only_pushes = "worker" in self.promises and not callable(getattr(raw, "claim", None))
        if not self.only_pushes:
            return Client(self, raw, label, place)
        return Worked(self, raw, label, place, self._desks.setdefault(place, Desk(self, place)))

    def pass_time(self, place: Path, how_long: timedelta) -> None:
        """The queue's clock stands `how_long` later for every client of `place`; really waited if need be."""
        if not self.can_pass_time:
            if how_long < timedelta(0):
                raise ValueError(f"pass_time: {how_long} cannot be waited")
            wait = how_long + SLACK
            call = self.journal.begin(f"time.sleep({wait.total_seconds():g})")
            time.sleep(wait.total_seconds())
        else:
            call = self.journal.begin(called("pass_time", [_Place(), how_long], {}))
            try:
                self.loop(place).result(self._harness.pass_time(place, how_long))
            except Exception as error:
                raise BrokenHarness(f"{self.target}: pass_time {raised(error)}") from error
            self._passed[place] = self._passed.get(place, timedelta(0)) + how_long
        self.journal.end(call, "")

    def start(self, place: Path, handler: Handler) -> list[int]:
        """Workers of the queue at `place` were started; the processes that were made. Raises Refused."""
        call = self.journal.begin(called("start", [_Place(), handler], {}))
        try:
            pids = self.loop(place).result(self._harness.start(place, handler))
        except Exception as error:
            self.journal.end(call, raised(error))
            raise Refused(call.text, error) from error
        if not isinstance(pids, (list, tuple)) or not all(type(pid) is int and pid > 1 for pid in pids):
            raise BrokenHarness(f"{self.target}: start: expected a list of process ids, got {pids!r}")
        self.journal.end(call, repr(list(pids)))
        return list(pids)

    def now(self, place: Path) -> datetime:
        """The instant of the queue's clock: as its harness tells, or the machine's plus what was passed."""
        if not self.knows_now:
            return datetime.now(UTC) + self._passed.get(place, timedelta(0))
        now = self.loop(place).result(self._harness.now(place))
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise BrokenHarness(f"{self.target}: now: expected an aware datetime, got {now!r}")
        return now

    def loop(self, place: Path) -> Loop:
        """The event loop of that place."""
        return self._loops.setdefault(place, Loop())

    def next_label(self, kind: str) -> str:
        """A name that is not taken yet: q, q2, q3, …"""
        number = self._labels[kind] = self._labels.get(kind, 0) + 1
        return kind if number == 1 else f"{kind}{number}"

    def close(self) -> None:
        """Every client that is still open, the workers, the loops and the journal's file are let go."""
        for desk in self._desks.values():
            desk.close()
        for client in self._clients:
            client.let_go()
        for loop in self._loops.values():
            loop.close()
        self.journal.close()


class _Place:
    """How the place is written in a program."""

    def __repr__(self) -> str:
        return "place"


def read_words(promises: tuple[str, ...]) -> frozenset[str]:
    """Promises given on a command line. Raises BrokenHarness for an unknown one."""
    words = [word.strip() for text in promises for word in text.split(",") if word.strip()]
    for word in words:
        if word not in PROMISES:
            read_promises([word], "--promise")
    return frozenset(words)


def _made(make: Maker, target: str) -> Any:
    try:
        return make()
    except BrokenHarness:
        raise
    except Exception as error:
        raise BrokenHarness(f"{target}: making the harness {raised(error)}") from error


def _spoken(client: Client, harness: Any) -> frozenset[str]:
    """What a client promises that has no harness of its own: in its own words, or by its methods."""
    stated = getattr(client.raw, "promises", None)
    if isinstance(stated, (set, frozenset)):
        words = frozenset(stated)
        if "processes" in words and callable(getattr(harness, "start", None)):
            words |= {"worker"}  # the client cannot know of the worker that was written for it
        # It speaks for the whole queue; what the way here cannot reach (a clock, names) is not asked of it.
        return frozenset(word for word in words if word not in PROMISES or not _lacking(word, client, harness))
    return frozenset(
        word
        for word, promise in PROMISES.items()
        if (promise.push or promise.claim or promise.methods or promise.open) and not _lacking(word, client, harness)
    )


def _traits_of(client: Client, traits: Traits) -> dict[str, Any]:
    known = {name: getattr(traits, name) for name in TRAITS}
    dedupe = getattr(client.raw, "dedupe", None)
    return known | ({"dedupe": dedupe} if isinstance(dedupe, str) else {})


def _check_methods(subject: Subject, client: Client, harness: Any) -> None:
    needed = ("push",) if "worker" in subject.promises and not client.has("claim") else ("push", "claim", "ack")
    for method in needed:
        if not client.has(method):
            raise BrokenHarness(f"{subject.target}: the client has no method {method}")
    for word in PROMISES:
        if word in subject.promises and (lack := _lacking(word, client, harness)):
            raise BrokenHarness(f"{subject.target}: promises {word!r}, but {lack}")


def _check_clock(subject: Subject, client: Client) -> None:
    """Raise BrokenHarness where a lease shows a clock that is not the machine's and the harness does not tell it."""
    if not subject.can_pass_time or subject.knows_now or "lease" not in subject.promises:
        return
    client.push("probe")
    held = client.claim(lease_for=MINUTE)
    expires = None if held is None else getattr(held.raw, "expires", None)
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        return
    shown = expires - MINUTE
    if abs(shown - datetime.now(UTC)) > MINUTE:
        raise BrokenHarness(
            f"{subject.target}: its clock says {shown:%Y-%m-%d %H:%M:%S}, which is not the machine's time: "
            "the harness needs now(self, place), the instant of that clock"
        )


def _lacking(word: str, client: Client, harness: Any) -> str | None:
    """What is missing to keep the promise, or None."""
    promise = PROMISES[word]
    for method in promise.methods:
        if not client.has(method):
            return f"the client has no method {method}"
    for method, keyword in (("push", promise.push), ("claim", promise.claim)):
        if keyword is not None and not (client.has(method) and client.takes(method, keyword)):
            return f"the client's {method} takes no {keyword}="
    if promise.open is not None and not _takes(harness.open, promise.open):
        return f"open takes no {promise.open}="
    if promise.harness is not None and not callable(getattr(harness, promise.harness, None)):
        return f"the harness has no method {promise.harness}"
    return None


def _takes(method: Callable[..., Any], keyword: str) -> bool:
    known = keywords(method)
    return known is None or keyword in known


__all__ = ["HARNESS_NAMES", "BrokenHarness", "Subject", "load"]
