"""Once per cluster: one client of all claims, the others stand by and take over, however its session ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from cutoff import cut_offs
from pooler import pooled
from processes import BOUND, python, wait_for

from lowq import Counts, InvalidLocation, Item, LeaseLost, QueueClosed, SystemClock, Worker, open_backend
from lowq.backends.postgres.backend import PostgresBackend
from lowq.location import locate
from lowq.worker.background import active_pid, start

MINUTE = timedelta(minutes=1)
LONG = timedelta(seconds=BOUND)


def opened(url: str, **options: Any) -> PostgresBackend:
    return cast(PostgresBackend, open_backend(url, **options))


@pytest.fixture(params=["strict", "loose"])
def url(lowq_postgres: str, request: pytest.FixtureRequest) -> str:
    return f"{lowq_postgres}&order={request.param}"


@pytest.fixture
def clients(url: str) -> Iterator[list[PostgresBackend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(opened(url))) for _ in range(3)]


def end_sessions(url: str, *, but: int | None = None) -> None:
    """The server ends every session of the database but this one, and that of the process `but`."""
    with psycopg.connect(url.partition("&order")[0], autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid IS DISTINCT FROM %s",
            (but,),
        )


def claim_of(client: PostgresBackend, wait: timedelta = timedelta(0)) -> object:
    lease = client.claim(lease_for=MINUTE, wait=wait)
    return None if lease is None else lease.work


def test_one_claims_and_the_other_stands_by_until_its_block_ends(clients: list[PostgresBackend]) -> None:
    first, second, _ = clients
    heard: list[str] = []
    first.push_many([Item({"n": number}) for number in range(5)])
    with second.once_per_cluster(lambda alone: heard.append(f"second {alone}")):
        with first.once_per_cluster(lambda alone: heard.append(f"first {alone}")):
            assert claim_of(first) == {"n": 0}
            assert claim_of(second) is None
            assert second.claim_many(3, lease_for=MINUTE) == []
            assert claim_of(second, timedelta(milliseconds=1)) is None
            assert [lease.work for lease in first.claim_many(2, lease_for=MINUTE)] == [{"n": 1}, {"n": 2}]
        assert claim_of(second) == {"n": 3}
        assert claim_of(first) == {"n": 4}, "outside of the block it claims as ever"
    assert heard == ["first True", "second False", "second True"]


def test_who_stands_by_settles_and_claims_nothing_with_it(clients: list[PostgresBackend]) -> None:
    first, second, _ = clients
    for work in "abcd":
        first.push(work)
    one, *others = [second.claim(lease_for=MINUTE) for _ in range(2)]
    assert one is not None
    assert others[0] is not None
    with first.once_per_cluster(), second.once_per_cluster():
        assert claim_of(first) == "c"

        assert second.ack(one, claim_for=MINUTE) is None
        assert second.ack_many([others[0]], claim=2, lease_for=MINUTE).claimed == ()

        assert first.count() == Counts(ready=1, leased=1)
        with pytest.raises(LeaseLost):
            second.ack(one, claim_for=MINUTE)


def test_a_session_that_breaks_is_the_next_ones_turn(clients: list[PostgresBackend], url: str) -> None:
    first, second, _ = clients
    for work in "abc":
        first.push(work)
    with second.once_per_cluster(), first.once_per_cluster():
        lease = first.claim(lease_for=MINUTE)
        assert lease is not None
        end_sessions(url)
        assert claim_of(second) == "b"

        assert first.ack(lease, claim_for=MINUTE) is None, "its task is done, and no other one is claimed"

        assert claim_of(first) is None
        assert second.count() == Counts(ready=1, leased=1)
        end_sessions(url)
        assert claim_of(first) == "c", "it came first this time"


def test_who_waits_takes_over_at_once(clients: list[PostgresBackend]) -> None:
    first, second, third = clients
    claimed: list[object] = []
    with ExitStack() as block, second.once_per_cluster():
        block.enter_context(first.once_per_cluster())
        assert claim_of(first) is None
        waiter = threading.Thread(target=lambda: claimed.append(claim_of(second, LONG)))
        waiter.start()
        third.push("x")
        wait_for(lambda: _waiters(third) == 1)
        block.close()
        waiter.join(BOUND)
    assert claimed == ["x"]


def _waiters(client: PostgresBackend) -> int:
    """How many sessions wait for an advisory lock."""
    ((number,),) = client._database.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return int(number)


def test_who_has_taken_over_waits_for_tasks_as_ever(clients: list[PostgresBackend]) -> None:
    first, second, _ = clients
    claimed: list[object] = []
    with first.once_per_cluster():
        waiter = threading.Thread(target=lambda: claimed.append(claim_of(first, LONG)))
        waiter.start()
        second.push("x")
        waiter.join(BOUND)
    assert claimed == ["x"]


HOLDER = """
    import sys, time
    from datetime import timedelta
    import lowq
    queue = lowq.open_backend(sys.argv[1])
    with queue.once_per_cluster():
        print(queue.claim(lease_for=timedelta(minutes=1)).work, flush=True)
        sys.stdin.readline()
