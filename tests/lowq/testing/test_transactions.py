"""Pushes in the application's transaction, in tests: seen when committed, and missed by name when not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from lowq import TaskQueue, open_backend, task_queue
from lowq.testing import Jobs, SyncWorker, TempQueue, inline, temp_queue
from lowq.testing.observed import NotPromised

ran: list[Any] = []


@task_queue("sqlite:////var/lib/app.db?shared=1", log_level=TaskQueue.SILENT)
def mail(queue: TaskQueue, work: Any) -> None:
    ran.append(work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TempQueue]:
    ran.clear()
    where = f"sqlite://{tmp_path / 'app.db'}?shared=1"
    with temp_queue(backend=lambda path, clock: open_backend(where, name=path.name, clock=clock)) as store:
        yield store


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        yield db


def failure(jobs: Jobs, **like: Any) -> str:
    with pytest.raises(AssertionError) as found:
        jobs.assert_pushed(mail, **like)
    return str(found.value)


def test_a_push_is_seen_once_its_transaction_is_committed(store: TempQueue, db: sqlite3.Connection) -> None:
    jobs = Jobs(store)
    with jobs.capture() as captured:
        with mail.queue.within(db):
            mail.queue.push("x")
        assert "1 push in a transaction that is still open:" in failure(jobs, work="x")
        db.commit()

        jobs.assert_pushed(mail, work="x", times=1)
    assert captured.works() == ["x"]
    assert jobs.assert_one(mail).work == "x"
    assert [run.task.work for run in SyncWorker(store).drain()] == ["x"]
    assert ran == ["x"]
    assert "transaction" not in failure(jobs, work="x")


def test_what_a_block_commits_is_captured(store: TempQueue, db: sqlite3.Connection) -> None:
    mail.queue.push("before")
    with Jobs(store).capture() as captured:
        with mail.queue.within(db):
            mail.queue.push("x")
        db.commit()
        with mail.queue.within(db):
            mail.queue.push("y")
        db.rollback()

    assert captured.works() == ["x"]


def test_a_push_in_a_transaction_that_was_rolled_back_is_not_seen_and_missed_by_name(
    store: TempQueue, db: sqlite3.Connection
) -> None:
    jobs = Jobs(store)
    with mail.queue.within(db):
        mail.queue.push("a", "b")
    db.rollback()
    with mail.queue.within(db):
        mail.queue.push("c")
    db.rollback()
    mail.queue.push("d")

    said = failure(jobs, work="b")

    assert "3 pushes in a transaction that was rolled back:" in said
    assert "nothing was pushed" not in said
    jobs.refute_pushed(mail, work="b")
    jobs.assert_sequence(mail, ["d"])
    with pytest.raises(AssertionError, match="3 pushes in a transaction that was rolled back"):
        jobs.assert_pushed(mail, work="d", times=2)


def test_one_push_that_was_rolled_back_is_said_where_nothing_else_was_pushed(
    store: TempQueue, db: sqlite3.Connection
) -> None:
    with mail.queue.within(db):
        mail.queue.push({"to": "ann"})
    db.rollback()

    said = failure(Jobs(store))

    assert "1 push in a transaction that was rolled back:" in said
    assert "ann" in said
    assert "nothing was pushed" not in said


def test_inline_mode_runs_a_task_right_after_the_commit(store: TempQueue, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}", poolclass=NullPool)
    with inline(store), Session(engine) as session:
        with mail.queue.within(session):
            mail("x")
        assert ran == []
        session.commit()
        assert ran == ["x"]
    engine.dispose()


def test_a_queue_of_the_toolkit_s_own_is_in_no_transaction_and_says_what_to_do(db: sqlite3.Connection) -> None:
    with temp_queue(), pytest.raises(NotPromised, match="lowq_backend"):
        mail.queue.within(db)
