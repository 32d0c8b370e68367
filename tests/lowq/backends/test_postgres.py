"""What is PostgreSQL's own of the queue in it: its schema, its time, its connections, and calls that are cut off.

Long: what other backends leave to a file, this one has to ask of a server: each has a test of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from cutoff import cut_offs, interjected
from freezegun import freeze_time
from processes import answer, python

from lowq import Backend, Counts, FakeClock, Item, TaskQueue, Worker, open_backend
from lowq.backend import Adopting
from lowq.backends.postgres import schema
from lowq.rules.own_work import OwnWork
from lowq.testing import Jobs, SyncWorker, temp_queue
from lowq.testing.servers.postgres import PostgresServer

BOUND = 60
MINUTE = timedelta(minutes=1)
EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
HOUR = timedelta(hours=1)
VERSION = schema.SCHEMA_VERSION
SINCE_1 = ["adopt", "push_within", "commit_within", "claim_loose", "push_one"]
"""The functions that a schema of version 1 had not."""


@pytest.fixture
def queue(lowq_postgres: str) -> Iterator[Backend]:
    with closing(open_backend(lowq_postgres)) as queue:
        yield queue


@pytest.fixture
def database(lowq_postgres: str) -> str:
    return lowq_postgres.partition("@/")[2].partition("?")[0]


def drained(queue: Backend) -> list[Any]:
    works = []
    while (lease := queue.claim(lease_for=MINUTE)) is not None:
        works.append(lease.work)
        queue.ack(lease)
    return works


def left_on(server: PostgresServer, database: str) -> list[tuple[object, ...]]:
    """Transactions that are open, and locks that are held, by the clients of a database."""
    return server.address.run(
        f"SELECT state FROM pg_stat_activity WHERE datname = '{database}' AND state LIKE 'idle in%' UNION ALL"
        " SELECT l.mode FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        f" WHERE datname = '{database}' AND locktype = 'advisory'"
    )


# what a work may hold


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
def test_every_text_arrives_whatever_the_encoding_of_the_database(
    lowq_postgres_server: PostgresServer, encoding: str
) -> None:
    address, name = lowq_postgres_server.address, f"in_{encoding.lower()}"
    address.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    text = "a\0b € 𝄞 \x7f \u2028 '\"\\"
    try:
        with closing(open_backend(address.url(name), name="Schlange € 𝄞")) as queue:
            queue.push({text: [text]}, key=text, headers={text: text})
            lease = queue.claim(lease_for=MINUTE)
            assert lease is not None
            assert (lease.work, lease.task.key, dict(lease.task.headers)) == ({text: [text]}, text, {text: text})
            queue.dead_letter(lease, reason=text)
            assert [task.reason for task in queue.tasks()] == [text]
            assert open_names(queue) == ["Schlange € 𝄞"]
    finally:
        lowq_postgres_server.drop(name)


def open_names(queue: Any) -> list[str]:
    names: list[str] = queue.names()
    return names


# the schema


def test_many_processes_make_the_schema_at_once(lowq_postgres: str) -> None:
    program = """
    import sys
    from lowq import open_backend
    queue = open_backend(sys.argv[1])
    sys.stdin.readline()
    print(queue.push(int(sys.argv[2])).id)
    queue.close()
    """
    makers = [python(program, f"{lowq_postgres}&schema=made_together", number) for number in range(4)]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()

    ids = {answer(maker) for maker in makers}

    assert len(ids) == 4
    with closing(open_backend(f"{lowq_postgres}&schema=made_together", create=False)) as queue:
        assert sorted(task.work for task in queue.tasks()) == [0, 1, 2, 3]


def test_a_schema_of_version_1_learns_what_came_since(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as old:
        old.push("kept")
        with psycopg.connect(lowq_postgres, autocommit=True) as connection:
            for (name,) in connection.execute(
                "SELECT oid::regprocedure::text FROM pg_proc WHERE proname = ANY (%s)", (SINCE_1,)
            ).fetchall():
                connection.execute(f"DROP FUNCTION {name} CASCADE")
            connection.execute("UPDATE lowq.about SET version = 1")

    with closing(open_backend(lowq_postgres)) as new:
        (task,) = new.tasks()
        assert [each.added for each in cast(Adopting, new).adopt([replace(task, work="came")])] == [True]
        with psycopg.connect(lowq_postgres) as connection, new.within(connection):
            new.push("within")
        assert drained(new) == ["kept", "came", "within"]


def test_a_statement_is_planned_once_for_a_session(queue: Backend) -> None:
    for number in range(20):
        queue.push(number)
    assert drained(queue) == list(range(20))

    (connection,) = queue._database._idle  # type: ignore[attr-defined]
    plans = connection.run(
        "SELECT sum(custom_plans), sum(generic_plans) > 60 FROM pg_prepared_statements",
        queue._database.countdown(),  # type: ignore[attr-defined]
    )
    assert plans == [(b"0", b"t")]


def test_a_task_that_falls_due_comes_before_what_was_ready_and_less_urgent(lowq_postgres: str) -> None:
    clock = FakeClock()
    with closing(open_backend(lowq_postgres, clock=clock)) as queue:
        queue.push("later", priority=1, not_before=clock.now() + MINUTE)
        for number in range(5):
            queue.push(number)
        assert [lease.work for lease in queue.claim_many(2, lease_for=HOUR)] == [0, 1]
        clock.advance(MINUTE)
        assert [lease.work for lease in queue.claim_many(2, lease_for=HOUR)] == ["later", 2]


@pytest.mark.parametrize("dedupe", ["until_done", "until_claimed", "off"])
def test_what_refuses_a_push_is_told_also_where_its_lease_ran_out(lowq_postgres: str, dedupe: Any) -> None:
    clock = FakeClock()
    with closing(open_backend(lowq_postgres, name=dedupe, dedupe=dedupe, clock=clock)) as queue:
        first = [queue.push("same") for _ in range(4)]  # more often than a statement is asked before it is prepared
        queue.claim(lease_for=MINUTE)
        while_claimed = queue.push("same")
        assert [each.added for each in first] == [True, *[dedupe == "off"] * 3]
        assert while_claimed.added is (dedupe != "until_done")
        clock.advance(HOUR)
        assert queue.push("same").added is (dedupe == "off")
        assert {each.id for each in (*first, while_claimed) if not each.added} <= {first[0].id}


def test_an_older_schema_is_brought_up_to_date_once(lowq_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowq.backends.postgres import database

    with closing(open_backend(lowq_postgres)) as old:
        old.push("kept")
    for module in (schema, database):
        monkeypatch.setattr(module, "SCHEMA_VERSION", VERSION + 1)
    monkeypatch.setitem(schema.UPGRADES, VERSION, "ALTER TABLE {s}.task ADD COLUMN colour text DEFAULT 'red'")
    opened: list[Backend] = []
    threads = [threading.Thread(target=lambda: opened.append(open_backend(lowq_postgres))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)

    assert len(opened) == 4
    for each in opened:
        assert [task.work for task in each.tasks()] == ["kept"]
        each.close()
    with psycopg.connect(lowq_postgres) as connection:
        assert connection.execute("SELECT version FROM lowq.about").fetchall() == [(VERSION + 1,)]
        assert connection.execute("SELECT colour FROM lowq.task").fetchall() == [("red",)]


def test_an_upgrade_that_fails_leaves_all_as_it_was(lowq_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowq.backends.postgres import database

    with closing(open_backend(lowq_postgres)) as old:
        old.push("kept")
        for module in (schema, database):
            monkeypatch.setattr(module, "SCHEMA_VERSION", VERSION + 1)
        monkeypatch.setitem(schema.UPGRADES, VERSION, "ALTER TABLE {s}.task ADD COLUMN colour text; SELECT 1 / 0")
        with pytest.raises(Exception, match="division by zero"):
            open_backend(lowq_postgres)
        monkeypatch.undo()

        assert old.push("more").added
    with closing(open_backend(lowq_postgres)) as again:
        assert drained(again) == ["kept", "more"]


def test_schemas_of_one_database_share_nothing(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as one, closing(open_backend(f"{lowq_postgres}&schema=Two")) as two:
        one.push("x")
        assert two.push("x").added
        assert drained(two) == ["x"]
        assert one.count() == Counts(ready=1)


# whatever a database was set to


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "search_path = ''",
        "bytea_output = 'escape'",
        "timezone = 'Asia/Kathmandu'",
        "synchronous_commit = off",
        "plan_cache_mode = force_custom_plan",
        "row_security = off",
    ],
)
def test_settings_of_the_database_do_not_matter(
    lowq_postgres_server: PostgresServer, lowq_postgres: str, database: str, setting: str
) -> None:
    lowq_postgres_server.address.run(f"ALTER DATABASE {database} SET {setting}")

    with closing(open_backend(lowq_postgres)) as queue:
        threads = [
            threading.Thread(target=lambda turn=turn: [queue.push([turn, number]) for number in range(10)])
            for turn in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        works = drained(queue)

    assert sorted(works) == [[turn, number] for turn in range(3) for number in range(10)]
    assert [[work for work in works if work[0] == turn] for turn in range(3)] == [
        [[turn, number] for number in range(10)] for turn in range(3)
    ]


def test_prepared_statements_that_are_lost_are_done_without(lowq_postgres: str) -> None:
    """As behind PgBouncer, which gives one client's statements the connections of others."""
    with closing(open_backend(lowq_postgres)) as queue:
        for number in range(5):
            queue.push(number)
        idle: Any = queue
        (connection,) = idle._database._idle
        connection.run("DEALLOCATE ALL", lambda: MINUTE)

        assert queue.push("on").added
        assert drained(queue) == [0, 1, 2, 3, 4, "on"]


