"""Django's connections across start(), processes and time_limit, and around each task; in programs of their own."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from processes import answer, python

from lowq.testing.servers.postgres import PostgresServer

PREAMBLE = """
import json, os, sys, time
from datetime import timedelta
from pathlib import Path

import django
from django.conf import settings

settings.configure(DATABASES={"default": json.loads(sys.argv[1])}, INSTALLED_APPS=[], USE_TZ=True)
django.setup()

from django.db import connection, models, transaction

import lowq
from lowq import task_queue

class Order(models.Model):
    name = models.TextField()
    pid = models.IntegerField(default=0)

    class Meta:
        app_label = "shop"

with connection.schema_editor() as editor:
    editor.create_model(Order)

def session():
    '''The server's process for this connection; here, where there is no server.'''
    if connection.vendor == "sqlite":
        return os.getpid()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

def await_drained(queue, seconds=60):
    end = time.monotonic() + seconds
    while (count := queue.backend.count()).ready or count.leased or count.scheduled:
        log = Path(sys.argv[2], "jobs.db-log")
        assert time.monotonic() < end, (count, log.exists() and log.read_text())
        time.sleep(0.01)

def names():
    return sorted(Order.objects.values_list("name", flat=True))
"""

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"}
WAL = {**SQLITE, "OPTIONS": {"init_command": "PRAGMA journal_mode=wal"}}


@pytest.fixture
def server(lowq_postgres_server: PostgresServer) -> Path:
    """The folder of the server's socket."""
    return Path(lowq_postgres_server.address.socket)


