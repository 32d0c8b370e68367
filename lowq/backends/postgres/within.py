"""A push in the caller's own transaction, on a connection of his to the database that the queue is in.

The rows are put in at once and seen by nobody before the commit. What other transactions must not come between, the
look for an equal task, waits for the commit: a deferred trigger has the queue's lock from there to its end, which is
soon, however long the transaction was. So nobody waits for an open transaction, and of two that push equal works the
one that is committed first keeps its task.
"""

from __future__ import annotations

from lowq.backend import NoTransaction, Pushed
from lowq.backends.postgres.rows import utf8
from lowq.rules.entry import Entry
from lowq.rules.transaction import Joined

_SIGNATURE = "(bigint,text,bigint,bigint,bigint[],bigint[],bytea[],bytea[],bytea[],bytea[],bigint[])"

_ISOLATED = 0
"""The place in an answer that says that the transaction cannot see what others commit meanwhile."""


def push_within(
    joined: Joined,
    schema: str,
    shown: str,
    queue: int,
    identity: str,
    at: int | None,
    window: int,
    batch: list[Entry],
) -> list[Pushed]:
    """The entries are part of the caller's transaction, all or none. Raises NoTransaction.

    `schema` is quoted and ends with a dot; `identity` is the schema's and the database's.
    """
    caller = joined.caller
    caller.check()
    if not joined.known:
        ((there,),) = caller.run(f"SELECT to_regprocedure('{schema}push_within{_SIGNATURE}') IS NOT NULL")
        if not there:
            raise _elsewhere(shown)
    types = _SIGNATURE.strip("()").split(",")
    rows = caller.run(
        f"SELECT place, id, added FROM {schema}push_within({', '.join(f'CAST(? AS {each})' for each in types)})"
        " ORDER BY place",
        (
            queue,
            identity,
            at,
            window,
            [-new.priority for new in batch],
            [new.not_before for new in batch],
            [new.digest for new in batch],
            [utf8(new.key) for new in batch],
            [new.text.encode() for new in batch],
            [utf8(new.headers) for new in batch],
            [new.crc for new in batch],
        ),
    )
    if not rows:
        raise _elsewhere(shown)
    if rows[0][0] == _ISOLATED:
        raise NoTransaction(
            "within: the transaction is isolated (REPEATABLE READ or SERIALIZABLE), and cannot see equal works that"
            ' others push meanwhile; push in READ COMMITTED, or make the queue with dedupe="off"'
        )
    joined.known = True
    return [Pushed(str(id), added) for _, id, added in rows]


def _elsewhere(shown: str) -> NoTransaction:
    return NoTransaction(
        f"within: the connection is to another database than {shown}, where the queue is; nothing was pushed"
    )