# time


def test_time_is_the_servers(queue: Backend) -> None:
    before = datetime.now(UTC)
    queue.push("x")
    lease = queue.claim(lease_for=HOUR)
    assert lease is not None
    after = datetime.now(UTC)

    second = timedelta(seconds=1)
    assert before - second <= lease.task.pushed_at <= after + second
    assert before + HOUR - second <= lease.expires <= after + HOUR + second


def test_a_clock_that_is_given_is_the_queues(lowq_postgres: str) -> None:
    clock = FakeClock()
    with closing(open_backend(lowq_postgres, clock=clock)) as queue:
        queue.push("x", not_before=clock.now() + HOUR)
        assert queue.claim(lease_for=MINUTE) is None
        clock.advance(HOUR)
        lease = queue.claim(lease_for=MINUTE)

        assert lease is not None
        assert lease.expires == clock.now() + MINUTE


def test_time_that_a_test_has_stopped_is_the_queues(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as queue:
        with freeze_time("2040-01-01 12:00:00") as frozen:
            queue.push("x", not_before=datetime(2040, 1, 1, 13, tzinfo=UTC))
            assert queue.claim(lease_for=MINUTE) is None
            frozen.tick(HOUR)
            lease = queue.claim(lease_for=MINUTE)
            assert lease is not None
            assert lease.expires == datetime(2040, 1, 1, 13, 1, tzinfo=UTC)
            frozen.tick(MINUTE)
            assert queue.count() == Counts(ready=1)
        queue.push("y")
        assert abs(queue.tasks()[0].pushed_at - datetime.now(UTC)) < MINUTE


def test_the_toolkit_keeps_an_applications_queues_in_it(
    lowq_clock: FakeClock, lowq_postgres: str, tmp_path: Path
) -> None:
    class Mails(TaskQueue):
        path = "mails.db"

        def process(self, work: Any) -> None:
            sent.append((work, lowq_clock.now()))

    sent: list[tuple[Any, datetime]] = []
    start = lowq_clock.now()
    with temp_queue(tmp_path, backend=lambda _, clock: open_backend(lowq_postgres, clock=clock)) as store:
        mails = Mails()
        mails.push("now")
        mails.push("later", not_before=start + HOUR)
        Jobs(store).assert_pushed(mails, work="later")
        assert [run.outcome for run in SyncWorker(store).drain(mails)] == ["done"]
        lowq_clock.advance(HOUR)
        SyncWorker(store).drain(mails)
        mails.close()

    assert sent == [("now", start), ("later", start + HOUR)]


@pytest.mark.parametrize("patience", ["0", "1e9", "86399999999999"])
def test_any_patience_will_do(lowq_postgres: str, patience: str) -> None:
    with closing(open_backend(f"{lowq_postgres}&patience={patience}")) as queue:
        queue.push("x")

        assert drained(queue) == ["x"]


# calls that are cut off


@pytest.mark.parametrize("verb", ["push", "claim", "ack", "wait"])
def test_a_call_that_is_cut_off_is_whole_or_absent_and_locks_nobody_out(
    lowq_postgres_server: PostgresServer, lowq_postgres: str, database: str, verb: str
) -> None:
    with closing(open_backend(lowq_postgres)) as queue, closing(open_backend(lowq_postgres)) as other:

        def clear() -> None:
            lease = None
            for task in other.tasks():
                assert task.work in ("x", "y")
            while (lease := other.claim(lease_for=MINUTE)) is not None:
                other.ack(lease)
            while (lease := queue.claim(lease_for=MINUTE)) is not None:
                queue.ack(lease)

        def call() -> None:
            if verb == "push":
                queue.push("x")
            elif verb == "wait":
                held = queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=1))
                assert held is None
            else:
                other.push("x")
                held = queue.claim(lease_for=MINUTE)
                assert held is not None
                queue.ack(held)

        for _ in cut_offs(call, step=1 if EXHAUSTIVE else 149 if verb == "wait" else 97):
            counts = other.count()
            assert counts in (Counts(), Counts(ready=1), Counts(leased=1))
            assert other.push("y").added
            for task in other.tasks():
                if task.state == "leased":
                    release_by_force(lowq_postgres)
            clear()

        assert left_on(lowq_postgres_server, database) == []


