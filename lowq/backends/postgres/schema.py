"""The tables and functions of a queue in PostgreSQL: made, recognised, and brought from older versions to this one.

Long: the functions call one another, and are read together.

Everything lies in one schema of its own. Making and upgrading are one transaction each, under an advisory lock, so
that of several programs one does it. Each verb that needs more than one statement is a function, so that it is one
round trip and one transaction; a function of PL/pgSQL looks anew with each of its statements, and so sees, once it
has the queue's lock, what whoever had it before has done.

Work, key, reason and headers are bytes: a text of PostgreSQL cannot hold U+0000, and of other characters only those
of the database's encoding.
"""

from __future__ import annotations

import re

from lowq.backend import InvalidLocation
from lowq.clock import LAST_MICROS

SCHEMA_VERSION = 5

MAKING = 7_813_275_091
"""The advisory lock under which schemas are made and upgraded."""
_LEAPING = 7_813_275_092
"""The advisory lock under which ids leap."""
_TICKS = 100_000
"""A second's ticks: more than any queue is pushed to for long."""
_FIRST_TICK = 1_767_225_600 * _TICKS
"""Of the first instant of 2026, so that ids are short."""

_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""What the function `now` says; pushes and claims have it written out, since a call costs them more."""

_TABLES = """
CREATE TABLE {s}.about (version integer NOT NULL, identity uuid NOT NULL DEFAULT gen_random_uuid());
CREATE TABLE {s}.queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name bytea NOT NULL UNIQUE, dedupe text NOT NULL);
-- rank: the priority with its sign turned, so that one ascending index is the claim order.
-- due: when something scheduled falls due, or a lease ends. token: of the latest claim, until it is settled;
-- 'within' where it was pushed in a transaction of the application's, and not claimed yet.
-- state: 0 scheduled, 1 ready, 2 leased, 3 dead. The sequence of the ids is the push order; none comes twice.
CREATE TABLE {s}.task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue bigint NOT NULL, state smallint NOT NULL,
    rank bigint NOT NULL, due bigint, attempts integer NOT NULL DEFAULT 0, token text, digest bytea NOT NULL,
    not_before bigint, key bytea, reason bytea, work bytea NOT NULL, pushed_at bigint NOT NULL, headers bytea,
    crc bigint) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ready ON {s}.task (queue, rank, id) WHERE state = 1;
CREATE INDEX timed ON {s}.task (queue, due, id) WHERE due IS NOT NULL;
CREATE INDEX standing ON {s}.task (queue, digest) WHERE state < 3;
CREATE INDEX dead ON {s}.task (queue, id) WHERE state = 3;
INSERT INTO {s}.about (version) VALUES ({version});
"""

_FUNCTIONS = """
-- Microseconds since 1970, now and not at the transaction's begin.
CREATE FUNCTION {s}.now() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT {clock} $$;

