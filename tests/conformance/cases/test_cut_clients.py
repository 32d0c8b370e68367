"""A client whose connection is cut while it has a task in hand: met in every run, whatever is drawn behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from lowq_conformance.cases.away import Scene
from lowq_conformance.cases.cut_clients import CutClients
from lowq_conformance.contract.outcomes import Broken
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.subject.loading import load

NOTHING_DRAWN = replace(DEFAULT, hops=0)
SOUND = "lowq_conformance.queues.sound.served:Served"


def play(target: str, place: Path, seed: int) -> None:
    subject = load(target)
    try:
        with Scene(subject, place, NOTHING_DRAWN) as scene:
            clients = CutClients(scene, Random(seed), NOTHING_DRAWN)
            scene.play(lambda _: clients.play())
    finally:
        subject.close_place(place)
        subject.close()


@pytest.mark.parametrize("seed", [1, 2])  # one cuts abruptly, the other does not
def test_a_task_that_is_taken_back_from_who_was_cut_is_held_by_two(seed: int, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="handed out again while its lease ran") as broken:
        play(BROKEN["TakesBackFromTheCut"].target, tmp_path / "place", seed)

    assert broken.value.clause == "SERVER-8"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sound_queue_is_accused_of_nothing(seed: int, tmp_path: Path) -> None:
    play(SOUND, tmp_path / "place", seed)
