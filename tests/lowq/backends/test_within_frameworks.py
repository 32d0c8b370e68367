"""Pushes in the transactions of SQLAlchemy's connections and sessions, and of Django's connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from processes import answer, python
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from lowq import Item, NoTransaction, TaskQueue, UnattendedWarning, open_backend

MINUTE = timedelta(minutes=1)


class Application:
    """An application's database, with SQLAlchemy, and a queue in it."""

    def __init__(self, location: str, engine: Engine) -> None:
        self.location = location
        self.engine = engine
        self.queue = open_backend(location)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE orders (number INTEGER)"))

    def works(self) -> list[Any]:
        return [task.work for task in self.queue.tasks()]

    def orders(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


@pytest.fixture(params=["postgres", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    if request.param == "postgres":
        url = str(request.getfixturevalue("lowq_postgres"))
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
        made = Application(url, engine)
    else:
        path = tmp_path / "app.db"
        made = Application(f"sqlite://{path}?shared=1", create_engine(f"sqlite:///{path}", poolclass=NullPool))
    with closing(made.queue):
        yield made
    made.engine.dispose()


ORDER = text("INSERT INTO orders VALUES (1)")


def test_a_session_keeps_the_push_with_its_rows_or_not_at_all(app: Application) -> None:
    with Session(app.engine) as session, app.queue.within(session):
        session.execute(ORDER)
        app.queue.push("rolled back")
        session.rollback()
        app.queue.push("kept", headers={"a": "b"})
        assert app.works() == []
        session.commit()

    assert (app.works(), app.orders()) == (["kept"], 0)


def test_a_push_that_comes_first_begins_the_transaction_that_the_session_commits(app: Application) -> None:
    with Session(app.engine) as session:
        with session.begin(), app.queue.within(session):
            app.queue.push_many([Item("a"), Item("b"), Item("a")])
        with suppress(RuntimeError), session.begin(), app.queue.within(session):
            app.queue.push("c")
            raise RuntimeError

    assert app.works() == ["a", "b"]


def test_a_connection_keeps_the_push_with_its_rows_or_not_at_all(app: Application) -> None:
    with app.engine.connect() as connection, app.queue.within(connection):
        app.queue.push("kept")
        connection.commit()
        connection.execute(ORDER)
        app.queue.push("rolled back")
        connection.rollback()

    assert (app.works(), app.orders()) == (["kept"], 0)


def test_a_savepoint_of_a_session_that_is_rolled_back_takes_its_pushes_with_it(app: Application) -> None:
    if app.engine.dialect.name == "sqlite":  # as SQLAlchemy's documentation has it for savepoints on SQLite
        event.listen(app.engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        event.listen(app.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with Session(app.engine) as session, session.begin(), app.queue.within(session):
        app.queue.push("outer")
        with suppress(RuntimeError), session.begin_nested():
            app.queue.push("inner")
            raise RuntimeError
        with session.begin_nested():
            app.queue.push("inner")

    assert app.works() == ["outer", "inner"]


def test_a_scoped_session_is_a_session(app: Application) -> None:
    session = scoped_session(sessionmaker(app.engine))
    with app.queue.within(session):
        app.queue.push("x")
    assert app.works() == []
    session.commit()
    session.remove()

    assert app.works() == ["x"]


def test_autocommit_is_refused(app: Application) -> None:
    with (
        app.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        app.queue.within(connection),
        pytest.raises(NoTransaction, match="autocommit"),
    ):
        app.queue.push("x")

    assert app.works() == []


def test_a_connection_that_is_closed_or_of_another_database_is_refused(app: Application, tmp_path: Path) -> None:
    with app.engine.connect() as connection:
        pass
    with pytest.raises(NoTransaction, match="closed"):
        app.queue.within(connection)
    other = create_engine(f"sqlite:///{tmp_path / 'other.db'}", poolclass=NullPool)
    with Session(other) as session, pytest.raises(NoTransaction), app.queue.within(session):
        app.queue.push("x")
    other.dispose()


def test_an_asynchronous_session_pushes_in_a_function_that_it_runs(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as queue:

        def order(session: Session, work: str) -> None:
            with queue.within(session):
                queue.push(work)

        async def main() -> None:
            engine = create_async_engine(
                "postgresql+psycopg://",
                async_creator=lambda: psycopg.AsyncConnection.connect(lowq_postgres),
                poolclass=NullPool,
            )
            async with AsyncSession(engine) as session:
                with pytest.raises(NoTransaction, match="run_sync"):
                    queue.within(session)
                await session.run_sync(order, "kept")
                assert queue.tasks() == []
                await session.commit()
                await session.run_sync(order, "rolled back")
                await session.rollback()
            await engine.dispose()

        asyncio.run(main())

        assert [task.work for task in queue.tasks()] == ["kept"]


# a worker in the background begins after the commit


class Orders(TaskQueue):
    """A queue that tells when its worker would start."""

    def process(self, work: Any) -> None: ...


@pytest.fixture
def orders(app: Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    monkeypatch.setattr(Orders, "path", app.location)
    queue = Orders()
    yield queue
    queue.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, app: Application) -> list[list[Any]]:
    seen: list[list[Any]] = []

    def start(*_: object, **__: object) -> bool:
        seen.append(app.works())
        return True

    monkeypatch.setattr("lowq.taskqueue.background.start", start)
    return seen


def test_start_in_a_session_s_transaction_begins_after_its_commit(
    app: Application, orders: Orders, started: list[list[Any]]
) -> None:
    with Session(app.engine) as session, orders.within(session):
        orders.push("a")
        assert orders.start()
        with session.begin_nested():
            pass
        assert started == []
        session.commit()
        assert started == [["a"]]
        session.execute(ORDER)
        session.commit()

    assert started == [["a"]]


def test_start_in_a_transaction_that_is_rolled_back_starts_nothing(
    app: Application, orders: Orders, started: list[list[Any]]
) -> None:
    with Session(app.engine) as session, orders.within(session):
        orders.push("a")
        orders.start()
        session.rollback()
        session.execute(ORDER)
        session.commit()

    assert started == []


def test_start_on_a_connection_that_does_not_tell_is_done_at_the_end_of_the_block(
    app: Application, orders: Orders, started: list[list[Any]]
) -> None:
    with app.engine.connect() as connection:
        with orders.within(connection):
            orders.push("a")
            orders.start()
            assert started == []
            connection.commit()
        assert started == [["a"]]
        block = orders.within(connection)
        block.__enter__()
        orders.push("b")
        orders.start()
        with pytest.warns(UnattendedWarning, match="after the commit"):
            block.__exit__(None, None, None)
        connection.rollback()

    assert started == [["a"]]


DJANGO = """
import json, sys
from pathlib import Path

import django
from django.conf import settings

settings.configure(DATABASES={"default": json.loads(sys.argv[1])}, INSTALLED_APPS=[], USE_TZ=True, DEBUG=True)
django.setup()

from django.db import connection, connections, transaction

import lowq
from lowq import task_queue

location = sys.argv[2]
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (number INTEGER)")

class Jobs(lowq.TaskQueue):
    path = location
    def process(self, work):
        pass

jobs = Jobs()
works = lambda: [task.work for task in jobs.backend.tasks()]

def ended(other, pid):
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() is None
started = []
lowq.taskqueue.background.start = lambda *_, **__: started.append(works()) or True
jobs.backend

with transaction.atomic(), jobs.within(connection):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (1)")
    jobs.push("kept", headers={"a": "b%"}, key="?%s")
    jobs.start()
    try:
        with transaction.atomic():
            jobs.push("savepoint")
            raise KeyError
    except KeyError:
        pass
    jobs.push("a", "b", "a")
    assert (works(), started) == ([], [])
try:
    with transaction.atomic(), jobs.within(connections["default"]):
        jobs.push("rolled back")
        jobs.start()
        raise KeyError
except KeyError:
    pass
refused = []
try:
    with jobs.within(connection):
        jobs.push("no transaction")
except lowq.NoTransaction as error:
    refused.append("atomic" in str(error))
if connection.vendor == "postgresql":
    for statement in ("SELECT 1 / 0", "SET LOCAL idle_in_transaction_session_timeout = 1"):
        try:
            with transaction.atomic(), jobs.within(connection):
                try:
                    connection.cursor().execute(statement)
                except Exception:
                    pass
                other = connection.copy()
                while statement.startswith("SET") and not ended(other, connection.connection.info.backend_pid):
                    pass
                other.close()
                jobs.push("of a failed transaction")
        except (lowq.NoTransaction, lowq.BackendUnavailable, django.db.Error) as error:
            refused.append(type(error).__name__)
        connection.close()
print(json.dumps([works(), started, refused]))
jobs.close()
"""


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_django_s_connection_keeps_the_push_with_its_rows_or_not_at_all(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "postgres":
        location = str(request.getfixturevalue("lowq_postgres"))
        with psycopg.connect(location) as connection:
            info = connection.info
            settings = {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": info.dbname,
                "USER": info.user,
                "HOST": info.host,
                "PORT": info.port,
            }
    else:
        location = f"sqlite://{tmp_path / 'app.db'}?shared=1"
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "app.db")}

    found = json.loads(answer(python(DJANGO, json.dumps(settings), location)))

    by_the_server = ["NoTransaction", "BackendUnavailable"] if kind == "postgres" else []
    assert found == [["kept", "a", "b"], [["kept", "a", "b"]], [True, *by_the_server]]