-- Until the transaction ends nobody else is between this and the end of his: pushes, claims and what makes ready.
CREATE FUNCTION {s}.enter(_q bigint, _patience bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE before text;
BEGIN
    IF pg_try_advisory_xact_lock('{s}.queue'::regclass::oid::integer, _q::integer) THEN
        RETURN;
    END IF;
    before := current_setting('lock_timeout');
    PERFORM set_config('lock_timeout', greatest(_patience, 1)::text, true);
    PERFORM pg_advisory_xact_lock('{s}.queue'::regclass::oid::integer, _q::integer);
    PERFORM set_config('lock_timeout', before, true);
END $$;

-- Who waits for a task looks once this transaction is committed. Waiters share a lock while they listen, and until
-- this transaction ends nobody begins to: so where it can be had, nobody listens, and nobody needs to be told.
CREATE FUNCTION {s}.ring(_q bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock('{s}.task'::regclass::oid::integer, _q::integer) THEN
        PERFORM pg_notify('lowq_' || '{s}.queue'::regclass::oid || '_' || _q, '');
    END IF;
END $$;

-- The task that refuses an equal push, or NULL. _window: 0 until it is done, 1 until it is claimed, 2 never.
CREATE FUNCTION {s}.standing(_q bigint, _window bigint, _digest bytea, _now bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT min(id) FROM {s}.task WHERE queue = _q AND digest = _digest AND state < 3 AND _window < 2
        AND (state < 2 OR _window = 0 OR due <= _now)
$$;

-- The works of one push together: no two of them are equal where the queue dedupes.
CREATE FUNCTION {s}.push_many(
    _q bigint, _patience bigint, _at bigint, _window bigint, _ranks bigint[], _not_befores bigint[],
    _digests bytea[], _keys bytea[], _works bytea[], _headers bytea[], _crcs bigint[])
RETURNS TABLE (place bigint, id bigint, added boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE now bigint;
BEGIN
    PERFORM {s}.enter(_q, _patience);
    now := coalesce(_at, {s}.now());
    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT i.*, {s}.standing(_q, _window, i.digest, now) AS standing
        FROM unnest(_ranks, _not_befores, _digests, _keys, _works, _headers, _crcs)
            WITH ORDINALITY AS i (rank, not_before, digest, key, work, headers, crc, place)
    ), fresh AS MATERIALIZED (
        SELECT nextval(pg_get_serial_sequence('{s}.task', 'id')) AS id, s.*
        FROM (SELECT * FROM item WHERE standing IS NULL ORDER BY place) s
    ), kept AS (
        INSERT INTO {s}.task
            (id, queue, state, rank, due, digest, not_before, key, work, pushed_at, headers, crc)
        OVERRIDING SYSTEM VALUE
        SELECT f.id, _q, CASE WHEN f.not_before > now THEN 0 ELSE 1 END, f.rank,
            CASE WHEN f.not_before > now THEN f.not_before END, f.digest, f.not_before, f.key, f.work, now,
            f.headers, f.crc
        FROM fresh f
    )
    SELECT i.place, coalesce(i.standing, f.id), i.standing IS NULL
    FROM item i LEFT JOIN fresh f ON f.place = i.place;
    PERFORM {s}.ring(_q);
END $$;

-- Whether anything is ready or has fallen due.
CREATE FUNCTION {s}.is_due(_q bigint, _now bigint) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT 1 FROM {s}.task WHERE queue = _q AND state = 1)
        OR EXISTS (SELECT 1 FROM {s}.task WHERE queue = _q AND due <= _now)
$$;

-- Tasks are done and gone, and the next ones are claimed. A row with a place tells of a lease that was lost, and of
-- what its task is now; one without is a claimed task. _whole: where a lease was lost, nothing is claimed.
CREATE FUNCTION {s}.settle(
    _q bigint, _patience bigint, _at bigint, _ids bigint[], _tokens text[], _lease bigint, _most bigint,
    _token text, _whole boolean, _again boolean)
RETURNS TABLE (place bigint, task {s}.task) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint;
    now_held {s}.task;
    lost boolean := false;
BEGIN
    PERFORM {s}.enter(_q, _patience);
    now := coalesce(_at, {s}.now());
    IF _again THEN
        RETURN QUERY SELECT NULL::bigint, t FROM {s}.task t
            WHERE t.queue = _q AND t.due IS NOT NULL AND t.state = 2 AND t.token = _token || t.id;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    FOR i IN 1 .. cardinality(_ids) LOOP
        DELETE FROM {s}.task t WHERE t.id = _ids[i] AND t.token = _tokens[i] AND t.queue = _q;
        IF NOT FOUND THEN
            SELECT * INTO now_held FROM {s}.task t WHERE t.id = _ids[i] AND t.queue = _q;
            IF FOUND OR NOT _again THEN
                lost := true;
                RETURN QUERY SELECT i::bigint, now_held;
            END IF;
        END IF;
    END LOOP;
    IF _most > 0 AND NOT (_whole AND lost) THEN
        RETURN QUERY SELECT NULL::bigint, t FROM {s}.claim(_q, _patience, now, _lease, _most, _token, false, false) t;
    END IF;
END $$;

CREATE FUNCTION {s}.release(
    _q bigint, _patience bigint, _at bigint, _id bigint, _token text, _not_before bigint, _reason bytea,
    _uncount bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE later boolean;
BEGIN
    PERFORM {s}.enter(_q, _patience);
    later := coalesce(_not_before > coalesce(_at, {s}.now()), false);
    UPDATE {s}.task SET token = NULL, reason = _reason, attempts = attempts - _uncount::integer,
        state = CASE WHEN later THEN 0 ELSE 1 END, due = CASE WHEN later THEN _not_before END,
        not_before = coalesce(_not_before, not_before)
    WHERE id = _id AND token = _token AND queue = _q;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM {s}.ring(_q);
    RETURN true;
END $$;

CREATE FUNCTION {s}.redrive(_q bigint, _patience bigint, _at bigint, _id bigint, _window bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE equal bytea;
BEGIN
    PERFORM {s}.enter(_q, _patience);
    SELECT digest INTO equal FROM {s}.task WHERE id = _id AND queue = _q AND state = 3 FOR UPDATE;
    IF NOT FOUND OR {s}.standing(_q, _window, equal, coalesce(_at, {s}.now())) IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE {s}.task SET state = 1, attempts = 0 WHERE id = _id;
    PERFORM {s}.ring(_q);
    RETURN true;
END $$;

CREATE FUNCTION {s}.extend(_q bigint, _at bigint, _id bigint, _token text, _lease bigint) RETURNS SETOF {s}.task
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY UPDATE {s}.task SET state = 2, due = least(coalesce(_at, {s}.now()) + _lease, {last})
    WHERE id = _id AND token = _token AND queue = _q RETURNING *;
END $$;

-- _taken: how many attempts were none.
CREATE FUNCTION {s}.dead_letter(_q bigint, _id bigint, _token text, _reason bytea, _taken bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {s}.task SET state = 3, token = NULL, due = NULL, reason = _reason, attempts = attempts - _taken::integer
    WHERE id = _id AND token = _token AND queue = _q;
    RETURN FOUND;
END $$;

CREATE FUNCTION {s}.cancel(_q bigint, _at bigint, _id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {s}.task WHERE id = _id AND queue = _q AND (state <> 2 OR due <= coalesce(_at, {s}.now()));
    RETURN FOUND;
END $$;

-- The task, and now; no row where there is none.
CREATE FUNCTION {s}.look(_q bigint, _at bigint, _id bigint) RETURNS TABLE (task {s}.task, now bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t, coalesce(_at, {s}.now()) FROM {s}.task t WHERE t.id = _id AND t.queue = _q;
END $$;

-- The earliest instant at which something happens by itself, or NULL; and now.
CREATE FUNCTION {s}.next_due(_q bigint, _at bigint, OUT first bigint, OUT now bigint)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT due INTO first FROM {s}.task WHERE queue = _q AND due IS NOT NULL ORDER BY due LIMIT 1;
    now := coalesce(_at, {s}.now());
END $$;

CREATE FUNCTION {s}.counts(_q bigint, _at bigint, OUT scheduled bigint, OUT ready bigint, OUT leased bigint,
    OUT dead bigint)
LANGUAGE plpgsql AS $$
DECLARE now bigint := coalesce(_at, {s}.now());
BEGIN
    SELECT (SELECT count(*) FROM {s}.task WHERE queue = _q AND due > now AND state = 0),
        (SELECT count(*) FROM {s}.task WHERE queue = _q AND state = 1)
            + (SELECT count(*) FROM {s}.task WHERE queue = _q AND due <= now),
        (SELECT count(*) FROM {s}.task WHERE queue = _q AND due > now AND state = 2),
        (SELECT count(*) FROM {s}.task WHERE queue = _q AND state = 3)
    INTO scheduled, ready, leased, dead;
END $$;
"""

_SINCE_2 = """
-- The tasks of another queue, with what lies behind them. _states: 0 scheduled until _not_before, 1 ready, 3 dead.
CREATE FUNCTION {s}.adopt(
    _q bigint, _patience bigint, _at bigint, _window bigint, _ranks bigint[], _not_befores bigint[],
    _digests bytea[], _keys bytea[], _works bytea[], _headers bytea[], _crcs bigint[], _states bigint[],
    _attempts bigint[], _reasons bytea[], _pushed_ats bigint[])
RETURNS TABLE (place bigint, id bigint, added boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint;
    found_id bigint;
    waits boolean;
BEGIN
    PERFORM {s}.enter(_q, _patience);
    now := coalesce(_at, {s}.now());
    FOR i IN 1 .. cardinality(_works) LOOP
        found_id := CASE WHEN _states[i] < 3 THEN {s}.standing(_q, _window, _digests[i], now) END;
        IF found_id IS NOT NULL THEN
            RETURN QUERY SELECT i::bigint, found_id, false;
            CONTINUE;
        END IF;
        waits := _states[i] = 0 AND coalesce(_not_befores[i] > now, false);
        INSERT INTO {s}.task AS t (queue, state, rank, due, attempts, digest, not_before, key, reason, work,
            pushed_at, headers, crc)
        VALUES (_q, CASE WHEN _states[i] = 3 THEN 3 WHEN waits THEN 0 ELSE 1 END, _ranks[i],
            CASE WHEN waits THEN _not_befores[i] END, _attempts[i], _digests[i], _not_befores[i], _keys[i],
            _reasons[i], _works[i], _pushed_ats[i], _headers[i], _crcs[i])
        RETURNING t.id INTO found_id;
        RETURN QUERY SELECT i::bigint, found_id, true;
    END LOOP;
    PERFORM {s}.ring(_q);
END $$;
"""

_SINCE_3 = """
-- Pushes in a transaction of the application's, which may stay open for long: without the queue's lock, and so
-- without a look at what other open transactions push. That waits for the commit, and so does waking who waits.
-- No row: this is not the database that the caller means. A row with the place 0: the transaction is too isolated.
CREATE FUNCTION {s}.push_within(
    _q bigint, _identity text, _at bigint, _window bigint, _ranks bigint[], _not_befores bigint[],
    _digests bytea[], _keys bytea[], _works bytea[], _headers bytea[], _crcs bigint[])
RETURNS TABLE (place bigint, id bigint, added boolean) LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    now bigint := coalesce(_at, {s}.now());
    later boolean;
    which text := 'lowq.within_' || '{s}.queue'::regclass::oid;
BEGIN
    IF _identity IS DISTINCT FROM (SELECT identity || ' ' || (SELECT oid FROM pg_database
            WHERE datname = current_database()) FROM {s}.about)
        OR NOT EXISTS (SELECT 1 FROM {s}.queue k WHERE k.id = _q) THEN
        RETURN;
    END IF;
    IF _window < 2 AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        place := 0;
        RETURN NEXT;
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(_works) LOOP
        place := i;
        id := {s}.standing(_q, _window, _digests[i], now);
        added := id IS NULL;
        IF added THEN
            later := coalesce(_not_befores[i] > now, false);
            INSERT INTO {s}.task AS t
                (queue, state, rank, due, token, digest, not_before, key, work, pushed_at, headers, crc)
            VALUES (_q, CASE WHEN later THEN 0 ELSE 1 END, _ranks[i], CASE WHEN later THEN _not_befores[i] END,
                'within', _digests[i], _not_befores[i], _keys[i], _works[i], now, _headers[i], _crcs[i])
            RETURNING t.id INTO id;
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM set_config(which, coalesce(current_setting(which, true), '') || ' ' || _q, true)
        WHERE NOT (' ' || coalesce(current_setting(which, true), '') || ' ') LIKE '% ' || _q || ' %';
END $$;

"""

_COMMITTING = """
-- At the commit: who pushed equal works in the meantime, and was committed first, keeps his. Queues are locked in one
-- order, whichever this transaction pushed to first.
CREATE OR REPLACE FUNCTION {s}.commit_within() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    each bigint;
    now bigint := {s}.now();
    dedupes text;
BEGIN
    IF current_query() ~* '\\mprepare\\s+transaction\\M' THEN
        RAISE EXCEPTION 'lowq: a transaction in which tasks were pushed cannot be prepared for a commit in two'
            ' phases, between which nobody could push to the queue or claim from it; push after that commit'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    FOR each IN SELECT q::bigint FROM unnest(string_to_array(trim(
        current_setting('lowq.within_' || '{s}.queue'::regclass::oid, true)), ' ')) q ORDER BY 1
    LOOP
        PERFORM {s}.enter(each, 60000);
    END LOOP;
    SELECT k.dedupe INTO dedupes FROM {s}.queue k WHERE k.id = NEW.queue;
    IF dedupes <> 'off' THEN
        DELETE FROM {s}.task t WHERE t.id = NEW.id AND t.token = 'within' AND EXISTS (
            SELECT 1 FROM {s}.task o WHERE o.queue = NEW.queue AND o.digest = NEW.digest AND o.state < 3
            AND o.id <> NEW.id AND (o.state < 2 OR dedupes = 'until_done' OR o.due <= now));
    END IF;
    PERFORM {s}.ring(NEW.queue);
    RETURN NULL;
END $$;
"""

_WITHIN = """
CREATE CONSTRAINT TRIGGER within AFTER INSERT ON {s}.task DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.token = 'within') EXECUTE FUNCTION {s}.commit_within();
"""

_AGAIN = """    IF _again THEN
        RETURN QUERY SELECT * FROM {s}.task
            WHERE queue = _q AND due IS NOT NULL AND state = 2 AND token = _token || id;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
"""
"""What a claim begins with that may be another try of one whose answer was lost."""

_SINCE_5 = (
    """
-- The id of the task that is kept, or with its sign turned that of the task that refuses it. An ack takes no turn: so
-- what stood in the way may be gone when it is looked for.
CREATE FUNCTION {s}.push_one(
    _q bigint, _patience bigint, _at bigint, _window bigint, _rank bigint, _not_before bigint, _digest bytea,
    _key bytea, _work bytea, _headers bytea, _crc bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    now bigint;
    kept bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock('{s}.queue'::regclass::oid::integer, _q::integer) THEN
        PERFORM {s}.enter(_q, _patience);
    END IF;
    now := coalesce(_at, {clock});
    LOOP
        INSERT INTO {s}.task (queue, state, rank, due, digest, not_before, key, work, pushed_at, headers, crc)
        SELECT _q, CASE WHEN _not_before > now THEN 0 ELSE 1 END, _rank,
            CASE WHEN _not_before > now THEN _not_before END, _digest, _not_before, _key, _work, now, _headers, _crc
        WHERE _window = 2 OR NOT EXISTS (
            SELECT 1 FROM {s}.task WHERE queue = _q AND digest = _digest AND state < 3
            AND (state < 2 OR _window = 0 OR due <= now))
        RETURNING id INTO kept;
        IF FOUND THEN
            IF NOT pg_try_advisory_xact_lock('{s}.task'::regclass::oid::integer, _q::integer) THEN
                PERFORM {s}.ring(_q);
            END IF;
            RETURN kept;
        END IF;
        kept := {s}.standing(_q, _window, _digest, now);
        IF kept IS NOT NULL THEN
            RETURN -kept;
        END IF;
    END LOOP;
END $$;

-- The most urgent due tasks are leased. What fell due, and what was leased for too long, is ready first, and stays so
-- whatever the clock says later; mostly there is none such, which the first statement sees by itself.
-- _look: nothing is locked where nothing is due. _again: an earlier try of this call may have got its tasks.
CREATE OR REPLACE FUNCTION {s}.claim(
    _q bigint, _patience bigint, _at bigint, _lease bigint, _most bigint, _token text, _look boolean, _again boolean)
RETURNS SETOF {s}.task LANGUAGE plpgsql AS $$
DECLARE now bigint;
BEGIN
"""
    + _AGAIN
    + """    IF _look AND NOT {s}.is_due(_q, coalesce(_at, {s}.now())) THEN
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock('{s}.queue'::regclass::oid::integer, _q::integer) THEN
        PERFORM {s}.enter(_q, _patience);
    END IF;
    now := coalesce(_at, {clock});
    RETURN QUERY
    UPDATE {s}.task SET state = 2, token = _token || id, due = least(now + _lease, {last}), attempts = attempts + 1
    WHERE id = ANY (ARRAY(
        SELECT id FROM {s}.task WHERE queue = _q AND state = 1
        AND NOT EXISTS (SELECT 1 FROM {s}.task WHERE queue = _q AND due <= now)
        ORDER BY rank, id LIMIT _most FOR UPDATE))
    RETURNING *;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE {s}.task SET state = 1, due = NULL WHERE queue = _q AND due <= now;
    RETURN QUERY
    UPDATE {s}.task SET state = 2, token = _token || id, due = least(now + _lease, {last}), attempts = attempts + 1
    WHERE id = ANY (ARRAY(
        SELECT id FROM {s}.task WHERE queue = _q AND state = 1 ORDER BY rank, id LIMIT _most FOR UPDATE))
    RETURNING *;
END $$;

-- A claim that takes no turn: it passes over what another one holds. So a task may come out before one that is more
-- urgent, where that one's claim is cut off, or while another claim makes it ready.
-- Where others hold all that is due, one of them is waited for, so that nothing is told only where nothing is due.
CREATE OR REPLACE FUNCTION {s}.claim_loose(
    _q bigint, _patience bigint, _at bigint, _lease bigint, _most bigint, _token text, _again boolean)
RETURNS SETOF {s}.task LANGUAGE plpgsql AS $$
DECLARE now bigint;
BEGIN
"""
    + _AGAIN
    + """    LOOP
        now := coalesce(_at, {clock});
        RETURN QUERY
        UPDATE {s}.task SET state = 2, token = _token || id, due = least(now + _lease, {last}),
            attempts = attempts + 1
        WHERE id = ANY (ARRAY(
            SELECT id FROM {s}.task WHERE queue = _q AND state = 1
            AND NOT EXISTS (SELECT 1 FROM {s}.task WHERE queue = _q AND due <= now)
            ORDER BY rank, id LIMIT _most FOR UPDATE SKIP LOCKED))
        RETURNING *;
        IF FOUND OR NOT {s}.is_due(_q, now) THEN
            RETURN;
        END IF;
        UPDATE {s}.task SET state = 1, due = NULL WHERE id = ANY (ARRAY(
            SELECT id FROM {s}.task WHERE queue = _q AND due <= now FOR UPDATE SKIP LOCKED));
        RETURN QUERY
        UPDATE {s}.task SET state = 2, token = _token || id, due = least(now + _lease, {last}),
            attempts = attempts + 1
        WHERE id = ANY (ARRAY(
            SELECT id FROM {s}.task WHERE queue = _q AND state = 1 ORDER BY rank, id LIMIT _most
            FOR UPDATE SKIP LOCKED))
        RETURNING *;
        IF FOUND THEN
            RETURN;
        END IF;
        PERFORM set_config('lock_timeout', greatest(_patience, 1)::text, true);
        PERFORM 1 FROM {s}.task WHERE id = (SELECT min(id) FROM {s}.task
            WHERE queue = _q AND (state = 1 OR due <= now)) FOR UPDATE;
    END LOOP;
END $$;
"""
)
"""What came or changed since version 4; clients that were connected before go on with the functions of theirs."""

UPGRADES: dict[int, str] = {1: _SINCE_2, 2: _SINCE_3 + _COMMITTING + _WITHIN, 3: "", 4: _SINCE_5 + _COMMITTING}
"""The statements that lead from each version to the next."""


def making(schema: str) -> str:
    """The statements that make the tables and functions in the schema, which is there and empty."""
    return fill(_TABLES + _FUNCTIONS + _SINCE_2 + _SINCE_3 + _COMMITTING + _WITHIN + _SINCE_5, schema)


def upgrading(schema: str, version: int) -> str:
    """The statements that lead from that version to this one."""
    steps = "".join(UPGRADES[step] for step in range(version, SCHEMA_VERSION))
    return fill(f"{steps}; UPDATE {{s}}.about SET version = {SCHEMA_VERSION}", schema)


def leaping(schema: str) -> str:
    """The statements after which the next id is one that no database in this place ever gave.

    One that was emptied, made anew or restored from an older copy does not know what was given before, but ids are
    always ahead of a clock's ticks, of which there are more than pushes. Where the sequence is only a little behind
    them, it stays: pushes may go on meanwhile, and must not be met.
    """
    return fill(
        f"""
        SELECT pg_advisory_xact_lock({_LEAPING});
        SELECT setval('{{s}}.task_id_seq', tick) FROM (
            SELECT last_value, (extract(epoch FROM clock_timestamp()) * {_TICKS} - {_FIRST_TICK})::bigint AS tick
            FROM {{s}}.task_id_seq) AS now
        WHERE tick > last_value + {_TICKS}
        """,
        schema,
    )


def fill(statements: str, schema: str) -> str:
    """The statements, about that schema, whose name `check_schema` allows."""
    filled = statements.replace("{s}", f'"{schema}"').replace("{last}", str(LAST_MICROS))
    return filled.replace("{version}", str(SCHEMA_VERSION)).replace("{clock}", _CLOCK)


def check_schema(schema: str) -> None:
    """Raise TypeError or InvalidLocation unless lowq's schema can have this name."""
    if not isinstance(schema, str):
        raise TypeError(f"schema: expected a string, got {type(schema).__name__}")
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise InvalidLocation(
            f"schema: expected a letter or _ and then letters, digits or _, 63 at most and not pg_…, got {schema!r}"
        )
    if schema in ("public", "information_schema"):
        raise InvalidLocation(f"schema: {schema!r} is others' too; lowq needs one of its own")


_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,62}")
