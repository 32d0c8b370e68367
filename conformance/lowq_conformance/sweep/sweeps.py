"""The sweeps that the tests of clauses look at; each is made once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.contract.profile import DEFAULT, Profile
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.execution import WEDGED
from lowq_conformance.storm.storms import nobody
from lowq_conformance.subject.subject import Subject
from lowq_conformance.sweep.rehearsal import Rare
from lowq_conformance.sweep.schedule import How, Schedule
from lowq_conformance.sweep.stopped import CLAUSE as STOPPED
from lowq_conformance.sweep.stopped import StoppedClients
from lowq_conformance.sweep.sweep import Sweep
from lowq_conformance.sweep.swept import Swept

EVERY = 0.5
"""Seconds between two things that are told of a sweep."""


def how_of(schedule: Schedule, promises: frozenset[str]) -> How:
    """By what clients the schedule is made."""
    return schedule.how or ("processes" if "processes" in promises else "threads")


class Sweeps:
    """Makes the sweeps, each when it is first asked for, or of the one `schedule` that is given; `effort` is what
    stands behind the clause that was asked for last."""

    def __init__(
        self,
        subject: Subject,
        folder: Callable[[], Path],
        profile: Profile = DEFAULT,
        tell: Callable[[str], None] = nobody,
        schedule: Schedule | None = None,
        asked: Iterable[str] = CLAUSES,
        agents: Agents | None = None,
    ) -> None:
        """Without `agents` there are some of its own."""
        self.subject = subject
        self.effort: Effort | None = None
        self._folder, self._profile, self._tell, self._schedule = folder, profile, tell, schedule
        self._asked = frozenset(asked)
        self._agents, self._given = agents, agents is not None
        self._made: dict[tuple[How, bool], Swept] = {}
        self._rare: Rare | None = None
        self._told = 0.0

    def keeps(self, clause: str, how: How, *, full: bool = False) -> None:
        """The clause is kept in each of its schedules. Raises Broken, NotPromised and NotObserved."""
        self.effort = None
        self.effort = self.sweep(how, full=full).keeps(clause)

    def sweep(self, how: How, *, full: bool = False) -> Swept:
        """What came of the sweep of clients of that sort, or of theirs where there is room for one task more."""
        given = self._schedule
        if given is not None and (
            given.stopped or given.scene.full is not full or how_of(given, self.subject.promises) != how
        ):
            raise NotPromised("the schedule is of other clients")
        if self.subject.only_pushes:
            raise NotPromised("its own worker claims")
        if how == "fork" and self.subject.asynchronous:
            raise NotPromised("its methods are async, and no event loop goes through a fork")
        if self._schedule is None and not self._profile.scenes:
            raise NotPromised("this profile makes no sweep")
        if (how, full) not in self._made:
            self._made[how, full] = self._make(how, full=full)
        return self._made[how, full]

    def stands(self, clause: str) -> None:
        """The clause is kept where a process is stopped in the middle of a call. Raises as `keeps`."""
        assert clause == STOPPED
        self.effort = None
        if self._schedule is not None and not self._schedule.stopped:
            raise NotPromised("the schedule is of other clients")
        if self.subject.only_pushes:
            raise NotPromised("its own worker claims")
        stopped = StoppedClients(self.subject, self._agents_here(), self._folder, self._profile, wedged=WEDGED)
        stops = stopped.run(self._progress) if self._schedule is None else stopped.again(self._schedule)
        self.effort = stops.keeps()

    def close(self) -> None:
        """No process is left, but for who was given."""
        if self._agents is not None and not self._given:
            self._agents.close()

    def _make(self, how: How, *, full: bool) -> Swept:
        agents, profile, rare = self._agents_here(), self._profile, self._rare
        sweep = Sweep(self.subject, agents, self._folder, how, profile, asked=self._asked, rare=rare, full=full)
        if self._schedule is not None:
            return sweep.again(self._schedule)
        swept = sweep.run(self._progress)
        self._rare = sweep.rare
        return swept

    def _agents_here(self) -> Agents:
        if self._agents is None:
            self._agents = Agents()
        return self._agents

    def _progress(self, said: str) -> None:
        if time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            self._tell(said)
