"""What a place gave before it was emptied, deleted or restored means nothing to what it keeps afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from lowq import Backend, Counts, LeaseLost, open_backend

HOUR = timedelta(hours=1)
Wipe = Callable[[str], None]


def truncate(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("TRUNCATE lowq.task RESTART IDENTITY")


def drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP SCHEMA lowq CASCADE")


def step_back(url: str) -> None:
    """As a copy from before the pushes has it."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DELETE FROM lowq.task; SELECT setval('lowq.task_id_seq', 1, false)")


def flush(url: str) -> None:
    with closing(Redis.from_url(url.replace("redis+unix://", "unix://").partition("&")[0])) as server:
        server.flushdb()


def pushed(url: str) -> tuple[Backend, list[str]]:
    queue = open_backend(url)
    return queue, [queue.push(work).id for work in ("a", "b", "c")]


def pushed_anew(url: str, wipe: Wipe) -> tuple[list[str], Backend, list[str]]:
    """The ids of before the place was wiped; a client of afterwards, and the ids that it was given."""
    before, ids = pushed(url)
    before.close()
    wipe(url)
    return ids, *pushed(url)


@pytest.mark.parametrize("wipe", [truncate, drop, step_back])
def test_ids_of_a_postgresql_that_was_emptied_never_come_again(lowq_postgres: str, wipe: Wipe) -> None:
    ids, after, fresh = pushed_anew(lowq_postgres, wipe)

    with closing(after):
        assert not set(ids) & set(fresh)
        assert fresh == sorted(fresh, key=int)
        assert [(after.task(id), after.cancel(id), after.redrive(id)) for id in ids] == [(None, False, False)] * 3
        assert after.count() == Counts(ready=3)


def test_ids_are_new_where_a_connection_ended_as_the_server_was_put_back(lowq_postgres: str) -> None:
    queue, ids = pushed(lowq_postgres)
    with closing(queue):
        step_back(lowq_postgres)
        with psycopg.connect(lowq_postgres, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        assert queue.push("d").id not in ids


def test_a_user_who_may_not_set_the_sequence_pushes_all_the_same(
    lowq_postgres: str,
) -> None:
    open_backend(lowq_postgres).close()
    with psycopg.connect(lowq_postgres, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS pusher")
        db.execute("CREATE ROLE pusher LOGIN PASSWORD 'secret'")
        db.execute("GRANT USAGE ON SCHEMA lowq TO pusher")
        db.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lowq TO pusher")
        db.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA lowq TO pusher")
    try:
        queue, ids = pushed(lowq_postgres.replace("postgres@", "pusher:secret@"))
        with closing(queue):
            assert len(set(ids)) == 3
    finally:
        with psycopg.connect(lowq_postgres, autocommit=True) as db:
            db.execute("DROP OWNED BY pusher")
            db.execute("DROP ROLE pusher")


def test_ids_of_a_valkey_that_was_emptied_never_come_again(lowq_valkey: str) -> None:
    ids, after, fresh = pushed_anew(lowq_valkey, flush)

    with closing(after):
        assert not set(ids) & set(fresh)
        assert [after.cancel(id) for id in ids] == [False] * 3


@pytest.mark.parametrize("kind", ["sqlite", "shared", "files", "valkey", "postgres"])
def test_a_lease_of_before_settles_nothing_of_what_came_after(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Also where the ids begin anew, as they do in a file that was deleted: the token of a claim is random."""
    url, wipe = _place(request, tmp_path, kind)
    queue, _ = pushed(url)
    lease = queue.claim(lease_for=HOUR)
    assert lease is not None
    queue.close()

    wipe(url)

    after, _ = pushed(url)
    with closing(after):
        now = after.claim(lease_for=HOUR)
        assert now is not None
        settles: list[Callable[[], object]] = [
            lambda: after.ack(lease),
            lambda: after.release(lease),
            lambda: after.extend(lease, lease_for=HOUR),
            lambda: after.dead_letter(lease, reason="no"),
        ]
        for settle in settles:
            with pytest.raises(LeaseLost):
                settle()
        assert after.ack_many([lease]).lost[0] is not None
        assert after.count() == Counts(ready=2, leased=1)
        after.ack(now)


def _place(request: pytest.FixtureRequest, folder: Path, kind: str) -> tuple[str, Wipe]:
    if kind == "postgres":
        return str(request.getfixturevalue("lowq_postgres")), truncate
    if kind == "valkey":
        return str(request.getfixturevalue("lowq_valkey")), flush

    def delete(_: str) -> None:
        for name in os.listdir(folder):
            with suppress(NotADirectoryError):
                shutil.rmtree(folder / name)
                continue
            (folder / name).unlink()

    urls = {"sqlite": "sqlite:///{}/q.db", "shared": "sqlite:///{}/q.db?shared=1", "files": "files://{}/q"}
    return urls[kind].format(folder), delete
