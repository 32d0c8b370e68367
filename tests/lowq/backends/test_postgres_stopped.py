"""A statement that the server stops in the midst of a verb, after it has changed a row: whole or absent, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from processes import wait_for

from lowq import Backend, BackendUnavailable, Item, Lease, open_backend
from lowq.testing.servers.postgres import PostgresServer

BOUND = 60
MINUTE = timedelta(minutes=1)
POOLED = "&pooled=true"
Verb = Callable[[Backend, list[Lease]], object]
Run = Callable[[], object]

VERBS: dict[str, Verb] = {
    "push": lambda queue, _: queue.push("new").added,
    "push_many": lambda queue, _: [each.added for each in queue.push_many([Item("n1"), Item("n2")])],
    "claim": lambda queue, _: work_of(queue.claim(lease_for=MINUTE)),
    "claim_many": lambda queue, _: len(queue.claim_many(2, lease_for=MINUTE)),
    "extend": lambda queue, held: work_of(queue.extend(held[0], lease_for=MINUTE)),
    "ack": lambda queue, held: queue.ack(held[0]),
    "ack and claim": lambda queue, held: work_of(queue.ack(held[0], claim_for=MINUTE)),
    "ack_many": lambda queue, held: queue.ack_many(held[:2], claim=2, lease_for=MINUTE).lost,
    "release": lambda queue, held: queue.release(held[0], reason="again"),
    "dead_letter": lambda queue, held: queue.dead_letter(held[0], reason="no"),
    "redrive": lambda queue, held: queue.redrive(held[3].id),
    "cancel": lambda queue, _: queue.cancel(queue.tasks(limit=1)[0].id),
}


def work_of(lease: Lease | None) -> object:
    return None if lease is None else lease.work


def prepared(queue: Backend) -> list[Lease]:
    """The leases of a queue in which something is in each state: three that are held, and a dead one."""
    queue.push_many(Item(number) for number in range(8))
    held = queue.claim_many(4, lease_for=MINUTE)
    queue.dead_letter(held[3], reason="first")
    return held


def contents(queue: Backend) -> list[tuple[Any, ...]]:
    return [(task.work, task.state, task.attempts, task.reason) for task in queue.tasks()]


@pytest.fixture(params=["", POOLED])
def url(lowq_postgres: str, lowq_postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Where each change of the queue "it" waits, once it is made, as long as somebody has the lock 77."""
    lowq_postgres_server.address.run(
        "CREATE FUNCTION lowq.midst() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock_shared(77); RETURN NULL; END $$;"
        " CREATE TRIGGER midst AFTER INSERT OR UPDATE OR DELETE ON lowq.task FOR EACH ROW"
        " EXECUTE FUNCTION lowq.midst()",
        lowq_postgres.partition("@/")[2].partition("?")[0],
    )
    return lowq_postgres + str(request.param)


def verbs_for(url: str) -> dict[str, Verb]:
    """All, and a few where each is a transaction of its own that brings its settings."""
    few = ("push", "claim", "ack and claim") if url.endswith(POOLED) else VERBS
    return {verb: VERBS[verb] for verb in few}


@contextmanager
def midst(url: str, verb: Run, out: list[object]) -> Iterator[Callable[[str], None]]:
    """The verb is in its midst, and let go on at the end; the block is given what does something to its session."""

    def run() -> None:
        try:
            out.append(verb())
        except BackendUnavailable as error:
            out.append(error)

    with psycopg.connect(url.removesuffix(POOLED), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 77"

        def do(what: str) -> None:
            wait_for(lambda: other.execute(waiting).fetchone() is not None)
            other.execute(f"SELECT {what} FROM ({waiting}) AS w".encode())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield do
        finally:
            other.execute("SELECT pg_advisory_unlock(77)")
            thread.join(BOUND)


def test_a_cancelled_verb_did_nothing(url: str) -> None:
    for verb, act in verbs_for(url).items():
        with closing(open_backend(url, name=f"cancel {verb}")) as queue:
            held = prepared(queue)
            before, out = contents(queue), list[object]()
            with midst(url, partial(act, queue, held), out) as do:
                do("pg_cancel_backend(pid)")
                wait_for(partial(bool, out))

            assert isinstance(out[0], BackendUnavailable), (verb, out)
            assert "the statement was cancelled, and nothing was done" in str(out[0])
            assert contents(queue) == before, verb
            act(queue, held)
            assert contents(queue) != before or verb == "extend", verb


def test_a_verb_whose_session_is_ended_is_done_once(url: str) -> None:
    for verb, act in verbs_for(url).items():
        with (
            closing(open_backend(url, name=f"calm {verb}")) as calm,
            closing(open_backend(url, name=f"ended {verb}", patience=timedelta(seconds=BOUND))) as queue,
        ):
            expected = act(calm, prepared(calm))
            held, out = prepared(queue), list[object]()
            with midst(url, partial(act, queue, held), out) as do:
                do("pg_terminate_backend(pid, 60000)")

            assert out == [expected], verb
            assert contents(queue) == contents(calm), verb


def test_a_verb_that_takes_longer_than_the_server_allows_did_nothing(
    url: str, lowq_postgres_server: PostgresServer
) -> None:
    with closing(open_backend(url, name="it")) as queue:
        held = prepared(queue)
        before = contents(queue)
    database = url.partition("@/")[2].partition("?")[0]
    lowq_postgres_server.address.run(f"ALTER DATABASE {database} SET statement_timeout = 300")
    with closing(open_backend(url, name="it")) as queue:
        for verb in ("push", "claim", "ack"):
            out: list[object] = []
            with midst(url, partial(VERBS[verb], queue, held), out):
                wait_for(partial(bool, out))
            assert isinstance(out[0], BackendUnavailable), (verb, out)
            assert "statement timeout" in str(out[0]), verb
        assert contents(queue) == before
