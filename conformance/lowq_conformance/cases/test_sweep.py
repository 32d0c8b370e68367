"""RACE, and what else must hold in each order in which two clients can come between one another: by the sweep."""

from __future__ import annotations

import pytest

from lowq_conformance.sweep.schedule import How
from lowq_conformance.sweep.sweeps import Sweeps

threads_and_processes = pytest.mark.parametrize(
    "how",
    [
        pytest.param("threads", marks=[pytest.mark.needs("threads"), pytest.mark.together("sweep of threads")]),
        pytest.param("processes", marks=[pytest.mark.needs("processes"), pytest.mark.together("sweep of processes")]),
    ],
)


@pytest.mark.clause("RACE-1")
@threads_and_processes
def test_no_task_is_claimed_twice(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-1", how)


@pytest.mark.clause("DELIVER-3")
@threads_and_processes
def test_two_never_hold_one_task(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DELIVER-3", how)


@pytest.mark.clause("RACE-2")
@threads_and_processes
def test_no_push_is_lost(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-2", how)


@pytest.mark.clause("RACE-3")
@threads_and_processes
def test_what_follows_is_explained(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-3", how)


@pytest.mark.clause("RACE-4")
@threads_and_processes
def test_contention_is_no_error(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-4", how)


@pytest.mark.clause("RACE-5")
@threads_and_processes
def test_nobody_waits_for_ever(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-5", how)


@pytest.mark.clause("DELIVER-6")
@threads_and_processes
def test_empty_is_said_of_an_empty_queue_only(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DELIVER-6", how)


@pytest.mark.clause("DEDUPE-9")
@threads_and_processes
def test_two_pushes_of_one_work_add_it_once(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DEDUPE-9", how)


@pytest.mark.clause("ORDER-2")
@threads_and_processes
def test_what_was_pushed_before_comes_out_before(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("ORDER-2", how)


@pytest.mark.clause("LEASE-12")
@threads_and_processes
def test_one_gets_the_task_of_a_lease_that_ran_out(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("LEASE-12", how)


@pytest.mark.clause("LEASE-6")
@threads_and_processes
def test_a_lease_is_not_extended_when_another_has_the_task(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("LEASE-6", how)


@pytest.mark.clause("LEASE-8")
@threads_and_processes
def test_what_was_extended_meanwhile_is_not_claimed(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("LEASE-8", how)


@pytest.mark.clause("LEASE-13")
@threads_and_processes
def test_a_task_is_not_set_aside_when_another_has_it(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("LEASE-13", how)


@pytest.mark.clause("DEAD-1")
@threads_and_processes
def test_what_was_set_aside_meanwhile_is_not_claimed(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DEAD-1", how)


@pytest.mark.clause("DEAD-3")
@threads_and_processes
def test_a_redriven_task_waits_once_whoever_comes_in_between(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DEAD-3", how)


@pytest.mark.clause("CANCEL-1")
@threads_and_processes
def test_what_was_cancelled_meanwhile_is_not_claimed(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("CANCEL-1", how)


@pytest.mark.clause("CANCEL-2")
@threads_and_processes
def test_a_task_is_not_cancelled_that_was_claimed_meanwhile(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("CANCEL-2", how)


@pytest.mark.clause("CANCEL-3")
@threads_and_processes
def test_one_of_two_cancels_a_task(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("CANCEL-3", how)


@pytest.mark.clause("RACE-6")
@pytest.mark.needs("close")
@threads_and_processes
def test_closing_one_client_harms_no_other(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("RACE-6", how)


@pytest.mark.clause("DELIVER-12")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("threads", marks=[pytest.mark.needs("threads"), pytest.mark.together("filling by threads")]),
        pytest.param(
            "processes", marks=[pytest.mark.needs("processes"), pytest.mark.together("filling by processes")]
        ),
    ],
)
def test_one_of_two_pushes_gets_the_last_room(sweeps: Sweeps, how: How) -> None:
    sweeps.keeps("DELIVER-12", how, full=True)


@pytest.mark.clause("RACE-7")
@pytest.mark.together("sweep of a fork")
def test_both_sides_of_a_fork_work_or_refuse(sweeps: Sweeps) -> None:
    sweeps.keeps("RACE-7", "fork")


@pytest.mark.clause("RACE-9")
@pytest.mark.together("sweep of coroutines")
def test_two_calls_of_one_client_come_in_between_one_another(sweeps: Sweeps) -> None:
    sweeps.keeps("RACE-9", "coroutines")


@pytest.mark.clause("RACE-8")
@pytest.mark.together("stopped")
def test_who_is_stopped_in_a_call_costs_nobody_what_was_acknowledged(sweeps: Sweeps) -> None:
    sweeps.stands("RACE-8")