"""


def test_a_killed_holder_leaves_nothing_behind(clients: list[PostgresBackend], url: str) -> None:
    first, *_ = clients
    for work in "ab":
        first.push(work)
    with python(HOLDER, url) as holder, first.once_per_cluster():
        assert holder.stdout is not None
        assert holder.stdout.readline() == "a\n"
        assert claim_of(first) is None
        holder.kill()

        assert claim_of(first, LONG) == "b"

        holder.communicate(timeout=BOUND)


def test_names_and_schemas_have_turns_of_their_own(clients: list[PostgresBackend], url: str) -> None:
    first, second, _ = clients
    with (
        closing(opened(url, name="other")) as other,
        closing(opened(url, schema="apart")) as apart,
        ExitStack() as on,
    ):
        for client in (first, second, other, apart):
            on.enter_context(client.once_per_cluster())
            client.push(id(client))

        assert [claim_of(client) is not None for client in (first, second, other, apart)] == [True, False, True, True]


def test_a_child_of_a_holder_is_another_client(clients: list[PostgresBackend]) -> None:
    first, *_ = clients
    first.push("x")
    with first.once_per_cluster():
        assert claim_of(first) == "x"
        first.push("y")
        child = os.fork()
        if child == 0:
            os._exit(0 if claim_of(first) is None else 1)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert claim_of(first) == "y"


def test_blocks_do_not_nest_and_a_closed_client_lets_go(clients: list[PostgresBackend]) -> None:
    first, second, _ = clients
    first.push("x")
    with first.once_per_cluster(), second.once_per_cluster():
        with pytest.raises(ValueError, match="inside such a block already"), first.once_per_cluster():
            pass
        assert claim_of(first) == "x"
        second.push("y")
        first.close()
        assert claim_of(second, LONG) == "y"
        with pytest.raises(QueueClosed):
            first.claim(lease_for=MINUTE)


def test_a_pooler_that_shares_sessions_out_is_refused(lowq_postgres: str) -> None:
    options = parse_qs(urlsplit(lowq_postgres).query)
    where = f"{options['host'][0]}/.s.PGSQL.{options['port'][0]}"
    database = urlsplit(lowq_postgres).path.removeprefix("/")
    with (
        pooled(where, "postgres", database, sessions=2) as pooler,
        closing(opened(pooler.url)) as queue,
        queue.once_per_cluster(),
    ):
        queue.push("x")
        with pytest.raises(InvalidLocation, match="connect to the server itself"):
            queue.claim(lease_for=MINUTE)
        assert queue.count() == Counts(ready=1)


@pytest.mark.parametrize("verb", ["claim", "wait", "ack"])
def test_a_claim_that_is_cut_off_leaves_the_turn_to_be_had(lowq_postgres: str, verb: str) -> None:
    with closing(opened(lowq_postgres)) as queue, closing(opened(lowq_postgres)) as other:

        def call() -> None:
            with queue.once_per_cluster():
                if verb == "wait":
                    assert queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=1)) is None
                    return
                other.push("x")
                lease = queue.claim(lease_for=MINUTE, wait=LONG)
                assert lease is not None
                queue.ack(lease, claim_for=MINUTE if verb == "ack" else None)

        for _ in cut_offs(call, step=1 if "LOWQ_EXHAUSTIVE" in os.environ else 131):
            other.push("y")
            with other.once_per_cluster():
                assert other.claim(lease_for=MINUTE, wait=LONG) is not None
            for task in other.tasks():
                if task.state == "leased":
                    other._database.ask("UPDATE lowq.task SET due = 0 WHERE id = $1", int(task.id))
            while (lease := other.claim(lease_for=MINUTE)) is not None:
                other.ack(lease)


def says(log: Path, word: str) -> bool:
    return word in log.read_text()


def test_background_workers_of_two_machines_take_over(
    url: str, clients: list[PostgresBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, *_ = clients
    book = tmp_path / "book"

    def handler_of(machine: str) -> Callable[[Any], None]:
        def handler(work: Any) -> None:
            with book.open("a") as file:
                file.write(f"{machine} {work}\n")

        return handler

    pids = []
    queue.push("later", not_before=SystemClock().now() + 60 * LONG)  # stays away
    for machine in ("one", "two"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        assert start(Worker(queue, handler_of(machine)), url, linger=120 * LONG, once_per_cluster=True)
        log = locate(url).beside("log", "default")
        wait_for(partial(says, log, "this worker claims" if machine == "one" else "this one stands by"))
        pid = active_pid(url)
        assert pid is not None
        pids.append(pid)
    queue.push("a")
    wait_for(lambda: book.exists() and book.read_text() == "one a\n")
    os.kill(pids[0], signal.SIGKILL)
    queue.push("b")
    wait_for(lambda: book.read_text() == "one a\ntwo b\n")
    os.kill(pids[1], signal.SIGTERM)
    wait_for(lambda: active_pid(url) is None)


def test_other_locations_have_no_such_lock(tmp_path: Path) -> None:
    with closing(open_backend(tmp_path / "q.db")) as queue, pytest.raises(InvalidLocation, match="postgresql://"):
        start(Worker(queue, print), tmp_path / "q.db", once_per_cluster=True)
