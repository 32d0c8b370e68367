"""A worker's event loops: none is left open, whatever cuts a call off, and a signal ends the wait of each."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cutoff import CutOff, at_instruction, cut_off, cut_offs
from processes import BOUND, answer, python

from lowq.testing import inline, temp_queue
from lowq.worker.coroutines import Coroutines
from lowq.worker.event_loops import EventLoops, OwnLoop, wake_by_signals

Made = list[asyncio.AbstractEventLoop]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """The loops that were made."""
    loops: Made = []
    make = asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        loops.append(make())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", new_event_loop)
    yield loops
    for loop in loops:
        loop.close()


async def nothing() -> None: ...


def left_open(loops: Made) -> Made:
    """Those that are open, though nobody has the worker any more that made them, nor is one still being made."""
    for thread in threading.enumerate():
        if thread.name == "lowq-loop":  # who was cut off did not wait for it
            thread.join(BOUND)
    if any(not loop.is_closed() for loop in loops):
        gc.collect()
    found = [loop for loop in loops if not loop.is_closed()]
    loops.clear()
    return found


class TestMaking:
    def test_two_threads_that_make_one_at_a_time_leave_none_open(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make, both = asyncio.new_event_loop, threading.Barrier(2, timeout=BOUND)

        def together() -> asyncio.AbstractEventLoop:
            both.wait()
            return make()

        monkeypatch.setattr(asyncio, "new_event_loop", together)
        coroutines = Coroutines()
        threads = [threading.Thread(target=lambda: coroutines.finish(nothing())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        coroutines.close()

        assert [loop.is_closed() for loop in made] == [True, True]

    def test_each_call_has_the_same_loop_also_after_a_call_inside_another(self, made: Made) -> None:
        coroutines = Coroutines()

        async def outer() -> None:
            coroutines.finish(nothing())

        for _ in range(3):
            coroutines.finish(outer())
        coroutines.close()

        assert len(made) == 2

    def test_what_its_making_raised_is_raised_and_the_next_call_has_one(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse() -> asyncio.AbstractEventLoop:
            raise OSError("no descriptors left")

        coroutines, make, refused = Coroutines(), asyncio.new_event_loop, nothing()
        monkeypatch.setattr(asyncio, "new_event_loop", refuse)
        with pytest.raises(OSError, match="no descriptors left"):
            coroutines.finish(refused)
        refused.close()
        monkeypatch.setattr(asyncio, "new_event_loop", make)

        coroutines.finish(nothing())
        coroutines.close()

        assert [loop.is_closed() for loop in made] == [True]

    def test_a_signal_that_comes_while_one_is_made_leaves_none_open(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = asyncio.new_event_loop

        def interrupted() -> asyncio.AbstractEventLoop:
            loop = make()
            signal.raise_signal(signal.SIGUSR1)
            interrupting.wait(BOUND)
            return loop

        def answer_it(*_: object) -> None:
            interrupting.set()
            raise CutOff

        interrupting, coroutines, cut = threading.Event(), Coroutines(), nothing()
        monkeypatch.setattr(asyncio, "new_event_loop", interrupted)
        before = signal.signal(signal.SIGUSR1, answer_it)
        try:
            with pytest.raises(CutOff):
                coroutines.finish(cut)
        finally:
            signal.signal(signal.SIGUSR1, before)
        cut.close()
        coroutines.close()
        for thread in threading.enumerate():
            if thread.name == "lowq-loop":
                thread.join(BOUND)

        assert [loop.is_closed() for loop in made] == [True]

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
    def test_cut_off_at_any_instruction_leaves_none_open_and_the_next_call_runs_alone(self, made: Made) -> None:
        coroutines = Coroutines()
        seen: list[int] = []
        given: list[Any] = []

        async def note(number: int) -> None:
            seen.append(number)

        def call() -> None:
            given.append(note(0))
            coroutines.finish(given[-1])

        for index in cut_offs(call):
            seen.clear()
            coroutines.finish(note(1))
            assert seen == [1], index
            given.pop().close()
            coroutines.close()
            coroutines = Coroutines()
            assert left_open(made) == [], index
        coroutines.close()
        gc.collect()

        assert index > 100


class TestClosing:
    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
    def test_cut_off_at_any_instruction_leaves_none_open(self, made: Made) -> None:
        def worker() -> Coroutines:
            coroutines = Coroutines()
            coroutines.finish(nothing())
            return coroutines

        coroutines = worker()
        for index in cut_offs(lambda: coroutines.close()):  # noqa: B023  another one each time
            coroutines = worker()
            assert left_open(made[:-1]) == [], index
            del made[:-1]
        coroutines.close()
        gc.collect()

        assert index > 20

    def test_one_that_is_forgotten_is_closed_and_what_was_left_on_it_ended(self, made: Made) -> None:
        seen: list[str] = []

        async def beside() -> None:
            try:
                await asyncio.sleep(BOUND)
            finally:
                seen.append("ended")

        async def handler() -> None:
            tasks.append(asyncio.ensure_future(beside()))
            await asyncio.sleep(0)

        tasks: list[Any] = []
        coroutines = Coroutines()
        coroutines.finish(handler())
        tasks.clear()

        del coroutines

        assert left_open(made) == []
        assert seen == ["ended"]

    def test_a_forked_process_leaves_its_parents_open(self, made: Made) -> None:
        loops = EventLoops()
        own = loops.take(sys._getframe())
        if (child := os.fork()) == 0:
            with suppress(BaseException):
                del loops
                gc.collect()
                os._exit(0 if not made[0].is_closed() else 1)
            os._exit(2)

        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        assert status == 0
        assert own.is_usable()
        loops.close(lambda _: None)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_run_that_was_cut_off_anywhere_in_the_loop_does_not_stop_the_next(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In asyncio's own code, which may so leave a callback that stops whatever the loop runs next.

    By KeyboardInterrupt: asyncio logs and drops whatever else a signal handler raises there.
    """
    package = (f"{Path(asyncio.__file__).parent}/base_events.py", f"{Path(asyncio.__file__).parent}/events.py")
    coroutines, index, reached = Coroutines(), 0, True
    monkeypatch.setattr("lowq.worker.coroutines._CLEANING", 0.01)  # a task that the loop was about to run is lost
    seen: list[int] = []

    async def note(number: int) -> None:
        seen.append(number)

    coroutines.finish(note(0))
    while reached:
        with suppress(KeyboardInterrupt):
            reached = at_instruction(index, lambda: coroutines.finish(note(0)), interrupt, package)
        assert asyncio._get_running_loop() is None, index
        seen.clear()
        coroutines.finish(note(1))
        assert seen == [1], index
        index += 3
    coroutines.close()
    gc.collect()

    assert index > 100
    assert left_open(made) == []


