"""Tells a fault of a stored text, found while it is read, from an exception of a signal handler."""

from __future__ import annotations

_READERS = frozenset(("lowq", "json", "codecs"))
"""The packages whose code reads what storage holds."""


def let_through_strange(error: BaseException) -> None:
    """Raise the error unless what reads storage raised it: a sound task is never taken for a damaged one.

    A handler may have restored another one before it raised, and so is not asked for; whatever ran besides the code
    that reads did not come from the text that is read.
    """
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] not in _READERS:
            raise error
        trace = trace.tb_next
