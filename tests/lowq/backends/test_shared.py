"""Queues in the application's own SQLite file: what of lowq's tools is for them, and who would wait for himself."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cutoff import cut_offs
from processes import BOUND, wait_for

from lowq import BackendUnavailable, Counts, InvalidLocation, Item, NoTransaction, TaskQueue, open_backend
from lowq.cli import main
from lowq.location import compact, verify
from lowq.rules.transaction import callers_here, is_joined, opening_for

MINUTE = timedelta(minutes=1)
STEP = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 29
"""Instructions between two cuts."""


@pytest.fixture(params=["wal", "delete"])
def db(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute(f"PRAGMA journal_mode = {request.param}")
        db.execute("CREATE TABLE orders (item TEXT)")
        db.commit()
        yield db


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path / 'app.db'}?shared=1"


def application(url: str, queue_name: str = "mail") -> TaskQueue:
    class Mail(TaskQueue):
        path = url
        name = queue_name
        options = MappingProxyType({"patience": timedelta(seconds=BOUND)})

        def process(self, work: Any) -> None: ...

    return Mail()


# who would wait for himself


def test_the_first_use_in_a_transaction_that_has_written_is_refused_soon(db: sqlite3.Connection, url: str) -> None:
    with closing(application(url)) as mail:
        db.execute("INSERT INTO orders VALUES ('tea')")
        with pytest.raises(BackendUnavailable, match=r"wait in vain.*use it once \(queue.backend\) before"):
            mail.within(db)
        db.commit()

        with mail.within(db):
            mail.push({"order": 1})
        db.commit()
        assert mail.backend.count() == Counts(ready=1)


def test_a_new_name_in_a_transaction_that_has_written_is_refused_soon(db: sqlite3.Connection, url: str) -> None:
    open_backend(url).close()
    with closing(application(url)) as mail:
        db.execute("INSERT INTO orders VALUES ('tea')")
        with pytest.raises(BackendUnavailable, match="wait in vain"):
            mail.within(db)
        db.rollback()


def test_what_writes_by_itself_in_the_block_is_refused_soon(db: sqlite3.Connection, url: str) -> None:
    with closing(application(url)) as mail, closing(application(url, "reports")) as reports:
        assert reports.backend.push("before").added
        with mail.within(db):
            mail.push("x")
            for call in (lambda: reports.push("y"), lambda: reports.backend.claim(lease_for=MINUTE)):
                with pytest.raises(BackendUnavailable, match="wait in vain"):
                    call()
            assert reports.backend.count() == Counts(ready=1)
        db.commit()

        assert reports.push("y") is not None
        assert [each.backend.count() for each in (mail, reports)] == [Counts(ready=1), Counts(ready=2)]


def test_the_first_use_waits_for_somebody_else_s_transaction(
    db: sqlite3.Connection, url: str, tmp_path: Path
) -> None:
    opened: list[Any] = []
    db.execute("BEGIN IMMEDIATE")

    def use() -> None:
        with closing(sqlite3.connect(tmp_path / "app.db")) as own, closing(application(url)) as mail:
            own.execute("BEGIN")
            opened.append("begun")
            with mail.within(own):
                mail.push("x")
            own.commit()
            opened.append(mail.backend.count())

    thread = threading.Thread(target=use)
    thread.start()
    wait_for(lambda: bool(opened))
    threading.Event().wait(0.02)
    db.rollback()
    thread.join(BOUND)

    assert opened == ["begun", Counts(ready=1)]


# the tools


def test_the_queues_in_a_file_are_verified(db: sqlite3.Connection, url: str) -> None:
    with pytest.raises(InvalidLocation, match="there is no queue in this database"):
        verify(url)
    with closing(open_backend(url, name="mail")) as queue:
        queue.push_many([Item(number) for number in range(3)])
    assert verify(url) == []

    db.execute("UPDATE lowq_task SET work = '7' WHERE id = 2")
    db.commit()
    assert [(finding.queue, finding.id) for finding in verify(url)] == [("mail", "2")]


def test_the_room_and_the_copies_are_the_application_s(
    db: sqlite3.Connection, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_backend(url).close()
    with pytest.raises(InvalidLocation, match="the file is the application's, and so is its room"):
        compact(url, rewrite=True)

    assert main(["backup", url, str(tmp_path / "copy.db")]) == 2
    assert "the file is the application's, and its copies have the queues in them" in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()


# calls that are cut off


def test_a_push_that_is_cut_off_is_whole_or_absent_and_locks_nobody_out(db: sqlite3.Connection, url: str) -> None:
    with closing(open_backend(url, dedupe="off", patience=timedelta(seconds=2))) as queue:
        kept = 0
        for index in cut_offs(lambda: queue.push(1), step=STEP):
            now = queue.count().ready
            assert now - kept in (0, 1), index
            kept = now
            db.execute("INSERT INTO orders VALUES ('tea')")  # which nobody keeps from being written
            db.commit()
        assert kept >= 1


def test_a_block_that_is_cut_off_stands_no_more(db: sqlite3.Connection, url: str) -> None:
    """Else the next push, outside of it, would be in the transaction, and rolled back with it."""
    with closing(open_backend(url)) as queue:

        def block() -> None:
            with opening_for(db), queue.within(db):
                pass

        assert [index for index in cut_offs(block) if is_joined() or callers_here("sqlite")] == []


def test_a_push_in_a_transaction_that_is_cut_off_is_whole_or_absent(db: sqlite3.Connection, url: str) -> None:
    with closing(open_backend(url, dedupe="off", patience=timedelta(seconds=2))) as queue:

        def push() -> None:
            with queue.within(db):
                db.execute("INSERT INTO orders VALUES ('tea')")
                queue.push(1)

        kept, seen = 0, set()
        for index in cut_offs(push, step=STEP):
            is_kept = bool(index % 2)
            (db.commit if is_kept else db.rollback)()
            now = queue.count().ready
            assert now - kept in ((0, 1) if is_kept else (0,)), index
            seen.add(now - kept)
            kept = now
            queue.push(2)  # which nobody keeps from being written
            kept += 1
        assert seen == {0, 1}
        with queue.within(db):
            assert queue.push(3).added
        db.commit()
        assert queue.count().ready == kept + 2  # with the push that was not cut off


@pytest.mark.parametrize(("mode", "pragma"), [("ro", "user_version"), ("rw", "query_only = 1")])
def test_a_push_in_a_transaction_that_may_not_write_says_so(tmp_path: Path, url: str, mode: str, pragma: str) -> None:
    with closing(application(url)) as mail:
        mail.push("kept")
        with closing(sqlite3.connect(f"file:{tmp_path / 'app.db'}?mode={mode}", uri=True)) as db:
            db.execute(f"PRAGMA {pragma}")
            with mail.within(db), pytest.raises(NoTransaction, match="transaction is read-only"):
                mail.push("x")

        assert [task.work for task in mail.backend.tasks()] == ["kept"]
