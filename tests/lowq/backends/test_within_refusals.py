"""The server ends or fails a transaction in which is pushed: errors have names, and nothing is pushed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from processes import wait_for
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from lowq import Backend, BackendUnavailable, InvalidLocation, Item, LowqError, NoTransaction, open_backend

Execute = Callable[[str], Any]


@pytest.fixture
def queue(lowq_postgres: str) -> Iterator[Backend]:
    with closing(open_backend(lowq_postgres)) as queue:
        yield queue


@contextmanager
def caller_of(kind: str, url: str) -> Iterator[tuple[Any, Execute, int]]:
    """A connection or session in an open transaction, what executes in it, and its process on the server."""
    if kind == "psycopg":
        with closing(psycopg.connect(url)) as db:
            db.execute("SELECT 1")
            yield db, lambda statement: db.execute(statement.encode()), db.info.backend_pid
        return
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with closing(engine.connect() if kind == "connection" else Session(engine)) as made:
        pid = made.execute(text("SELECT pg_backend_pid()")).scalar_one()
        yield made, lambda statement: made.execute(text(statement)), pid
        made.rollback()
    engine.dispose()


LOST = r"the connection to \S+ (was lost \(.*undone|cannot be used \(.*server closed.*nothing was pushed)"
"""What the server said before it closed the connection is heard, or was overtaken by the end."""
KINDS = ["psycopg", "connection", "session"]


def is_gone(url: str, pid: int) -> bool:
    with psycopg.connect(url) as other:
        return other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_whose_session_was_ended_while_it_was_idle_says_so(
    queue: Backend, lowq_postgres: str, kind: str
) -> None:
    with caller_of(kind, lowq_postgres) as (connection, execute, pid), queue.within(connection):
        queue.push("undone")
        execute("SET idle_in_transaction_session_timeout = 1")
        wait_for(lambda: is_gone(lowq_postgres, pid))

        with pytest.raises(BackendUnavailable, match=LOST) as caught:
            queue.push("x")
        assert caught.value.__cause__ is not None  # for whoever looks for his driver's
        with pytest.raises(NoTransaction):
            queue.push_many([Item("y")])

    assert queue.tasks() == []
    assert queue.push("afterwards").added


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_push_that_the_server_stops_says_so(queue: Backend, lowq_postgres: str, kind: str, what: str) -> None:
    """It waits for a lock on the table; then its session is ended, or its statement cancelled."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
    with (
        caller_of(kind, lowq_postgres) as (connection, _, pid),
        closing(psycopg.connect(lowq_postgres, autocommit=True)) as other,
        closing(psycopg.connect(lowq_postgres)) as locked,
        queue.within(connection),
    ):
        locked.execute("LOCK TABLE lowq.task IN ACCESS EXCLUSIVE MODE")

        def stop() -> None:
            wait_for(lambda: (pid,) in other.execute(waiting).fetchall())
            other.execute(f"SELECT {what}({pid})".encode())

        thread = threading.Thread(target=stop)
        thread.start()
        said = LOST if what == "pg_terminate_backend" else "nothing was pushed.*has failed"
        with pytest.raises(BackendUnavailable, match=said):
            queue.push("x")
        thread.join()
        with pytest.raises(NoTransaction):
            queue.push("y")

    assert queue.tasks() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_transaction_that_has_failed_is_said_whoever_keeps_it(
    queue: Backend, lowq_postgres: str, kind: str
) -> None:
    with caller_of(kind, lowq_postgres) as (connection, execute, _), queue.within(connection):
        with pytest.raises(Exception, match="division by zero"):
            execute("SELECT 1 / 0")

        with pytest.raises(NoTransaction, match="has failed"):
            queue.push("x")
        connection.rollback()
        execute("SELECT 1")
        queue.push("y")
        connection.commit()

    assert [task.work for task in queue.tasks()] == ["y"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("SET ROLE pg_monitor", InvalidLocation, "permission denied.*GRANT USAGE"),
        ("SET transaction_read_only = on", NoTransaction, "transaction is read-only .*roll it back"),
        ("DROP SCHEMA lowq CASCADE", LowqError, "gone|another database"),
    ],
)
def test_what_keeps_a_transaction_from_pushing_is_said(
    queue: Backend, lowq_postgres: str, kind: str, statement: str, error: type[Exception], said: str
) -> None:
    with caller_of(kind, lowq_postgres) as (connection, execute, _):
        execute(statement)
        with queue.within(connection), pytest.raises(error, match=said):
            queue.push("x")
        connection.rollback()

    assert queue.tasks() == []


def test_a_transaction_with_pushes_is_not_prepared_for_a_second_phase(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as queue, closing(psycopg.connect(lowq_postgres)) as db:
        with queue.within(db):
            queue.push("x")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot be prepared for a commit in two phases"):
            db.execute("PREPARE TRANSACTION 'x'")
        db.rollback()

        assert queue.push("others go on").added
        assert [task.work for task in queue.tasks()] == ["others go on"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_in_a_transaction_of_two_phases_is_refused(queue: Backend, lowq_postgres: str, kind: str) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(lowq_postgres), poolclass=NullPool
    )
    made: Any
    if kind == "psycopg":
        made = psycopg.connect(lowq_postgres)
        made.tpc_begin(made.xid(1, "two", "phases"))
    elif kind == "connection":
        made = engine.connect()
        made.begin_twophase()
    else:
        made = Session(engine, twophase=True)
    with closing(made), queue.within(made), pytest.raises(NoTransaction, match="in two phases"):
        queue.push("x")
    engine.dispose()

    assert queue.tasks() == []


def test_a_serialization_failure_is_left_to_who_tries_again(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres, name="any", dedupe="off")) as queue:
        with psycopg.connect(lowq_postgres, autocommit=True) as db:
            db.execute(
                "CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END $$"
            )
            db.execute("CREATE TRIGGER clash BEFORE INSERT ON lowq.task FOR EACH ROW EXECUTE FUNCTION clash()")
        with closing(psycopg.connect(lowq_postgres)) as db, queue.within(db):
            with pytest.raises(psycopg.errors.SerializationFailure):
                queue.push("x")
            db.rollback()
