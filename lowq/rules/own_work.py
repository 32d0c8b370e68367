"""What happens where a task pushes a work equal to its own: refused as a duplicate, and gone when the run is done."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

from lowq.backend import Backend, LowqWarning, Pushed
from lowq.current_task import CurrentTask, current


class OwnWork(LowqWarning):
    """A handler pushed work that equals its own task's, and the queue refused it as a duplicate."""


def warn_of_own_work(backend: Backend, answers: Iterable[Pushed]) -> None:
    """Warn, once in a run, where an answer to a push says that the handler's own task stands in its way."""
    running = current()
    if running is None or running.warned:
        return
    if not any(not answer.added and answer.id == running.id for answer in answers):
        return
    if not _is_queue_of(running, backend):
        return
    running.warned = True
    warnings.warn(
        f"task {running.id} pushed work that equals its own while it ran: the push was refused as a duplicate "
        "(added=False), and when this run is done, nothing is left of it. To run the same work again later, end the "
        "handler with `raise lowq.Later(timedelta(…))`. Other work needs another value or key=; a queue made with "
        'dedupe="until_claimed" keeps an equal work while one runs',
        OwnWork,
        stacklevel=level_outside(),
    )


def level_outside() -> int:
    """The stack level, for a warning that the caller gives, of the code that is not lowq's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("lowq."):
        level, frame = level + 1, frame.f_back
    return level


def _is_queue_of(running: CurrentTask, backend: Backend) -> bool:
    """Whether the backend is a client of the queue that the running task is in."""
    one, other = (getattr(each, "backend", each) for each in (running.backend, backend))
    if one is other:
        return True
    where = [(type(each), getattr(each, "name", None), getattr(each, "where", None)) for each in (one, other)]
    return where[0][2] is not None and where[0] == where[1]
