"""The log ``lowq.worker`` of the program, whose handlers may fail in any way: what cannot be logged ends nothing."""

from __future__ import annotations

import logging
from typing import Any

from lowq.worker.failure import passes

_logger = logging.getLogger("lowq.worker")


def is_heard(level: int) -> bool:
    """Whether the program has set up a log that takes what is said at this level."""
    try:
        return _logger.isEnabledFor(level) and _logger.hasHandlers()
    except Exception:  # a filter, or a mock
        return False


def write(level: int, text: str, *values: object, stacklevel: int = 2, **options: Any) -> None:
    """The text is logged, as `Logger.log` does it; raises only what is meant for the program, as `passes` says."""
    try:
        _logger.log(level, text, *values, stacklevel=stacklevel, **options)
    except BaseException as error:
        if passes(error):
            raise


def warn(text: str, *values: object) -> None:
    """The warning is logged."""
    write(logging.WARNING, text, *values, stacklevel=3)


def say_failed(text: str, *values: object) -> None:
    """The error is logged."""
    write(logging.ERROR, text, *values, stacklevel=3)
