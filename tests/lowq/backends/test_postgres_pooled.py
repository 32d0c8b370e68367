"""A queue behind a pooler, as PgBouncer is: each transaction gets another session, and nothing is left in any.

PgBouncer itself is no program that tests can install; see `pooler` for what stands in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from pooler import Pooler, pooled

from lowq import Backend, BackendUnavailable, Counts, Item, open_backend
from lowq.testing.servers.postgres import PostgresServer

BOUND = 60
MINUTE = timedelta(minutes=1)
SESSIONS = 3


def database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def socket_of(url: str) -> str:
    options = parse_qs(urlsplit(url).query)
    return f"{options['host'][0]}/.s.PGSQL.{options['port'][0]}"


@pytest.fixture(params=["says so", "poses as the server"])
def pooler(lowq_postgres: str, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    poses = request.param != "says so"
    with pooled(
        socket_of(lowq_postgres), "postgres", database_of(lowq_postgres), sessions=SESSIONS, poses=poses
    ) as pooler:
        yield pooler


@pytest.fixture
def queues(pooler: Pooler) -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(open_backend(pooler.url))) for _ in range(3)]


def in_threads(queues: list[Backend], do: Any) -> None:
    """`do` was done with each of the queues, at once."""
    failed: list[BaseException] = []

    def run(queue: Backend) -> None:
        try:
            do(queue)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert failed == []


def test_many_clients_do_all_that_can_be_done(pooler: Pooler, queues: list[Backend]) -> None:
    done: list[Any] = []

    def work(queue: Backend) -> None:
        for number in range(4):
            queue.push([id(queue), number], priority=number)
        queue.push_many([Item([id(queue), "a"]), Item([id(queue), "b"])])
        while (lease := queue.claim(lease_for=MINUTE)) is not None:
            lease = queue.extend(lease, lease_for=MINUTE)
            assert queue.task(lease.id) is not None
            if lease.task.attempts == 1:
                queue.release(lease, reason="again")
            elif lease.task.priority == 1:
                queue.dead_letter(lease, reason="no")
                assert queue.redrive(lease.id)
                assert queue.cancel(lease.id) in (True, False)
            else:
                queue.ack(lease)
                done.append(lease.work)
            queue.count()
            queue.next_due()
            queue.tasks(limit=2)

    in_threads(queues, work)

    left = queues[0].tasks()
    assert all(task.priority == 1 for task in left)
    assert sorted(map(str, done)) == sorted(set(map(str, done)))
    assert {str([id(queue), number]) for queue in queues for number in (0, 2, 3, "a", "b")} <= set(map(str, done))
    assert pooler.transactions > 100


@pytest.mark.parametrize("shift", [0, 1])
def test_no_client_has_another_one_s_statement_executed(lowq_postgres: str, shift: int) -> None:
    """A statement that one has prepared is there for the next one who gets the session, perhaps by the same name."""
    place = socket_of(lowq_postgres), "postgres", database_of(lowq_postgres)
    with (
        pooled(*place, sessions=2, poses=True) as pooler,
        closing(open_backend(pooler.url)) as one,
        closing(open_backend(pooler.url)) as other,
        closing(open_backend(lowq_postgres)) as direct,
    ):
        direct.push_many(Item(number) for number in range(8))
        for lease in direct.claim_many(4, lease_for=MINUTE):
            one.ack(lease)
        for _ in range(shift):
            other.count()
        for task in direct.tasks():
            assert other.cancel(task.id)

        assert direct.count() == Counts()


def test_a_statement_that_fails_leaves_the_connection_usable(
    pooler: Pooler, queues: list[Backend], lowq_postgres_server: PostgresServer, lowq_postgres: str
) -> None:
    lowq_postgres_server.address.run(
        "CREATE FUNCTION lowq.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.rank = 5 THEN"
        " RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER fail BEFORE INSERT ON lowq.task FOR EACH ROW EXECUTE FUNCTION lowq.fail()",
        database_of(lowq_postgres),
    )
    for number in range(6):
        with pytest.raises(BackendUnavailable, match=r"out of room \(no room\); nothing was written"):
            queues[0].push_many([Item("before"), Item("refused", priority=-5)])
        assert queues[0].push(number).added

    assert queues[1].count() == Counts(0, 6, 0, 0)


@pytest.mark.parametrize("pooler", ["says so"], indirect=True)
def test_nothing_is_left_in_a_session(
    pooler: Pooler, queues: list[Backend], lowq_postgres_server: PostgresServer, lowq_postgres: str
) -> None:
    waiting = threading.Thread(target=lambda: queues[0].claim(lease_for=MINUTE, wait=timedelta(seconds=0.2)))
    waiting.start()
    waiting.join(BOUND)
    for number in range(20):
        queues[number % 3].push(number)

    for _ in range(SESSIONS):
        with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as connection:
            assert connection.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements),"
                " (SELECT count(*) FROM pg_listening_channels()), current_setting('enable_seqscan'),"
                " current_setting('default_transaction_isolation')"
            ).fetchone() == (0, 0, "on", "read committed")
    assert (
        lowq_postgres_server.address.run(
            "SELECT * FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            f" WHERE datname = '{database_of(lowq_postgres)}' AND locktype = 'advisory'"
        )
        == []
    )


@pytest.mark.parametrize("pooler", ["says so"], indirect=True)
def test_many_clients_make_a_schema_at_once(pooler: Pooler) -> None:
    """In sessions that know the names from before, and look nothing up that makes them hear what is new."""
    failed: list[Exception] = []

    def make(number: int) -> None:
        try:
            open_backend(f"{pooler.url}?schema=made_{number}").close()
        except Exception as error:
            failed.append(error)

    for number in range(6):
        threads = [threading.Thread(target=make, args=(number,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

    assert failed == []


@pytest.mark.parametrize("pooler", ["says so"], indirect=True)
def test_every_change_is_committed_as_the_queue_needs_it(
    pooler: Pooler, lowq_postgres_server: PostgresServer, lowq_postgres: str
) -> None:
    """Whatever the database is set to, and whichever session the change gets."""
    database = database_of(lowq_postgres)
    run = lowq_postgres_server.address.run
    run(
        "CREATE TABLE lowq.seen (what text); CREATE FUNCTION lowq.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO lowq.seen SELECT format('%s, %s, %s', current_setting('synchronous_commit'),"
        " current_setting('transaction_isolation'), current_setting('enable_seqscan')); RETURN NULL; END $$;"
        " CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON lowq.task FOR EACH ROW EXECUTE FUNCTION lowq.see();"
        f" ALTER DATABASE {database} SET synchronous_commit = off;"
        f" ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'",
        database,
    )
    with (
        pooled(socket_of(lowq_postgres), "postgres", database) as pooler,
        closing(open_backend(pooler.url)) as queue,
    ):
        for number in range(4):
            queue.push(number)
            lease = queue.claim(lease_for=MINUTE)
            assert lease is not None
            queue.ack(queue.extend(lease, lease_for=MINUTE))

    assert run("SELECT DISTINCT what FROM lowq.seen", database) == [("on, read committed, off",)]


def test_who_waits_looks_by_himself_and_not_too_often(pooler: Pooler, queues: list[Backend]) -> None:
    for queue in queues:  # until it has noticed
        queue.claim(lease_for=MINUTE, wait=timedelta(seconds=0.1))
    before = pooler.transactions
    assert queues[0].claim(lease_for=MINUTE, wait=timedelta(seconds=1)) is None
    assert pooler.transactions - before < 20

    got: list[Any] = []
    waiting = threading.Thread(
        target=lambda: got.append(queues[0].claim(lease_for=MINUTE, wait=timedelta(seconds=BOUND)))
    )
    waiting.start()
    queues[1].push("here")
    waiting.join(BOUND)

    assert [lease.work for lease in got] == ["here"]
    assert all(map(attrgetter("pooled"), queues))


def test_it_can_be_said(pooler: Pooler, lowq_postgres: str) -> None:
    with (
        closing(open_backend(f"{pooler.url}?pooled=true")) as behind,
        closing(open_backend(f"{lowq_postgres}&pooled=false")) as before,
        closing(open_backend(lowq_postgres)) as found,
    ):
        assert list(map(attrgetter("pooled"), (behind, before, found))) == [True, False, False]
        for number in range(9):
            behind.push(number)
        assert before.count() == Counts(0, 9, 0, 0)
