"""Storms: what a busy machine cuts short is made again until it has shown what the clauses ask about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.storm import coverage as overlaps
from lowq_conformance.storm.execution import Stress
from lowq_conformance.storm.storms import Storms
from lowq_conformance.subject import loading as harness


class Busy(Storms):
    """Storms on a machine that is so busy at first that the time is over before anybody did anything."""

    busy = 2

    def _stress(self, *, threads: bool, seconds: float | None = None, shared: bool = False) -> Stress:
        self.busy -= 1
        return super()._stress(threads=threads, seconds=seconds if self.busy < 0 else 0, shared=shared)


@pytest.fixture
def storms(tmp_path: Path) -> Iterator[Busy]:
    runs = iter(range(100))
    made = Busy(harness.load("lowq_conformance.queues.sound.journal:Journal"), 1, lambda: tmp_path / f"{next(runs)}")
    yield made
    made.close()


def test_a_storm_of_kills_is_made_again_until_somebody_was_killed(storms: Busy) -> None:
    assert storms.kills().kills > 0


def test_deaths_go_on_until_pushes_and_batches_were_cut_off_and_a_lease_was_taken_over(storms: Busy) -> None:
    storm = storms.deaths()

    assert storm.cut_off("push") > 0
    assert storm.cut_off("push_many") > 0
    assert storm.sees(overlaps.takeovers) > 0


def test_clients_that_come_and_go_do_so_until_one_has_gone(storms: Busy) -> None:
    assert storms.closing("threads").count_calls("close") > 0


def test_each_run_is_told_of_as_it_begins_since_all_together_may_take_long(
    tmp_path: Path,
) -> None:
    runs, told = iter(range(100)), list[str]()
    target = harness.load("lowq_conformance.queues.sound.journal:Journal")
    made = Storms(target, 1, lambda: tmp_path / f"{next(runs)}", QUICK, tell=told.append)
    made.deaths()
    made.close()

    assert set(told) >= {"storm of writers", "storm of takers", "storm of heirs", "storm of changers"}
