"""Pushes in the caller's own transaction, with psycopg's and sqlite3's connections.

Long: what holds of a push in a transaction, one test for each.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from processes import wait_for

from lowq import (
    Backend,
    BackendUnavailable,
    FakeClock,
    Item,
    NoTransaction,
    Pushed,
    QueueClosed,
    TaskQueue,
    UnattendedWarning,
    open_backend,
)
from lowq.testing.servers.postgres import PostgresServer

BOUND = 60
MINUTE = timedelta(minutes=1)


class Application:
    """A database of an application's with a table of its own, and a queue in it."""

    def __init__(self, location: str, connect: Callable[[], Any]) -> None:
        self.kind = "sqlite" if location.startswith("sqlite") else "postgres"
        self.location = location
        self.connect = connect
        self.queue = open_backend(location)
        with closing(connect()) as db:
            db.execute("CREATE TABLE orders (number INTEGER)")
            db.commit()

    def orders(self) -> list[int]:
        with closing(self.connect()) as db:
            return [number for (number,) in db.execute("SELECT number FROM orders ORDER BY number").fetchall()]

    def works(self) -> list[Any]:
        return [task.work for task in self.queue.tasks()]


def app_at(request: pytest.FixtureRequest, folder: Path, kind: str) -> Application:
    if kind == "postgres":
        url = str(request.getfixturevalue("lowq_postgres"))
        return Application(url, lambda: psycopg.connect(url))
    path = folder / "app.db"
    return Application(f"sqlite://{path}?shared=1&patience=1", lambda: sqlite3.connect(path, timeout=1))


