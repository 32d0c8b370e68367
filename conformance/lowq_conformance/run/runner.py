"""Runs the suite over targets, in processes of their own, until every test has ended or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import inf
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

from lowq_conformance.contract import clauses
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.profile import DEFAULT, Profile
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.report.report import Report
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.hosts import Hosts, SuiteFailed
from lowq_conformance.run.interrupt import Interruption
from lowq_conformance.run.scheduler import Scheduler
from lowq_conformance.support.scratch import quick_folder
from lowq_conformance.sweep.schedule import Schedule

USED_UP = "the budget was used up"

NEEDED = ("pytest", "hypothesis")
"""What the processes that run the tests import; looked for here, so that a missing one is said at once."""


class Interrupted(KeyboardInterrupt):
    """The run was interrupted, by Ctrl-C or SIGTERM; `reports` are what was seen."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__()
        self.reports = reports


def run(
    targets: Sequence[str],
    *,
    only: Sequence[str] | Mapping[str, Sequence[str]] = (),
    seed: int | None = None,
    promises: Sequence[str] = (),
    watch: Callable[[Tally, str], None] | None = None,
    bound: float | None = None,
    profile: Profile = DEFAULT,
    jobs: int = 1,
    budget: float | None = None,
    schedule: Schedule | None = None,
    known: Mapping[str, Fault] | None = None,
    until_broken: bool = False,
) -> list[Report]:
    """The report on each target. `only` are the clauses and groups to look at, of all targets or of each;
    `watch` is told of each event; `bound` are seconds for one test, else those of the profile; the tests of a target
    are shared out among `jobs` processes, and where these are several, one more that does what mostly waits.

    `known` are faults that are known beside those that a harness states, by clause; they count more than its own.

    `until_broken`: a target whose selected clauses are all broken is asked nothing more.

    With a `schedule` nothing is looked at but that, and the clauses that it is about.

    Without a `budget`, in seconds, each target is looked at with as many seeds as the profile says. With one, the
    targets have equal shares of it, and each is looked at with seed after seed until its share is used up. With every
    seed after the first one, only what depends on it is done again.

    Raises ModuleNotFoundError where pytest or Hypothesis is missing, UnknownClause before anything is checked,
    BrokenHarness where no target can be loaded, and Interrupted with the reports so far.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is missing", name=name)
    selected = {
        target: frozenset(clauses.select(only[target] if isinstance(only, Mapping) else only)) for target in targets
    }
    if schedule is not None:
        selected = {target: ids & _clauses_about(schedule) for target, ids in selected.items()}
    chosen = SystemRandom().randrange(2**32) if seed is None else seed
    ends = inf if budget is None else time.monotonic() + budget
    found: list[Tally] = []
    places = TemporaryDirectory(prefix="lowq-check-", dir=quick_folder(), ignore_cleanup_errors=True)
    with (
        Interruption() as interruption,
        places as folder,
        Hosts(Path(folder), jobs, interruption) as hosts,
    ):
        for number, target in enumerate(targets):
            found.append(
                Tally(target, chosen, selected[target], tuple(promises), stated=known or {}, profile=profile)
            )
            found[-1].schedule = "" if schedule is None else str(schedule)
            share = time.monotonic() + (ends - time.monotonic()) / (len(targets) - number)
            _check(found[-1], hosts, watch, profile.bound if bound is None else bound, share, until_broken)
            found[-1].end()
            if interruption.seen:
                found[-1].interrupted = True
                break
    if interruption.seen:
        raise Interrupted([each.report() for each in found])
    if found and all(each.trouble and not each.planned for each in found):
        raise BrokenHarness(found[0].trouble)
    return [each.report() for each in found]


def _clauses_about(schedule: Schedule) -> set[str]:
    """The clauses that exactly this schedule puts to the test."""
    from lowq_conformance.sweep.scenes import clauses_about  # with all that plays a scene: few runs need it here
    from lowq_conformance.sweep.stopped import CLAUSE

    return {CLAUSE} if schedule.stopped else clauses_about(schedule.scene, schedule.how or "processes")


def _check(
    run: Tally,
    hosts: Hosts,
    watch: Callable[[Tally, str], None] | None,
    bound: float,
    ends: float,
    until_broken: bool,
) -> None:
    """The run was filled with what the tests said, with one seed after the other."""
    number = 0
    while number == 0 or (number < run.profile.seeds if ends == inf else time.monotonic() < ends):
        sharing = Scheduler(
            hosts, run, run.seed + number, bound, watch, ends, again=number > 0, until_broken=until_broken
        )
        try:
            finished = sharing.carry_out()
        except BrokenHarness as error:
            run.trouble = str(error)
            sharing.stop()
            return
        if number and run.tests(run.seed + number):
            run.seeds = number + 1
        if not finished:
            if number == 0 and not hosts.interruption.seen:
                run.ended = USED_UP
            return
        if number and not sharing.tests:
            return  # no test depends on the seed
        number += 1


__all__ = ["Interrupted", "SuiteFailed", "run"]