def release_by_force(url: str) -> None:
    """Leases that nobody knows of are over."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE lowq.task SET due = 0 WHERE state = 2")


def test_a_signal_handler_may_use_the_client_inside_its_calls(queue: Backend) -> None:
    for index, pushed in interjected(lambda: queue.push("outer").added, lambda: queue.push("inner"), step=97):
        assert pushed, index
        assert sorted(drained(queue)) == ["inner", "outer"], index


# workers, warnings, threads


def test_a_task_that_pushes_its_own_work_is_told(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as queue, closing(open_backend(lowq_postgres)) as other:
        queue.push("x")
        worker = Worker(queue, lambda work: other.push(work))

        with pytest.warns(OwnWork, match="pushed work that equals its own"):
            worker.drain()


def test_one_client_is_used_by_many_threads(queue: Backend) -> None:
    queue.push_many([Item(number) for number in range(120)])
    seen: list[Any] = []

    def work() -> None:
        while (lease := queue.claim(lease_for=MINUTE)) is not None:
            seen.append(lease.work)
            queue.ack(lease)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)

    assert sorted(seen) == list(range(120))
    assert queue.count() == Counts()


def test_works_are_read_by_the_statement_that_the_page_shows(queue: Backend, lowq_postgres: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "postgresql.md").read_text(encoding="utf-8")
    (statement,) = (line for line in page.splitlines() if line.startswith("SELECT "))
    pushed = queue.push({"to": "é"})

    with psycopg.connect(lowq_postgres) as connection:
        ((task, _, work),) = connection.execute(statement.encode()).fetchall()

    assert (str(task), work) == (pushed.id, '{"to":"é"}')


def test_ids_are_never_used_again(queue: Backend) -> None:
    first = queue.push("x").id
    queue.cancel(first)

    assert int(queue.push("x").id) > int(first)


def test_waiting_is_woken_and_does_not_only_look(lowq_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With looks an hour apart, only a notification can end the wait."""
    from lowq.backends.postgres import waiting

    monkeypatch.setattr(waiting, "_LOOK_AGAIN", HOUR)
    with closing(open_backend(lowq_postgres)) as queue, closing(open_backend(lowq_postgres)) as other:
        timer = threading.Timer(0.2, lambda: other.push("x"))
        timer.start()
        lease = queue.claim(lease_for=MINUTE, wait=HOUR)
        timer.join(BOUND)

        assert lease is not None


def test_nobody_is_told_where_nobody_waits(lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as queue, psycopg.connect(lowq_postgres, autocommit=True) as listener:
        ((channel,),) = listener.execute(
            "SELECT 'lowq_' || 'lowq.queue'::regclass::oid || '_' || min(id) FROM lowq.queue"
        ).fetchall()
        listener.execute(f"LISTEN {channel}")
        queue.push("x")
        assert list(listener.notifies(timeout=0.1)) == []

        listener.execute(
            "SELECT pg_advisory_lock_shared('lowq.task'::regclass::oid::int, min(id)::int) FROM lowq.queue"
        )
        queue.push("y")
        assert len(list(listener.notifies(timeout=BOUND, stop_after=1))) == 1
