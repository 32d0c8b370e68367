"""What the program wants to be told of: its hooks are called here, and one that fails ends nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from lowq.error_text import in_full
from lowq.run import Run
from lowq.worker.failure import passes

_log = logging.getLogger("lowq.worker")

Hook = Callable[[Run], object]
Given = TypeVar("Given")


def tell(hook: Hook | None, run: Run, name: str) -> None:
    """The hook `name` was told of the run; what it raised was logged. Raises what is meant for the program."""
    if hook is None:
        return
    try:
        hook(run)
    except BaseException as error:
        if passes(error):
            raise
        with suppress(Exception):  # a handler of the program's own log
            _log.error("%s failed, told of task %s (%s): %s", name, run.task.id, run.outcome, in_full(error))
