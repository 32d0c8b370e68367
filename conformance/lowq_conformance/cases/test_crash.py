"""CRASH: what a `kill -9` leaves behind, at chosen instants and in a storm."""

from __future__ import annotations

import pytest

from lowq_conformance.cases.expect import require_return
from lowq_conformance.storm import coverage as overlaps
from lowq_conformance.storm.storms import Storms


@pytest.mark.clause("CRASH-1")
@pytest.mark.together("deaths")
def test_a_push_that_returned_survives(storms: Storms) -> None:
    storm = storms.deaths()
    storm.keeps("CRASH-1", storm.kills, "kill")


@pytest.mark.clause("CRASH-2")
@pytest.mark.together("deaths")
def test_a_push_cut_off_is_whole_or_absent(storms: Storms) -> None:
    storm = storms.deaths()
    storm.keeps("CRASH-2", storm.cut_off("push"), "push that was cut off")


@pytest.mark.clause("CRASH-3")
@pytest.mark.together("deaths")
def test_a_batch_cut_off_is_whole_or_absent(storms: Storms) -> None:
    storm = storms.deaths()
    storm.keeps("CRASH-3", storm.cut_off("push_many"), "batch that was cut off")


@pytest.mark.clause("CRASH-4")
@pytest.mark.together("deaths")
def test_the_task_of_a_killed_worker_is_claimed_again(storms: Storms) -> None:
    storm = storms.deaths()
    if not storm.breaks("CRASH-4"):
        require_return(storms.subject)
    storm.keeps("CRASH-4", storm.sees(overlaps.takeovers), "task of a killed worker")


@pytest.mark.clause("CRASH-5")
@pytest.mark.together("deaths")
def test_an_ack_that_returned_survives(storms: Storms) -> None:
    storm = storms.deaths()
    storm.keeps("CRASH-5", storm.kills, "kill")


@pytest.mark.clause("CRASH-6")
@pytest.mark.together("deaths")
def test_the_queue_opens_and_works_after_any_kill(storms: Storms) -> None:
    storm = storms.deaths()
    storm.keeps("CRASH-6", storm.kills, "kill")


@pytest.mark.clause("CRASH-7")
@pytest.mark.together("kills")
def test_a_storm_of_kills_loses_and_invents_nothing(storms: Storms) -> None:
    storm = storms.kills()
    storm.keeps("CRASH-7", storm.kills, "kill")
