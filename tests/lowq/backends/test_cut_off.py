"""A call that an exception cuts off, at any of its instructions, is whole or absent, and nobody is locked out."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from backends import location
from cutoff import CutOff, at_instruction
from scenes import LISTER, STRANGER, VERBS, OtherProcess, OtherThread, Outside, Scene

from lowq import Backend, Counts, FakeClock, open_backend

EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
"""Every instruction is tried; otherwise every so many, beginning at a random one."""


@dataclass
class Stage:
    """A client that is cut off, and how others see its queue."""

    open: Callable[[], Backend]
    outside: Callable[[], Outside]
    clock: FakeClock
    scene: Scene = field(default_factory=dict)


@pytest.fixture(params=["sqlite", "files", "memory"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    clock = FakeClock()
    where = location(request.param, tmp_path)

    def open_() -> Backend:
        if request.param != "memory":
            return open_backend(where, clock=clock, durability="none")
        return open_backend(where, clock=clock)

    outside: Callable[[], Outside]
    if request.param != "memory":
        open_().close()
        program, path = {"sqlite": (STRANGER, tmp_path / "q.db"), "files": (LISTER, tmp_path / "q")}[request.param]
        outside = lambda: OtherProcess(program, path)  # noqa: E731
    else:
        outside = lambda: OtherThread(open_())  # noqa: E731
    return Stage(open_, outside, clock, {"clock": clock, "start": clock.now()})


def steps(fewer: int) -> tuple[int, int]:
    """How far apart the instructions are that are tried, and the first of them."""
    step = 1 if EXHAUSTIVE else 3 * fewer
    return step, random.randrange(step)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", VERBS)
def test_a_call_that_is_cut_off_is_whole_or_absent_and_nobody_is_locked_out(stage: Stage, name: str) -> None:
    verb, scene = VERBS[name], stage.scene
    step, first = steps(fewer=1)
    others = stage.outside()
    queue = stage.open()
    verb.prepare(queue, scene)
    absent = others.tasks()
    verb.call(queue, scene)
    whole = others.tasks()
    gc.collect()  # what older tests left open
    start = descriptors(), threading.active_count()

    index = first
    while True:
        if isinstance(others, OtherThread):  # a queue in memory is made anew
            others.close()
            queue.close()
            queue, others = stage.open(), stage.outside()
        else:
            others.clear()
        stage.clock.move_to(scene["start"], back=True)
        verb.prepare(queue, scene)
        reached = True
        with suppress(CutOff):
            reached = at_instruction(index, partial(verb.call, queue, scene))
        found = others.tasks()
        assert found in (absent, whole), f"cut off at instruction {index}: neither absent nor whole"
        if not reached:
            assert found == whole
            break
        assert queue.push("afterwards").added
        assert len(others.tasks()) == len(found) + 1, f"cut off at instruction {index}: a push that returned is lost"
        assert sum(vars_of(queue.count())) == len(found) + 1
        assert (descriptors(), threading.active_count()) == start, f"cut off at instruction {index}"
        index += step
    assert index > 50
    queue.close()
    others.close()


def vars_of(counts: Counts) -> list[int]:
    return [counts.scheduled, counts.ready, counts.leased, counts.dead]
