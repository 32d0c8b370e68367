"""Handlers that are run from a coroutine. PYTEST_DONT_REWRITE"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

Answer = TypeVar("Answer")


def outside_of_loops(call: Callable[[], Answer]) -> Answer:
    """What `call` answers or raises; where an event loop runs in this thread, it was called in another, meanwhile.

    A worker has no event loop, so a handler may use `asyncio.run`, which a thread with a running loop refuses.
    """
    if not _in_a_loop():
        return call()
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="lowq-handler")
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return answers[0]


def _in_a_loop() -> bool:
    """Whether a coroutine called, in a program that has coroutines at all."""
    if (events := sys.modules.get("asyncio.events")) is None:
        return False
    try:
        events.get_running_loop()
    except RuntimeError:
        return False
    return True