def databases(*kinds: str) -> pytest.MarkDecorator:
    """The test is run on each of these."""
    return pytest.mark.parametrize("database", kinds, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Django's settings of a database, as JSON."""
    kind: str = request.param
    if kind.startswith("sqlite"):
        return json.dumps({**(WAL if "WAL" in kind else SQLITE), "NAME": str(tmp_path / "app.db")})
    return of_server(request.getfixturevalue("server"), kind)


def of_server(folder: Path, kind: str = "") -> str:
    """The same of the server's, emptied."""
    import psycopg

    with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    settings: dict[str, object] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": str(folder),
        "USER": "postgres",
        "NAME": "postgres",
    }
    if "kept" in kind:
        settings["CONN_MAX_AGE"] = 600
    if "pool" in kind:
        settings["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 4}}
    return json.dumps(settings)


def run(database: str, folder: Path, program: str) -> str:
    """What the program printed."""
    return answer(python(PREAMBLE + textwrap.dedent(program), database, folder))


@databases("sqlite", "sqlite with a WAL", "postgresql", "postgresql, kept", "postgresql, pool")
def test_a_worker_in_the_background_uses_connections_of_its_own(database: str, tmp_path: Path) -> None:
    printed = run(
        database,
        tmp_path,
        """
        @task_queue(f"{sys.argv[2]}/jobs.db")
        def note(queue, work):
            Order.objects.create(name=f"task {work}", pid=session())

        Order.objects.create(name="before")
        mine = session()
        note(1, 2)
        Order.objects.create(name="meanwhile")
        await_drained(note.queue)

        assert connection.vendor == "sqlite" or session() == mine
        assert mine not in Order.objects.filter(name__startswith="task").values_list("pid", flat=True)
        print(*names(), sep=", ")
        """,
    )

    assert printed == "before, meanwhile, task 1, task 2"


@databases("sqlite", "sqlite with a WAL", "postgresql")
def test_a_worker_that_is_started_inside_a_transaction(database: str, tmp_path: Path) -> None:
    printed = run(
        database,
        tmp_path,
        """
        @task_queue(f"{sys.argv[2]}/jobs.db", retry=lowq.Retry(first=timedelta(seconds=0.05)))
        def note(queue, work):
            Order.objects.get(name="mine")
            Order.objects.create(name=f"task {work}")

        with transaction.atomic():
            Order.objects.create(name="mine")
            note(1)
            time.sleep(0.2)
            Order.objects.create(name="more")
        await_drained(note.queue)
        print(*names(), sep=", ")
        """,
    )

    assert printed == "mine, more, task 1"


@databases("sqlite with a WAL", "postgresql, pool")
@pytest.mark.parametrize("options", ["{'processes': 2}", "{}"], ids=["processes", "time_limit"])
def test_the_processes_of_a_worker_use_connections_of_their_own(database: str, tmp_path: Path, options: str) -> None:
    limit = "None" if "processes" in options else "timedelta(minutes=1)"
    printed = run(
        database,
        tmp_path,
        f"""
        @task_queue(f"{{sys.argv[2]}}/jobs.db", time_limit={limit})
        def note(queue, work):
            Order.objects.create(name=f"task {{work}}", pid=session())

        Order.objects.create(name="before")
        mine = session()
        for each in range(4):
            note.queue.push(each)
        note.queue.worker(**{options}).run_while_due(timedelta(0))

        assert connection.vendor == "sqlite" or session() == mine
        assert mine not in Order.objects.filter(name__startswith="task").values_list("pid", flat=True)
        print(*names(), sep=", ")
        """,
    )

    assert printed == "before, task 0, task 1, task 2, task 3"


@databases("sqlite", "postgresql, pool")
def test_what_a_handler_leaves_behind_does_not_reach_the_next_task(database: str, tmp_path: Path) -> None:
    printed = run(
        database,
        tmp_path,
        """
        from django.db import IntegrityError

        @task_queue(f"{sys.argv[2]}/jobs.db", log_level=0)
        def note(queue, work):
            assert not connection.in_atomic_block and connection.get_autocommit() if connection.connection else True
            if work == "open":
                transaction.atomic().__enter__()
                Order.objects.create(name="never")
            elif work == "manual":
                transaction.set_autocommit(False)
                Order.objects.create(name="nor this")
            elif work == "broken":
                transaction.atomic().__enter__()
                Order.objects.create(pk=1, name="once")
                Order.objects.create(pk=1, name="twice")
            elif work == "cut":
                connection.ensure_connection()
                connection.connection.close()
                Order.objects.count()
            else:
                Order.objects.create(name=work)

        note.queue.push("a", "open", "b", "manual", "c", "broken", "d", "cut", "e")
        runs = [note.queue.worker().run_one() for _ in range(9)]
        print(*[run.outcome for run in runs], "|", *names())
        """,
    )

    assert printed == "done done done done done retry done retry done | a b c d e"


@databases("sqlite with a WAL", "postgresql, kept")
def test_asynchronous_calls_work_in_the_worker_of_a_program_that_made_some(database: str, tmp_path: Path) -> None:
    printed = run(
        database,
        tmp_path,
        """
        import asyncio

        @task_queue(f"{sys.argv[2]}/jobs.db", log_level=0)
        async def note(queue, work):
            await Order.objects.acreate(name=f"task {work}")
            if work == 1:
                from asgiref.sync import sync_to_async
                await sync_to_async(transaction.atomic().__enter__)()
                await Order.objects.acreate(name="never")

        async def view():
            await Order.objects.acreate(name="view")
            note(1, 2)
            await Order.objects.acreate(name="view, later")

        asyncio.run(view())
        await_drained(note.queue)
        print(*names(), sep=", ")
        """,
    )

    assert printed == "task 1, task 2, view, view, later"


@databases("sqlite", "postgresql")
def test_a_task_run_inside_a_transaction_of_the_caller_is_part_of_it(database: str, tmp_path: Path) -> None:
    printed = run(
        database,
        tmp_path,
        """
        @task_queue(f"{sys.argv[2]}/jobs.db", log_level=0)
        def note(queue, work):
            Order.objects.create(name=work)

        note.queue.push("a", "b")
        try:
            with transaction.atomic():
                runs = note.queue.worker().drain()
                assert names() == ["a", "b"]
                raise KeyError
        except KeyError:
            print(len(runs), names())
        """,
    )

    assert printed == "2 []"


def test_a_server_that_lost_its_connections_costs_no_task(server: Path, tmp_path: Path) -> None:
    printed = run(
        of_server(server, "kept"),
        tmp_path,
        """
        import psycopg

        @task_queue(f"{sys.argv[2]}/jobs.db", log_level=0)
        def note(queue, work):
            if work == "cut":
                theirs = session()
                host = settings.DATABASES["default"]["HOST"]
                with psycopg.connect(host=host, user="postgres", autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", [theirs])
                Order.objects.count()
            Order.objects.create(name=work)

        note.queue.push("a", "cut", "b")
        print(*[note.queue.worker().run_one().outcome for _ in range(3)], *names())
        """,
    )

    assert printed == "done retry done a b"


def test_a_pool_of_sqlalchemys_is_left_to_its_parent_by_a_hook(server: Path, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    of_server(server)
    program = """
        import os, sys, time
        from sqlalchemy import create_engine, text
        from lowq import hooks, task_queue

        engine = create_engine(f"postgresql+psycopg://postgres@/postgres?host={sys.argv[1]}", pool_size=1)

        def session(name):
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO orders VALUES (:name, pg_backend_pid())"), {"name": name})

        @hooks.after_fork_in_child
        def leave_connections():
            engine.dispose(close=False)

        @task_queue(f"{sys.argv[2]}/jobs.db")
        def place(queue, work):
            session(work)

        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE orders (name text, pid int)"))
        session("before")
        place("task")
        while (count := place.queue.backend.count()).ready or count.leased or count.scheduled:
            time.sleep(0.01)
        session("after")
        with engine.begin() as connection:
            rows = dict(connection.execute(text("SELECT name, pid FROM orders")).tuples().all())
        print(rows["before"] == rows["after"] != rows["task"])
        """

    assert answer(python(program, server, tmp_path)) == "True"
