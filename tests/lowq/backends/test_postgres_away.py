"""PostgreSQL servers that go away and come back: errors have names, and the same client works on.

Long: each way to go away is tried on a real server.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from processes import BOUND, python, wait_for
from proxy import between

from lowq import (
    Backend,
    BackendUnavailable,
    Counts,
    Item,
    LeaseLost,
    QueueClosed,
    QueueGone,
    SystemClock,
    Worker,
    open_backend,
)
from lowq.testing.servers.postgres import PostgresServer
from lowq.worker.background import active_pid, start

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LONG = timedelta(seconds=BOUND)
PORTS = count(21_000 + os.getpid() % 20_000)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests may stop and kill."""
    server = PostgresServer(port=next(PORTS), settings={"fsync": "off"})
    yield server
    server.stop()


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    database = server.fresh()
    yield server.url(database)
    server.drop(database)


@pytest.fixture
def queue(url: str) -> Iterator[Backend]:
    with closing(open_backend(url, patience=LONG)) as queue:
        yield queue


@pytest.fixture
def hasty(url: str) -> Iterator[Backend]:
    """A client of the same queue that gives up soon."""
    with closing(open_backend(url, patience=timedelta(seconds=0.3))) as queue:
        yield queue


def database(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def backends(server: PostgresServer, url: str, what: str) -> int:
    """`what` was done to every process of the server that serves a client of this database; how many there were."""
    how = "pid, 60000" if what == "pg_terminate_backend" else "pid"  # milliseconds until it has ended
    others = f"datname = '{database(url)}' AND pid <> pg_backend_pid()"
    return len(server.address.run(f"SELECT {what}({how}) FROM pg_stat_activity WHERE {others}"))


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def later(action: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(0.1, action)
    timer.start()
    try:
        yield
    finally:
        timer.join(BOUND)


def drained(queue: Backend) -> list[Any]:
    works = []
    while (lease := queue.claim(lease_for=MINUTE)) is not None:
        works.append(lease.work)
        queue.ack(lease)
    return works


def test_a_client_whose_connection_was_ended_works_on(server: PostgresServer, url: str, queue: Backend) -> None:
    queue.push("a")
    assert backends(server, url, "pg_terminate_backend") > 0

    queue.push("b")

    assert drained(queue) == ["a", "b"]


@pytest.mark.parametrize("verb", ["push", "push_many", "claim", "ack", "count", "tasks"])
def test_each_verb_works_on_where_the_connection_was_ended(
    server: PostgresServer, url: str, queue: Backend, verb: str
) -> None:
    queue.push_many([Item("a"), Item("b")])
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    backends(server, url, "pg_terminate_backend")

    {
        "push": lambda: queue.push("c"),
        "push_many": lambda: queue.push_many([Item("c")]),
        "claim": lambda: queue.claim(lease_for=MINUTE),
        "ack": lambda: queue.ack(lease),
        "count": queue.count,
        "tasks": queue.tasks,
    }[verb]()

    assert queue.count() == {
        "push": Counts(ready=2, leased=1),
        "push_many": Counts(ready=2, leased=1),
        "claim": Counts(leased=2),
        "ack": Counts(ready=1),
    }.get(verb, Counts(ready=1, leased=1))


def test_a_claim_that_waits_goes_on_where_its_connection_was_ended(
    server: PostgresServer, url: str, queue: Backend
) -> None:
    def end_and_push() -> None:
        backends(server, url, "pg_terminate_backend")
        with closing(open_backend(url)) as other:
            other.push("x")

    with later(end_and_push):
        lease = queue.claim(lease_for=MINUTE, wait=LONG)

    assert lease is not None
    assert lease.work == "x"


def test_a_restarted_server_has_what_was_there(server: PostgresServer, queue: Backend) -> None:
    queue.push_many([Item("a"), Item("b"), Item("c")])
    first = queue.claim(lease_for=LONG)
    second = queue.claim(lease_for=LONG)
    assert first is not None
    assert second is not None
    queue.ack(first)

    server.restart()

    assert queue.count() == Counts(ready=1, leased=1)
    queue.ack(second)
    assert drained(queue) == ["c"]


def test_a_server_that_was_killed_has_what_was_told_to_be_kept(
    server: PostgresServer, queue: Backend, hasty: Backend
) -> None:
    queue.push_many([Item("a"), Item("b")])
    lease = queue.claim(lease_for=LONG)
    assert lease is not None
    queue.ack(lease)

    server.kill()
    with pytest.raises(BackendUnavailable, match="does not answer"):
        hasty.push("c")
    with pytest.raises(BackendUnavailable, match="does not answer"):
        hasty.count()
    server.start()

    assert hasty.push("c").added
    assert drained(queue) == ["b", "c"]


def test_a_call_waits_for_a_server_that_is_about_to_come_back(server: PostgresServer, queue: Backend) -> None:
    server.shut_down()

    with later(server.start):
        assert queue.push("x").added

    assert drained(queue) == ["x"]


def test_a_server_that_stands_still_is_given_up(server: PostgresServer, queue: Backend, hasty: Backend) -> None:
    queue.push("before")

    with frozen(server):
        with pytest.raises(BackendUnavailable, match=r"nothing came in time; whether it did .* is not known"):
            hasty.push("during")
        with pytest.raises(BackendUnavailable):
            hasty.claim(lease_for=SECOND)
        with pytest.raises(BackendUnavailable):
            hasty.count()

    assert hasty.push("after").added
    works = {task.work for task in queue.tasks()}
    assert {"before", "after"} <= works <= {"before", "during", "after"}


def test_a_statement_that_is_cancelled_did_nothing(server: PostgresServer, url: str, queue: Backend) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT lowq.enter((SELECT min(id) FROM lowq.queue), 1000)")
        with (
            later(lambda: backends(server, url, "pg_cancel_backend")),
            pytest.raises(BackendUnavailable, match="cancelled, and nothing was done"),
        ):
            queue.push("x")
        other.rollback()

    assert queue.count() == Counts()
    assert queue.push("x").added


def test_a_queue_that_somebody_keeps_locked_is_unavailable(url: str, hasty: Backend) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT lowq.enter((SELECT min(id) FROM lowq.queue), 1000)")
        with pytest.raises(BackendUnavailable, match=r"kept the queue locked for 0\.3 s"):
            hasty.push("x")
        assert hasty.count() == Counts()
        other.rollback()

    assert hasty.push("y").added


def test_another_database_in_its_place_is_another_queue(server: PostgresServer, url: str, queue: Backend) -> None:
    queue.push("x")
    server.drop(database(url))
    server.address.create(database(url))

    with pytest.raises(QueueGone, match="another server or database stands there now"):
        queue.push("y")

    with closing(open_backend(url)) as again:
        assert again.count() == Counts()


def test_a_database_that_is_gone_is_gone(server: PostgresServer, url: str, queue: Backend) -> None:
    server.drop(database(url))

    with pytest.raises(QueueGone):
        queue.push("y")


def test_a_schema_that_is_gone_is_gone(server: PostgresServer, url: str, queue: Backend) -> None:
    server.address.run("DROP SCHEMA lowq CASCADE", database(url))

    with pytest.raises(QueueGone):
        queue.push("y")
    with pytest.raises(QueueGone):
        queue.count()


def test_an_ack_whose_answer_was_lost_is_done(server: PostgresServer, url: str) -> None:
    with between(f"http://127.0.0.1:{server.address.port}") as proxy:
        port = proxy.url.rpartition(":")[2]
        through = f"postgresql://eve:secret@127.0.0.1:{port}/{database(url)}"
        server.address.run("DROP ROLE IF EXISTS eve")
        server.address.run("CREATE ROLE eve SUPERUSER LOGIN PASSWORD 'secret'")
        with closing(open_backend(through, patience=LONG)) as queue:
            queue.push_many([Item(number) for number in range(8)])
            for chained in (False, True, False):
                lease = queue.claim(lease_for=MINUTE)
                assert lease is not None
                proxy.lose_one()
                following = queue.ack(lease, claim_for=MINUTE) if chained else queue.ack(lease)
                if following is not None:
                    queue.ack(following)
                with pytest.raises(LeaseLost):
                    queue.ack(lease)
            proxy.lose_one()
            held = queue.claim(lease_for=MINUTE)
            assert held is not None
            assert queue.count() == Counts(ready=3, leased=1)
            proxy.lose_one()
            assert queue.extend(held, lease_for=LONG).token == held.token
            proxy.lose_one()
            with pytest.raises(BackendUnavailable, match="is not known"):
                queue.push("unknown")
            assert proxy.lost == 6
            proxy.swallow = True
        proxy.cut()
        with closing(open_backend(url)) as beside:
            assert beside.push("unknown").added is False


def test_a_half_open_connection_is_given_up(server: PostgresServer, url: str) -> None:
    server.address.run("DROP ROLE IF EXISTS eve")
    server.address.run("CREATE ROLE eve SUPERUSER LOGIN PASSWORD 'secret'")
    with between(f"http://127.0.0.1:{server.address.port}") as proxy:
        through = f"postgresql://eve:secret@{proxy.url.partition('//')[2]}/{database(url)}"
        with closing(open_backend(through, patience=timedelta(seconds=0.5))) as queue:
            queue.push("x")
            proxy.swallow = True
            with pytest.raises(BackendUnavailable, match="does not answer"):
                queue.count()
            proxy.swallow = False
            assert queue.count() == Counts(ready=1)


def test_a_worker_goes_on_when_the_server_is_back(server: PostgresServer, url: str, queue: Backend) -> None:
    done = threading.Event()
    worked: list[Any] = []

    def handler(work: Any) -> None:
        worked.append(work)
        if work == "after":
            done.set()

    with closing(open_backend(url, patience=timedelta(seconds=0.2))) as own:
        worker = Worker(own, handler)
        thread = threading.Thread(target=worker.run_forever)
        thread.start()
        try:
            queue.push("before")
            server.restart()
            queue.push("after")
            assert done.wait(BOUND)
        finally:
            worker.stop()
            thread.join(BOUND)

    assert worked == ["before", "after"]


def test_a_background_worker_goes_on_when_the_server_is_back(
    server: PostgresServer, url: str, queue: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    book = tmp_path / "book"

    def handler(work: Any) -> None:
        with book.open("a") as file:
            file.write(f"{work}\n")

    queue.push("before")
    assert start(Worker(queue, handler), url, linger=MINUTE)
    queue.push("soon", not_before=SystemClock().now() + LONG)
    assert not start(Worker(queue, handler), url)
    wait_for(lambda: book.exists() and book.read_text() == "before\n")
    server.restart()
    queue.push("after")
    wait_for(lambda: book.read_text() == "before\nafter\n")
    pid = active_pid(url)
    assert pid is not None

    os.kill(pid, signal.SIGTERM)

    wait_for(lambda: active_pid(url) is None)
    assert queue.count() == Counts(scheduled=1)


def test_a_client_works_on_both_sides_of_a_fork(server: PostgresServer, url: str, queue: Backend) -> None:
    queue.push("before")
    before = connections(server, url)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            queue.push("child")
            queue.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0

    queue.push("parent")

    assert connections(server, url) == before
    assert drained(queue) == ["before", "child", "parent"]


def test_a_child_that_ends_disturbs_no_call_of_its_parent(server: PostgresServer, url: str, queue: Backend) -> None:
    """Its parent's connection is in use when it is forked, and dropped, collected and closed in the child."""
    children: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            import gc

            try:
                queue.close()
                gc.collect()
            finally:
                os._exit(0)
        children.append(child)

    timers = [threading.Timer(0.05 * turn, fork) for turn in range(4)]
    for timer in timers:
        timer.start()
    with later(lambda: SystemClock().sleep(timedelta(milliseconds=200))):
        assert queue.claim(lease_for=MINUTE, wait=timedelta(seconds=0.5)) is None
    for timer in timers:
        timer.join(BOUND)
    for child in children:
        os.waitpid(child, 0)

    assert queue.push("x").added
    assert drained(queue) == ["x"]


def connections(server: PostgresServer, url: str) -> list[tuple[object, ...]]:
    return server.address.run(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database(url)}' ORDER BY pid")


def test_a_closed_client_leaves_no_connection(server: PostgresServer, url: str) -> None:
    queue = open_backend(url)
    queue.push("x")
    queue.close()

    with pytest.raises(QueueClosed):
        queue.push("y")
    wait_for(lambda: connections(server, url) == [])


def test_a_replica_is_refused(server: PostgresServer) -> None:
    replica = PostgresServer(settings={"fsync": "off"})
    try:
        name = replica.fresh()
        replica.stand_by()
        with pytest.raises(BackendUnavailable, match="is a read-only replica; name the primary"):
            open_backend(replica.url(name))
    finally:
        replica.stop()


@pytest.mark.parametrize("end", ["killed", "exits"])
def test_no_server_is_left_behind(end: str) -> None:
    program = python(
        """
        import os, signal, sys
        from lowq.testing.servers.postgres import PostgresServer
        server = PostgresServer(settings={"fsync": "off"})
        print(server.pid, server.address.socket, flush=True)
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        end,
    )
    assert program.stdout is not None
    pid, folder = program.stdout.readline().split()
    program.communicate(timeout=BOUND)

    wait_for(lambda: not os.path.exists(folder))
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