@pytest.fixture(params=["postgres", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    made = app_at(request, tmp_path, request.param)
    with closing(made.queue):
        yield made


@pytest.fixture
def postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    made = app_at(request, tmp_path, "postgres")
    with closing(made.queue):
        yield made


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    made = app_at(request, tmp_path, "sqlite")
    with closing(made.queue):
        yield made


def drained(queue: Backend) -> list[Any]:
    works = []
    while (lease := queue.claim(lease_for=MINUTE)) is not None:
        works.append(lease.work)
        queue.ack(lease)
    return works


# committed with the caller's rows, or not at all


def test_a_push_is_there_with_the_rows_of_its_transaction_and_not_before(app: Application) -> None:
    with closing(app.connect()) as db:
        db.execute("INSERT INTO orders VALUES (1)")
        with app.queue.within(db):
            pushed = app.queue.push({"order": 1}, key="one", priority=3, headers={"a": "b"})

        assert pushed.added
        assert (app.orders(), app.works()) == ([], [])
        if app.kind == "postgres":  # in SQLite a claim waits for the transaction
            assert app.queue.claim(lease_for=MINUTE) is None
        db.commit()

    assert app.orders() == [1]
    (task,) = app.queue.tasks()
    assert (task.id, task.work, task.key, task.priority) == (pushed.id, {"order": 1}, "one", 3)
    assert dict(task.headers) == {"a": "b"}
    assert drained(app.queue) == [{"order": 1}]


def test_a_push_that_is_rolled_back_never_was_and_its_work_may_be_pushed_again(app: Application) -> None:
    with closing(app.connect()) as db:
        with app.queue.within(db):
            db.execute("INSERT INTO orders VALUES (1)")
            first = app.queue.push("x")
        db.rollback()
        with app.queue.within(db):
            second = app.queue.push("x")
        db.commit()
    third = app.queue.push("y")

    assert app.orders() == []
    assert second.added
    assert len({first.id, second.id, third.id}) == 3
    assert app.queue.task(first.id) is None
    assert drained(app.queue) == ["x", "y"]


def test_a_batch_is_part_of_the_transaction_as_one_push_is(app: Application) -> None:
    app.queue.push("b")
    with closing(app.connect()) as db, app.queue.within(db):
        answers = app.queue.push_many([Item("a"), Item("b"), Item("a"), Item("c", priority=1)])
        assert app.queue.push_many([]) == []
        db.commit()

    assert [each.added for each in answers] == [True, False, False, True]
    assert answers[2].id == answers[0].id
    assert drained(app.queue) == ["c", "b", "a"]


def test_work_that_is_not_json_leaves_the_transaction_whole(app: Application) -> None:
    with closing(app.connect()) as db, app.queue.within(db):
        app.queue.push("kept")
        with pytest.raises(ValueError, match="work"):
            app.queue.push({1, 2})
        with pytest.raises(ValueError, match="item 1"):
            app.queue.push_many([Item("not kept"), Item(float("nan"))])
        db.commit()

    assert drained(app.queue) == ["kept"]


def test_a_push_in_a_savepoint_that_is_rolled_back_never_was(app: Application) -> None:
    with closing(app.connect()) as db, app.queue.within(db):
        app.queue.push("before")
        db.execute("SAVEPOINT one")
        first = app.queue.push("inside")
        db.execute("ROLLBACK TO SAVEPOINT one")
        second = app.queue.push("inside")
        app.queue.push("after")
        db.commit()

    assert second.added
    assert second.id != first.id
    assert drained(app.queue) == ["before", "inside", "after"]


def test_a_scheduled_task_of_a_transaction_waits_for_its_time(app: Application) -> None:
    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    with closing(open_backend(app.location, clock=clock)) as queue, closing(app.connect()) as db:
        with queue.within(db):
            queue.push("later", not_before=clock.now() + MINUTE)
        db.commit()

        assert queue.claim(lease_for=MINUTE) is None
        clock.advance(MINUTE)
        assert drained(queue) == ["later"]


def test_names_share_a_database_and_nothing_else(app: Application) -> None:
    with closing(open_backend(app.location, name="mail")) as mail, closing(app.connect()) as db:
        with app.queue.within(db), mail.within(db):
            app.queue.push("x")
            assert mail.push("x").added
        db.commit()

        assert drained(mail) == ["x"]
        assert app.works() == ["x"]


def test_a_transaction_dedupes_what_stands_and_what_it_pushed_itself(app: Application) -> None:
    standing = app.queue.push("stands")
    with closing(app.connect()) as db:
        with app.queue.within(db):
            assert app.queue.push("stands") == Pushed(standing.id, False)
            new = app.queue.push("new")
            assert app.queue.push("new") == Pushed(new.id, False)
        db.commit()

    assert drained(app.queue) == ["stands", "new"]


# whose pushes


def test_only_the_pushes_of_the_block_s_thread_are_in_its_transaction(postgres: Application) -> None:
    with closing(postgres.connect()) as db:
        with postgres.queue.within(db):
            thread = threading.Thread(target=contextvars.Context().run, args=(postgres.queue.push, "aside"))
            thread.start()
            thread.join(BOUND)
            postgres.queue.push("inside")
        postgres.queue.push("behind")
        db.rollback()

    assert drained(postgres.queue) == ["aside", "behind"]


def test_every_client_of_the_queue_pushes_in_the_transaction_and_no_other_queue_s(postgres: Application) -> None:
    with closing(open_backend(postgres.location)) as again, closing(open_backend("memory://aside")) as aside:
        with closing(postgres.connect()) as db:
            with postgres.queue.within(db):
                again.push("x")
                aside.push("x")
            db.rollback()

        assert postgres.works() == []
        assert len(aside.tasks()) == 1


def test_an_asyncio_task_that_outlives_the_block_pushes_by_itself(postgres: Application) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def later() -> None:
            await begun.wait()
            postgres.queue.push("later")

        with closing(postgres.connect()) as db:
            with postgres.queue.within(db):
                task = asyncio.create_task(later())
                await asyncio.sleep(0)
            begun.set()
            await task

    asyncio.run(main())

    assert postgres.works() == ["later"]


def test_a_forked_child_does_not_push_over_its_parent_s_connection(postgres: Application) -> None:
    with closing(postgres.connect()) as db:
        with postgres.queue.within(db):
            postgres.queue.push("parent")
            pid = os.fork()
            if pid == 0:
                try:
                    postgres.queue.push("child")
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
        db.rollback()

    assert postgres.works() == ["child"]


# what cannot be


REFUSED: dict[str, tuple[type[Exception], str]] = {
    "a string": (TypeError, "expected a psycopg 3 or sqlite3 connection.*got str"),
    "None": (TypeError, "got NoneType"),
    "closed": (NoTransaction, "closed"),
    "autocommit": (NoTransaction, "autocommit"),
    "another database": (NoTransaction, "another database|the queue is in"),
    "in memory": (NoTransaction, "memory|database of postgresql"),
    "another kind": (NoTransaction, "a connection to"),
}


@contextmanager
def refused(app: Application, what: str, folder: Path, server: Callable[[], PostgresServer]) -> Iterator[Any]:
    """A connection in whose transaction no push can be."""
    if what in ("a string", "None"):
        yield None if what == "None" else app.location
    elif what == "closed":
        db = app.connect()
        db.close()
        yield db
    elif what == "autocommit":
        with closing(app.connect()) as db:
            if app.kind == "sqlite":
                db.isolation_level = None
            else:
                db.autocommit = True
            yield db
    elif (what == "another database" and app.kind == "postgres") or (what == "another kind" and app.kind == "sqlite"):
        with closing(psycopg.connect(server().address.url("postgres"))) as db:
            yield db
    else:
        with closing(sqlite3.connect(":memory:" if what == "in memory" else folder / "other.db")) as db:
            yield db


@pytest.mark.parametrize("what", REFUSED)
def test_a_connection_in_whose_transaction_no_push_can_be_is_refused(
    app: Application, what: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    error, said = REFUSED[what]
    with refused(app, what, tmp_path, lambda: request.getfixturevalue("lowq_postgres_server")) as db:
        with pytest.raises(error, match=said), app.queue.within(db):
            app.queue.push("x")
        if what == "another database":
            assert db.execute("SELECT 1").fetchone() == (1,)

    assert app.works() == []


@pytest.mark.parametrize("location", ["memory://x", "files://{}/q", "{}/q.db"])
def test_a_queue_in_no_database_of_the_application_s_refuses_by_name(location: str, tmp_path: Path) -> None:
    with closing(open_backend(location.format(tmp_path))) as queue, closing(sqlite3.connect(":memory:")) as db:
        assert "transaction" not in queue.promises
        with pytest.raises(NoTransaction, match="shared=1"), queue.within(db):
            queue.push("x")


def test_the_promise_says_which_queues_can(app: Application) -> None:
    assert "transaction" in app.queue.promises


def test_a_closed_queue_says_so(app: Application) -> None:
    with closing(app.connect()) as db, app.queue.within(db):
        app.queue.close()
        with pytest.raises(QueueClosed):
            app.queue.push("x")
    with closing(app.connect()) as db, pytest.raises(QueueClosed), app.queue.within(db):
        pass


def test_a_failed_transaction_is_said_and_can_go_back_to_a_savepoint(postgres: Application) -> None:
    with closing(postgres.connect()) as db, postgres.queue.within(db):
        db.execute("SAVEPOINT one")
        with pytest.raises(psycopg.Error):
            db.execute("SELECT 1 / 0")
        with pytest.raises(NoTransaction, match="failed"):
            postgres.queue.push("x")
        db.execute("ROLLBACK TO SAVEPOINT one")
        postgres.queue.push("y")
        db.commit()

    assert postgres.works() == ["y"]


def test_autocommit_with_a_transaction_that_was_begun_is_a_transaction(app: Application) -> None:
    with closing(app.connect()) as db:
        if isinstance(db, sqlite3.Connection):
            db.isolation_level = None
        else:
            db.autocommit = True
        with app.queue.within(db):
            db.execute("BEGIN")
            app.queue.push("x")
            db.execute("ROLLBACK")
            db.execute("BEGIN")
            app.queue.push("y")
            db.execute("COMMIT")
            with pytest.raises(NoTransaction):
                app.queue.push("z")

    assert app.works() == ["y"]


def test_an_asynchronous_connection_is_refused_with_what_to_do(postgres: Application) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.location) as db:
            with pytest.raises(NoTransaction, match="run_sync"):
                postgres.queue.within(db)

    asyncio.run(main())


# several open transactions at once (in SQLite there is one that writes)


def test_of_two_open_transactions_with_equal_works_the_first_commit_keeps_its_task(postgres: Application) -> None:
    queue = postgres.queue
    with closing(postgres.connect()) as one, closing(postgres.connect()) as two:
        with queue.within(one):
            first = queue.push("x")
        with queue.within(two):
            second = queue.push("x")
        two.commit()
        one.commit()

    assert (first.added, second.added) == (True, True)
    assert [task.id for task in queue.tasks()] == [second.id]


def test_a_rolled_back_transaction_swallows_nobody_s_equal_work(postgres: Application) -> None:
    queue = postgres.queue
    with closing(postgres.connect()) as one, closing(postgres.connect()) as two:
        with queue.within(one):
            queue.push("x")
        with queue.within(two):
            queue.push("x")
            queue.push("y")
        assert queue.push("y").added
        one.rollback()
        two.commit()

    assert sorted(drained(queue)) == ["x", "y"]


@pytest.mark.parametrize("dedupe", ["until_claimed", "off"])
def test_the_commit_looks_for_equal_works_as_the_queue_dedupes(postgres: Application, dedupe: Any) -> None:
    with closing(open_backend(postgres.location, name=dedupe, dedupe=dedupe)) as queue:
        with closing(postgres.connect()) as db:
            with queue.within(db):
                queue.push("x")
            queue.push("x")
            lease = queue.claim(lease_for=MINUTE)
            db.commit()

        assert lease is not None
        assert drained(queue) == ["x"]


def test_an_open_transaction_keeps_nobody_waiting(postgres: Application) -> None:
    queue = postgres.queue
    with closing(postgres.connect()) as db:
        with queue.within(db):
            queue.push("open")
        queue.push("aside")
        assert drained(queue) == ["aside"]
        db.commit()

    assert drained(queue) == ["open"]


def test_a_task_takes_the_place_of_its_push_among_those_that_wait_at_the_commit(postgres: Application) -> None:
    queue = postgres.queue
    with closing(postgres.connect()) as one, closing(postgres.connect()) as two:
        with queue.within(one):
            queue.push(1)
        with queue.within(two):
            queue.push(2)
        queue.push(3)
        two.commit()
        one.commit()

    assert drained(queue) == [1, 2, 3]


def test_transactions_that_push_to_two_queues_the_other_way_round_do_not_lock_each_other(
    postgres: Application,
) -> None:
    with closing(open_backend(postgres.location, name="mail")) as mail:
        queues = [postgres.queue, mail]

        def push(order: list[Backend], number: int) -> None:
            with closing(postgres.connect()) as db:
                for turn in range(20):
                    with order[0].within(db), order[1].within(db):
                        order[0].push([number, turn])
                        order[1].push([number, turn])
                    db.commit()

        threads = [threading.Thread(target=push, args=(queues[:: 1 - 2 * (n % 2)], n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

        assert [len(each.tasks()) for each in queues] == [80, 80]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_sees_no_others_commits_is_refused_where_the_queue_dedupes(
    postgres: Application, level: str
) -> None:
    with (
        closing(open_backend(postgres.location, name="off", dedupe="off")) as off,
        closing(postgres.connect()) as db,
    ):
        db.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        with postgres.queue.within(db), pytest.raises(NoTransaction, match="READ COMMITTED"):
            postgres.queue.push("x")
        with off.within(db):
            off.push("x")
        db.commit()

        assert drained(off) == ["x"]
    assert postgres.works() == []


# waiters, and the worker in the background


def test_a_claim_that_waits_is_woken_by_the_commit(app: Application) -> None:
    found: list[Any] = []

    def wait() -> None:
        with closing(open_backend(app.location)) as queue:
            lease = queue.claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND))
            found.append(None if lease is None else lease.work)

    with closing(app.connect()) as db:
        thread = threading.Thread(target=wait)
        thread.start()
        with app.queue.within(db):
            app.queue.push("x")
        db.commit()
        thread.join(BOUND)

    assert found == ["x"]


def test_a_worker_that_is_started_in_the_block_begins_after_the_commit(sqlite: Application, tmp_path: Path) -> None:
    class Orders(TaskQueue):
        path = sqlite.location

        def process(self, work: Any) -> None:
            with closing(sqlite3.connect(tmp_path / "app.db", timeout=BOUND)) as db:
                db.execute("INSERT INTO orders VALUES (?)", (work,))
                db.commit()

    queue = Orders()
    try:
        with closing(sqlite.connect()) as db, queue.within(db):
            queue.push(7)
            assert queue.start()
            assert queue.active_pid is None
            db.commit()
        wait_for(lambda: sqlite.orders() == [7])
        wait_for(lambda: queue.active_pid is None)
    finally:
        queue.close()


def test_start_is_refused_while_the_process_has_a_file_with_a_log_open_itself(
    sqlite: Application, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")

    class Nothing(TaskQueue):
        path = sqlite.location

        def process(self, work: Any) -> None: ...

    queue = Nothing()
    try:
        with closing(sqlite.connect()) as db:
            db.execute("SELECT * FROM orders").fetchall()
            with pytest.raises(BackendUnavailable, match=r"WAL mode.*lowq work"):
                queue.start()
            block = queue.within(db)
            block.__enter__()
            queue.push("x")
            queue.start()
            db.commit()
            with pytest.warns(UnattendedWarning, match="no worker was started"):
                block.__exit__(None, None, None)
        assert sqlite.works() == ["x"]
    finally:
        queue.close()
