"""What the clients and workers of a queue under test share: its promises, traits, clock, event loops and program."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from lowq_conformance.contract.harness import brings
from lowq_conformance.contract.outcomes import ACCIDENTS, Refused
from lowq_conformance.contract.promises import FINE, BrokenHarness, Traits
from lowq_conformance.history.spec import Spec
from lowq_conformance.subject.deliveries import Deliveries
from lowq_conformance.subject.event_loop import Loop
from lowq_conformance.subject.handler import Handler
from lowq_conformance.subject.program import Journal, format_call
from lowq_conformance.support.text import describe_error

SLACK = timedelta(milliseconds=20)
"""Waited on top wherever time really passes, because sleeping and clocks are not exact."""


class UnderTest:
    """A harness in use, without its clients: what it promises, its clock, its workers, and the program so far."""

    def __init__(self, target: str, harness: Any, promises: frozenset[str], traits: Traits, journal: Journal) -> None:
        self.target = target
        self.promises = promises
        self.traits = traits
        self.journal = journal
        self._harness = harness
        self._loops: dict[Path, Loop] = {}
        self._labels: dict[str, int] = {}
        self._numbers: dict[Path, int] = {}
        self._passed: dict[Path, timedelta] = {}
        self._waited: set[Path] = set()
        self._deliveries: dict[Path, Deliveries] = {}
        self._hands: dict[int, tuple[Path, datetime | None, object]] = {}
        self._inside: dict[Path, list[int]] = {}
        self.gave_up = ""
        """The last call that was given up because the queue's patience was over, so that nobody knows whether it was
        done; not where the suite itself keeps it from being done."""
        self.disturbed = False
        """Whether the suite may be in the way of calls: it takes the server away, or what is between."""
        self.shape: dict[str, frozenset[str] | None] = {}
        """What each method of its clients that was asked about takes by keyword; None: any."""

    @property
    def harness(self) -> Any:
        """The harness."""
        return self._harness

    def takes(self, method: str, keyword: str) -> bool:
        """Whether the method of its clients takes the keyword. One was opened before."""
        known = self.shape[method]
        return known is None or keyword in known

    def spec(self, *, grace: float | None, eps: float) -> Spec:
        """What the queue promises, in the words of the model; `grace` and `eps` in the unit of the history."""
        return Spec(
            dedupe=self.traits.dedupe,
            fifo="fifo" in self.promises,
            priority="priority" in self.promises,
            due_order=self.traits.due_order,
            requeue=self.traits.requeue,
            grace=grace,
            eps=eps,
            max_deliveries=self.traits.max_deliveries,
            counts_release=self.traits.counts_release,
        )

    @property
    def can_pass_time(self) -> bool:
        """Whether the queue's clock can be moved; if not, the suite really waits."""
        return brings(self._harness, "pass_time")

    @property
    def knows_now(self) -> bool:
        """Whether the harness tells its clock exactly."""
        return brings(self._harness, "now")

    @property
    def looks_now_and_then(self) -> bool:
        """Whether, in real time, it looks now and then for what is due: on a busy machine, later than it says."""
        return not self.can_pass_time and (self.traits.grace > timedelta(0) or self.traits.resolution > FINE)

    @property
    def is_prompt(self) -> bool:
        """Whether an empty answer is never false, also where something may just have fallen due."""
        return "prompt" in self.promises and not self.looks_now_and_then

    def may_be_empty_for_now(self, place: Path) -> bool:
        """Whether an empty answer there may be false for a while."""
        return not self.is_prompt and ("prompt" not in self.promises or place in self._waited)

    @property
    def short_lease(self) -> timedelta:
        """A lease for tasks whose lease is to run out: as short as can be where the suite really waits."""
        return self.lease(timedelta(minutes=1) if self.can_pass_time else self.traits.shortest_lease)

    def lease(self, wanted: timedelta) -> timedelta:
        """How long a lease is that is asked for: as long as is wanted, or as the queue fixes it."""
        return wanted if self.traits.fixed_lease is None else self.traits.fixed_lease

    def note_refusal(self, call: str, error: Exception, began: float) -> None:
        """The call, which `began` then (monotonic), was refused: perhaps because its patience was over."""
        took, unheard = time.monotonic() - began, isinstance(error, (TimeoutError, ConnectionError))
        if took < self.traits.patience.total_seconds() or self.disturbed or isinstance(error, ACCIDENTS):
            return
        if unheard or "server" in self.promises:
            self.gave_up = f"{call} was given up after {took:.1f} s"

    def took(self, hold: object, place: Path, lease: timedelta) -> None:
        """Somebody has this in hand, until it is settled or its lease is over."""
        if self.traits.one_at_a_time or self.traits.fixed_lease is not None:
            until = self.now(place) + lease if "lease" in self.promises else None
            self._hands[id(hold)] = place, until, hold

    def let_go(self, hold: object) -> None:
        """Nobody has it in hand any more."""
        self._hands.pop(id(hold), None)

    def put(self, place: Path, tasks: int) -> None:
        """So many tasks more are in the queue at the place, or fewer; those of which nobody tells that they went are
        counted, too."""
        self._inside.setdefault(place, []).append(tasks)  # by any thread

    def has_no_room(self, place: Path, tasks: int = 1) -> str:
        """Why so many more tasks may be refused, in words; nothing where they may not."""
        room = self.traits.room
        if room is None or sum(self._inside.get(place, ())) + tasks <= room:
            return ""
        return f"there is room for {room} task{'s' * (room > 1)} only"

    def serves_nobody(self, place: Path) -> bool:
        """Whether one task at a time is in hand, and one is."""
        if not self.traits.one_at_a_time:
            return False
        now = self.now(place)
        return any(until is None or until > now for _, until in self._hands_at(place))

    def is_late(self, place: Path) -> bool:
        """Whether a lease whose length the queue fixes has really run out before anybody meant it to."""
        if self.can_pass_time or self.traits.fixed_lease is None:
            return False
        now = self.now(place)
        return any(until is not None and until <= now for _, until in self._hands_at(place))

    def _hands_at(self, place: Path) -> list[tuple[int, datetime | None]]:
        """What is in hand at the place, by numbers, and until when; other threads may take and settle meanwhile."""
        hands = self._hands.copy().items()
        return [(number, until) for number, (where, until, _) in hands if where == place]

    def deliveries(self, place: Path) -> Deliveries | None:
        """How often the tasks of that place were handed out, where that matters."""
        if self.traits.max_deliveries is None:
            return None
        return self._deliveries.setdefault(place, Deliveries(self.traits))

    def may_set_aside(self, place: Path) -> str:
        """Why a task that came back may have been set aside; nothing where none may."""
        delivered = self.deliveries(place)
        if delivered is None or not delivered.may_be_aside(self.now(place)):
            return ""
        return f"a task came back here that may be set aside: max_deliveries is {self.traits.max_deliveries}"

    def _pass(self, place: Path) -> None:
        """The leases that are over by now were meant to be."""
        if self._hands:
            now = self.now(place)
            for number, until in self._hands_at(place):
                if until is not None and until <= now:
                    self._hands.pop(number, None)

    @property
    def delay(self) -> timedelta:
        """How far ahead a task is scheduled that is to fall due: a minute, or half a second really waited."""
        wanted = timedelta(minutes=1) if self.can_pass_time else max(timedelta(seconds=0.5), self.resolution * 4)
        return wanted if self.traits.max_delay is None else min(wanted, self.traits.max_delay)

    @property
    def resolution(self) -> timedelta:
        """How finely the queue keeps due times and leases."""
        return self.traits.resolution

    def name_place(self, place: Path) -> PlaceName:
        """What the place is called in the program of this run, where others may be, too."""
        return PlaceName(self._numbers.setdefault(place, len(self._numbers) + 1))

    def pass_time(self, place: Path, how_long: timedelta) -> None:
        """The queue's clock stands `how_long` later for every client of `place`; really waited if need be."""
        if not self.can_pass_time:
            if how_long < timedelta(0):
                raise ValueError(f"pass_time: {how_long} cannot be waited")
            wait = how_long + SLACK
            call = self.journal.begin(f"time.sleep({wait.total_seconds():g})")
            time.sleep(wait.total_seconds())
            self._waited.add(place)
        else:
            call = self.journal.begin(format_call("pass_time", [self.name_place(place), how_long], {}))
            try:
                self.loop(place).result(self._harness.pass_time(place, how_long))
            except Exception as error:
                raise BrokenHarness(f"{self.target}: pass_time {describe_error(error)}") from error
            self._passed[place] = self._passed.get(place, timedelta(0)) + how_long
        self._pass(place)
        self.journal.end(call, "")

    def start(self, place: Path, handler: Handler, address: str | None = None) -> list[int]:
        """Workers of the queue at `place` were started, by `address` where given; the processes that were made.

        Raises Refused.
        """
        given = {} if address is None else {"address": address}
        call = self.journal.begin(format_call("start", [self.name_place(place), handler], given))
        try:
            pids = self.loop(place).result(self._harness.start(place, handler, **given))
        except Exception as error:
            self.journal.end(call, describe_error(error))
            raise Refused(call.text, error) from error
        if pids is None:
            self.journal.end(call, "None")
            return []
        if not isinstance(pids, (list, tuple)) or not all(type(pid) is int and pid > 1 for pid in pids):
            raise BrokenHarness(
                f"{self.target}: start: expected a list of process ids, or None: unknown; got {pids!r}"
            )
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
        if place not in self._loops:
            own = brings(self._harness, "event_loop")
            given = partial(self._harness.event_loop, place) if own else None
            self._loops.setdefault(place, Loop(given, here=self.traits.main_thread))
        return self._loops[place]

    def close_place(self, place: Path) -> None:
        """Nobody comes to the place any more: what the harness has there outside of the folder is gone."""
        if brings(self._harness, "close_place"):
            try:
                self.loop(place).result(self._harness.close_place(place))
            except Exception as error:
                raise BrokenHarness(f"{self.target}: close_place {describe_error(error)}") from error

    def begin_labels(self) -> None:
        """Names are given anew."""
        self._labels.clear()
        self._numbers.clear()

    def next_label(self, kind: str) -> str:
        """A name that is not taken yet: q, q2, q3, …"""
        number = self._labels[kind] = self._labels.get(kind, 0) + 1
        return kind if number == 1 else f"{kind}{number}"


@dataclass(frozen=True, slots=True)
class PlaceName:
    """How the places of a program are written in it: place, and place2, place3 for those that came after it."""

    number: int

    def __repr__(self) -> str:
        return "place" if self.number == 1 else f"place{self.number}"
