"""A lock that belongs to a frame is free again when the frame is gone, however it ended."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

from cutoff import CutOff, cut_offs
from processes import BOUND

from lowq.framelock import CLEAN, CUT_OFF, NESTED, FrameLock, Taken


def held_and_left(lock: FrameLock) -> Taken:
    found = lock.take(sys._getframe())
    lock.leave(sys._getframe())
    return found


def held_and_cut_off(lock: FrameLock) -> None:
    lock.take(sys._getframe())
    raise CutOff


def test_a_lock_is_clean_after_a_holder_that_left() -> None:
    lock = FrameLock()

    assert [held_and_left(lock), held_and_left(lock)] == [CLEAN, CLEAN]


def test_whoever_comes_after_a_holder_that_was_cut_off_is_told() -> None:
    lock = FrameLock()
    try:
        held_and_cut_off(lock)
    except CutOff:  # whose traceback still has the frame
        assert held_and_left(lock) is CUT_OFF

    assert held_and_left(lock) is CLEAN


def test_a_call_on_top_of_the_holder_is_nested_and_leaves_it_its_lock() -> None:
    lock = FrameLock()
    lock.take(sys._getframe())

    assert held_and_left(lock) is NESTED
    assert lock.is_held_by(sys._getframe())


def test_another_thread_waits_for_a_holder_that_runs() -> None:
    lock, found = FrameLock(), list[Taken]()
    lock.take(sys._getframe())
    thread = threading.Thread(target=lambda: found.append(held_and_left(lock)))
    thread.start()
    thread.join(0.1)
    assert not found
    lock.leave(sys._getframe())
    thread.join(BOUND)

    assert found == [CLEAN]


def test_a_lock_that_is_cut_off_at_any_instruction_is_to_be_had_by_another_thread() -> None:
    lock = FrameLock()
    for index in cut_offs(lambda: held_and_left(lock)):
        found: list[Taken] = []
        thread = threading.Thread(target=lambda: found.append(held_and_left(lock)), daemon=True)  # noqa: B023
        thread.start()
        thread.join(BOUND)
        assert found in ([CLEAN], [CUT_OFF]), index
    assert index > 10


def test_one_thread_at_a_time_holds_it() -> None:
    lock, inside, most = FrameLock(), list[int](), list[int]()

    def hold() -> None:
        lock.take(sys._getframe())
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        lock.leave(sys._getframe())

    def hold_often() -> None:
        for _ in range(2000):
            hold()

    threads = [threading.Thread(target=hold_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)

    assert (len(most), max(most)) == (8000, 1)


def test_a_hold_leaves_no_garbage() -> None:
    class Seen:
        pass

    def hold() -> weakref.ref[Seen]:
        seen = Seen()
        lock.take(sys._getframe())
        lock.leave(sys._getframe())
        return weakref.ref(seen)

    lock = FrameLock()
    gc.disable()
    try:
        assert hold()() is None
    finally:
        gc.enable()


def test_whoever_does_not_wait_has_it_only_if_no_call_under_way_does() -> None:
    lock, found = FrameLock(), list[bool]()

    def take() -> None:
        found.append(lock.take_if_free(sys._getframe()))

    take()  # and ends without leaving it
    lock.take(sys._getframe())
    take()
    thread = threading.Thread(target=take)
    thread.start()
    thread.join(BOUND)
    lock.leave(sys._getframe())
    take()

    assert found == [True, False, False, True]
