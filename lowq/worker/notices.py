"""Tells the log, `on_run` and `on_dead` of a run; a hook that fails ends nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from lowq.error_text import in_full, is_printable, show_error
from lowq.run import Outcome, Run
from lowq.worker import program_log
from lowq.worker.coroutines import Coroutines
from lowq.worker.failure import passes

Hook = Callable[[Run], object]
Given = TypeVar("Given")


_LEVELS: dict[Outcome, int] = {
    "done": logging.INFO,
    "retry": logging.WARNING,
    "dead": logging.ERROR,
    "released": logging.INFO,
    "lost": logging.WARNING,
}


def log(run: Run, queue: str) -> None:
    """The run is in the log ``lowq.worker``, where the program has one: what became of it, and its fields as extras.

    A program that has set up no log is told of a failed run by its TaskQueue or its `on_run`, and not twice.
    """
    level = logging.INFO if run.outcome == "retry" and run.error is None else _LEVELS[run.outcome]
    if not program_log.is_heard(level):
        return
    error = None if run.error is None else show_error(run.error)
    fields = {
        "lowq_queue": queue,
        "lowq_task": run.task.id,
        "lowq_attempt": run.attempt,
        "lowq_outcome": run.outcome,
        "lowq_next_due": run.next_due,
        "lowq_error": error,
    }
    raised = run.error if run.error is not None and is_printable(run.error) else None
    again = "" if run.next_due is None else f", again at {run.next_due:%Y-%m-%d %H:%M:%S} UTC"
    why = "" if error is None else f": {error}"
    text = "task %s of queue %s, attempt %s: %s%s%s"
    values = (run.task.id, queue, run.attempt, run.outcome, again, why)
    program_log.write(level, text, *values, extra=fields, exc_info=raised)


def tell(hook: Hook | None, run: Run, name: str) -> None:
    """The hook `name` was told of the run; what it raised was logged. Raises what is meant for the program."""
    if hook is None:
        return
    try:
        returned = hook(run)
        if returned is not None:
            coroutines = Coroutines()
            try:
                coroutines.finish(returned)
            finally:
                coroutines.close()
    except BaseException as error:
        if passes(error):
            raise
        said = "%s failed, told of task %s (%s): %s"
        program_log.say_failed(said, name, run.task.id, run.outcome, in_full(error))
