"""A push in the caller's own transaction, on a connection of his to the database that the queue is in.

The rows are put in at once and seen by nobody before the commit. What other transactions must not come between, the
look for an equal task, waits for the commit: a deferred trigger has the queue's lock from there to its end, which is
soon, however long the transaction was. So nobody waits for an open transaction, and of two that push equal works the
one that is committed first keeps its task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lowq.backend import BackendUnavailable, LowqError, NoTransaction, Pushed
from lowq.backends.postgres.connection import Refused, code_of_file
from lowq.backends.postgres.rows import utf8
from lowq.process.handlers import let_through, let_through_hidden
from lowq.rules.callers import causes, error_of_read_only
from lowq.rules.entry import Entry
from lowq.rules.transaction import Joined

_SIGNATURE = "(bigint,text,bigint,bigint,bigint[],bigint[],bytea[],bytea[],bytea[],bytea[],bigint[])"

_ISOLATED = 0
"""The place in an answer that says that the transaction cannot see what others commit meanwhile."""


_RETRIED = ("40001", "40P01")
"""Serialization failure and deadlock: applications look for these, and begin their transaction again."""
_FAILED, _READ_ONLY = "25P02", "25006"
_FAILED_SAY = ("PendingRollbackError", "TransactionManagementError")
"""What SQLAlchemy and Django call their errors about a transaction that has failed."""
_BROKEN_SAY = ("OperationalError", "InterfaceError")
"""What drivers call their errors about a connection that is closed or broken, of which no server tells."""
_STOPPED = ("57014", "55P03")
"""The statement was cancelled, or took longer than the session allows it or its locks."""
_LOST = ("25P03", "25P04", "57P01", "57P02", "57P03", "57P05", "08")
"""What the codes of a session begin with that the server has ended, for one because its transaction was idle."""


def push_within(
    joined: Joined,
    schema: str,
    shown: str,
    queue: int,
    identity: str,
    at: int | None,
    window: int,
    batch: list[Entry],
    translate: Callable[[Refused], LowqError],
) -> list[Pushed]:
    """The entries are part of the caller's transaction, all or none.

    `schema` is quoted and ends with a dot; `identity` is the schema's and the database's. `translate` knows what the
    server's errors mean. Raises NoTransaction, and BackendUnavailable where the connection was lost; whatever the
    driver raised is the cause. What applications retry by, a serialization failure, is raised as it is.
    """
    with _explaining(shown, translate):
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
                "within: the transaction is isolated (REPEATABLE READ or SERIALIZABLE), and cannot see equal works"
                ' that others push meanwhile; push in READ COMMITTED, or make the queue with dedupe="off"'
            )
        joined.known = True
        return [Pushed(str(id), added) for _, id, added in rows]


@contextmanager
def _explaining(shown: str, translate: Callable[[Refused], LowqError]) -> Iterator[None]:
    """What the driver raises is told as an error of ours, where it means nothing to who pushes."""
    try:
        yield
    except LowqError:
        raise
    except Exception as error:
        let_through(error)
        let_through_hidden(error)
        told = _explain(error, shown, translate)
        if told is None:
            raise
        raise told from error


def _elsewhere(shown: str) -> NoTransaction:
    return NoTransaction(
        f"within: the connection is to another database than {shown}, where the queue is; nothing was pushed"
    )


def _explain(error: Exception, shown: str, translate: Callable[[Refused], LowqError]) -> LowqError | None:
    """The error of ours that says what the driver's means to who pushes; None: it means something to him."""
    behind = list(causes(error))
    if any(type(each).__name__ in _FAILED_SAY for each in behind):
        return _error_of_failed()
    ours = next((each for each in behind if _code_of(each)), None)
    if ours is None:
        ours = next((each for each in reversed(behind) if type(each).__name__ in _BROKEN_SAY), None)
        if ours is None:
            return None
        return BackendUnavailable(
            f"within: the connection to {shown} cannot be used ({_first_line(ours)}); nothing was pushed"
        )
    code, text = _code_of(ours), _first_line(ours)
    if code == _FAILED:
        return _error_of_failed()
    if code in _RETRIED:
        return None
    if code == _READ_ONLY:
        return error_of_read_only(text)
    if code.startswith(_LOST):
        return BackendUnavailable(
            f"within: the connection to {shown} was lost ({text}); its transaction is undone, and the push with it"
        )
    if code in _STOPPED:
        return BackendUnavailable(
            f"within: {text}; nothing was pushed, and the transaction has failed: roll it back, or go back to a"
            " savepoint"
        )
    return translate(Refused(code, text))


def _code_of(error: object) -> str:
    """The server's code, as psycopg and asyncpg tell it, or psycopg2; nothing where the error is not the server's."""
    source = str(getattr(getattr(error, "diag", None), "source_file", None))
    return code_of_file(
        str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""), source.encode()
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _error_of_failed() -> NoTransaction:
    return NoTransaction(
        "within: the transaction has failed, and takes no more statements; roll it back, or go back to a savepoint,"
        " and push then"
    )
