"""Calls over HTTP that an exception cuts off, in lowq's code and in the library below it.

They are whole or absent, nothing is left open, and an answer that nobody read is not taken for the next one's.
"""

from __future__ import annotations

import gc
import http.client
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from backends import BOUND, served
from cutoff import PACKAGE, CutOff, at_instruction
from scenes import STRANGER, VERBS, OtherProcess, Scene

from lowq import FakeClock, QueueClosed, SystemClock, open_backend

EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
BELOW = (PACKAGE, http.client.__file__, socket.__file__)
"""The files in which a call is cut off."""

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@pytest.fixture
def url(file: Path, clock: FakeClock) -> Iterator[str]:
    with served(file, clock=clock) as found:
        yield found


def soon(met: Callable[[], bool]) -> bool:
    """Whether that is so before long."""
    time = SystemClock()
    left = time.countdown(timedelta(seconds=BOUND))
    while not met():
        if left() <= timedelta(0):
            return False
        time.sleep(timedelta(milliseconds=2))
    return True


def works(rows: list[Any]) -> list[str]:
    """The works of these rows."""
    return [row[0] for row in rows]


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("name", sorted(VERBS.keys() - {"claim_wait"}))
def test_a_call_that_is_cut_off_is_whole_or_absent_and_nothing_is_left(
    url: str, file: Path, clock: FakeClock, name: str
) -> None:
    step = 1 if EXHAUSTIVE else 331
    verb, scene = VERBS[name], Scene(clock=clock, start=clock.now())
    others = OtherProcess(STRANGER, file)
    queue = open_backend(url, clock=clock)
    verb.prepare(queue, scene)
    absent = others.tasks()
    verb.call(queue, scene)
    whole = others.tasks()
    gc.collect()
    start = descriptors()

    index = random.randrange(step)
    while True:
        others.clear()
        clock.move_to(scene["start"], back=True)
        verb.prepare(queue, scene)
        reached = True
        with suppress(CutOff):
            reached = at_instruction(index, partial(verb.call, queue, scene), package=BELOW)
        if not reached:
            assert others.tasks() == whole
            break
        pushed = queue.push("afterwards")
        assert pushed.added
        assert [task.work for task in queue.tasks() if task.id == pushed.id] == ["afterwards"]
        assert queue.cancel(pushed.id)
        found = others.tasks()  # a request that is still on its way may be done by now, or later
        if "claim" in name or name == "ack_many":  # the server takes back what it claims for somebody who is gone
            assert works(found) in (works(absent), works(whole)), f"cut off at instruction {index}"
        else:
            assert found in (absent, whole), f"cut off at instruction {index}: neither absent nor whole"
        assert soon(lambda: descriptors() <= start), f"cut off at instruction {index}: {descriptors()} are open"
        index += step
    assert index > 500
    queue.close()
    others.close()


@pytest.mark.parametrize("act", ["push", "close", "fork"])
def test_a_handler_may_do_what_it_likes_in_the_middle_of_a_call(url: str, clock: FakeClock, act: str) -> None:
    def fork() -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(not queue.push("handler's").added)
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    acts: dict[str, Callable[[], object]] = {
        "push": lambda: queue.push("handler's"),
        "close": lambda: queue.close(),
        "fork": fork,
    }
    step = 1 if EXHAUSTIVE else 401
    index = random.randrange(step)
    reached = True
    while reached:
        # A server opens a thousand names at most; what the last one asked for may come when it has closed already.
        name = str(index % 500)
        queue = open_backend(url, clock=clock, dedupe="off", name=name)
        assert all(queue.cancel(task.id) for task in queue.tasks())
        try:
            reached = at_instruction(index, lambda: queue.push(1), acts[act], package=BELOW)  # noqa: B023
        except QueueClosed:
            assert act == "close"
        queue.close()
        with closing(open_backend(url, clock=clock, name=name)) as again:
            works = Counter(task.work for task in again.tasks())
        assert works["handler's"] == int(reached and act != "close")
        assert works[1] <= 1 if act == "close" else works[1] == 1
        index += step


@pytest.mark.parametrize("scheme", ["http", "files"])
def test_a_time_out_that_a_handler_raises_is_not_taken_for_one_of_the_system(
    url: str, tmp_path: Path, scheme: str
) -> None:
    """`raise TimeoutError` is what most alarms do, and an OSError."""

    class Alarm:
        def __call__(self, *_: Any) -> None:
            raise TimeoutError("the alarm's")

    where = url if scheme == "http" else f"files://{tmp_path}/q"
    before = signal.signal(signal.SIGUSR1, Alarm())
    try:
        with closing(open_backend(where)) as queue:
            queue.push("first")
            for index in range(60, 1500, 180):
                with suppress(TimeoutError):
                    reached = at_instruction(
                        index,
                        lambda: queue.push({"n": index}),  # noqa: B023
                        partial(signal.raise_signal, signal.SIGUSR1),
                    )
                    assert not reached, f"at instruction {index} the alarm went by unheard"
            assert queue.push("afterwards").added
    finally:
        signal.signal(signal.SIGUSR1, before)
