"""A push, a claim and an ack with the next claim as bare statements: what most calls come down to.

Each comes behind one that takes the queue's turn.

The server looks anew with each statement of a transaction, and so sees, once the turn was taken, what whoever had it
before has done. It gets both in one piece. A function that does the same costs as much again as the statement in it.
Where these do nothing, because an equal task stands or something fell due, the functions of `schema.py` are asked.
"""

from __future__ import annotations

from lowq.backends.postgres.rows import columns
from lowq.clock import LAST_MICROS


def turn(schema: str) -> str:
    """Until the transaction ends nobody else is between this and the end of his; $1: the queue.

    How long that is waited for is the session's `lock_timeout`.
    """
    return f"SELECT pg_advisory_xact_lock('{schema}queue'::regclass::oid::integer, $1::bigint::integer)"


def pushing(schema: str, window: int) -> str:
    """Keeps a task that is due at once, and gives its id; no row where an equal one stands. Who waits is woken.

    $1 queue, $2 the instant or NULL, $3 rank, $4 digest, $5 key, $6 work, $7 headers, $8 checksum.
    """
    stands = {0: "state < 3", 1: f"state < 3 AND (state < 2 OR due <= {_now('$2')})"}.get(window)
    equal = f"EXISTS (SELECT 1 FROM {schema}task WHERE queue = $1 AND digest = $4 AND {stands})"
    return f"""
        INSERT INTO {schema}task (queue, state, rank, digest, key, work, pushed_at, headers, crc)
        SELECT $1::bigint, 1, $3::bigint, $4::bytea, $5::bytea, $6::bytea, {_now("$2")}, $7::bytea, $8::bigint
        {f"WHERE NOT {equal}" if stands else ""}
        RETURNING id, CASE WHEN NOT pg_try_advisory_xact_lock('{schema}task'::regclass::oid::integer, $1::integer)
            THEN pg_notify('lowq_' || '{schema}queue'::regclass::oid || '_' || $1::bigint, '') END"""


def claiming(schema: str, *, one: bool, loose: bool) -> str:
    """Leases what is ready, in order, and gives its rows; none where something has fallen due meanwhile.

    $1 queue, $2 the instant or NULL, $3 microseconds of the lease, $4 how many at most, $5 what tokens begin with.
    `one`: $4 is 1, and the server looks for one id, which costs it a quarter less than an array of them. `loose`: it
    passes over what others hold.
    """
    begin, end = ("= (", ")") if one else ("= ANY (ARRAY(", "))")
    return f"""
        {_leasing(schema)}
        WHERE id {begin}{_ready(schema)}{" SKIP LOCKED" if loose else ""}{end}
        RETURNING {columns()}"""


def going_on(schema: str) -> str:
    """The task of a lease is gone, and the next one is leased as by `claiming`, which gives its row.

    No row, and nothing is done, where either cannot be. $1 to $5 as for `claiming`; $6 the id and $7 the token.
    """
    return f"""
        WITH following AS ({_ready(schema)}),
        gone AS (
            DELETE FROM {schema}task WHERE id = $6::bigint AND token = $7::text AND queue = $1
            AND EXISTS (SELECT FROM following) RETURNING id)
        {_leasing(schema)}
        WHERE id = (SELECT id FROM following) AND EXISTS (SELECT FROM gone)
        RETURNING {columns()}"""


def _leasing(schema: str) -> str:
    return f"""UPDATE {schema}task SET state = 2, attempts = attempts + 1, token = $5::text || id,
            due = least({_now("$2")} + $3::bigint, {LAST_MICROS})"""


def _ready(schema: str) -> str:
    return f"""
            SELECT id FROM {schema}task WHERE queue = $1::bigint AND state = 1
            AND NOT EXISTS (SELECT 1 FROM {schema}task WHERE queue = $1 AND due <= {_now("$2")})
            ORDER BY rank, id LIMIT $4::bigint FOR UPDATE"""


def _now(at: str) -> str:
    """Microseconds since 1970, when the server got to the statement, or the instant that it was told.

    A double holds them, and is quicker than the number of any length that `extract` gives.
    """
    return f"coalesce({at}::bigint, (date_part('epoch', statement_timestamp()) * 1000000)::bigint)"
