"""Django's connections in a worker: never its parent's, and looked after around each task as around a request.

Nothing here imports Django, and nothing happens in a program that has not imported `django.db`.

SQLite is a case of its own: its table of locks crosses a fork, so that a child believes in its parent's. One that was
forked inside a transaction finds the file locked for as long as it lives; where the file has a WAL, the parent
deletes it under the child. So a connection with a WAL is closed before a fork, and a worker that is started inside a
transaction on SQLite begins at its commit.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lowq import kernel
from lowq.error_text import in_full
from lowq.process.forking import keep_for_parent
from lowq.worker import program_log

_ours: Any = None
"""The executor of Django's asynchronous calls, where none but handlers use it."""

_PATIENCE = 5.0
"""Seconds that the thread of Django's asynchronous calls may take to look after its connections."""


def leave_to_parent() -> None:
    """This forked process has no connection of its parent's: they were neither used nor closed, which a server hears.

    The next query opens one of its own. A database in memory is in this process too, and stays.
    """
    _ignoring(_leave_connections)
    _ignoring(_leave_pools)
    _ignoring(_leave_caches)
    _ignoring(_renew_thread)


def begin_after_commit(start: Callable[[], object]) -> bool:
    """Whether this thread is inside a transaction of Django's on an SQLite file; `start` is then called at its end.

    Not so where it is rolled back.
    """
    for connection in _list_opened():
        if _is_sqlite_file(connection) and connection.in_atomic_block:
            connection.on_commit(start)
            return True
    return False


def let_go_of_wal() -> None:
    """This process, about to be forked, has no connection of this thread open to an SQLite file with a WAL."""
    _ignoring(_let_go_of_wal)


class LookedAfter:
    """A `with` block around a task, as Django has one around a request.

    Connections that are broken or too old are closed before and after it. A transaction that a handler left open is
    rolled back; one around the worker is left alone.
    """

    __slots__ = ("_open_before",)

    def __enter__(self) -> None:
        self._open_before: dict[str, bool] = {}
        if "django.db" in sys.modules:  # its handler may import it, and is looked after when it has ended
            _ignoring(_begin, self._open_before)

    def __exit__(self, *_: object) -> None:
        if "django.db" in sys.modules:
            _ignoring(_end, self._open_before)


def _connections() -> Any:
    """Django's connections, in a program that has any."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if db is None or conf is None or not conf.settings.configured:
        return None
    return getattr(db, "connections", None)


def _list_opened() -> list[Any]:
    """This thread's, of those that were used."""
    connections = _connections()
    return [] if connections is None else connections.all(initialized_only=True)


def _begin(open_before: dict[str, bool]) -> None:
    global _ours
    executor = _executor()
    if not getattr(executor, "_threads", None):  # who uses it from now on is a handler
        _ours = executor
    _tidy()
    for connection in _list_opened():
        open_before[connection.alias] = connection.in_atomic_block


def _end(open_before: dict[str, bool]) -> None:
    def end() -> None:
        for connection in _list_opened():
            if connection.in_atomic_block and not open_before.get(connection.alias):
                program_log.warn(
                    "a task left a transaction on the database %r open; it is rolled back", connection.alias
                )
                _drop(connection)
        _tidy()

    end()
    _on_thread(end)
    if (cache := sys.modules.get("django.core.cache")) is not None and _connections() is not None:
        cache.close_caches()


def _tidy() -> None:
    if _connections() is not None:
        sys.modules["django.db"].reset_queries()
    for connection in _list_opened():
        if not connection.in_atomic_block:  # of whoever runs the worker: Django closes it all the same
            connection.close_if_unusable_or_obsolete()


def _drop(connection: Any) -> None:
    """The connection, with its transaction, is closed; the next query opens another."""
    if _is_in_memory(connection):
        return
    try:
        connection.close()
    finally:
        del _connections()[connection.alias]


def _let_go_of_wal() -> None:
    for connection in _list_opened():
        if _is_sqlite_file(connection) and not connection.in_atomic_block and connection.connection is not None:
            ((mode,),) = connection.connection.execute("PRAGMA journal_mode").fetchall()
            if mode == "wal":
                connection.close()


def _leave_connections() -> None:
    for connection in _list_opened():
        if not _is_in_memory(connection):
            _keep(connection)
            _hang_up(connection.connection)
            del _connections()[connection.alias]


def _leave_pools() -> None:
    module = sys.modules.get("django.db.backends.postgresql.base")
    pools = getattr(getattr(module, "DatabaseWrapper", None), "_connection_pools", None)
    if pools:
        _keep(dict(pools))
        pools.clear()


def _leave_caches() -> None:
    cache = sys.modules.get("django.core.cache")
    if cache is None or _connections() is None:
        return
    for alias in cache.caches:
        with suppress(AttributeError):  # it was not used
            _keep(getattr(cache.caches._connections, alias))
            del cache.caches[alias]


def _renew_thread() -> None:
    """Django's asynchronous calls run in a thread, which a fork does not copy: they would wait for it for ever."""
    if (executor := _executor()) is not None:
        _keep(executor)
        sys.modules["asgiref.sync"].SyncToAsync.single_thread_executor = type(executor)(max_workers=1)


def _executor() -> Any:
    """Whose one thread Django's asynchronous calls run in, where they were called outside of its own loops."""
    kind = getattr(sys.modules.get("asgiref.sync"), "SyncToAsync", None)
    return getattr(kind, "single_thread_executor", None)


def _on_thread(do: Callable[[], None]) -> None:
    """It was done in the thread of the handlers' asynchronous calls, where there is one."""
    threads = getattr(_ours, "_threads", None)
    if threads and _ours is _executor() and threading.current_thread() not in threads:
        _ours.submit(do).result(_PATIENCE)


def _keep(inherited: object) -> None:
    """It is never freed in this process: that alone may send the server a good-bye in the parent's name."""
    keep_for_parent(inherited)


def _hang_up(raw: Any) -> None:
    """The descriptor of a parent's connection is another file here: the server sees when the parent has gone."""
    try:
        descriptor = raw.fileno()
        null = kernel.open_descriptor(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except Exception:  # it has none, as SQLite's, or is closed
        return
    os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def _is_sqlite_file(connection: Any) -> bool:
    return connection.vendor == "sqlite" and not _is_in_memory(connection)


def _is_in_memory(connection: Any) -> bool:
    ask = getattr(connection, "is_in_memory_db", None)
    return bool(ask is not None and ask())


def _ignoring(do: Callable[..., None], *arguments: Any) -> None:
    """It was done, or logged why not: this is no part of any task."""
    try:
        do(*arguments)
    except Exception as error:
        program_log.say_failed("Django's connections could not be looked after: %s", in_full(error))
