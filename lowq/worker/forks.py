"""What is done for the program where a worker forks a process that will run its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from lowq import hooks
from lowq.process.forking import spawn
from lowq.worker import connections, logs


def spawn_worker(main: Callable[[], None], *, keep: Iterable[int] = ()) -> int:
    """As `spawn`: a process that will run tasks; the program was told before and after, there and here."""
    with announce():
        return spawn(begin(main), keep=keep)


@contextmanager
def announce() -> Iterator[None]:
    """A process that will run tasks is forked inside."""
    connections.let_go_of_wal()
    logs.find_listeners()
    with hooks.forking():
        yield


def begin(main: Callable[[], None], *, detached: bool = False) -> Callable[[], None]:
    """What that process does, in place of `main`; `detached`: its parent's pipes and sockets are closed to it."""

    def begin() -> None:
        logs.write_here(detached=detached)
        connections.leave_to_parent()
        hooks.call_after_fork()
        main()

    return begin
