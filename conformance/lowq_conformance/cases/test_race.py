"""RACE, and what else must hold when many clients are at it: threads of one process, and processes."""

from __future__ import annotations

import pytest

from lowq_conformance.cases.expect import require_return
from lowq_conformance.storm import coverage as overlaps
from lowq_conformance.storm.storms import Storms

threads_and_processes = pytest.mark.parametrize(
    "how",
    [
        pytest.param("threads", marks=[pytest.mark.needs("threads"), pytest.mark.together("threads")]),
        pytest.param("processes", marks=[pytest.mark.needs("processes"), pytest.mark.together("processes")]),
    ],
)


@pytest.mark.clause("RACE-1")
@threads_and_processes
def test_no_task_is_claimed_twice(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("RACE-1", storm.sees(overlaps.claims), "two claims at once")


@pytest.mark.clause("DELIVER-3")
@threads_and_processes
def test_two_never_hold_one_task(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("DELIVER-3", storm.sees(overlaps.claims), "two claims at once")


@pytest.mark.clause("RACE-2")
@threads_and_processes
def test_no_push_is_lost(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("RACE-2", storm.sees(overlaps.pushes), "two pushes at once")


@pytest.mark.clause("RACE-3")
@threads_and_processes
def test_whole_histories_are_explained(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("RACE-3", storm.sees(len), "call")


@pytest.mark.clause("RACE-4")
@threads_and_processes
def test_contention_is_no_error(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("RACE-4", storm.sees(overlaps.claims), "two claims at once")


@pytest.mark.clause("RACE-5")
@threads_and_processes
def test_nobody_waits_for_ever(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("RACE-5", storm.sees(len), "call")


@pytest.mark.clause("RACE-6")
@pytest.mark.needs("close")
@pytest.mark.together("closing")
@threads_and_processes
def test_closing_one_client_harms_no_other(storms: Storms, how: str) -> None:
    storm = storms.closing(how)
    storm.keeps("RACE-6", storm.count_calls("close"), "client that closed")


@pytest.mark.clause("RACE-7")
@pytest.mark.together("fork")
def test_a_client_works_or_refuses_on_both_sides_of_a_fork(storms: Storms) -> None:
    storm = storms.fork()
    storm.keeps("RACE-7", storm.count_calls("fork"), "fork")


@pytest.mark.clause("RACE-9")
@pytest.mark.together("coroutines")
def test_many_calls_of_one_client_at_once_are_explained(storms: Storms) -> None:
    storm = storms.storm("coroutines")
    storm.keeps("RACE-9", storm.sees(overlaps.claims), "two claims at once")


@pytest.mark.clause("DELIVER-6")
@threads_and_processes
def test_empty_is_said_of_an_empty_queue_only(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("DELIVER-6", storm.sees(overlaps.empties), "empty answer")


@pytest.mark.clause("DEDUPE-9")
@threads_and_processes
def test_many_pushes_of_one_work_at_once_add_it_once(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("DEDUPE-9", storm.sees(overlaps.equal_pushes), "two pushes of one work at once")


@pytest.mark.clause("ORDER-2")
@threads_and_processes
def test_what_was_pushed_before_comes_out_before(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    storm.keeps("ORDER-2", storm.sees(len), "call")


@pytest.mark.clause("LEASE-12")
@threads_and_processes
def test_one_of_many_gets_the_task_of_a_lease_that_ran_out(storms: Storms, how: str) -> None:
    storm = storms.storm(how)
    if not storm.breaks("LEASE-12"):
        require_return(storms.subject)
    storm.keeps("LEASE-12", storm.sees(overlaps.takeovers), "lease that ran out")
