"""A live worker: a process of its own, a true SIGKILL, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from journaled import Journaled

from lowq import Backend, Clock, FakeClock, State, open_backend
from lowq.testing import LiveWorkerError, SyncWorker, TempQueue, fake_clock, live_workers, temp_queue
from lowq.testing.queues import OpenAt

SHORT = timedelta(milliseconds=200)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_clock(patch="none") as clock:
        yield clock


@pytest.fixture(params=["sqlite", "files", "journaled"])
def open_at(request: pytest.FixtureRequest) -> OpenAt | None:
    return {"journaled": Journaled, "files": in_a_directory}.get(request.param)


def in_a_directory(path: Path, clock: Clock) -> Backend:
    return open_backend(f"files://{path}", clock=clock)


@pytest.fixture
def store(clock: FakeClock, open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        store.backend()
        yield store


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes.txt"


def write(notes: Path, text: str) -> None:
    with notes.open("a") as file:
        file.write(text + "\n")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_live_worker_runs_tasks_in_a_process_of_its_own(store: TempQueue, notes: Path) -> None:
    store.handle(None, lambda work: write(notes, f"{work} {os.getpid()}"))
    with live_workers() as start:
        worker = start()
        store.backend().push("a")
        worker.wait_until_idle()

        assert notes.read_text() == f"a {worker.pid}\n"
        assert worker.pid != os.getpid()
    assert gone(worker.pid)


def test_a_killed_worker_runs_no_clean_up_and_leaves_its_lease(
    store: TempQueue, clock: FakeClock, notes: Path
) -> None:
    def handler(work: object) -> None:
        try:
            write(notes, f"began {work}")
            if notes.read_text().count("began") == 1:
                os.read(os.pipe()[0], 1)
        finally:
            write(notes, "cleaned up")

    store.handle(None, handler)
    store.backend().push("a")
    with live_workers() as start:
        worker = start()
        worker.wait_until(lambda: notes.exists() and notes.read_text() == "began a\n")
        worker.kill()

        assert not worker.alive
        assert [(task.state, task.attempts) for task in store.backend().tasks()] == [(State.LEASED, 1)]
        clock.advance(timedelta(minutes=1))
        assert SyncWorker(store).run_one().outcome == "done"
    assert notes.read_text() == "began a\nbegan a\ncleaned up\n"


def test_a_live_worker_follows_the_fake_clock(store: TempQueue, clock: FakeClock, notes: Path) -> None:
    store.handle(None, lambda work: write(notes, str(work)))
    store.backend().push("later", not_before=clock.now() + timedelta(hours=1))
    with live_workers() as start:
        worker = start()
        worker.wait_until_idle()
        assert not notes.exists()

        clock.advance(timedelta(hours=1))
        worker.wait_until(notes.exists)


def test_a_task_that_takes_too_long_is_told(store: TempQueue, notes: Path) -> None:
    def handler(_: object) -> None:
        notes.touch()
        os.read(os.pipe()[0], 1)

    store.handle(None, handler)
    store.backend().push("a")
    with live_workers() as start:
        worker = start()
        worker.wait_until(notes.exists)
        with pytest.raises(
            LiveWorkerError, match=r"queue\.db still has 0 tasks due and 1 leased; the worker is alive"
        ):
            worker.wait_until_idle(SHORT)
        with pytest.raises(LiveWorkerError, match=r"did not stop within 0:00:00\.200000 and was killed"):
            worker.stop(SHORT)
        assert gone(worker.pid)


def test_a_queue_of_one_process_is_refused(clock: FakeClock) -> None:
    with temp_queue(backend=lambda path, clock: open_backend(f"memory://{path}", clock=clock)) as store:
        store.handle(None, print)
        with live_workers() as start, pytest.raises(LiveWorkerError, match="stays in this process"):
            start()


def test_without_a_store_there_is_no_worker() -> None:
    with pytest.raises(LiveWorkerError, match="use it inside temp_queue"), live_workers():
        pass
