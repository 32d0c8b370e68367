"""The bell that wakes whoever waits for a task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from processes import BOUND, answer, python

from lowq.backends.wakeup import Bell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bell"


@contextmanager
def listening(bell: Bell) -> Iterator[Callable[[float], bool]]:
    with closing(bell.listener()) as listener:
        listener.open()
        yield listener.heard


def test_a_ring_is_heard_by_who_listens(path: Path) -> None:
    with listening(Bell(path, path)) as heard:
        Bell(path, path).ring()
        assert heard(BOUND)


def test_a_ring_wakes_another_process(path: Path) -> None:
    with listening(Bell(path, path)) as heard:
        ringer = python(
            "import sys; from lowq.backends.wakeup import Bell; Bell(sys.argv[1], sys.argv[1]).ring()", path
        )
        assert heard(BOUND)
        answer(ringer)


def test_without_a_ring_a_listener_gives_up(path: Path) -> None:
    with listening(Bell(path, path)) as heard:
        assert not heard(0.01)


def test_rings_while_nobody_listens_are_forgotten(path: Path) -> None:
    bell = Bell(path, path)
    bell.ring()
    with listening(bell):
        pass
    bell.ring()
    with listening(bell) as heard:
        assert not heard(0)


def test_many_rings_are_heard_as_one(path: Path) -> None:
    bell = Bell(path, path)
    with listening(bell) as heard:
        for _ in range(100_000):  # more than a pipe holds: a ring never blocks
            bell.ring()
        while heard(0):
            pass
        assert not heard(0)


def test_each_ring_wakes_one_of_two(path: Path) -> None:
    bell = Bell(path, path)
    ready = threading.Barrier(3)
    heards: list[bool] = []

    def wait() -> None:
        with listening(bell) as heard:
            ready.wait(BOUND)
            while not heard(BOUND):  # the other one may take the ring that woke both
                pass
            heards.append(True)

    waiters = [threading.Thread(target=wait) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    ready.wait(BOUND)
    for waiter in waiters:
        while waiter.is_alive() and len(heards) < 2:
            bell.ring()
            waiter.join(0.01)
        waiter.join(BOUND)
    assert heards == [True, True]


def test_where_no_fifo_can_be_made_the_listener_just_waits(path: Path) -> None:
    path.mkdir()
    bell = Bell(path, path)
    bell.ring()
    with listening(bell) as heard:
        assert not heard(0.01)


def test_a_file_in_the_bells_place_is_left_as_it_is(path: Path) -> None:
    path.write_text("not a bell")
    Bell(path, path).ring()
    assert path.read_text() == "not a bell"