def test_a_signal_while_a_test_waits_for_a_handler_ends_the_handler_first() -> None:
    begun, seen = threading.Event(), []

    async def handler(work: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(BOUND)
        finally:
            seen.append("ended")

    async def test() -> None:
        store.backend("q.db").push(1)

    def interrupt() -> None:
        begun.wait(BOUND)
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGUSR1, lambda *_: cut_off())
    try:
        with temp_queue() as store, inline(store):
            store.handle("q.db", handler)
            sender.start()
            with pytest.raises(CutOff):
                asyncio.run(test())
            assert seen == ["ended"]
    finally:
        signal.signal(signal.SIGUSR1, before)
        sender.join(BOUND)


INTERRUPTED = """
    import asyncio, signal, sys, threading, time
    from datetime import timedelta
    import lowq

    main = threading.main_thread().ident

    def send(number):
        '''To this thread: Python's answer to it is due in the main one, whose wait it does not end, as none does
        that comes between the last instruction and the system's wait.'''
        for _ in range(2 if number == signal.SIGTERM else 1):
            while not (frame := sys._current_frames()[main]).f_code.co_filename.endswith("selectors.py"):
                time.sleep(0.01)
            time.sleep(0.1)
            signal.pthread_kill(threading.get_ident(), number)

    async def handler(work):
        print("begun", flush=True)
        threading.Thread(target=send, args=(signal.{number},), daemon=True).start()
        try:
            await asyncio.sleep(600)
        finally:
            print("cleaned up", flush=True)

    queue = lowq.open_backend(sys.argv[1])
    queue.push("work")
    try:
        lowq.Worker(queue, handler).{run}()
    except KeyboardInterrupt:
        print("interrupted")
    print([(task.state.value, task.attempts) for task in queue.tasks()])
"""


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "run", "said"), [("SIGINT", "drain", ["interrupted"]), ("SIGTERM", "run_forever", [])]
    )
    def test_one_that_does_not_end_the_systems_wait_ends_the_loops(
        self, tmp_path: Path, number: str, run: str, said: list[str]
    ) -> None:
        worker = python(INTERRUPTED.format(number=number, run=run), tmp_path / "q.db")

        assert answer(worker).split("\n") == ["begun", "cleaned up", *said, "[('ready', 0)]"]

    def test_afterwards_they_are_written_nowhere_as_before(self) -> None:
        loops = EventLoops()
        loop = loops.take(sys._getframe()).get()
        for index in cut_offs(lambda: within(loop, lambda: None)):
            within(loop, lambda: None)
            assert signal.set_wakeup_fd(-1) == -1, index
        loops.close(lambda _: None)

    def test_where_a_program_has_them_written_they_are_written_still(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        os.set_blocking(reading, False)
        signal.set_wakeup_fd(writing)
        try:
            Coroutines().finish(raising(signal.SIGUSR1))
            assert os.read(reading, 9) == bytes([signal.SIGUSR1])
        finally:
            assert signal.set_wakeup_fd(-1) == writing
            os.close(reading)
            os.close(writing)

    def test_those_of_a_process_that_a_handler_forks_are_not_written_to_its_loop(self) -> None:
        async def handler() -> None:
            seen: list[int] = []
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, seen.append, 1)
            if (child := os.fork()) == 0:
                signal.raise_signal(signal.SIGUSR2)
                os._exit(0)
            os.waitpid(child, 0)
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)
            assert seen == []

        Coroutines().finish(handler())
        assert signal.set_wakeup_fd(-1) == -1


async def raising(number: int) -> None:
    before = signal.signal(number, lambda *_: None)
    signal.raise_signal(number)
    signal.signal(number, before)


def interrupt() -> None:
    raise KeyboardInterrupt


def within(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with wake_by_signals(loop):
        call()


def test_one_that_was_dropped_while_it_was_made_is_closed(made: Made) -> None:
    own = OwnLoop()
    own.drop()

    with suppress(RuntimeError):
        own.open()

    assert [loop.is_closed() for loop in made] == [True]
